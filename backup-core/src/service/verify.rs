use super::*;
use crate::job::JobContext;

impl BackupService {
    /// Verifies.
    pub async fn verify_backup(
        &self,
        caller: &Caller,
        backup: &str,
        cx: &JobContext,
    ) -> Result<Verified> {
        Err(Error::internal("run", "not built yet"))
    }
}
