use super::{BackupService, Caller};
use crate::catalog::{JobKind, VolumeEnd, label};
use crate::error::{Error, ErrorKind, Result};
use crate::id::SnapshotId;
use crate::timestamp::Timestamp;
use crate::volume::{SnapshotRecord, VolumeRecord, VolumeStatus};

impl BackupService {
    /// Makes a snapshot of a volume that is available, or in use with `force`.
    ///
    /// # Errors
    /// [`Unsupported`](ErrorKind::Unsupported) for a volume in use whose provider can only copy: a torn copy is no
    /// point in time.
    pub async fn create_snapshot(
        &self,
        caller: &Caller,
        volume: &str,
        name: Option<String>,
        description: Option<String>,
        force: bool,
        at: Timestamp,
    ) -> Result<SnapshotRecord> {
        let volume = self.show_volume(caller, volume).await?;
        let in_use = is_in_use(&volume);
        if in_use && !force {
            return Err(Error::new(ErrorKind::Conflict, "create snapshot")
                .on(format!(
                    "of volume {}",
                    label(volume.name.as_deref(), volume.id)
                ))
                .because("the volume is in use")
                .hint("give --force to take a point in time of it"));
        }
        let length = self.volumes.length(&volume.reference()).await?;
        let record = SnapshotRecord {
            id: SnapshotId::generate(),
            volume_id: volume.id,
            project_id: caller.project_id.clone(),
            name: name.filter(|n| !n.is_empty()),
            description: description.filter(|d| !d.is_empty()),
            length,
            status: VolumeStatus::Creating,
            provider_location: None,
            created_at: at,
        };
        let (job, lock) = self.start_job(JobKind::CreateSnapshot, at)?;
        let job = job.on_snapshot(record.id).on_volume(volume.id);
        self.catalog.begin_create_snapshot(&record, &job).await?;
        let made = self
            .volumes
            .create_snapshot(&volume.reference(), record.id, in_use)
            .await;
        let end = if let Ok(location) = &made {
            VolumeEnd::Made {
                provider_location: location.clone(),
                length,
            }
        } else {
            let reference = record.reference(volume.reference());
            let removed = self.volumes.delete_snapshot(&reference).await;
            removed.map_or(VolumeEnd::Failed, |()| VolumeEnd::Gone)
        };
        let finished = self
            .catalog
            .finish_create_snapshot(record.id, job.id, &end)
            .await;
        drop(lock);
        made?;
        finished?.ok_or_else(|| Error::internal("create snapshot", "a snapshot made and gone"))
    }

    /// Deletes a snapshot that is available or in error; backups of it stay. Answers the record as it was.
    pub async fn delete_snapshot(
        &self,
        caller: &Caller,
        snapshot: &str,
        at: Timestamp,
    ) -> Result<SnapshotRecord> {
        let record = self.show_snapshot(caller, snapshot).await?;
        let (job, lock) = self.start_job(JobKind::DeleteSnapshot, at)?;
        let job = job.on_snapshot(record.id);
        self.catalog.begin_delete_snapshot(record.id, &job).await?;
        let done = self.remove_snapshot(&record).await;
        let finished = self
            .catalog
            .finish_delete_snapshot(record.id, job.id, done.is_err())
            .await;
        drop(lock);
        done?;
        finished?;
        Ok(record)
    }

    pub(super) async fn remove_snapshot(&self, record: &SnapshotRecord) -> Result<()> {
        let volume = self.catalog.volume(record.volume_id).await?;
        self.volumes
            .delete_snapshot(&record.reference(volume.reference()))
            .await
    }
}

/// Whether somebody may be writing it.
fn is_in_use(volume: &VolumeRecord) -> bool {
    volume.status == VolumeStatus::InUse
        || (volume.status == VolumeStatus::BackingUp
            && volume.previous_status == Some(VolumeStatus::InUse))
}
