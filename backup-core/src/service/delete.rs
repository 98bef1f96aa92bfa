use super::*;
use crate::job::JobContext;
use crate::record::BackupRecord;

impl BackupService {
    /// Deletes.
    pub async fn delete_backup(
        &self,
        caller: &Caller,
        backup: &str,
        force: bool,
        cx: &JobContext,
    ) -> Result<BackupRecord> {
        Err(Error::internal("run", "not built yet"))
    }
}
