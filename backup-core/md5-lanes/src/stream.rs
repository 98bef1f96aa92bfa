//! One message, in pieces or at once.

use crate::rounds::{Block, START};
use crate::scalar;

/// The MD5 of one message that comes in pieces.
///
/// ```
/// let mut md5 = md5_lanes::Md5::new();
/// md5.update(b"message ");
/// md5.update(b"digest");
/// assert_eq!(md5.finalize(), md5_lanes::md5(b"message digest"));
/// ```
///
/// A value may be cloned to get the digest of what it has seen so far and go on.
#[derive(Clone, Debug)]
pub struct Md5 {
    state: [u32; 4],
    /// Bytes seen, modulo 2^64.
    length: u64,
    /// The bytes of an unfinished block lie at its start.
    partial: Block,
    /// How many of them; always less than a block's.
    filled: usize,
}

impl Default for Md5 {
    fn default() -> Self {
        Self::new()
    }
}

impl Md5 {
    /// The empty message.
    pub fn new() -> Self {
        Self {
            state: START,
            length: 0,
            partial: [0; 64],
            filled: 0,
        }
    }

    /// Appends `piece`, of any length, to the message.
    pub fn update(&mut self, piece: &[u8]) {
        self.length = self.length.wrapping_add(piece.len() as u64);
        let mut rest = piece;
        if self.filled > 0 {
            let (taken, left) = rest.split_at(rest.len().min(64 - self.filled));
            self.partial[self.filled..self.filled + taken.len()].copy_from_slice(taken);
            self.filled += taken.len();
            rest = left;
            if self.filled < 64 {
                return;
            }
            scalar::compress(&mut self.state, &[self.partial]);
        }
        let (blocks, end) = rest.as_chunks();
        scalar::compress(&mut self.state, blocks);
        self.partial[..end.len()].copy_from_slice(end);
        self.filled = end.len();
    }

    /// The digest of the whole message.
    pub fn finalize(mut self) -> [u8; 16] {
        let tail = Tail::new(&self.partial[..self.filled], self.length);
        scalar::compress(&mut self.state, tail.blocks());
        digest(self.state)
    }
}

/// The MD5 of one message.
///
/// Where there are several, [`md5_many`](crate::md5_many) is many times as fast.
pub fn md5(message: &[u8]) -> [u8; 16] {
    let mut md5 = Md5::new();
    md5.update(message);
    md5.finalize()
}

/// A message's last bytes, padded to one or two blocks with a one bit, zeroes and its length.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Tail {
    padded: [Block; 2],
    count: usize,
}

impl Tail {
    /// `end`: what follows the last whole block; `length`: bytes of the whole message.
    pub(crate) fn new(end: &[u8], length: u64) -> Self {
        let mut padded = [[0; 64]; 2];
        let bytes = padded.as_flattened_mut();
        bytes[..end.len()].copy_from_slice(end);
        bytes[end.len()] = 0x80;
        // The one bit and eight bytes of length must fit.
        let count = if end.len() + 1 + 8 <= 64 { 1 } else { 2 };
        // RFC 1321 counts bits and keeps the low 64 bits of the count.
        let bits = length.wrapping_mul(8).to_le_bytes();
        bytes[count * 64 - 8..count * 64].copy_from_slice(&bits);
        Self { padded, count }
    }

    pub(crate) fn blocks(&self) -> &[Block] {
        &self.padded[..self.count]
    }
}

/// The digest that a state stands for after the last block.
pub(crate) fn digest(state: [u32; 4]) -> [u8; 16] {
    let mut bytes = [0; 16];
    bytes
        .as_chunks_mut::<4>()
        .0
        .copy_from_slice(&state.map(u32::to_le_bytes));
    bytes
}
