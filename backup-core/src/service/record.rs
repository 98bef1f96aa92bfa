use super::*;
use crate::job::JobContext;
use crate::record::BackupRecord;

impl BackupService {
    /// Exports.
    pub async fn export_record(&self, caller: &Caller, backup: &str) -> Result<ExportedRecord> {
        Err(Error::internal("run", "not built yet"))
    }

    /// Imports.
    pub async fn import_record(
        &self,
        caller: &Caller,
        record: &ExportedRecord,
        cx: &JobContext,
    ) -> Result<BackupRecord> {
        Err(Error::internal("run", "not built yet"))
    }
}
