use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use backup_core::{Error, ErrorKind, Result};
use tokio::sync::{Semaphore, oneshot};

use crate::threads::Threads;

/// Bytes a second that any disk or server in use is expected to reach.
const FLOOR: u64 = 1 << 20;

/// Of a filesystem that was silent for a whole deadline, each further call waits for this part of one only: what is
/// cleaned up after a server is gone must not take an hour.
const SHORTER: u32 = 10;
/// But not less than this.
const SHORTEST: Duration = Duration::from_secs(5);

/// Whether the filesystem answers, as far as its lanes saw.
#[derive(Clone, Debug, Default)]
pub(crate) struct Answers {
    silent: Arc<AtomicBool>,
}

impl Answers {
    fn is_silent(&self) -> bool {
        self.silent.load(Ordering::Relaxed)
    }

    fn none(&self) {
        self.silent.store(true, Ordering::Relaxed);
    }

    fn one<T>(&self, result: &Result<T>) {
        match result {
            Err(e) if e.is(ErrorKind::Timeout) => self.none(),
            // Some mounts tell silence so, and some disks damage.
            Err(e) if e.is(ErrorKind::Io) => {}
            _ => self.silent.store(false, Ordering::Relaxed),
        }
    }
}

/// A bounded number of threads for blocking calls of one kind, so that a hanging mount takes no more than those.
#[derive(Clone, Debug)]
pub(crate) struct Lane {
    permits: Arc<Semaphore>,
    threads: Threads,
    patience: Duration,
    answers: Answers,
}

impl Lane {
    /// At most `threads` calls at once; each may take `patience` and the time that its bytes need at least. Lanes of one
    /// filesystem share `answers`.
    pub(crate) fn new(threads: usize, patience: Duration, answers: &Answers) -> Self {
        Self {
            permits: Arc::new(Semaphore::new(threads)),
            threads: Threads::new(threads),
            patience,
            answers: answers.clone(),
        }
    }

    /// How long a call that moves `bytes` may take.
    pub(crate) fn deadline(&self, bytes: u64) -> Duration {
        let patience = if self.answers.is_silent() {
            (self.patience / SHORTER).max(SHORTEST).min(self.patience)
        } else {
            self.patience
        };
        patience + Duration::from_secs(bytes / FLOOR)
    }

    /// Its threads, for what must not be done by the runtime's: to close a file may wait for a server.
    pub(crate) fn threads(&self) -> &Threads {
        &self.threads
    }

    /// Runs `work` on a thread of its own. It is run to its end even where the future is dropped or the time is over:
    /// a thread inside of the kernel cannot be called back, and it keeps its place in the lane. Nobody waits for it at
    /// the end of the runtime or of the process.
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
        let threads = self.threads.clone();
        let answers = self.answers.clone();
        let deadline = self.deadline(bytes);
        async move {
            let done = async {
                let permit = permits
                    .acquire_owned()
                    .await
                    .map_err(|e| Error::internal(operation, e.to_string()))?;
                let (tell, told) = oneshot::channel();
                let job = move || {
                    let result = work();
                    drop(permit);
                    let _nobody_waits = tell.send(result);
                };
                if threads.run(Box::new(job)).is_err() {
                    return Err(Error::new(ErrorKind::Unavailable, operation)
                        .because("the system gives no thread for it")
                        .hint("see the limits of processes and threads (ulimit -u)"));
                }
                told.await
                    .map_err(|_| Error::internal(operation, "its thread panicked"))?
            };
            if let Ok(result) = tokio::time::timeout(deadline, done).await {
                answers.one(&result);
                return result;
            }
            answers.none();
            // It may still happen, so the same once more might undo what comes next.
            Err(Error::new(ErrorKind::Timeout, operation)
                .on(path.display())
                .because(format!("no answer within {} s", deadline.as_secs()))
                .hint("see whether that filesystem still answers")
                .retryable(false))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lane(threads: usize, patience: Duration) -> Lane {
        Lane::new(threads, patience, &Answers::default())
    }

    #[tokio::test]
    async fn a_call_that_hangs_ends_with_a_timeout() {
        let lane = lane(1, Duration::from_millis(20));
        let (release, hang) = std::sync::mpsc::channel::<()>();
        let hung = lane
            .run("hang", "/mnt".into(), 0, move || {
                let _ended = hang.recv();
                Ok(())
            })
            .await;
        let hung = hung.unwrap_err();
        assert!(hung.is(ErrorKind::Timeout) && !hung.is_retryable());
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

    #[test]
    fn a_runtime_ends_while_a_call_hangs() {
        let lane = lane(1, Duration::from_millis(20));
        let (release, hang) = std::sync::mpsc::channel::<()>();
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .unwrap();
        let call = lane.run("hang", "/mnt".into(), 0, move || {
            let _ended = hang.recv();
            Ok(())
        });
        assert!(runtime.block_on(call).is_err());
        // It would wait here for a thread of its own.
        drop(runtime);
        drop(release);
    }

    #[tokio::test]
    async fn a_filesystem_that_was_silent_is_waited_for_less_until_it_answers() {
        let answers = Answers::default();
        let patience = Duration::from_mins(5);
        let one = Lane::new(1, patience, &answers);
        let other = Lane::new(1, patience, &answers);
        let told = |kind| move || Err::<(), _>(Error::new(kind, "read"));
        for (kind, expected) in [
            (ErrorKind::Io, 300),
            (ErrorKind::Timeout, 30),
            (ErrorKind::Io, 30),
            (ErrorKind::NotFound, 300),
        ] {
            let work = one.run("read", "/mnt".into(), 0, told(kind));
            assert!(work.await.is_err());
            assert_eq!(other.deadline(0).as_secs(), expected, "{kind:?}");
        }
        assert_eq!(other.deadline(7 << 20).as_secs(), 307);
    }
}
