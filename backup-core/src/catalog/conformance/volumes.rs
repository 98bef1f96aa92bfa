//! Volumes and snapshots.

use super::fixtures::{job, time, volume};
use crate::backup::Properties;
use crate::catalog::{Catalog, JobKind, SnapshotFilter, VolumeChange, VolumeEnd, VolumeFilter};
use crate::error::ErrorKind;
use crate::id::{SnapshotId, VolumeId};
use crate::volume::{SnapshotRecord, VolumeRecord, VolumeStatus};

fn snapshot_of(volume: &VolumeRecord, name: &str) -> SnapshotRecord {
    SnapshotRecord {
        id: SnapshotId::generate(),
        volume_id: volume.id,
        project_id: volume.project_id.clone(),
        name: Some(name.into()),
        description: Some("d".into()),
        length: volume.length,
        status: VolumeStatus::Creating,
        provider_location: None,
        created_at: time(3),
    }
}

pub(super) async fn a_volume_comes_back_as_it_was_stored(catalog: &dyn Catalog) {
    let mut v = volume(catalog, "v").await;
    assert_eq!(catalog.volume(v.id).await.unwrap(), v);
    let change = VolumeChange {
        name: Some(String::new()),
        description: Some("line one\nline two".into()),
        set_properties: Properties::from([("new".into(), "1".into())]),
        unset_properties: vec!["k\"".into()],
        status: Some(VolumeStatus::InUse),
        length: Some(5),
    };
    let changed = catalog.update_volume(v.id, &change, time(9)).await.unwrap();
    v.name = None;
    v.description = Some("line one\nline two".into());
    v.properties = change.set_properties.clone();
    v.status = VolumeStatus::InUse;
    v.length = 5;
    v.updated_at = Some(time(9));
    assert_eq!(changed, v);
    assert_eq!(catalog.volume(v.id).await.unwrap(), v);

    let e = catalog.insert_volume(&v).await.unwrap_err();
    assert!(e.is(ErrorKind::AlreadyExists), "{e}");
    let twin = VolumeRecord {
        id: VolumeId::generate(),
        ..v.clone()
    };
    let e = catalog.insert_volume(&twin).await.unwrap_err();
    assert!(e.is(ErrorKind::AlreadyExists), "the same place: {e}");
    let change = VolumeChange {
        status: Some(VolumeStatus::BackingUp),
        ..VolumeChange::default()
    };
    let e = catalog
        .update_volume(v.id, &change, time(9))
        .await
        .unwrap_err();
    assert!(e.is(ErrorKind::InvalidInput), "{e}");
}

pub(super) async fn states_of_volumes_and_snapshots(catalog: &dyn Catalog) {
    let template = volume(catalog, "template").await;
    let mut v = VolumeRecord {
        id: VolumeId::generate(),
        name: Some("v".into()),
        provider_location: None,
        ..template
    };
    let create = job(JobKind::CreateVolume).on_volume(v.id);
    catalog.begin_create_volume(&v, &create).await.unwrap();
    let creating = catalog.volume(v.id).await.unwrap();
    assert_eq!(creating.status, VolumeStatus::Creating);
    assert_eq!(catalog.jobs().await.unwrap().len(), 1);
    let end = VolumeEnd::Made {
        provider_location: "/v".into(),
        length: 77,
    };
    let made = catalog
        .finish_create_volume(v.id, create.id, &end, time(2))
        .await
        .unwrap();
    v = made.unwrap();
    assert_eq!((v.status, v.length), (VolumeStatus::Available, 77));
    assert!(catalog.jobs().await.unwrap().is_empty());

    // A volume with a snapshot stays.
    let s = snapshot_of(&v, "s");
    let create = job(JobKind::CreateSnapshot).on_snapshot(s.id);
    catalog.begin_create_snapshot(&s, &create).await.unwrap();
    catalog
        .finish_create_snapshot(s.id, create.id, &end)
        .await
        .unwrap();
    let filter = SnapshotFilter {
        volume: Some(v.id),
        ..SnapshotFilter::default()
    };
    let listed = catalog.snapshots(&filter).await.unwrap();
    assert_eq!(listed, [catalog.snapshot(s.id).await.unwrap()]);
    assert_eq!(listed[0].status, VolumeStatus::Available);
    let delete = job(JobKind::DeleteVolume).on_volume(v.id);
    let e = catalog
        .begin_delete_volume(v.id, &delete, time(4))
        .await
        .unwrap_err();
    assert!(
        e.is(ErrorKind::Conflict) && e.to_string().contains(&s.id.to_string()),
        "{e}"
    );

    let gone = job(JobKind::DeleteSnapshot).on_snapshot(s.id);
    catalog.begin_delete_snapshot(s.id, &gone).await.unwrap();
    catalog
        .finish_delete_snapshot(s.id, gone.id, false)
        .await
        .unwrap();
    assert!(
        catalog
            .snapshot(s.id)
            .await
            .unwrap_err()
            .is(ErrorKind::NotFound)
    );
    for (failed, left) in [(true, Some(VolumeStatus::Error)), (false, None)] {
        catalog
            .begin_delete_volume(v.id, &delete, time(4))
            .await
            .unwrap();
        let e = catalog
            .begin_delete_volume(v.id, &delete, time(4))
            .await
            .unwrap_err();
        assert!(e.is(ErrorKind::Conflict), "it is deleting: {e}");
        catalog
            .finish_delete_volume(v.id, delete.id, failed, time(5))
            .await
            .unwrap();
        assert_eq!(catalog.volume(v.id).await.ok().map(|v| v.status), left);
    }
    assert!(catalog.jobs().await.unwrap().is_empty());

    // What was not made and left nothing is gone.
    let w = VolumeRecord {
        id: VolumeId::generate(),
        provider_location: None,
        ..v
    };
    let create = job(JobKind::CreateVolume).on_volume(w.id);
    catalog.begin_create_volume(&w, &create).await.unwrap();
    let end = catalog
        .finish_create_volume(w.id, create.id, &VolumeEnd::Gone, time(6))
        .await
        .unwrap();
    assert!(end.is_none());
    assert!(
        catalog
            .volume(w.id)
            .await
            .unwrap_err()
            .is(ErrorKind::NotFound)
    );
}

pub(super) async fn names_that_are_ambiguous_list_their_candidates(catalog: &dyn Catalog) {
    let one = volume(catalog, "data").await;
    let found = catalog.find_volume(None, "data").await.unwrap();
    assert_eq!(found, one);
    let id = one.id.to_string();
    assert_eq!(catalog.find_volume(None, &id).await.unwrap(), one);
    assert_eq!(
        catalog
            .find_volume(Some("project"), &id.to_uppercase())
            .await
            .unwrap(),
        one
    );
    for (scope, name) in [(Some("else"), "data"), (Some("else"), &*id), (None, "dat")] {
        let e = catalog.find_volume(scope, name).await.unwrap_err();
        assert!(e.is(ErrorKind::NotFound), "{e}");
    }
    let two = volume(catalog, "data").await;
    let e = catalog.find_volume(None, "data").await.unwrap_err();
    assert!(e.is(ErrorKind::InvalidInput), "{e}");
    for candidate in [&one, &two] {
        assert!(e.to_string().contains(&candidate.id.to_string()), "{e}");
    }
    let filter = VolumeFilter {
        name: Some("data".into()),
        ..VolumeFilter::default()
    };
    assert_eq!(catalog.volumes(&filter).await.unwrap().len(), 2);
}
