use super::*;
use crate::catalog::JobKind;
use crate::job::JobContext;

/// A dead job that was settled.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Settled {
    /// What it did.
    pub kind: JobKind,
    /// What was done about it, for people.
    pub text: String,
    /// What could not be cleaned up; it is tried again next time.
    pub error: Option<String>,
}

/// What a recovery did.
#[derive(Debug, Clone, Default)]
#[non_exhaustive]
pub struct Recovered {
    /// Jobs of dead processes.
    pub settled: Vec<Settled>,
    /// Jobs that are running.
    pub running: usize,
}

impl BackupService {
    /// Settles jobs of dead processes. Call it at the start of each command; quick where there is nothing to do.
    pub async fn recover(&self, cx: &JobContext) -> Result<Recovered> {
        Err(Error::internal("run", "not built yet"))
    }
}
