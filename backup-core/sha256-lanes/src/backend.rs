//! Whether this CPU has the vectors, and what goes into them.

use crate::sha256;
#[cfg(target_arch = "x86_64")]
use crate::{Block, avx512};

/// A way to hash several messages that this CPU can run.
///
/// The functions of the crate take the best one; this type is for tests and measurements that want a certain one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Backend(Kind);

// Private, so that a value of the vector kind is proof that the CPU was asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    #[cfg(target_arch = "x86_64")]
    Avx512,
    OneByOne,
}

impl Backend {
    /// Those that this CPU can run, the best first. The last one is always `one by one`.
    pub fn available() -> Vec<Self> {
        let mut found = vec![Self::best()];
        if found[0].0 != Kind::OneByOne {
            found.push(Self(Kind::OneByOne));
        }
        found
    }

    /// The best one of this CPU.
    pub fn best() -> Self {
        // The detection is cached by the standard library: this costs a load and a test.
        #[cfg(target_arch = "x86_64")]
        if is_x86_feature_detected!("avx512f") && is_x86_feature_detected!("avx512bw") {
            return Self(Kind::Avx512);
        }
        Self(Kind::OneByOne)
    }

    /// `avx512` or `one by one`.
    pub fn name(self) -> &'static str {
        match self.0 {
            #[cfg(target_arch = "x86_64")]
            Kind::Avx512 => "avx512",
            Kind::OneByOne => "one by one",
        }
    }

    /// How many messages share a vector.
    pub fn lanes(self) -> usize {
        match self.0 {
            #[cfg(target_arch = "x86_64")]
            Kind::Avx512 => avx512::LANES,
            Kind::OneByOne => 1,
        }
    }

    /// As [`sha256_many_into`](crate::sha256_many_into), with this backend.
    ///
    /// # Panics
    ///
    /// When `messages` and `digests` differ in number.
    pub fn sha256_many_into(self, messages: &[&[u8]], digests: &mut [[u8; 32]]) {
        assert_eq!(messages.len(), digests.len(), "one digest for each message");
        let mut done = 0;
        #[cfg(target_arch = "x86_64")]
        if self.0 == Kind::Avx512 {
            while let Some(group) = next_group(&messages[done..]) {
                // SAFETY: a value of this kind is made only where the CPU has avx512f and avx512bw.
                let states = unsafe { avx512::hash(&group.lanes) };
                for (lane, digest) in digests[done..done + group.messages].iter_mut().enumerate() {
                    for (bytes, word) in digest.as_chunks_mut().0.iter_mut().zip(&states) {
                        *bytes = word[lane].to_be_bytes();
                    }
                }
                done += group.messages;
            }
        }
        for (message, digest) in messages[done..].iter().zip(&mut digests[done..]) {
            *digest = sha256(message);
        }
    }
}

/// With fewer messages one after the other is faster (examples/sha256_throughput.rs).
#[cfg(target_arch = "x86_64")]
const WORTHWHILE: usize = 10;

#[cfg(target_arch = "x86_64")]
struct Group<'m> {
    lanes: [&'m [Block]; avx512::LANES],
    messages: usize,
}

/// The first messages, as many as share a vector: all of one length, a multiple of a block's. Where there are fewer
/// than lanes, an idle lane hashes what the last one does, and nobody looks at the result.
#[cfg(target_arch = "x86_64")]
fn next_group<'m>(messages: &[&'m [u8]]) -> Option<Group<'m>> {
    let length = messages.first()?.len();
    let count = messages
        .iter()
        .take(avx512::LANES)
        .take_while(|m| m.len() == length)
        .count();
    if count < WORTHWHILE || !length.is_multiple_of(size_of::<Block>()) {
        return None;
    }
    Some(Group {
        lanes: std::array::from_fn(|lane| messages[lane.min(count - 1)].as_chunks().0),
        messages: count,
    })
}
