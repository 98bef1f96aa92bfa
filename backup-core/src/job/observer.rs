use std::fmt;

/// What part of its work a job is in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Phase {
    /// Reading, comparing, compressing and storing a volume.
    BackUp,
    /// Fetching, checking and writing a volume.
    Restore,
    /// Fetching and checking only.
    Verify,
    /// Removing objects.
    Delete,
    /// Waiting until all that was written is durable.
    Sync,
}

impl Phase {
    /// The phase in a word, for people.
    pub fn describe(self) -> &'static str {
        match self {
            Self::BackUp => "backing up",
            Self::Restore => "restoring",
            Self::Verify => "verifying",
            Self::Delete => "deleting",
            Self::Sync => "syncing",
        }
    }
}

/// How far a job is. Counters only grow within a phase.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Progress {
    /// What is being done.
    pub phase: Phase,
    /// Bytes of the volume that are done (objects, while deleting).
    pub done: u64,
    /// Bytes of the volume in all (objects, while deleting); 0 where it is not known.
    pub total: u64,
    /// Bytes read from the source or fetched from the repository.
    pub transferred: u64,
    /// Objects stored, fetched or deleted.
    pub objects: u64,
}

impl Progress {
    /// Nothing done yet of `total`.
    pub fn start(phase: Phase, total: u64) -> Self {
        Self {
            phase,
            done: 0,
            total,
            transferred: 0,
            objects: 0,
        }
    }
}

/// Is told of a job's progress. Calls come often and from any thread: they must return at once.
pub trait Observer: Send + Sync + fmt::Debug + 'static {
    /// How far the job is.
    fn progress(&self, progress: &Progress);

    /// Something that the job survives and an operator should know.
    fn warning(&self, message: &str) {
        tracing::warn!("{message}");
    }
}

/// Tells nobody (warnings go to the log).
#[derive(Debug, Clone, Copy, Default)]
pub struct NoObserver;

impl Observer for NoObserver {
    fn progress(&self, _: &Progress) {}
}
