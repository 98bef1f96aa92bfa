use super::*;
use crate::job::JobContext;

impl BackupService {
    /// Scans.
    pub async fn scan(
        &self,
        caller: &Caller,
        request: &ScanRequest,
        cx: &JobContext,
    ) -> Result<ScanReport> {
        Err(Error::internal("run", "not built yet"))
    }
}
