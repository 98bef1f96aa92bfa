use super::*;
use crate::job::JobContext;

impl BackupService {
    /// Restores.
    pub async fn restore_backup(
        &self,
        caller: &Caller,
        request: RestoreRequest,
        cx: &JobContext,
    ) -> Result<Restored> {
        Err(Error::internal("run", "not built yet"))
    }
}
