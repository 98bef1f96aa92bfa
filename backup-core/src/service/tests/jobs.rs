//! Jobs that run to their end, well or not.

use super::world::{World, change};
use crate::catalog::Catalog;
use crate::error::ErrorKind;
use crate::record::BackupStatus;
use crate::service::{CreateRequest, NewVolume, RestoreRequest, RestoreTarget, VolumeOrigin};
use crate::timestamp::Timestamp;
use crate::volume::VolumeStatus;

const LENGTH: u64 = 300_001;

#[tokio::test]
async fn a_volume_is_backed_up_changed_backed_up_again_and_both_are_restored() {
    let w = World::new().await;
    let v = w.volume("data", LENGTH).await;
    let full = w.full(&v).await;
    let before = w.device(&v).copy();
    change(&w.device(&v));
    let inc = w.incremental(&v).await;
    assert_eq!(full.status, BackupStatus::Available);
    assert_eq!((full.parent_id, inc.parent_id), (None, Some(full.id)));
    assert_eq!(inc.volume_length, Some(LENGTH));
    assert!(inc.stored_bytes < full.stored_bytes);
    assert_eq!(full.host.as_deref(), Some("here"));
    w.check(&full, &before).await;
    w.check(&inc, &w.device(&v)).await;
    // Onto a volume full of other data, and larger.
    let other = w.volume("other", LENGTH + 10_000).await;
    let onto = RestoreTarget::Volume("other".into());
    let restored = w.restore(&full, onto).await.unwrap();
    assert_eq!(restored.id, other.id);
    assert_eq!(w.device(&other).peek(0, 300_001), before.peek(0, 300_001));
    assert_eq!(w.status(&v).await, VolumeStatus::Available);
    w.assert_quiet().await;
    let verified = w
        .service
        .verify_backup(&w.caller, &inc.id.to_string(), &w.cx)
        .await
        .unwrap();
    assert!(verified.report.data_is_right());
}

#[tokio::test]
async fn a_restored_volume_has_the_name_and_the_properties_of_the_one_backed_up() {
    let w = World::new().await;
    let mut new = NewVolume::new(VolumeOrigin::Empty { length: 8192 }).named("data");
    new.properties.insert("app".into(), "db".into());
    new.description = Some("two\nlines".into());
    let v = w
        .service
        .create_volume(&w.caller, new, Timestamp::now())
        .await
        .unwrap();
    let full = w.full(&v).await;
    let into = |name: Option<&str>| RestoreTarget::New {
        name: name.map(str::to_owned),
    };
    let restored = w.restore(&full, into(None)).await.unwrap();
    assert_eq!(restored.name.as_deref(), Some("data"));
    assert_eq!(restored.description.as_deref(), Some("two\nlines"));
    assert_eq!(restored.properties["app"], "db");
    assert_eq!(restored.properties["src_backup_id"], full.id.to_string());
    let restored = w.restore(&full, into(Some("mine"))).await.unwrap();
    assert_eq!(restored.name.as_deref(), Some("mine"), "a given name stays");
    assert_eq!(restored.properties["app"], "db");
}

#[tokio::test]
async fn a_volume_in_use_is_read_as_of_a_point_in_time_that_is_removed_afterwards() {
    let w = World::new().await;
    let v = w.volume("data", LENGTH).await;
    w.set_volume(&v, VolumeStatus::InUse).await;
    let request = CreateRequest::of("data").force(true);
    let backup = w.back_up(request).await.unwrap();
    assert!(backup.temp_snapshot_id.is_some());
    assert_eq!(w.volumes.snapshots(), 0);
    assert_eq!(w.status(&v).await, VolumeStatus::InUse);
    w.check(&backup, &w.device(&v)).await;
}

#[tokio::test]
async fn a_snapshot_is_backed_up_as_it_was_when_it_was_made() {
    let w = World::new().await;
    let v = w.volume("data", LENGTH).await;
    let then = w.device(&v).copy();
    let snapshot = w
        .service
        .create_snapshot(
            &w.caller,
            "data",
            Some("s".into()),
            None,
            false,
            Timestamp::now(),
        )
        .await
        .unwrap();
    change(&w.device(&v));
    let mut request = CreateRequest::of("data");
    request.snapshot = Some("s".into());
    let backup = w.back_up(request).await.unwrap();
    assert_eq!(backup.snapshot_id, Some(snapshot.id));
    assert_eq!(backup.data_timestamp, snapshot.created_at);
    w.check(&backup, &then).await;
    w.service
        .delete_snapshot(&w.caller, "s", Timestamp::now())
        .await
        .unwrap();
    assert_eq!(w.volumes.snapshots(), 0);
    w.assert_quiet().await;
}

#[tokio::test]
async fn a_volume_that_grew_or_shrank_is_backed_up_incrementally() {
    let w = World::new().await;
    let v = w.volume("data", LENGTH).await;
    w.full(&v).await;
    for length in [LENGTH + 50_000, LENGTH - 100_000] {
        w.volumes.resize(v.id, length);
        let inc = w.incremental(&v).await;
        assert_eq!(inc.volume_length, Some(length));
        assert_eq!(w.catalog.volume(v.id).await.unwrap().length, length);
        w.check(&inc, &w.device(&v)).await;
    }
}

#[tokio::test]
async fn a_backup_that_fails_or_is_cancelled_is_in_error_and_leaves_nothing() {
    let w = World::new().await;
    let v = w.volume("data", LENGTH).await;
    w.device(&v).fail_read(0);
    let e = w.back_up(CreateRequest::of("data")).await.unwrap_err();
    assert!(!e.is(ErrorKind::Conflict), "{e}");
    let cx = w.cancelled_soon();
    let request = CreateRequest::of("data");
    let e = w.service.create_backup(&w.caller, request, &cx).await;
    assert!(e.unwrap_err().is(ErrorKind::Cancelled));
    let failed = w.backups().await;
    assert_eq!(failed.len(), 2);
    for backup in &failed {
        assert_eq!(backup.status, BackupStatus::Error);
        assert!(backup.fail_reason.is_some());
    }
    assert_eq!(
        failed[0].fail_reason.as_deref(),
        Some("cancelled on request")
    );
    assert!(w.repository.objects().is_empty());
    assert_eq!(w.status(&v).await, VolumeStatus::Available);
    assert_eq!(
        w.volumes.kept(),
        [],
        "only a complete backup is compared with"
    );
    w.assert_quiet().await;
    for backup in &failed {
        let id = backup.id.to_string();
        let deleted = w.service.delete_backup(&w.caller, &id, false, &w.cx).await;
        deleted.unwrap();
    }
    assert!(w.backups().await.is_empty());
}

#[tokio::test]
async fn a_restore_that_fails_or_is_cancelled_marks_its_volume_not_its_backup() {
    let w = World::new().await;
    let v = w.volume("data", LENGTH).await;
    let full = w.full(&v).await;
    let target = w.volume("target", LENGTH).await;
    let onto =
        || RestoreRequest::of(full.id.to_string()).to(RestoreTarget::Volume("target".into()));
    w.device(&target).fail_write(0);
    let e = w.service.restore_backup(&w.caller, onto(), &w.cx).await;
    e.unwrap_err();
    assert_eq!(w.status(&target).await, VolumeStatus::ErrorRestoring);
    let e = w.service.restore_backup(&w.caller, onto(), &w.cx).await;
    assert!(e.unwrap_err().is(ErrorKind::Conflict));

    w.set_volume(&target, VolumeStatus::Available).await;
    let cx = w.cancelled_soon();
    let e = w.service.restore_backup(&w.caller, onto(), &cx).await;
    assert!(e.unwrap_err().is(ErrorKind::Cancelled));
    assert_eq!(w.status(&target).await, VolumeStatus::Error);
    let backup = w.catalog.backup(full.id).await.unwrap();
    assert_eq!(backup.status, BackupStatus::Available);
    w.assert_quiet().await;
    w.check(&full, &w.device(&v)).await;
}

#[tokio::test]
async fn what_could_not_be_detached_is_detached_by_the_next_recovery() {
    let w = World::new().await;
    let v = w.volume("data", LENGTH).await;
    w.set_volume(&v, VolumeStatus::InUse).await;
    w.volumes.fail_undos(2);
    let request = CreateRequest::of("data").force(true);
    let backup = w.back_up(request).await.unwrap();
    assert_eq!(backup.status, BackupStatus::Available);
    assert_eq!((w.volumes.attached(), w.volumes.snapshots()), (1, 1));
    let recovered = w.service.recover(&w.cx).await.unwrap();
    assert!(recovered.settled[0].error.is_some(), "it failed again");
    let recovered = w.service.recover(&w.cx).await.unwrap();
    assert!(recovered.settled[0].error.is_none());
    assert_eq!(w.volumes.snapshots(), 0);
    w.assert_quiet().await;
    let after = w.catalog.backup(backup.id).await.unwrap();
    assert_eq!(after.status, BackupStatus::Available);
    w.check(&backup, &w.device(&v)).await;
}
