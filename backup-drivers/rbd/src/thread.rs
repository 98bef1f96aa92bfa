//! Calls that block, each on a thread of its own.
//!
//! A call into a cluster that does not answer may never come back, and a thread that waits in it can be neither
//! interrupted nor joined. The runtime's own threads for blocking work are few, and the runtime waits for them when it
//! ends; so these are others.

use std::fmt::Display;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

use backup_core::error::{Error, ErrorKind, Result};
use tokio::sync::oneshot;

use crate::error::late;

/// Counts the steps of a long call, so that one that is slow can be told from one that stands still.
pub(crate) type Steps = Arc<AtomicU64>;

/// Runs `work` on a thread of its own and waits for it, at most `deadline`.
///
/// # Errors
/// [`Timeout`](ErrorKind::Timeout) after the deadline: `work` then goes on, and what it answers is dropped there.
pub(crate) async fn on_thread<T: Send + 'static>(
    operation: &'static str,
    target: impl Display,
    deadline: Duration,
    work: impl FnOnce() -> Result<T> + Send + 'static,
) -> Result<T> {
    with_steps(operation, target, deadline, move |_| work()).await
}

/// As [`on_thread`], with a deadline that begins anew whenever `work` has counted a step.
pub(crate) async fn with_steps<T: Send + 'static>(
    operation: &'static str,
    target: impl Display,
    deadline: Duration,
    work: impl FnOnce(&Steps) -> Result<T> + Send + 'static,
) -> Result<T> {
    let steps = Steps::default();
    let counted = Arc::clone(&steps);
    let (sender, mut receiver) = oneshot::channel();
    thread::Builder::new()
        .name("ashlar-rbd".into())
        .spawn(move || {
            let done = catch_unwind(AssertUnwindSafe(|| work(&counted)))
                .unwrap_or_else(|_| Err(Error::internal(operation, "a thread panicked")));
            // Nobody waits any more: what it made is closed here, by its drop.
            drop(sender.send(done));
        })
        .map_err(|e| Error::io(operation, &target, e))?;
    let mut seen = 0;
    loop {
        match tokio::time::timeout(deadline, &mut receiver).await {
            Ok(Ok(done)) => return done,
            Ok(Err(_)) => {
                return Err(Error::new(ErrorKind::Internal, operation)
                    .on(target)
                    .because("its thread ended without an answer"));
            }
            Err(_) => {
                let now = steps.load(Ordering::Relaxed);
                if now == seen {
                    return Err(late(operation, target, deadline));
                }
                seen = now;
            }
        }
    }
}

/// Runs `work` on a thread of its own that nobody waits for; here, where there is none to be had.
pub(crate) fn aside(work: impl FnOnce() + Send + 'static) {
    // The closure is lost with a failed spawn, so it waits in a place that both can reach.
    let work = Arc::new(std::sync::Mutex::new(Some(work)));
    let take = |place: &std::sync::Mutex<Option<_>>| {
        place
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner)
            .take()
    };
    let theirs = Arc::clone(&work);
    let spawned = thread::Builder::new()
        .name("ashlar-rbd-close".into())
        .spawn(move || {
            if let Some(work) = take(&theirs) {
                work();
            }
        });
    if spawned.is_err()
        && let Some(work) = take(&work)
    {
        work();
    }
}
