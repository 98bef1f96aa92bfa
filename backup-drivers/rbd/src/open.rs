//! Counts the handles that are open, so that nothing of librados runs while the process takes itself down.

use std::sync::{Condvar, Mutex, Once, PoisonError};
use std::time::{Duration, Instant};

static COUNTS: Mutex<Counts> = Mutex::new(Counts {
    open: 0,
    closing: 0,
});
static ENDED: Condvar = Condvar::new();
static AT_EXIT: Once = Once::new();

/// How long the end of the process waits for handles that are being closed.
const AT_MOST: Duration = Duration::from_secs(5);

struct Counts {
    open: usize,
    closing: usize,
}

fn change(work: impl FnOnce(&mut Counts)) {
    work(&mut COUNTS.lock().unwrap_or_else(PoisonError::into_inner));
    ENDED.notify_all();
}

/// Counts as one open handle until it is dropped.
pub(crate) struct OpenHandle(());

/// Counts as one handle that is being closed until it is dropped.
pub(crate) struct ClosingHandle(());

impl OpenHandle {
    pub(crate) fn new() -> Self {
        AT_EXIT.call_once(close_before_exit);
        change(|counts| counts.open += 1);
        Self(())
    }
}

impl ClosingHandle {
    /// To be made before the thread that closes begins.
    pub(crate) fn new() -> Self {
        change(|counts| counts.closing += 1);
        Self(())
    }
}

impl Drop for OpenHandle {
    fn drop(&mut self) {
        change(|counts| counts.open -= 1);
    }
}

impl Drop for ClosingHandle {
    fn drop(&mut self) {
        change(|counts| counts.closing -= 1);
    }
}

fn wait(deadline: Duration, done: impl Fn(&Counts) -> bool) -> bool {
    let end = Instant::now() + deadline;
    let mut counts = COUNTS.lock().unwrap_or_else(PoisonError::into_inner);
    while !done(&counts) {
        let left = end.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return false;
        }
        counts = ENDED
            .wait_timeout(counts, left)
            .unwrap_or_else(PoisonError::into_inner)
            .0;
    }
    true
}

/// Waits until all connections and images are closed, at most `deadline`; whether they are.
///
/// Handles are closed on threads of their own. The end of the process waits for them too, up to five seconds; a program
/// that has tasks which still hold some calls this once those are gone.
pub fn wait_until_closed(deadline: Duration) -> bool {
    wait(deadline, |counts| counts.open == 0 && counts.closing == 0)
}

/// At exit the C++ library takes its global state down, and crashes where one of its threads is at work meanwhile.
/// Handlers run in the reverse order of their registration, so this one, registered long after that library was loaded,
/// comes before.
fn close_before_exit() {
    extern "C" fn wait_for_closing() {
        wait(AT_MOST, |counts| counts.closing == 0);
    }
    // SAFETY: the handler is a function without arguments that does not unwind: nothing in it panics.
    unsafe { libc::atexit(wait_for_closing) };
}
