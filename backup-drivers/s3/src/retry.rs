//! When a request is repeated, and after how long.

use std::hash::{BuildHasher, Hasher, RandomState};
use std::time::Duration;

use object_store::{BackoffConfig, RetryConfig};

use crate::config::S3Config;

const FIRST: Duration = Duration::from_millis(100);
const LONGEST: Duration = Duration::from_secs(15);

/// The settings of both: our own requests and object_store's.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Retry {
    tries: usize,
    until: Duration,
}

impl Retry {
    pub(crate) fn new(config: &S3Config) -> Self {
        Self {
            tries: config.retries,
            until: Duration::from_secs(config.retry_timeout),
        }
    }

    /// Whether a request that failed after `tries` repeats, `elapsed` after its start, is repeated once more.
    pub(crate) fn again(&self, tries: usize, elapsed: Duration) -> bool {
        tries < self.tries && elapsed < self.until
    }

    /// How long to wait before that: twice as long each time, somewhere in its upper half, so that many waiters do not
    /// come back at once; longer if the server `asked` for it.
    pub(crate) fn wait(tries: usize, asked: Option<Duration>) -> Duration {
        let doublings = u32::try_from(tries).unwrap_or(u32::MAX).min(16);
        let full = FIRST.saturating_mul(1 << doublings).min(LONGEST);
        // A hasher's random keys are randomness enough for this.
        let random = RandomState::new().build_hasher().finish() % 1024;
        let part = u32::try_from(random).unwrap_or_default();
        let half = full / 2;
        let wait = half + half.saturating_mul(part) / 1024;
        wait.max(asked.unwrap_or_default().min(2 * LONGEST))
    }

    /// For the first word with a server: who mistyped its address should not wait half a minute to be told.
    pub(crate) fn brief(self) -> Self {
        Self {
            tries: self.tries.min(5),
            ..self
        }
    }

    pub(crate) fn for_object_store(&self) -> RetryConfig {
        RetryConfig {
            backoff: BackoffConfig {
                init_backoff: FIRST,
                max_backoff: LONGEST,
                // The next wait lies anywhere between the first and `base` times the last: it doubles on average. With
                // object_store's own 2 it does not grow, and ten tries can be used up in three seconds.
                base: 4.0,
            },
            max_retries: self.tries,
            retry_timeout: self.until,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_grow_and_stay_bounded() {
        let retry = Retry::new(&S3Config::default());
        assert!(Retry::wait(0, None) <= FIRST);
        assert!(Retry::wait(5, None) >= FIRST * 16);
        assert!(Retry::wait(60, None) <= LONGEST);
        assert!(Retry::wait(0, Some(Duration::from_secs(3))) >= Duration::from_secs(3));
        assert!(Retry::wait(0, Some(Duration::from_secs(9999))) <= 2 * LONGEST);
        assert!(!retry.again(10, Duration::ZERO));
        assert!(!retry.brief().again(5, Duration::ZERO));
        assert!(!retry.again(0, Duration::from_mins(2)));
    }
}
