//! When a request is repeated, and after how long.

use std::hash::{BuildHasher, Hasher, RandomState};
use std::time::Duration;

use tokio::time::Instant;

use crate::config::SwiftConfig;
use crate::error::Failure;

const FIRST: Duration = Duration::from_millis(100);
const LONGEST: Duration = Duration::from_secs(15);
/// Longest wait that a server's Retry-After is granted.
const LONGEST_ASKED: Duration = Duration::from_secs(30);

/// How often, and for how long after its first try.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Retry {
    most: usize,
    until: Duration,
}

impl Retry {
    pub(crate) fn new(config: &SwiftConfig) -> Self {
        Self {
            most: config.retries,
            until: Duration::from_secs(config.retry_timeout),
        }
    }

    /// For the first word with a server: who mistyped its address should not wait half a minute to be told.
    pub(crate) fn brief(self) -> Self {
        Self {
            most: self.most.min(5),
            ..self
        }
    }

    pub(crate) fn start(self) -> Tries {
        Tries {
            retry: self,
            failed: 0,
            begun: Instant::now(),
        }
    }

    /// Whether a request that has failed `failed` times before is repeated once more, `elapsed` after its start.
    fn again(self, failed: usize, elapsed: Duration) -> bool {
        failed < self.most && elapsed < self.until
    }

    /// How long to wait before that: twice as long each time, somewhere in its upper half, so that many waiters do not
    /// come back at once; longer if the server `asked` for it.
    fn wait(failed: usize, asked: Option<Duration>) -> Duration {
        let doublings = u32::try_from(failed).unwrap_or(u32::MAX).min(16);
        let full = FIRST.saturating_mul(1 << doublings).min(LONGEST);
        let half = full / 2;
        let wait = half + share(half);
        match asked {
            // Not all at the very moment that the server named.
            Some(asked) => wait.max(asked.min(LONGEST_ASKED) + share(FIRST)),
            None => wait,
        }
    }
}

/// A random part of a time. A hasher's random keys are randomness enough for this.
fn share(of: Duration) -> Duration {
    let random = RandomState::new().build_hasher().finish() % 1024;
    of.saturating_mul(u32::try_from(random).unwrap_or_default()) / 1024
}

/// The tries of one request.
#[derive(Debug)]
pub(crate) struct Tries {
    retry: Retry,
    failed: usize,
    begun: Instant,
}

impl Tries {
    /// Waits before the next try, or gives the failure back where there is none: it would not help, or enough is
    /// enough.
    pub(crate) async fn after(&mut self, failure: Failure) -> Result<(), Failure> {
        if !failure.is_passing() || !self.retry.again(self.failed, self.begun.elapsed()) {
            return Err(failure);
        }
        let wait = Retry::wait(self.failed, failure.asked());
        tracing::debug!(%failure, ?wait, "trying again");
        tokio::time::sleep(wait).await;
        self.failed += 1;
        Ok(())
    }

    /// Whether one has failed before.
    pub(crate) fn is_again(&self) -> bool {
        self.failed > 0
    }

    /// Something went forward: counting starts anew.
    pub(crate) fn progress(&mut self) {
        self.failed = 0;
        self.begun = Instant::now();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_grow_and_stay_bounded() {
        let retry = Retry::new(&SwiftConfig::default());
        assert!(Retry::wait(0, None) <= FIRST);
        assert!(Retry::wait(5, None) >= FIRST * 16);
        assert!(Retry::wait(60, None) <= LONGEST);
        assert!(Retry::wait(0, Some(Duration::from_secs(3))) >= Duration::from_secs(3));
        let longest = LONGEST_ASKED + FIRST;
        assert!(Retry::wait(0, Some(Duration::from_secs(9999))) <= longest);
        assert!(!retry.again(10, Duration::ZERO));
        assert!(!retry.brief().again(5, Duration::ZERO));
        assert!(!retry.again(0, Duration::from_mins(2)));
    }
}
