//! Sixteen messages side by side in pairs of AVX2 vectors.

use std::arch::x86_64::{
    __m256i, _mm_loadu_si128, _mm256_add_epi32, _mm256_and_si256, _mm256_andnot_si256,
    _mm256_castsi128_si256, _mm256_inserti128_si256, _mm256_loadu_si256, _mm256_or_si256,
    _mm256_set1_epi32, _mm256_setzero_si256, _mm256_slli_epi32, _mm256_srli_epi32,
    _mm256_storeu_si256, _mm256_unpackhi_epi32, _mm256_unpackhi_epi64, _mm256_unpacklo_epi32,
    _mm256_unpacklo_epi64, _mm256_xor_si256,
};
use std::hint::black_box;

use crate::rounds::{Block, SINES, md5_rounds};

/// Messages side by side.
pub(crate) const LANES: usize = 16;

/// The same word of all lanes. Two vectors, since a step is a chain of dependent instructions:
/// one chain alone leaves more than half of the execution units idle.
type Pair = [__m256i; 2];

/// Takes the first `count` blocks of each lane into that lane's state.
///
/// Every lane must have at least `count` blocks.
#[target_feature(enable = "avx2")]
pub(crate) fn compress(state: &mut [[u32; LANES]; 4], lanes: &[&[Block]; LANES], count: usize) {
    let [mut a, mut b, mut c, mut d] = state.map(|word| from_array(&word));
    for at in 0..count {
        let sines = black_box(&SINES);
        let (a0, b0, c0, d0) = (a, b, c, d);
        let words = message_words(lanes, at);
        md5_rounds!(a, b, c, d, words, sines);
        a = add(a, a0);
        b = add(b, b0);
        c = add(c, c0);
        d = add(d, d0);
    }
    *state = [to_array(a), to_array(b), to_array(c), to_array(d)];
}

/// Block `at` of each lane, transposed: pair `n` holds message word `n` of all lanes.
#[inline]
#[target_feature(enable = "avx2")]
fn message_words(lanes: &[&[Block]; LANES], at: usize) -> [Pair; 16] {
    let low = half_words(lanes, at, 0);
    let high = half_words(lanes, at, 8);
    std::array::from_fn(|n| [low[n], high[n]])
}

/// The words of eight lanes, `first` and the next.
#[inline]
#[target_feature(enable = "avx2")]
fn half_words(lanes: &[&[Block]; LANES], at: usize, first: usize) -> [__m256i; 16] {
    let mut words = [_mm256_setzero_si256(); 16];
    for quarter in 0..4 {
        // Row r: four words each of the lanes r and r + 4 of these eight. Built by loads,
        // not shuffles; what is left is to transpose 4 x 4 words within each 128 bits.
        let r0 = row(lanes, at, first, quarter);
        let r1 = row(lanes, at, first + 1, quarter);
        let r2 = row(lanes, at, first + 2, quarter);
        let r3 = row(lanes, at, first + 3, quarter);
        let low01 = _mm256_unpacklo_epi32(r0, r1);
        let high01 = _mm256_unpackhi_epi32(r0, r1);
        let low23 = _mm256_unpacklo_epi32(r2, r3);
        let high23 = _mm256_unpackhi_epi32(r2, r3);
        words[quarter * 4] = _mm256_unpacklo_epi64(low01, low23);
        words[quarter * 4 + 1] = _mm256_unpackhi_epi64(low01, low23);
        words[quarter * 4 + 2] = _mm256_unpacklo_epi64(high01, high23);
        words[quarter * 4 + 3] = _mm256_unpackhi_epi64(high01, high23);
    }
    words
}

#[inline]
#[target_feature(enable = "avx2")]
fn row(lanes: &[&[Block]; LANES], at: usize, lane: usize, quarter: usize) -> __m256i {
    let part = |lane: usize| {
        let (quarters, _) = lanes[lane][at].as_chunks::<16>();
        // SAFETY: the pointer comes from a reference to 16 bytes; the load needs no alignment.
        unsafe { _mm_loadu_si128(std::ptr::from_ref(&quarters[quarter]).cast()) }
    };
    _mm256_inserti128_si256::<1>(_mm256_castsi128_si256(part(lane)), part(lane + 4))
}

#[inline]
#[target_feature(enable = "avx2")]
fn from_array(words: &[u32; LANES]) -> Pair {
    let (halves, _) = words.as_chunks::<8>();
    // SAFETY: the pointers come from references to 32 bytes; the load needs no alignment.
    [0, 1]
        .map(|half: usize| unsafe { _mm256_loadu_si256(std::ptr::from_ref(&halves[half]).cast()) })
}

#[inline]
#[target_feature(enable = "avx2")]
fn to_array(pair: Pair) -> [u32; LANES] {
    let mut words = [0; LANES];
    let (halves, _) = words.as_chunks_mut::<8>();
    for (half, vector) in halves.iter_mut().zip(pair) {
        // SAFETY: the pointer comes from a reference to 32 bytes; the store needs no alignment.
        unsafe { _mm256_storeu_si256(std::ptr::from_mut(half).cast(), vector) };
    }
    words
}

#[inline]
#[target_feature(enable = "avx2")]
fn add(x: Pair, y: Pair) -> Pair {
    [_mm256_add_epi32(x[0], y[0]), _mm256_add_epi32(x[1], y[1])]
}

/// `rotate(sum + mixed) + b`.
#[inline]
#[target_feature(enable = "avx2")]
fn turn<const LEFT: i32, const RIGHT: i32>(sum: Pair, mixed: Pair, b: Pair) -> Pair {
    let sum = add(sum, mixed);
    let turned = [0, 1].map(|half: usize| {
        _mm256_or_si256(
            _mm256_slli_epi32::<LEFT>(sum[half]),
            _mm256_srli_epi32::<RIGHT>(sum[half]),
        )
    });
    add(turned, b)
}

/// What a step adds up that does not wait for the step before it.
#[inline]
#[target_feature(enable = "avx2")]
fn early(a: Pair, word: Pair, sine: u32) -> Pair {
    let sine = _mm256_set1_epi32(sine.cast_signed());
    add(a, add(word, [sine; 2]))
}

#[inline]
#[target_feature(enable = "avx2")]
fn f<const LEFT: i32, const RIGHT: i32>(
    a: Pair,
    b: Pair,
    c: Pair,
    d: Pair,
    word: Pair,
    sine: u32,
) -> Pair {
    let mixed = [0, 1].map(|half: usize| {
        _mm256_xor_si256(
            d[half],
            _mm256_and_si256(b[half], _mm256_xor_si256(c[half], d[half])),
        )
    });
    turn::<LEFT, RIGHT>(early(a, word, sine), mixed, b)
}

#[inline]
#[target_feature(enable = "avx2")]
fn g<const LEFT: i32, const RIGHT: i32>(
    a: Pair,
    b: Pair,
    c: Pair,
    d: Pair,
    word: Pair,
    sine: u32,
) -> Pair {
    let without_b = [0, 1].map(|half: usize| _mm256_andnot_si256(d[half], c[half]));
    let with_b = [0, 1].map(|half: usize| _mm256_and_si256(d[half], b[half]));
    turn::<LEFT, RIGHT>(add(early(a, word, sine), without_b), with_b, b)
}

#[inline]
#[target_feature(enable = "avx2")]
fn h<const LEFT: i32, const RIGHT: i32>(
    a: Pair,
    b: Pair,
    c: Pair,
    d: Pair,
    word: Pair,
    sine: u32,
) -> Pair {
    let mixed =
        [0, 1].map(|half: usize| _mm256_xor_si256(b[half], _mm256_xor_si256(c[half], d[half])));
    turn::<LEFT, RIGHT>(early(a, word, sine), mixed, b)
}

#[inline]
#[target_feature(enable = "avx2")]
fn i<const LEFT: i32, const RIGHT: i32>(
    a: Pair,
    b: Pair,
    c: Pair,
    d: Pair,
    word: Pair,
    sine: u32,
) -> Pair {
    let ones = _mm256_set1_epi32(-1);
    let mixed = [0, 1].map(|half: usize| {
        _mm256_xor_si256(
            c[half],
            _mm256_or_si256(b[half], _mm256_xor_si256(d[half], ones)),
        )
    });
    turn::<LEFT, RIGHT>(early(a, word, sine), mixed, b)
}
