use super::show::require_admin;
use super::{BackupService, Caller};
use crate::catalog::{BackupChange, VolumeChange, label};
use crate::error::Result;
use crate::record::BackupRecord;
use crate::timestamp::Timestamp;
use crate::volume::VolumeRecord;

impl BackupService {
    /// Changes name, description or properties of a backup, or, for an administrator, its state or account. What lies in the
    /// repository stays as it is.
    ///
    /// # Errors
    /// [`Conflict`](crate::ErrorKind::Conflict) for a state that a running job holds.
    pub async fn set_backup(
        &self,
        caller: &Caller,
        backup: &str,
        change: &BackupChange,
        at: Timestamp,
    ) -> Result<BackupRecord> {
        let record = self.show_backup(caller, backup).await?;
        if change.status.is_some() || change.account.is_some() {
            require_admin(caller, "set the state of a backup")?;
            self.refuse_running("set backup", &record).await?;
        }
        self.catalog.update_backup(record.id, change, at).await
    }

    /// Changes name, description or properties of a volume, or, for an administrator, its state.
    ///
    /// # Errors
    /// [`Conflict`](crate::ErrorKind::Conflict) for a state that a running job holds.
    pub async fn set_volume(
        &self,
        caller: &Caller,
        volume: &str,
        change: &VolumeChange,
        at: Timestamp,
    ) -> Result<VolumeRecord> {
        let record = self.show_volume(caller, volume).await?;
        if change.status.is_some() {
            require_admin(caller, "set the state of a volume")?;
            self.refuse_running_job("set volume", None, Some(record.id), || {
                label(record.name.as_deref(), record.id)
            })
            .await?;
        }
        self.catalog.update_volume(record.id, change, at).await
    }
}
