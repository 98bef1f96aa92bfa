use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use crate::job::Clock;
use crate::timestamp::Timestamp;

/// A clock that stands still until it is moved.
#[derive(Debug)]
pub struct TestClock {
    start: Timestamp,
    passed: AtomicI64, // microseconds
}

impl TestClock {
    /// Stands at `time`.
    pub fn at(time: Timestamp) -> Self {
        Self {
            start: time,
            passed: AtomicI64::new(0),
        }
    }

    /// Moves it on.
    pub fn advance(&self, by: Duration) {
        let micros = i64::try_from(by.as_micros()).unwrap_or(i64::MAX);
        self.passed.fetch_add(micros, Ordering::SeqCst);
    }
}

impl Clock for TestClock {
    /// The time where it stands; its start where it was moved out of the range of times.
    fn now(&self) -> Timestamp {
        let passed = self.passed.load(Ordering::SeqCst);
        Timestamp::from_micros(self.start.as_micros().saturating_add(passed)).unwrap_or(self.start)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_test_clock_moves_only_when_it_is_told() {
        let clock = TestClock::at("2026-11-23 01:14:22+00:00".parse().unwrap());
        assert_eq!(clock.now(), clock.now());
        clock.advance(Duration::from_secs(3));
        assert_eq!(clock.now().record(), "2026-11-23T01:14:25Z");
    }
}
