//! MD5 of several messages side by side in vector lanes.
//!
//! MD5 is a chain of 64 dependent steps for each 64 bytes, so one message cannot use more than a
//! fraction of a CPU core. Independent messages can share it: with AVX-512 or AVX2, sixteen of
//! them are hashed in the time of two or three. This is for checksums that a stored format demands;
//! MD5 is broken as a cryptographic hash.
//!
//! ```
//! let messages: Vec<&[u8]> = vec![b"", b"a", b"abc"];
//! let digests = md5_lanes::md5_many(&messages);
//! assert_eq!(digests[2][..4], [0x90, 0x01, 0x50, 0x98]);
//! assert_eq!(digests[1], md5_lanes::md5(b"a"));
//! ```
//!
//! The messages of a call may differ in number and length: when one ends, the next one takes its
//! lane. Calls pay best with [`lanes`] messages, or a multiple, of similar length. The functions
//! run on the calling thread and keep no state between calls. The vector unit is chosen at run
//! time ([`backend`]); on CPUs without AVX2 four messages are interleaved in portable code.

#![deny(unsafe_op_in_unsafe_fn)]

#[cfg(target_arch = "x86_64")]
#[expect(unsafe_code, reason = "vector loads and stores take raw pointers")]
mod avx2;
#[cfg(target_arch = "x86_64")]
#[expect(unsafe_code, reason = "vector loads and stores take raw pointers")]
mod avx512;
#[cfg_attr(
    target_arch = "x86_64",
    expect(unsafe_code, reason = "enters vector code after detection")
)]
mod backend;
mod portable;
mod rounds;
mod scalar;
mod schedule;
mod stream;

pub use backend::Backend;
pub use stream::{Md5, md5};

/// The MD5 of each message, in the order of the messages.
pub fn md5_many(messages: &[&[u8]]) -> Vec<[u8; 16]> {
    let mut digests = vec![[0; 16]; messages.len()];
    md5_many_into(messages, &mut digests);
    digests
}

/// Writes the MD5 of `messages[n]` to `digests[n]`, for all `n`.
///
/// # Panics
///
/// When `messages` and `digests` differ in number.
pub fn md5_many_into(messages: &[&[u8]], digests: &mut [[u8; 16]]) {
    Backend::best().md5_many_into(messages, digests);
}

/// As [`md5_many`], but gives up with `None` when `keep_going` returns false.
///
/// `keep_going` is asked before the first byte and then after at most 4 MiB of all messages
/// together, which take a few milliseconds; it can also count progress. It is not asked again
/// after the last byte.
pub fn md5_many_while(messages: &[&[u8]], keep_going: &dyn Fn() -> bool) -> Option<Vec<[u8; 16]>> {
    let mut digests = vec![[0; 16]; messages.len()];
    Backend::best()
        .hash(messages, &mut digests, keep_going)
        .then_some(digests)
}

/// How many messages a call should have at least, for the best rate on this CPU.
pub fn lanes() -> usize {
    Backend::best().lanes()
}

/// What hashes several messages on this CPU: `avx512`, `avx2` or `portable`.
pub fn backend() -> &'static str {
    Backend::best().name()
}
