use super::{BackupService, Caller, NewVolume, VolumeOrigin};
use crate::catalog::{JobKind, VolumeEnd};
use crate::error::{Error, Result};
use crate::id::VolumeId;
use crate::timestamp::Timestamp;
use crate::volume::{VolumeRecord, VolumeStatus};

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
        let mut record = VolumeRecord {
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
        };
        match new.origin {
            VolumeOrigin::Adopt(existing) => {
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
        let (job, lock) = self.start_job(JobKind::CreateVolume, at)?;
        let job = job.on_volume(record.id);
        self.catalog.begin_create_volume(&record, &job).await?;
        let made = self.volumes.create_volume(record.id, record.length).await;
        let end = match &made {
            Ok(location) => VolumeEnd::Made {
                provider_location: location.clone(),
                length: record.length,
            },
            Err(_) => match self.volumes.delete_volume(&record.reference()).await {
                Ok(()) => VolumeEnd::Gone,
                Err(_) => VolumeEnd::Failed,
            },
        };
        let finished = self
            .catalog
            .finish_create_volume(record.id, job.id, &end, at)
            .await;
        drop(lock);
        made?;
        finished?.ok_or_else(|| Error::internal("create volume", "a volume made and gone"))
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
