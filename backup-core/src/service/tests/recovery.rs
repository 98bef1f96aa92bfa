//! Jobs whose process died.

use std::time::Duration;

use super::world::{POSIX, World, change, named};
use crate::catalog::{BackupChange, Catalog, Job, JobKind, VolumeFilter};
use crate::error::ErrorKind;
use crate::id::{JobId, SnapshotId};
use crate::record::{BackupRecord, BackupStatus};
use crate::service::{CreateRequest, RestoreRequest, RestoreTarget};
use crate::testing::MemoryRepository;
use crate::timestamp::Timestamp;
use crate::volume::{SnapshotRecord, VolumeStatus};

/// Runs `job` until it is attached, then what `meanwhile` does, and drops it: as a kill would.
async fn killed<T>(w: &World, job: impl Future<Output = T>, meanwhile: impl AsyncFnOnce()) {
    w.volumes.stall(true);
    {
        let mut job = Box::pin(job);
        let attached = tokio::time::timeout(Duration::from_millis(50), &mut job).await;
        assert!(attached.is_err(), "it waits for its attachment");
        meanwhile().await;
    }
    w.volumes.stall(false);
}

fn job(kind: JobKind) -> Job {
    Job::new(JobId::generate(), kind, "here", Timestamp::now())
}

#[tokio::test]
async fn a_backup_that_was_being_made_is_in_error_and_nothing_of_it_is_left() {
    let w = World::new().await;
    let v = w.volume("data", 100_000).await;
    w.set_volume(&v, VolumeStatus::InUse).await;
    let request = CreateRequest::of("data").force(true);
    let create = w.service.create_backup(&w.caller, request, &w.cx);
    killed(&w, create, async || {
        let recovered = w.service.recover(&w.cx).await.unwrap();
        assert!(recovered.settled.is_empty(), "it lives");
        assert_eq!(recovered.running, 1);
        let id = w.backups().await[0].id.to_string();
        let e = w.service.delete_backup(&w.caller, &id, true, &w.cx).await;
        assert!(e.unwrap_err().is(ErrorKind::Conflict), "not while it lives");
    })
    .await;
    let record = w.backups().await[0].clone();
    assert_eq!(record.status, BackupStatus::Creating);
    let location = record.location.clone().unwrap();
    let object = location.prefix.data_object(1);
    w.repository
        .plant(location.container.as_str(), &object, "half")
        .unwrap();

    let recovered = w.service.recover(&w.cx).await.unwrap();
    assert_eq!(recovered.settled.len(), 1);
    assert_eq!(recovered.settled[0].error, None);
    let record = w.catalog.backup(record.id).await.unwrap();
    assert_eq!(record.status, BackupStatus::Error);
    assert!(record.fail_reason.unwrap().starts_with("interrupted"));
    assert_eq!(w.status(&v).await, VolumeStatus::InUse);
    assert_eq!(w.volumes.snapshots(), 0);
    assert_eq!(w.volumes.kept(), [], "no later one compares with it");
    assert!(w.repository.objects().is_empty());
    w.assert_quiet().await;
    assert!(w.service.recover(&w.cx).await.unwrap().settled.is_empty());
}

/// Runs a backup up to its detaching, which is behind its commit point, and drops it: as a kill would.
async fn killed_behind_the_commit_point(w: &World, request: CreateRequest) -> BackupRecord {
    w.volumes.stall_undos(true);
    let create = w.service.create_backup(&w.caller, request, &w.cx);
    let ended = tokio::time::timeout(Duration::from_millis(300), create).await;
    assert!(ended.is_err(), "it waits for its detaching");
    w.volumes.stall_undos(false);
    let record = w.backups().await[0].clone();
    assert_eq!(record.status, BackupStatus::Creating);
    let metadata = record.location.clone().unwrap().metadata();
    assert!(
        w.repository.object(&metadata.to_string()).is_some(),
        "the commit point was passed"
    );
    record
}

#[tokio::test]
async fn a_backup_killed_behind_its_commit_point_is_available_and_its_record_says_all() {
    let w = World::new().await;
    let v = w.volume("data", 300_001).await;
    w.set_volume(&v, VolumeStatus::InUse).await;
    // By its ID: a restored volume has its name.
    let request = || CreateRequest::of(v.id.to_string()).force(true);
    let full = killed_behind_the_commit_point(&w, request()).await;
    let recovered = w.service.recover(&w.cx).await.unwrap();
    assert_eq!(recovered.settled.len(), 1);
    assert_eq!(recovered.settled[0].error, None);
    assert!(recovered.settled[0].text.contains("complete"));
    assert_eq!((w.volumes.attached(), w.volumes.snapshots()), (0, 0));
    assert_eq!(w.volumes.kept(), [full.id], "as of any complete backup");
    assert_eq!(w.status(&v).await, VolumeStatus::InUse);
    w.assert_quiet().await;
    w.check(&full, &w.device(&v)).await;

    // What it says is what a backup of the same says that came to its end.
    let whole = w.back_up(request()).await.unwrap();
    let full = w.catalog.backup(full.id).await.unwrap();
    assert_eq!(full.status, BackupStatus::Available);
    assert_eq!(full.volume_length, whole.volume_length);
    assert_eq!(full.object_count, whole.object_count);
    assert_eq!(full.stored_bytes, whole.stored_bytes);

    // It is a parent like any other.
    change(&w.device(&v));
    let inc = killed_behind_the_commit_point(&w, request().incremental(true)).await;
    w.service.recover(&w.cx).await.unwrap();
    w.check(&inc, &w.device(&v)).await;
    let verified = w
        .service
        .verify_backup(&w.caller, &inc.id.to_string(), &w.cx)
        .await
        .unwrap();
    assert!(verified.report.problems.is_empty());
}

#[tokio::test]
async fn a_dead_backup_whose_repository_does_not_answer_is_settled_once_it_does() {
    let w = World::new().await;
    let v = w.volume("data", 300_001).await;
    let backup = killed_behind_the_commit_point(&w, CreateRequest::of("data")).await;
    // The home without that repository, as after a change of the configuration.
    let away = w.with_repositories(&[named("other", POSIX, &MemoryRepository::new())]);
    for _ in 0..2 {
        let recovered = away.recover(&w.cx).await.unwrap();
        assert!(recovered.settled[0].error.is_some());
        let record = w.catalog.backup(backup.id).await.unwrap();
        assert_eq!(record.status, BackupStatus::Creating);
    }
    w.service.recover(&w.cx).await.unwrap();
    w.assert_quiet().await;
    assert_eq!(w.status(&v).await, VolumeStatus::Available);
    w.check(&backup, &w.device(&v)).await;
}

#[tokio::test]
async fn a_dead_backup_whose_metadata_is_another_ones_is_in_error_and_keeps_its_objects() {
    let w = World::new().await;
    let v = w.volume("data", 100_000).await;
    let other = w.full(&v).await;
    let backup = killed_behind_the_commit_point(&w, CreateRequest::of("data")).await;
    let metadata_of = |b: &BackupRecord| b.location.clone().unwrap().metadata();
    let foreign = w
        .repository
        .object(&metadata_of(&other).to_string())
        .unwrap();
    let own = metadata_of(&backup).to_string();
    assert!(w.repository.damage(&own, |bytes| *bytes = foreign.to_vec()));
    let before = w.repository.objects().len();
    w.service.recover(&w.cx).await.unwrap();
    let record = w.catalog.backup(backup.id).await.unwrap();
    assert_eq!(record.status, BackupStatus::Error);
    assert!(record.fail_reason.unwrap().contains("belongs to backup"));
    assert_eq!(w.repository.objects().len(), before);
    w.assert_quiet().await;
    let id = backup.id.to_string();
    let deleted = w.service.delete_backup(&w.caller, &id, false, &w.cx).await;
    deleted.unwrap();
    w.check(&other, &w.device(&v)).await;
}

#[tokio::test]
async fn a_backup_that_was_being_restored_is_available_and_its_volume_is_not() {
    let w = World::new().await;
    let v = w.volume("data", 100_000).await;
    let full = w.full(&v).await;
    let target = w.volume("target", 100_000).await;
    let request =
        RestoreRequest::of(full.id.to_string()).to(RestoreTarget::Volume("target".into()));
    let restore = w.service.restore_backup(&w.caller, request, &w.cx);
    killed(&w, restore, async || ()).await;
    assert_eq!(w.status(&target).await, VolumeStatus::RestoringBackup);

    let recovered = w.service.recover(&w.cx).await.unwrap();
    assert_eq!(recovered.settled.len(), 1);
    let record = w.catalog.backup(full.id).await.unwrap();
    assert_eq!(record.status, BackupStatus::Available);
    assert_eq!(w.status(&target).await, VolumeStatus::ErrorRestoring);
    w.assert_quiet().await;
    w.check(&full, &w.device(&v)).await;
}

#[tokio::test]
async fn a_restore_killed_before_it_began_leaves_no_empty_volume() {
    let w = World::new().await;
    let v = w.volume("data", 100_000).await;
    let full = w.full(&v).await;
    w.volumes.stall_plans(true);
    let into = RestoreTarget::New { name: None };
    let request = RestoreRequest::of(full.id.to_string()).to(into);
    let restore = w.service.restore_backup(&w.caller, request, &w.cx);
    let ended = tokio::time::timeout(Duration::from_millis(50), restore).await;
    assert!(ended.is_err(), "it waits to plan its attachment");
    w.volumes.stall_plans(false);
    let of_all = VolumeFilter::default();
    let volumes = w.catalog.volumes(&of_all).await.unwrap();
    let made = volumes.iter().find(|other| other.id != v.id).unwrap();
    assert_eq!(
        made.status,
        VolumeStatus::Creating,
        "nobody takes it for restored"
    );

    let recovered = w.service.recover(&w.cx).await.unwrap();
    assert_eq!(recovered.settled.len(), 1);
    assert_eq!(w.catalog.volumes(&of_all).await.unwrap().len(), 1);
    assert!(w.volumes.device(made.id).is_none());
    w.assert_quiet().await;
    w.check(&full, &w.device(&v)).await;
}

#[tokio::test]
async fn a_backup_that_was_being_deleted_is_deleted() {
    let w = World::new().await;
    let v = w.volume("data", 100_000).await;
    let full = w.full(&v).await;
    let dead = job(JobKind::DeleteBackup).on_backup(full.id);
    w.catalog
        .begin_delete(full.id, &dead, false, Timestamp::now())
        .await
        .unwrap();
    let recovered = w.service.recover(&w.cx).await.unwrap();
    assert_eq!(recovered.settled.len(), 1);
    assert!(w.backups().await.is_empty());
    assert!(w.repository.objects().is_empty());
    w.assert_quiet().await;
}

#[tokio::test]
async fn a_volume_or_snapshot_that_was_being_made_or_removed_is_removed() {
    let w = World::new().await;
    let v = w.volume("data", 8192).await;
    let now = Timestamp::now();
    let snapshot = SnapshotRecord {
        id: SnapshotId::generate(),
        volume_id: v.id,
        project_id: v.project_id.clone(),
        name: None,
        description: None,
        length: v.length,
        status: VolumeStatus::Creating,
        provider_location: None,
        created_at: now,
    };
    let dead = job(JobKind::CreateSnapshot).on_snapshot(snapshot.id);
    w.catalog
        .begin_create_snapshot(&snapshot, &dead)
        .await
        .unwrap();
    w.service.recover(&w.cx).await.unwrap();
    assert!(w.catalog.snapshot(snapshot.id).await.is_err());

    let dead = job(JobKind::DeleteVolume).on_volume(v.id);
    w.catalog
        .begin_delete_volume(v.id, &dead, now)
        .await
        .unwrap();
    w.service.recover(&w.cx).await.unwrap();
    assert!(w.catalog.volume(v.id).await.is_err());
    assert!(w.volumes.device(v.id).is_none());
    w.assert_quiet().await;
}

#[tokio::test]
async fn jobs_of_another_host_are_left_to_it() {
    let w = World::new().await;
    let v = w.volume("data", 8192).await;
    let full = w.full(&v).await;
    let dead = Job::new(
        JobId::generate(),
        JobKind::DeleteBackup,
        "elsewhere",
        Timestamp::now(),
    )
    .on_backup(full.id);
    w.catalog
        .begin_delete(full.id, &dead, false, Timestamp::now())
        .await
        .unwrap();
    let recovered = w.service.recover(&w.cx).await.unwrap();
    assert!(recovered.settled.is_empty());
    assert_eq!(w.backups().await[0].status, BackupStatus::Deleting);
}

#[tokio::test]
async fn a_record_that_was_taken_from_a_dead_job_is_left_alone() {
    let w = World::new().await;
    let v = w.volume("data", 100_000).await;
    let mut new = crate::catalog::conformance::new_backup(&v, None, 1);
    new.job.host = "here".into();
    w.catalog.begin_backup(&new).await.unwrap();
    let taker = job(JobKind::DeleteBackup).on_backup(new.record.id);
    let now = Timestamp::now();
    w.catalog
        .begin_delete(new.record.id, &taker, true, now)
        .await
        .unwrap();
    w.catalog
        .finish_delete(new.record.id, taker.id, None, now)
        .await
        .unwrap();
    let recovered = w.service.recover(&w.cx).await.unwrap();
    assert_eq!(recovered.settled.len(), 1, "what it attached is undone");
    w.assert_quiet().await;
    assert!(w.backups().await.is_empty());
}

#[tokio::test]
async fn a_job_whose_record_was_taken_from_it_removes_what_it_stored() {
    let w = World::new().await;
    let v = w.volume("data", 100_000).await;
    w.volumes.stall(true);
    let request = CreateRequest::of("data");
    let create = w.service.create_backup(&w.caller, request, &w.cx);
    let take = async {
        while w.volumes.attached() == 0 {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        let id = w.backups().await[0].id;
        let to_error = BackupChange {
            status: Some(BackupStatus::Error),
            ..BackupChange::default()
        };
        let now = Timestamp::now();
        w.catalog.update_backup(id, &to_error, now).await.unwrap();
        w.volumes.stall(false);
    };
    let (made, ()) = tokio::join!(create, take);
    assert!(made.unwrap_err().is(ErrorKind::Conflict));
    assert!(w.repository.objects().is_empty());
    assert_eq!(w.backups().await[0].status, BackupStatus::Error);
    assert_eq!(w.status(&v).await, VolumeStatus::Available);
    w.assert_quiet().await;
}
