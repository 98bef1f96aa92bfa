//! What a job is run with: cancel token, observer, memory budget, CPU pool, buffers, clock.
//!
//! Nothing here is global. An embedder makes one [`JobContext`] for its process and hands a clone with a token and an
//! observer of its own ([`JobContext::for_job`]) to each job: the memory budget and the CPU pool are then shared by
//! all jobs.

mod budget;
mod cancel;
mod cpu;
mod observer;

use std::fmt;
use std::sync::Arc;

pub use budget::{MemoryBudget, MemoryPermit};
pub use cancel::CancelToken;
pub use cpu::{CpuPool, CpuTask};
pub use observer::{NoObserver, Observer, Phase, Progress};

use crate::buffer::BufferPool;
use crate::error::Result;
use crate::timestamp::Timestamp;

/// Where the time of day comes from.
pub trait Clock: Send + Sync + fmt::Debug + 'static {
    /// Now.
    fn now(&self) -> Timestamp;
}

/// The system's clock.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    fn now(&self) -> Timestamp {
        Timestamp::now()
    }
}

/// What a job is run with. Cheap to clone.
#[derive(Clone)]
pub struct JobContext {
    cancel: CancelToken,
    observer: Arc<dyn Observer>,
    memory: MemoryBudget,
    cpu: CpuPool,
    buffers: BufferPool,
    clock: Arc<dyn Clock>,
    requests: usize,
}

/// Requests to a repository in flight at once, unless set.
const DEFAULT_REQUESTS: usize = 16;

impl JobContext {
    /// A context with one CPU thread a core, a budget of `memory` bytes, no observer, and a token of its own.
    ///
    /// # Errors
    /// [`Unavailable`](crate::ErrorKind::Unavailable) where the system gives no threads.
    pub fn new(memory: u64) -> Result<Self> {
        let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        Ok(Self {
            cancel: CancelToken::new(),
            observer: Arc::new(NoObserver),
            memory: MemoryBudget::new(memory),
            cpu: CpuPool::new(cores)?,
            buffers: BufferPool::new(memory),
            clock: Arc::new(SystemClock),
            requests: DEFAULT_REQUESTS,
        })
    }

    /// The same pools and budget with a fresh cancel token and another observer.
    pub fn for_job(&self, observer: Arc<dyn Observer>) -> Self {
        Self {
            cancel: CancelToken::new(),
            observer,
            ..self.clone()
        }
    }

    /// With another CPU pool.
    pub fn with_cpu(mut self, cpu: CpuPool) -> Self {
        self.cpu = cpu;
        self
    }

    /// With another clock.
    pub fn with_clock(mut self, clock: Arc<dyn Clock>) -> Self {
        self.clock = clock;
        self
    }

    /// With another cancel token.
    pub fn with_cancel(mut self, cancel: CancelToken) -> Self {
        self.cancel = cancel;
        self
    }

    /// With at most `requests` repository requests in flight at once (at least 1).
    pub fn with_requests(mut self, requests: usize) -> Self {
        self.requests = requests.max(1);
        self
    }

    /// The job's cancel token.
    pub fn cancel(&self) -> &CancelToken {
        &self.cancel
    }

    /// Who is told of the job's progress.
    pub fn observer(&self) -> &dyn Observer {
        &*self.observer
    }

    /// The memory that chunks are taken from.
    pub fn memory(&self) -> &MemoryBudget {
        &self.memory
    }

    /// The threads that hash and compress.
    pub fn cpu(&self) -> &CpuPool {
        &self.cpu
    }

    /// Where buffers come from and go back to.
    pub fn buffers(&self) -> &BufferPool {
        &self.buffers
    }

    /// Now, by the context's clock.
    pub fn now(&self) -> Timestamp {
        self.clock.now()
    }

    /// Repository requests in flight at once.
    pub fn requests(&self) -> usize {
        self.requests
    }
}

impl fmt::Debug for JobContext {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("JobContext")
            .field("cancelled", &self.cancel.is_cancelled())
            .field("memory", &self.memory)
            .field("cpu", &self.cpu)
            .field("requests", &self.requests)
            .finish_non_exhaustive()
    }
}
