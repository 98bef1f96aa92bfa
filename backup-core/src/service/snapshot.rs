use super::*;
use crate::job::JobContext;
use crate::volume::SnapshotRecord;

impl BackupService {
    /// Makes a snapshot.
    pub async fn create_snapshot(
        &self,
        caller: &Caller,
        volume: &str,
        name: Option<String>,
        description: Option<String>,
        force: bool,
        at: Timestamp,
    ) -> Result<SnapshotRecord> {
        Err(Error::internal("run", "not built yet"))
    }

    /// Deletes a snapshot.
    pub async fn delete_snapshot(
        &self,
        caller: &Caller,
        snapshot: &str,
        at: Timestamp,
    ) -> Result<SnapshotRecord> {
        Err(Error::internal("run", "not built yet"))
    }
}
