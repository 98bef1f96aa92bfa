use super::*;
use crate::catalog::{BackupChange, VolumeChange};
use crate::job::JobContext;
use crate::record::BackupRecord;
use crate::volume::VolumeRecord;

impl BackupService {
    /// Changes name, description, properties, state of a backup.
    pub async fn set_backup(
        &self,
        caller: &Caller,
        backup: &str,
        change: &BackupChange,
        at: Timestamp,
    ) -> Result<BackupRecord> {
        Err(Error::internal("run", "not built yet"))
    }

    /// Changes a volume.
    pub async fn set_volume(
        &self,
        caller: &Caller,
        volume: &str,
        change: &VolumeChange,
        at: Timestamp,
    ) -> Result<VolumeRecord> {
        Err(Error::internal("run", "not built yet"))
    }
}
