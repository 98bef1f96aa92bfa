use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use crate::error::{Error, ErrorKind, Result};

/// The threads that hash and compress: as many as cores, apart from the async runtime's and from blocking I/O.
#[derive(Clone)]
pub struct CpuPool {
    threads: usize,
    spawn: Arc<dyn Fn(CpuTask) + Send + Sync>,
}

/// Work for a [`CpuPool`]'s threads. It never panics.
pub type CpuTask = Box<dyn FnOnce() + Send>;

impl CpuPool {
    /// A pool of `threads` threads (at least one).
    ///
    /// # Errors
    /// [`Unavailable`](crate::ErrorKind::Unavailable) where the system gives no threads.
    pub fn new(threads: usize) -> Result<Self> {
        let pool = rayon::ThreadPoolBuilder::new()
            .num_threads(threads.max(1))
            .thread_name(|i| format!("ashlar-cpu-{i}"))
            .build()
            .map_err(|e| Error::new(ErrorKind::Unavailable, "start CPU threads").caused_by(e))?;
        Ok(Self::over(threads.max(1), move |task| pool.spawn(task)))
    }

    /// Over `threads` threads that the embedder has: `spawn` queues a task for one of them and returns at once. A task
    /// must not be run within that call, and tasks are best begun in the order in which they come.
    pub fn over(threads: usize, spawn: impl Fn(CpuTask) + Send + Sync + 'static) -> Self {
        Self {
            threads: threads.max(1),
            spawn: Arc::new(spawn),
        }
    }

    /// How many threads it has.
    pub fn threads(&self) -> usize {
        self.threads
    }

    /// Runs `work` on one of the threads and waits for its result without blocking the async runtime.
    ///
    /// The work is queued at once, not only when the future is first polled, and it runs to its end even where the
    /// future is dropped: it must own what it works on.
    ///
    /// # Errors
    /// [`Internal`](crate::ErrorKind::Internal) where the work panicked.
    pub fn run<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> impl Future<Output = Result<T>> + Send + 'static {
        let (tx, rx) = tokio::sync::oneshot::channel();
        (self.spawn)(Box::new(move || {
            // A dropped receiver means that nobody wants the result any more.
            let _ = tx.send(catch_unwind(AssertUnwindSafe(work)));
        }));
        async move {
            match rx.await {
                Ok(Ok(value)) => Ok(value),
                Ok(Err(panic)) => {
                    let text = panic
                        .downcast_ref::<&str>()
                        .map(ToString::to_string)
                        .or_else(|| panic.downcast_ref::<String>().cloned())
                        .unwrap_or_else(|| "no message".into());
                    Err(Error::internal(
                        "compute",
                        format!("a CPU task panicked: {text}"),
                    ))
                }
                Err(_) => Err(Error::internal("compute", "a CPU task was dropped")),
            }
        }
    }
}

impl fmt::Debug for CpuPool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CpuPool")
            .field("threads", &self.threads())
            .finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_panic_in_a_task_is_an_error_not_the_end() {
        let cpu = CpuPool::new(1).unwrap();
        let e = cpu.run(|| -> u8 { panic!("boom") }).await.unwrap_err();
        assert!(e.to_string().contains("boom"));
        assert_eq!(cpu.run(|| 7).await.unwrap(), 7);
    }
}
