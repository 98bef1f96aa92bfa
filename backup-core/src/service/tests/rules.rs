//! Who may do what, in which state.

use super::world::World;
use crate::catalog::VolumeFilter;
use crate::catalog::{BackupChange, BackupFilter, Catalog};
use crate::error::ErrorKind;
use crate::id::BackupId;
use crate::record::BackupStatus;
use crate::service::{Caller, CreateRequest, RestoreTarget};
use crate::timestamp::Timestamp;
use crate::volume::VolumeStatus;

#[tokio::test]
async fn a_volume_is_backed_up_in_some_states_only() {
    let w = World::new().await;
    let v = w.volume("data", 8192).await;
    for (state, force, allowed) in [
        (VolumeStatus::Available, false, true),
        (VolumeStatus::Available, true, true),
        (VolumeStatus::InUse, false, false),
        (VolumeStatus::InUse, true, true),
        (VolumeStatus::Error, true, false),
        (VolumeStatus::ErrorRestoring, true, false),
    ] {
        w.set_volume(&v, state).await;
        let before = w.backups().await.len();
        let made = w.back_up(CreateRequest::of("data").force(force)).await;
        assert_eq!(made.is_ok(), allowed, "{state} {force}");
        if let Err(e) = made {
            assert!(e.is(ErrorKind::Conflict) && e.hint_text().is_some(), "{e}");
            assert_eq!(w.backups().await.len(), before, "no record");
        }
        assert_eq!(w.status(&v).await, state);
    }
    w.assert_quiet().await;
}

#[tokio::test]
async fn what_cannot_be_backed_up_is_refused_before_there_is_a_record() {
    let w = World::new().await;
    let v = w.volume("data", 8192).await;
    let refused = async |request: CreateRequest, kind: ErrorKind, word: &str| {
        let e = w.back_up(request).await.unwrap_err();
        assert!(e.is(kind), "{e:?}");
        let text = format!("{e} {}", e.hint_text().unwrap_or_default());
        assert!(text.contains(word), "{text}");
        assert!(w.backups().await.is_empty());
        assert_eq!(w.volumes.attached(), 0);
    };
    let plain = CreateRequest::of("data");
    refused(CreateRequest::of("nothing"), ErrorKind::NotFound, "nothing").await;
    let incremental = plain.clone().incremental(true);
    refused(incremental, ErrorKind::InvalidInput, "full backup").await;
    let mut elsewhere = plain.clone();
    elsewhere.repository = Some("s3".into());
    refused(elsewhere, ErrorKind::NotFound, "default").await;
    let mut climbing = plain.clone();
    climbing.container = Some("../out".into());
    refused(climbing, ErrorKind::InvalidInput, "..").await;

    let other = w.volume("other", 8192).await;
    w.service
        .create_snapshot(
            &w.caller,
            "other",
            Some("s".into()),
            None,
            false,
            Timestamp::now(),
        )
        .await
        .unwrap();
    let mut foreign = plain.clone();
    foreign.snapshot = Some("s".into());
    refused(foreign, ErrorKind::InvalidInput, "another volume").await;

    w.volumes.without_points_in_time();
    w.set_volume(&v, VolumeStatus::InUse).await;
    refused(plain.clone(), ErrorKind::Conflict, "--force").await;
    refused(plain.force(true), ErrorKind::Unsupported, "point in time").await;
    assert_eq!(w.status(&v).await, VolumeStatus::InUse);

    let e = w
        .service
        .delete_volume(&w.caller, "other", Timestamp::now())
        .await
        .unwrap_err();
    assert!(
        e.is(ErrorKind::Conflict) && e.to_string().contains("snapshots"),
        "{e}"
    );
    assert_eq!(w.status(&other).await, VolumeStatus::Available);
}

#[tokio::test]
async fn a_backup_is_restored_in_some_states_only_and_a_refusal_leaves_no_volume() {
    let w = World::new().await;
    let v = w.volume("data", 8192).await;
    let small = w.volume("small", 4096).await;
    let full = w.full(&v).await;
    let id = full.id.to_string();
    let e = w
        .restore(&full, RestoreTarget::Volume("small".into()))
        .await
        .unwrap_err();
    assert!(e.is(ErrorKind::InvalidInput), "{e}");
    assert_eq!(w.status(&small).await, VolumeStatus::Available);
    w.set_volume(&v, VolumeStatus::InUse).await;
    let e = w.restore(&full, RestoreTarget::Volume("data".into())).await;
    assert!(e.unwrap_err().is(ErrorKind::Conflict));
    let to_error = BackupChange {
        status: Some(BackupStatus::Error),
        ..BackupChange::default()
    };
    w.service
        .set_backup(&w.caller, &id, &to_error, Timestamp::now())
        .await
        .unwrap();
    let e = w.restore(&full, RestoreTarget::New { name: None }).await;
    assert!(e.unwrap_err().is(ErrorKind::Conflict));
    assert!(
        w.service
            .verify_backup(&w.caller, &id, &w.cx)
            .await
            .is_err()
    );
    assert!(w.service.export_record(&w.caller, &id).await.is_err());
    let volumes = w.catalog.volumes(&VolumeFilter::default()).await.unwrap();
    assert_eq!(volumes.len(), 2);
    w.assert_quiet().await;
}

#[tokio::test]
async fn a_chain_is_deleted_from_its_end() {
    let w = World::new().await;
    let v = w.volume("data", 100_000).await;
    let full = w.full(&v).await;
    let inc = w.incremental(&v).await;
    let delete = async |id: BackupId| {
        let id = id.to_string();
        w.service.delete_backup(&w.caller, &id, true, &w.cx).await
    };
    let e = delete(full.id).await.unwrap_err();
    assert!(e.is(ErrorKind::Conflict), "{e}");
    assert!(e.to_string().contains(&inc.id.to_string()), "{e}");
    delete(inc.id).await.unwrap();
    delete(full.id).await.unwrap();
    assert!(w.repository.objects().is_empty());
    assert!(w.backups().await.is_empty());
    w.assert_quiet().await;
}

#[tokio::test]
async fn a_caller_sees_its_own_project_only() {
    let w = World::new().await;
    let v = w.volume("data", 8192).await;
    let full = w.full(&v).await;
    let stranger = Caller {
        project_id: "stranger".into(),
        user_id: "u".into(),
        is_admin: false,
    };
    let id = full.id.to_string();
    let e = w.service.show_backup(&stranger, &id).await.unwrap_err();
    assert!(e.is(ErrorKind::NotFound), "{e}");
    let listed = w
        .service
        .list_backups(&stranger, &BackupFilter::default())
        .await
        .unwrap();
    assert!(listed.is_empty());
    let e = w
        .service
        .create_backup(&stranger, CreateRequest::of("data"), &w.cx)
        .await
        .unwrap_err();
    assert!(e.is(ErrorKind::NotFound), "{e}");
    let owner = Caller {
        is_admin: false,
        ..w.caller.clone()
    };
    w.service.show_backup(&owner, &id).await.unwrap();
    let e = w.service.delete_backup(&owner, &id, true, &w.cx).await;
    assert!(e.unwrap_err().is(ErrorKind::PermissionDenied), "force");
    let to_error = BackupChange {
        status: Some(BackupStatus::Error),
        ..BackupChange::default()
    };
    let now = Timestamp::now();
    let e = w.service.set_backup(&owner, &id, &to_error, now).await;
    assert!(e.unwrap_err().is(ErrorKind::PermissionDenied));
    w.service
        .delete_backup(&owner, &id, false, &w.cx)
        .await
        .unwrap();
}

#[tokio::test]
async fn what_was_adopted_stays_where_it_is() {
    use crate::service::{NewVolume, VolumeOrigin};
    let w = World::new().await;
    let adopt = || NewVolume::new(VolumeOrigin::Adopt("8192".into())).named("a");
    let now = Timestamp::now();
    let v = w
        .service
        .create_volume(&w.caller, adopt(), now)
        .await
        .unwrap();
    assert!(v.adopted);
    let e = w.service.create_volume(&w.caller, adopt(), now).await;
    assert!(e.unwrap_err().is(ErrorKind::AlreadyExists));
    w.service.delete_volume(&w.caller, "a", now).await.unwrap();
    assert!(w.volumes.device(v.id).is_some());
    assert!(w.catalog.volume(v.id).await.is_err());
}
