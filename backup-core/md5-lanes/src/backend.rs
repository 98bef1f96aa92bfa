//! Which of the vector units this CPU has, and the one that serves best.

use crate::portable;
use crate::schedule::{Watch, hash_all};
#[cfg(target_arch = "x86_64")]
use crate::{avx2, avx512};

/// A way to hash several messages side by side that this CPU can run.
///
/// The functions of the crate take the best one; this type is for tests and measurements that
/// want a certain one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Backend(Kind);

// Private, so that a value of the vector kinds is proof that the CPU was asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    #[cfg(target_arch = "x86_64")]
    Avx512,
    #[cfg(target_arch = "x86_64")]
    Avx2,
    Portable,
}

impl Backend {
    /// Those that this CPU can run, the best first. The last one is always `portable`.
    pub fn available() -> Vec<Self> {
        let mut found = Vec::new();
        #[cfg(target_arch = "x86_64")]
        {
            if is_x86_feature_detected!("avx512f") {
                found.push(Self(Kind::Avx512));
            }
            if is_x86_feature_detected!("avx2") {
                found.push(Self(Kind::Avx2));
            }
        }
        found.push(Self(Kind::Portable));
        found
    }

    /// The best one of this CPU.
    pub fn best() -> Self {
        // The detection is cached by the standard library: this costs a load and a test.
        #[cfg(target_arch = "x86_64")]
        {
            if is_x86_feature_detected!("avx512f") {
                return Self(Kind::Avx512);
            }
            if is_x86_feature_detected!("avx2") {
                return Self(Kind::Avx2);
            }
        }
        Self(Kind::Portable)
    }

    /// `avx512`, `avx2` or `portable`.
    pub fn name(self) -> &'static str {
        match self.0 {
            #[cfg(target_arch = "x86_64")]
            Kind::Avx512 => "avx512",
            #[cfg(target_arch = "x86_64")]
            Kind::Avx2 => "avx2",
            Kind::Portable => "portable",
        }
    }

    /// How many messages it hashes side by side.
    pub fn lanes(self) -> usize {
        match self.0 {
            #[cfg(target_arch = "x86_64")]
            Kind::Avx512 => avx512::LANES,
            #[cfg(target_arch = "x86_64")]
            Kind::Avx2 => avx2::LANES,
            Kind::Portable => portable::LANES,
        }
    }

    /// As [`md5_many_into`](crate::md5_many_into), with this backend.
    ///
    /// # Panics
    ///
    /// When `messages` and `digests` differ in number.
    pub fn md5_many_into(self, messages: &[&[u8]], digests: &mut [[u8; 16]]) {
        self.hash(messages, digests, &|| true);
    }

    /// False when `keep_going` was; the digests are then unspecified.
    pub(crate) fn hash(
        self,
        messages: &[&[u8]],
        digests: &mut [[u8; 16]],
        keep_going: &dyn Fn() -> bool,
    ) -> bool {
        assert_eq!(messages.len(), digests.len(), "one digest for each message");
        let watch = &mut Watch::new(keep_going);
        // The number of messages from which on a backend beats one after the other was measured:
        // examples/md5_throughput.rs prints the rates for 1, 2, 3 ... messages.
        match self.0 {
            #[cfg(target_arch = "x86_64")]
            Kind::Avx512 => hash_all(
                // SAFETY: a value of this kind is made only where the CPU has avx512f.
                |state, lanes, count| unsafe { avx512::compress(state, lanes, count) },
                2,
                messages,
                digests,
                watch,
            ),
            #[cfg(target_arch = "x86_64")]
            Kind::Avx2 => hash_all(
                // SAFETY: a value of this kind is made only where the CPU has avx2.
                |state, lanes, count| unsafe { avx2::compress(state, lanes, count) },
                2,
                messages,
                digests,
                watch,
            ),
            Kind::Portable => hash_all(portable::compress, 3, messages, digests, watch),
        }
    }
}
