//! Four messages side by side in plain arrays, for CPUs without a backend of their own.
//!
//! On x86-64 the compiler makes scalar code of it, which gains by filling the execution units
//! that one message's chain of dependent instructions leaves idle.

use std::array::from_fn;
use std::hint::black_box;

use crate::rounds::{Block, SINES, md5_rounds};
use crate::scalar;

/// Messages side by side. Eight were slower than one: too few registers.
pub(crate) const LANES: usize = 4;

type Lanes = [u32; LANES];

/// Takes the first `count` blocks of each lane into that lane's state.
///
/// Every lane must have at least `count` blocks.
pub(crate) fn compress(state: &mut [Lanes; 4], lanes: &[&[Block]; LANES], count: usize) {
    let [mut a, mut b, mut c, mut d] = *state;
    for at in 0..count {
        let sines = black_box(&SINES);
        let before = [a, b, c, d];
        let by_lane = lanes.map(|blocks| scalar::message_words(&blocks[at]));
        let words: [Lanes; 16] = from_fn(|word| by_lane.map(|words| words[word]));
        md5_rounds!(a, b, c, d, words, sines);
        a = add(a, before[0]);
        b = add(b, before[1]);
        c = add(c, before[2]);
        d = add(d, before[3]);
    }
    *state = [a, b, c, d];
}

#[inline]
fn add(x: Lanes, y: Lanes) -> Lanes {
    from_fn(|n| x[n].wrapping_add(y[n]))
}

#[inline]
fn f<const LEFT: u32, const RIGHT: u32>(
    a: Lanes,
    b: Lanes,
    c: Lanes,
    d: Lanes,
    word: Lanes,
    sine: u32,
) -> Lanes {
    from_fn(|n| scalar::f::<LEFT, RIGHT>(a[n], b[n], c[n], d[n], word[n], sine))
}

#[inline]
fn g<const LEFT: u32, const RIGHT: u32>(
    a: Lanes,
    b: Lanes,
    c: Lanes,
    d: Lanes,
    word: Lanes,
    sine: u32,
) -> Lanes {
    from_fn(|n| scalar::g::<LEFT, RIGHT>(a[n], b[n], c[n], d[n], word[n], sine))
}

#[inline]
fn h<const LEFT: u32, const RIGHT: u32>(
    a: Lanes,
    b: Lanes,
    c: Lanes,
    d: Lanes,
    word: Lanes,
    sine: u32,
) -> Lanes {
    from_fn(|n| scalar::h::<LEFT, RIGHT>(a[n], b[n], c[n], d[n], word[n], sine))
}

#[inline]
fn i<const LEFT: u32, const RIGHT: u32>(
    a: Lanes,
    b: Lanes,
    c: Lanes,
    d: Lanes,
    word: Lanes,
    sine: u32,
) -> Lanes {
    from_fn(|n| scalar::i::<LEFT, RIGHT>(a[n], b[n], c[n], d[n], word[n], sine))
}
