//! SHA-256 of several messages of one length side by side in vector lanes.
//!
//! SHA-256 is a chain of 64 dependent rounds for each 64 bytes. The SHA instructions of a CPU shorten a round, but one
//! message still waits for itself most of the time. Sixteen messages side by side in AVX-512 vectors do not: the blocks
//! of a volume are just that.
//!
//! ```
//! let blocks = vec![[7; 4096]; 20];
//! let blocks: Vec<&[u8]> = blocks.iter().map(|b| &b[..]).collect();
//! let mut digests = vec![[0; 32]; blocks.len()];
//! sha256_lanes::sha256_many_into(&blocks, &mut digests);
//! assert_eq!(digests[19], sha256_lanes::sha256(blocks[19]));
//! ```
//!
//! Messages that cannot share a vector, since their length is another one or too few are left, are hashed one after the
//! other by the sha2 crate, which uses the SHA instructions where the CPU has them. Without AVX-512 all are.

#![deny(unsafe_op_in_unsafe_fn)]

#[cfg(target_arch = "x86_64")]
#[expect(unsafe_code, reason = "vector loads and stores take raw pointers")]
mod avx512;
#[cfg_attr(
    target_arch = "x86_64",
    expect(unsafe_code, reason = "enters vector code after detection")
)]
mod backend;

use sha2::{Digest, Sha256};

pub use backend::Backend;

/// A SHA-256 block.
pub(crate) type Block = [u8; 64];

/// The SHA-256 of one message.
pub fn sha256(message: &[u8]) -> [u8; 32] {
    Sha256::digest(message).into()
}

/// Writes the SHA-256 of `messages[n]` to `digests[n]`, for all `n`. Pays best with many messages of one length that is
/// a multiple of 64 bytes.
///
/// # Panics
///
/// When `messages` and `digests` differ in number.
pub fn sha256_many_into(messages: &[&[u8]], digests: &mut [[u8; 32]]) {
    Backend::best().sha256_many_into(messages, digests);
}

/// How many messages share a vector on this CPU; 1 where none do.
pub fn lanes() -> usize {
    Backend::best().lanes()
}
