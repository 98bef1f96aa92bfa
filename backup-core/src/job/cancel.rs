use crate::error::{Error, Result};

/// A request to stop, shared by all who hold a clone. It cannot be taken back.
///
/// Work is never stopped by dropping a future: the token is asked, what is in flight is awaited, and what was made is
/// cleaned up.
#[derive(Debug, Clone, Default)]
pub struct CancelToken(tokio_util::sync::CancellationToken);

impl CancelToken {
    /// A token that is not cancelled.
    pub fn new() -> Self {
        Self::default()
    }

    /// Asks the job to stop. Further calls do nothing.
    pub fn cancel(&self) {
        self.0.cancel();
    }

    /// Whether a stop was asked for.
    pub fn is_cancelled(&self) -> bool {
        self.0.is_cancelled()
    }

    /// [`Cancelled`](crate::ErrorKind::Cancelled) in `operation` where a stop was asked for.
    pub fn check(&self, operation: &'static str) -> Result<()> {
        if self.is_cancelled() {
            return Err(Error::cancelled(operation));
        }
        Ok(())
    }

    /// Waits until a stop is asked for.
    pub async fn cancelled(&self) {
        self.0.cancelled().await;
    }

    /// A token that is cancelled with this one, but can be cancelled alone.
    pub fn child(&self) -> Self {
        Self(self.0.child_token())
    }
}
