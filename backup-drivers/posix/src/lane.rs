use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use backup_core::{Error, ErrorKind, Result};
use tokio::sync::Semaphore;

/// Bytes a second that any disk or server in use is expected to reach.
const FLOOR: u64 = 1 << 20;

/// A bounded number of threads for blocking calls of one kind, so that a hanging mount takes no more than those.
#[derive(Clone, Debug)]
pub(crate) struct Lane {
    permits: Arc<Semaphore>,
    patience: Duration,
}

impl Lane {
    /// At most `threads` calls at once; each may take `patience` and the time that its bytes need at least.
    pub(crate) fn new(threads: usize, patience: Duration) -> Self {
        Self {
            permits: Arc::new(Semaphore::new(threads)),
            patience,
        }
    }

    /// How long a call that moves `bytes` may take.
    pub(crate) fn deadline(&self, bytes: u64) -> Duration {
        self.patience + Duration::from_secs(bytes / FLOOR)
    }

    /// Runs `work` on a thread of its own. It is run to its end even where the future is dropped or the time is over:
    /// a thread inside of the kernel cannot be called back, and it keeps its place in the lane.
    pub(crate) fn run<T, F>(
        &self,
        operation: &'static str,
        path: PathBuf,
        bytes: u64,
        work: F,
    ) -> impl Future<Output = Result<T>> + Send + 'static + use<T, F>
    where
        T: Send + 'static,
        F: FnOnce() -> Result<T> + Send + 'static,
    {
        let permits = Arc::clone(&self.permits);
        let deadline = self.deadline(bytes);
        async move {
            let done = async {
                let permit = permits
                    .acquire_owned()
                    .await
                    .map_err(|e| Error::internal(operation, e.to_string()))?;
                tokio::task::spawn_blocking(move || {
                    let result = work();
                    drop(permit);
                    result
                })
                .await
                .map_err(|e| Error::internal(operation, e.to_string()))?
            };
            match tokio::time::timeout(deadline, done).await {
                Ok(result) => result,
                Err(_) => Err(Error::new(ErrorKind::Timeout, operation)
                    .on(path.display())
                    .because(format!("no end after {} s", deadline.as_secs()))
                    .hint("see whether that filesystem still answers")),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_call_that_hangs_ends_with_a_timeout() {
        let lane = Lane::new(1, Duration::from_millis(20));
        let (release, hang) = std::sync::mpsc::channel::<()>();
        let hung = lane
            .run("hang", "/mnt".into(), 0, move || {
                let _ended = hang.recv();
                Ok(())
            })
            .await;
        assert!(hung.unwrap_err().is(ErrorKind::Timeout));
        let behind = lane.run("wait", "/mnt".into(), 0, || Ok(())).await;
        assert!(
            behind.unwrap_err().is(ErrorKind::Timeout),
            "its thread is taken"
        );
        drop(release);
        let lane = Lane {
            patience: Duration::from_mins(1),
            ..lane
        };
        lane.run("go on", "/mnt".into(), 0, || Ok(()))
            .await
            .unwrap();
    }
}
