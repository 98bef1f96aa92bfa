use super::*;
use crate::job::JobContext;

impl BackupService {
    /// Backs a volume up.
    pub async fn create_backup(
        &self,
        caller: &Caller,
        request: CreateRequest,
        cx: &JobContext,
    ) -> Result<Created> {
        Err(Error::internal("run", "not built yet"))
    }
}
