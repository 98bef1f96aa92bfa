//! The 64 steps of MD5 (RFC 1321, section 3.4), written once for every backend.

/// One MD5 block.
pub(crate) type Block = [u8; 64];

/// The state (A, B, C, D) before the first block.
pub(crate) const START: [u32; 4] = [0x6745_2301, 0xefcd_ab89, 0x98ba_dcfe, 0x1032_5476];

/// The sine table `T[1..=64]` of RFC 1321: `floor(2^32 * abs(sin(i)))`, `i` in radians.
#[rustfmt::skip]
pub(crate) const SINES: [u32; 64] = [
    0xd76a_a478, 0xe8c7_b756, 0x2420_70db, 0xc1bd_ceee, 0xf57c_0faf, 0x4787_c62a, 0xa830_4613, 0xfd46_9501,
    0x6980_98d8, 0x8b44_f7af, 0xffff_5bb1, 0x895c_d7be, 0x6b90_1122, 0xfd98_7193, 0xa679_438e, 0x49b4_0821,
    0xf61e_2562, 0xc040_b340, 0x265e_5a51, 0xe9b6_c7aa, 0xd62f_105d, 0x0244_1453, 0xd8a1_e681, 0xe7d3_fbc8,
    0x21e1_cde6, 0xc337_07d6, 0xf4d5_0d87, 0x455a_14ed, 0xa9e3_e905, 0xfcef_a3f8, 0x676f_02d9, 0x8d2a_4c8a,
    0xfffa_3942, 0x8771_f681, 0x6d9d_6122, 0xfde5_380c, 0xa4be_ea44, 0x4bde_cfa9, 0xf6bb_4b60, 0xbebf_bc70,
    0x289b_7ec6, 0xeaa1_27fa, 0xd4ef_3085, 0x0488_1d05, 0xd9d4_d039, 0xe6db_99e5, 0x1fa2_7cf8, 0xc4ac_5665,
    0xf429_2244, 0x432a_ff97, 0xab94_23a7, 0xfc93_a039, 0x655b_59c3, 0x8f0c_cc92, 0xffef_f47d, 0x8584_5dd1,
    0x6fa8_7e4f, 0xfe2c_e6e0, 0xa301_4314, 0x4e08_11a1, 0xf753_7e82, 0xbd3a_f235, 0x2ad7_d2bb, 0xeb86_d391,
];

/// Runs the 64 steps on the state variables `$a..$d` with the message words `$w[0..16]` and the
/// sines `$k[0..64]`.
///
/// `$k` should be `black_box(&SINES)`, taken anew for each block: of known constants the compiler
/// adds each one last in its step, where it lengthens the chain of dependent instructions; a
/// value that it must load it adds early (scalar: 0.80 instead of 0.65 GB/s).
///
/// Expands to calls of the functions `f`, `g`, `h` and `i` of the module that uses it, each
/// `<const LEFT: i32, const RIGHT: i32>(a, b, c, d, word, sine) -> new a`, with
/// `LEFT + RIGHT == 32` (a rotation to the left by `LEFT`; vectors without a rotate instruction
/// shift both ways). A macro rather than a trait: a safe `#[target_feature]` function can be
/// called from its equals without `unsafe`, a trait's method cannot carry the attribute.
macro_rules! md5_rounds {
    ($a:ident, $b:ident, $c:ident, $d:ident, $w:ident, $k:ident) => {
        $crate::rounds::md5_rounds!(@round f, $a, $b, $c, $d, $w, $k, 0, [7 25, 12 20, 17 15, 22 10],
            [0 1 2 3, 4 5 6 7, 8 9 10 11, 12 13 14 15]);
        $crate::rounds::md5_rounds!(@round g, $a, $b, $c, $d, $w, $k, 16, [5 27, 9 23, 14 18, 20 12],
            [1 6 11 0, 5 10 15 4, 9 14 3 8, 13 2 7 12]);
        $crate::rounds::md5_rounds!(@round h, $a, $b, $c, $d, $w, $k, 32, [4 28, 11 21, 16 16, 23 9],
            [5 8 11 14, 1 4 7 10, 13 0 3 6, 9 12 15 2]);
        $crate::rounds::md5_rounds!(@round i, $a, $b, $c, $d, $w, $k, 48, [6 26, 10 22, 15 17, 21 11],
            [0 7 14 5, 12 3 10 1, 8 15 6 13, 4 11 2 9]);
    };
    (@round $f:ident, $a:ident, $b:ident, $c:ident, $d:ident, $w:ident, $k:ident, $t:expr, $turns:tt,
        [$w0:tt $w1:tt $w2:tt $w3:tt, $w4:tt $w5:tt $w6:tt $w7:tt,
         $w8:tt $w9:tt $w10:tt $w11:tt, $w12:tt $w13:tt $w14:tt $w15:tt]) => {
        $crate::rounds::md5_rounds!(@four $f, $a, $b, $c, $d, $w, $k, $t, $turns, $w0 $w1 $w2 $w3);
        $crate::rounds::md5_rounds!(@four $f, $a, $b, $c, $d, $w, $k, $t + 4, $turns, $w4 $w5 $w6 $w7);
        $crate::rounds::md5_rounds!(@four $f, $a, $b, $c, $d, $w, $k, $t + 8, $turns, $w8 $w9 $w10 $w11);
        $crate::rounds::md5_rounds!(@four $f, $a, $b, $c, $d, $w, $k, $t + 12, $turns, $w12 $w13 $w14 $w15);
    };
    (@four $f:ident, $a:ident, $b:ident, $c:ident, $d:ident, $w:ident, $k:ident, $t:expr,
        [$l0:tt $r0:tt, $l1:tt $r1:tt, $l2:tt $r2:tt, $l3:tt $r3:tt],
        $w0:tt $w1:tt $w2:tt $w3:tt) => {
        $a = $f::<$l0, $r0>($a, $b, $c, $d, $w[$w0], $k[$t]);
        $d = $f::<$l1, $r1>($d, $a, $b, $c, $w[$w1], $k[$t + 1]);
        $c = $f::<$l2, $r2>($c, $d, $a, $b, $w[$w2], $k[$t + 2]);
        $b = $f::<$l3, $r3>($b, $c, $d, $a, $w[$w3], $k[$t + 3]);
    };
}
pub(crate) use md5_rounds;
