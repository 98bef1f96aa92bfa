//! Blocking system calls, off the async threads.

use backup_core::error::{Error, ErrorKind, Result};

/// Runs `work` on a thread that may block and waits for it.
///
/// Work that has begun runs to its end even where this future is dropped, so it must own what it works on.
pub(crate) async fn blocking<T: Send + 'static>(
    operation: &'static str,
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T> {
    tokio::task::spawn_blocking(work)
        .await
        .map_err(|e| match e.try_into_panic() {
            Ok(_) => Error::internal(operation, "a blocking task panicked"),
            Err(e) => {
                Error::new(ErrorKind::Cancelled, operation).because(format!("shutting down ({e})"))
            }
        })
}
