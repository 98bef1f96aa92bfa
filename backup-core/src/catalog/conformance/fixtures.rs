//! Volumes and backups to test with.

use crate::attach::{AttachPlan, AttachSource};
use crate::backup::{BackupPlan, Outcome, Properties};
use crate::catalog::{BackupEnd, Catalog, Job, JobKind, NewBackup};
use crate::error::Result;
use crate::id::{BackupId, ContainerName, JobId, Location, Prefix, VolumeId};
use crate::record::{BackupRecord, BackupStatus, GIB, gib_rounded_up};
use crate::timestamp::Timestamp;
use crate::volume::{VolumeRecord, VolumeStatus};

/// A point in time, `n` seconds into the test.
///
/// # Panics
/// For numbers that make no time.
pub fn time(n: i64) -> Timestamp {
    Timestamp::from_micros(1_700_000_000_000_000 + n * 1_000_000 + 123_456).unwrap()
}

/// An available volume of 2 GiB, stored.
///
/// # Panics
/// Where it cannot be stored.
pub async fn volume(catalog: &dyn Catalog, name: &str) -> VolumeRecord {
    let record = VolumeRecord {
        id: VolumeId::generate(),
        project_id: "project".into(),
        user_id: "user".into(),
        name: Some(name.into()),
        description: None,
        length: 2 * GIB,
        status: VolumeStatus::Available,
        previous_status: None,
        properties: Properties::from([("k\"".into(), "ü".into())]),
        image_properties: Properties::new(),
        bootable: false,
        encryption_key_id: None,
        provider_location: Some(format!("/{}", VolumeId::generate())),
        adopted: false,
        created_at: time(0),
        updated_at: None,
    };
    catalog.insert_volume(&record).await.unwrap();
    record
}

/// A backup of `volume` that is about to begin `at` seconds into the test.
///
/// # Panics
/// Never, for a volume with an ID.
pub fn new_backup(volume: &VolumeRecord, parent: Option<BackupId>, at: i64) -> NewBackup {
    let id = BackupId::generate();
    let location = Location {
        container: ContainerName::new("container").unwrap(),
        prefix: Prefix::new(format!("volume_{}_backup_{id}", volume.id)).unwrap(),
    };
    let record = BackupRecord {
        id,
        user_id: volume.user_id.clone(),
        project_id: volume.project_id.clone(),
        volume_id: volume.id,
        snapshot_id: None,
        parent_id: parent,
        status: BackupStatus::Creating,
        fail_reason: None,
        size_gib: gib_rounded_up(volume.length),
        volume_length: Some(volume.length),
        name: Some(format!("backup {at}")),
        description: Some("nightly „full“".into()),
        properties: Properties::from([("a".into(), "b".into())]),
        repository: "default".into(),
        service: "cinder.backup.drivers.posix.PosixBackupDriver".into(),
        account: Some("https://swift/v1/AUTH_project".into()),
        location: Some(location.clone()),
        object_count: 0,
        stored_bytes: None,
        host: Some("host".into()),
        availability_zone: Some("nova".into()),
        temp_volume_id: None,
        temp_snapshot_id: Some("temporary".into()),
        restore_volume_id: None,
        num_dependent_backups: 0,
        encryption_key_id: None,
        data_timestamp: time(at),
        created_at: time(at),
        updated_at: None,
    };
    let plan = BackupPlan {
        id,
        volume_id: volume.id,
        location,
        snapshot_id: None,
        name: record.name.clone(),
        description: record.description.clone(),
        project_id: record.project_id.clone(),
        user_id: record.user_id.clone(),
        encryption_key_id: None,
        created_at: record.created_at,
        data_timestamp: record.data_timestamp,
        properties: record.properties.clone(),
        volume_metadata: None,
    };
    let attach = AttachPlan::direct(AttachSource::Volume(volume.reference()), id);
    NewBackup {
        record,
        job: job(JobKind::CreateBackup)
            .on_backup(id)
            .with_plan(plan)
            .with_attach(attach),
        force: false,
    }
}

/// A job of `kind`.
pub(super) fn job(kind: JobKind) -> Job {
    Job::new(JobId::generate(), kind, "host", time(1))
}

/// What a finished backup is.
pub fn outcome(length: u64) -> Outcome {
    let mut outcome = Outcome::new(length);
    outcome.object_count = 7;
    outcome.stored_bytes = 1000;
    outcome.index_bytes = 10;
    outcome
}

/// Ends a backup well.
pub(super) async fn finish(catalog: &dyn Catalog, new: &NewBackup) -> BackupRecord {
    let length = new.record.volume_length.unwrap_or(0);
    let end = BackupEnd::Complete(outcome(length));
    catalog
        .finish_backup(new.record.id, new.job.id, &end, true, time(50))
        .await
        .unwrap()
}

/// A complete backup.
pub(super) async fn complete(
    catalog: &dyn Catalog,
    volume: &VolumeRecord,
    parent: Option<BackupId>,
    at: i64,
) -> BackupRecord {
    let new = new_backup(volume, parent, at);
    catalog.begin_backup(&new).await.unwrap();
    finish(catalog, &new).await
}

/// Deletes a backup.
pub(super) async fn delete(catalog: &dyn Catalog, id: BackupId) -> Result<()> {
    let job = job(JobKind::DeleteBackup).on_backup(id);
    catalog.begin_delete(id, &job, false, time(60)).await?;
    catalog.finish_delete(id, job.id, None, time(61)).await
}
