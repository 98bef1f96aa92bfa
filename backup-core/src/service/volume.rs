use super::*;
use crate::job::JobContext;
use crate::volume::VolumeRecord;

impl BackupService {
    /// Makes a volume.
    pub async fn create_volume(
        &self,
        caller: &Caller,
        new: NewVolume,
        at: Timestamp,
    ) -> Result<VolumeRecord> {
        Err(Error::internal("run", "not built yet"))
    }

    /// Deletes a volume.
    pub async fn delete_volume(
        &self,
        caller: &Caller,
        volume: &str,
        at: Timestamp,
    ) -> Result<VolumeRecord> {
        Err(Error::internal("run", "not built yet"))
    }
}
