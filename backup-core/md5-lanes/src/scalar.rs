//! One message at a time in the general registers.

use std::hint::black_box;

use crate::rounds::{Block, SINES, md5_rounds};

/// Takes `blocks` of one message into its `state`.
pub(crate) fn compress(state: &mut [u32; 4], blocks: &[Block]) {
    let [mut a, mut b, mut c, mut d] = *state;
    for block in blocks {
        let sines = black_box(&SINES);
        let before = [a, b, c, d];
        let words = message_words(block);
        md5_rounds!(a, b, c, d, words, sines);
        a = a.wrapping_add(before[0]);
        b = b.wrapping_add(before[1]);
        c = c.wrapping_add(before[2]);
        d = d.wrapping_add(before[3]);
    }
    *state = [a, b, c, d];
}

#[inline]
pub(crate) fn message_words(block: &Block) -> [u32; 16] {
    let (quads, _) = block.as_chunks::<4>();
    let mut words = [0; 16];
    for (word, bytes) in words.iter_mut().zip(quads) {
        *word = u32::from_le_bytes(*bytes);
    }
    words
}

/// What a step adds up that does not wait for the step before it.
#[inline]
fn early(a: u32, word: u32, sine: u32) -> u32 {
    a.wrapping_add(word).wrapping_add(sine)
}

#[inline]
fn turn<const LEFT: u32>(sum: u32, mixed: u32, b: u32) -> u32 {
    sum.wrapping_add(mixed).rotate_left(LEFT).wrapping_add(b)
}

#[inline]
pub(crate) fn f<const LEFT: u32, const RIGHT: u32>(
    a: u32,
    b: u32,
    c: u32,
    d: u32,
    word: u32,
    sine: u32,
) -> u32 {
    turn::<LEFT>(early(a, word, sine), d ^ (b & (c ^ d)), b)
}

#[inline]
pub(crate) fn g<const LEFT: u32, const RIGHT: u32>(
    a: u32,
    b: u32,
    c: u32,
    d: u32,
    word: u32,
    sine: u32,
) -> u32 {
    // The two halves of G have no bit in common, so they may be added one after the other, and
    // the half without `b`, the step's late input, does not wait for it.
    let sum = early(a, word, sine).wrapping_add(c & !d);
    turn::<LEFT>(sum, b & d, b)
}

#[inline]
pub(crate) fn h<const LEFT: u32, const RIGHT: u32>(
    a: u32,
    b: u32,
    c: u32,
    d: u32,
    word: u32,
    sine: u32,
) -> u32 {
    turn::<LEFT>(early(a, word, sine), b ^ (c ^ d), b)
}

#[inline]
pub(crate) fn i<const LEFT: u32, const RIGHT: u32>(
    a: u32,
    b: u32,
    c: u32,
    d: u32,
    word: u32,
    sine: u32,
) -> u32 {
    turn::<LEFT>(early(a, word, sine), c ^ (b | !d), b)
}
