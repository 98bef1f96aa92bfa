//! Sixteen messages side by side in AVX-512 vectors. FIPS 180-4, section 6.2.

use std::arch::x86_64::{
    __m512i, _mm_loadu_si128, _mm512_add_epi32, _mm512_castsi128_si512, _mm512_inserti32x4,
    _mm512_ror_epi32, _mm512_set_epi64, _mm512_set1_epi32, _mm512_setzero_si512,
    _mm512_shuffle_epi8, _mm512_srli_epi32, _mm512_storeu_si512, _mm512_ternarylogic_epi32,
    _mm512_unpackhi_epi32, _mm512_unpackhi_epi64, _mm512_unpacklo_epi32, _mm512_unpacklo_epi64,
};

use crate::Block;

/// Messages side by side.
pub(crate) const LANES: usize = 16;

/// The state before the first block.
const START: [u32; 8] = [
    0x6a09_e667,
    0xbb67_ae85,
    0x3c6e_f372,
    0xa54f_f53a,
    0x510e_527f,
    0x9b05_688c,
    0x1f83_d9ab,
    0x5be0_cd19,
];

/// The constants of the 64 rounds.
#[rustfmt::skip]
const ROUNDS: [u32; 64] = [
    0x428a_2f98, 0x7137_4491, 0xb5c0_fbcf, 0xe9b5_dba5, 0x3956_c25b, 0x59f1_11f1, 0x923f_82a4, 0xab1c_5ed5,
    0xd807_aa98, 0x1283_5b01, 0x2431_85be, 0x550c_7dc3, 0x72be_5d74, 0x80de_b1fe, 0x9bdc_06a7, 0xc19b_f174,
    0xe49b_69c1, 0xefbe_4786, 0x0fc1_9dc6, 0x240c_a1cc, 0x2de9_2c6f, 0x4a74_84aa, 0x5cb0_a9dc, 0x76f9_88da,
    0x983e_5152, 0xa831_c66d, 0xb003_27c8, 0xbf59_7fc7, 0xc6e0_0bf3, 0xd5a7_9147, 0x06ca_6351, 0x1429_2967,
    0x27b7_0a85, 0x2e1b_2138, 0x4d2c_6dfc, 0x5338_0d13, 0x650a_7354, 0x766a_0abb, 0x81c2_c92e, 0x9272_2c85,
    0xa2bf_e8a1, 0xa81a_664b, 0xc24b_8b70, 0xc76c_51a3, 0xd192_e819, 0xd699_0624, 0xf40e_3585, 0x106a_a070,
    0x19a4_c116, 0x1e37_6c08, 0x2748_774c, 0x34b0_bcb5, 0x391c_0cb3, 0x4ed8_aa4a, 0x5b9c_ca4f, 0x682e_6ff3,
    0x748f_82ee, 0x78a5_636f, 0x84c8_7814, 0x8cc7_0208, 0x90be_fffa, 0xa450_6ceb, 0xbef9_a3f7, 0xc671_78f2,
];

/// The SHA-256 state of each lane's message after all of it: word `n` of lane `l` at `[n][l]`.
///
/// All lanes must be of one length; the shortest counts.
#[target_feature(enable = "avx512f,avx512bw")]
pub(crate) fn hash(lanes: &[&[Block]; LANES]) -> [[u32; LANES]; 8] {
    let count = lanes.iter().map(|lane| lane.len()).min().unwrap_or(0);
    let mut state = START.map(|word| splat(word));
    for at in 0..count {
        rounds(&mut state, message_words(lanes, at));
    }
    // The padding block is the same in all lanes: a one, zeroes, the length in bits.
    let bits = (count as u64 * 512).to_be_bytes();
    let (halves, _) = bits.as_chunks::<4>();
    let mut last = [_mm512_setzero_si512(); 16];
    last[0] = splat(0x8000_0000);
    last[14] = splat(u32::from_be_bytes(halves[0]));
    last[15] = splat(u32::from_be_bytes(halves[1]));
    rounds(&mut state, last);
    state.map(|word| to_array(word))
}

/// Adds a block to the state.
#[expect(clippy::many_single_char_names, reason = "as the standard names them")]
#[inline]
#[target_feature(enable = "avx512f,avx512bw")]
fn rounds(state: &mut [__m512i; 8], mut w: [__m512i; 16]) {
    let [mut a, mut b, mut c, mut d, mut e, mut f, mut g, mut h] = *state;
    // Sixteen rounds use the words as they are and then make the next sixteen of them in their place.
    for sixteen in ROUNDS.as_chunks::<16>().0 {
        macro_rules! round {
            ($a:ident $b:ident $c:ident $d:ident $e:ident $f:ident $g:ident $h:ident $i:expr) => {
                let sum = _mm512_add_epi32(
                    _mm512_add_epi32($h, _mm512_add_epi32(w[$i], splat(sixteen[$i]))),
                    _mm512_add_epi32(big1($e), choose($e, $f, $g)),
                );
                $d = _mm512_add_epi32($d, sum);
                $h = _mm512_add_epi32(sum, _mm512_add_epi32(big0($a), majority($a, $b, $c)));
                w[$i] = _mm512_add_epi32(
                    _mm512_add_epi32(w[$i], small0(w[($i + 1) % 16])),
                    _mm512_add_epi32(w[($i + 9) % 16], small1(w[($i + 14) % 16])),
                );
            };
        }
        round!(a b c d e f g h 0);
        round!(h a b c d e f g 1);
        round!(g h a b c d e f 2);
        round!(f g h a b c d e 3);
        round!(e f g h a b c d 4);
        round!(d e f g h a b c 5);
        round!(c d e f g h a b 6);
        round!(b c d e f g h a 7);
        round!(a b c d e f g h 8);
        round!(h a b c d e f g 9);
        round!(g h a b c d e f 10);
        round!(f g h a b c d e 11);
        round!(e f g h a b c d 12);
        round!(d e f g h a b c 13);
        round!(c d e f g h a b 14);
        round!(b c d e f g h a 15);
    }
    for (word, new) in state.iter_mut().zip([a, b, c, d, e, f, g, h]) {
        *word = _mm512_add_epi32(*word, new);
    }
}

// The truth tables are indexed by the bits (x, y, z): x selects the high half.

#[inline]
#[target_feature(enable = "avx512f")]
fn choose(x: __m512i, y: __m512i, z: __m512i) -> __m512i {
    _mm512_ternarylogic_epi32::<0b1100_1010>(x, y, z)
}

#[inline]
#[target_feature(enable = "avx512f")]
fn majority(x: __m512i, y: __m512i, z: __m512i) -> __m512i {
    _mm512_ternarylogic_epi32::<0b1110_1000>(x, y, z)
}

#[inline]
#[target_feature(enable = "avx512f")]
fn xor(x: __m512i, y: __m512i, z: __m512i) -> __m512i {
    _mm512_ternarylogic_epi32::<0b1001_0110>(x, y, z)
}

#[inline]
#[target_feature(enable = "avx512f")]
fn big0(x: __m512i) -> __m512i {
    xor(
        _mm512_ror_epi32::<2>(x),
        _mm512_ror_epi32::<13>(x),
        _mm512_ror_epi32::<22>(x),
    )
}

#[inline]
#[target_feature(enable = "avx512f")]
fn big1(x: __m512i) -> __m512i {
    xor(
        _mm512_ror_epi32::<6>(x),
        _mm512_ror_epi32::<11>(x),
        _mm512_ror_epi32::<25>(x),
    )
}

#[inline]
#[target_feature(enable = "avx512f")]
fn small0(x: __m512i) -> __m512i {
    xor(
        _mm512_ror_epi32::<7>(x),
        _mm512_ror_epi32::<18>(x),
        _mm512_srli_epi32::<3>(x),
    )
}

#[inline]
#[target_feature(enable = "avx512f")]
fn small1(x: __m512i) -> __m512i {
    xor(
        _mm512_ror_epi32::<17>(x),
        _mm512_ror_epi32::<19>(x),
        _mm512_srli_epi32::<10>(x),
    )
}

/// Block `at` of each lane, transposed: vector `n` holds message word `n` of all lanes.
#[inline]
#[target_feature(enable = "avx512f,avx512bw")]
fn message_words(lanes: &[&[Block]; LANES], at: usize) -> [__m512i; 16] {
    // Message words are big-endian.
    const LOW: i64 = 0x0405_0607_0001_0203;
    const HIGH: i64 = 0x0c0d_0e0f_0809_0a0b;
    let swap = _mm512_set_epi64(HIGH, LOW, HIGH, LOW, HIGH, LOW, HIGH, LOW);
    let mut words = [_mm512_setzero_si512(); 16];
    for quarter in 0..4 {
        // Row r: four words each of the lanes r, r + 4, r + 8 and r + 12. Built by loads, not shuffles; what is left is
        // to transpose 4 x 4 words within each 128 bits.
        let [r0, r1, r2, r3] = [0, 1, 2, 3].map(|r| row(lanes, at, r, quarter));
        let low01 = _mm512_unpacklo_epi32(r0, r1);
        let high01 = _mm512_unpackhi_epi32(r0, r1);
        let low23 = _mm512_unpacklo_epi32(r2, r3);
        let high23 = _mm512_unpackhi_epi32(r2, r3);
        words[quarter * 4] = _mm512_shuffle_epi8(_mm512_unpacklo_epi64(low01, low23), swap);
        words[quarter * 4 + 1] = _mm512_shuffle_epi8(_mm512_unpackhi_epi64(low01, low23), swap);
        words[quarter * 4 + 2] = _mm512_shuffle_epi8(_mm512_unpacklo_epi64(high01, high23), swap);
        words[quarter * 4 + 3] = _mm512_shuffle_epi8(_mm512_unpackhi_epi64(high01, high23), swap);
    }
    words
}

#[inline]
#[target_feature(enable = "avx512f")]
fn row(lanes: &[&[Block]; LANES], at: usize, r: usize, quarter: usize) -> __m512i {
    // Lane order within a vector: 128-bit part p holds the lanes 4p .. 4p + 4.
    let part = |p: usize| {
        let (quarters, _) = lanes[4 * p + r][at].as_chunks::<16>();
        // SAFETY: the pointer comes from a reference to 16 bytes; the load needs no alignment.
        unsafe { _mm_loadu_si128(std::ptr::from_ref(&quarters[quarter]).cast()) }
    };
    let v = _mm512_castsi128_si512(part(0));
    let v = _mm512_inserti32x4::<1>(v, part(1));
    let v = _mm512_inserti32x4::<2>(v, part(2));
    _mm512_inserti32x4::<3>(v, part(3))
}

#[inline]
#[target_feature(enable = "avx512f")]
fn splat(word: u32) -> __m512i {
    _mm512_set1_epi32(word.cast_signed())
}

#[inline]
#[target_feature(enable = "avx512f")]
fn to_array(vector: __m512i) -> [u32; LANES] {
    let mut words = [0; LANES];
    // SAFETY: the pointer comes from a reference to 64 bytes; the store needs no alignment.
    unsafe { _mm512_storeu_si512(words.as_mut_ptr().cast(), vector) };
    words
}
