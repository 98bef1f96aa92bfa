use super::{BackupService, Caller, JobLock, NewVolume, VolumeOrigin};
use crate::catalog::{JobKind, VolumeEnd};
use crate::error::{Error, Result};
use crate::id::{JobId, VolumeId};
use crate::timestamp::Timestamp;
use crate::volume::{VolumeRecord, VolumeStatus};

/// A volume that was made and is not yet anybody's: its job holds it in `creating`.
pub(super) struct MadeVolume {
    pub(super) record: VolumeRecord,
    pub(super) job: JobId,
    _lock: Box<dyn JobLock>,
}

impl MadeVolume {
    /// What its job made.
    pub(super) fn end(&self) -> VolumeEnd {
        VolumeEnd::Made {
            provider_location: self.record.provider_location.clone().unwrap_or_default(),
            length: self.record.length,
        }
    }
}

fn new_record(caller: &Caller, new: NewVolume, at: Timestamp) -> VolumeRecord {
    VolumeRecord {
        id: VolumeId::generate(),
        project_id: caller.project_id.clone(),
        user_id: caller.user_id.clone(),
        name: new.name.filter(|n| !n.is_empty()),
        description: new.description.filter(|d| !d.is_empty()),
        length: 0,
        status: VolumeStatus::Available,
        previous_status: None,
        properties: new.properties,
        image_properties: crate::backup::Properties::new(),
        bootable: false,
        encryption_key_id: None,
        provider_location: None,
        adopted: false,
        created_at: at,
        updated_at: None,
    }
}

impl BackupService {
    /// Makes a volume, or takes an image file or a block device as one.
    ///
    /// # Errors
    /// [`AlreadyExists`](crate::ErrorKind::AlreadyExists) for an image that is a volume already.
    pub async fn create_volume(
        &self,
        caller: &Caller,
        new: NewVolume,
        at: Timestamp,
    ) -> Result<VolumeRecord> {
        let origin = new.origin.clone();
        let mut record = new_record(caller, new, at);
        match origin {
            VolumeOrigin::Adopt(existing) => {
                record.id = self.volumes.id_in(&existing).unwrap_or(record.id);
                let (location, length) = self.volumes.adopt(record.id, &existing).await?;
                record.provider_location = Some(location);
                record.length = length;
                record.adopted = true;
                self.catalog.insert_volume(&record).await?;
                Ok(record)
            }
            VolumeOrigin::Empty { length } => {
                record.length = length;
                self.make_volume(record, at).await
            }
        }
    }

    async fn make_volume(&self, record: VolumeRecord, at: Timestamp) -> Result<VolumeRecord> {
        let made = self.begin_volume(record, at).await?;
        self.catalog
            .finish_create_volume(made.record.id, made.job, &made.end(), at)
            .await?
            .ok_or_else(|| Error::internal("create volume", "a volume made and gone"))
    }

    /// Makes a volume that a restore is about to fill.
    pub(super) async fn make_for_restore(
        &self,
        caller: &Caller,
        name: String,
        length: u64,
        at: Timestamp,
    ) -> Result<MadeVolume> {
        let new = NewVolume::new(VolumeOrigin::Empty { length }).named(name);
        let mut record = new_record(caller, new, at);
        record.length = length;
        self.begin_volume(record, at).await
    }

    /// Makes a volume and leaves it to its job: it is `creating` until that is ended.
    async fn begin_volume(&self, mut record: VolumeRecord, at: Timestamp) -> Result<MadeVolume> {
        let (job, lock) = self.start_job(JobKind::CreateVolume, at)?;
        let job = job.on_volume(record.id);
        self.catalog.begin_create_volume(&record, &job).await?;
        let location = self.volumes.create_volume(record.id, record.length).await;
        record.provider_location = location.as_ref().ok().cloned();
        let made = MadeVolume {
            record,
            job: job.id,
            _lock: lock,
        };
        match location {
            Ok(_) => Ok(made),
            Err(e) => {
                self.unmake_volume(made, at).await?;
                Err(e)
            }
        }
    }

    /// Removes a volume that is its job's still.
    pub(super) async fn unmake_volume(&self, made: MadeVolume, at: Timestamp) -> Result<()> {
        let removed = self.volumes.delete_volume(&made.record.reference()).await;
        let end = match &removed {
            Ok(()) => VolumeEnd::Gone,
            Err(_) => VolumeEnd::Failed,
        };
        self.catalog
            .finish_create_volume(made.record.id, made.job, &end, at)
            .await?;
        removed
    }

    /// Deletes a volume that is available or in an error state and has no snapshots; its backups stay. What was adopted
    /// stays where it is and is forgotten here. Answers the record as it was.
    pub async fn delete_volume(
        &self,
        caller: &Caller,
        volume: &str,
        at: Timestamp,
    ) -> Result<VolumeRecord> {
        let record = self.show_volume(caller, volume).await?;
        let (job, lock) = self.start_job(JobKind::DeleteVolume, at)?;
        let job = job.on_volume(record.id);
        self.catalog
            .begin_delete_volume(record.id, &job, at)
            .await?;
        let done = self.remove_volume(&record).await;
        let finished = self
            .catalog
            .finish_delete_volume(record.id, job.id, done.is_err(), at)
            .await;
        drop(lock);
        done?;
        finished?;
        Ok(record)
    }

    pub(super) async fn remove_volume(&self, record: &VolumeRecord) -> Result<()> {
        if record.adopted {
            return Ok(());
        }
        self.volumes.delete_volume(&record.reference()).await
    }
}
