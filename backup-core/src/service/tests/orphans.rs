use std::time::Duration;

use super::world::World;
use crate::error::ErrorKind;
use crate::id::{ContainerName, ObjectKey};
use crate::orphan::OrphanKind;
use crate::repository::Repository;
use crate::service::{Caller, OrphanRequest, OrphanState};
use crate::volume::BackupSnapshot;

const LOST: &str = "volume_6841e3d1-8a1a-4496-bc51-f7c04b787e8f_20260101000000_backup_83dadb43-2aa9-4c0b-bc05-a12203a8f4cb";

fn now() -> OrphanRequest {
    OrphanRequest::new().older_than(Duration::ZERO)
}

#[tokio::test]
async fn objects_without_metadata_and_record_are_removed_once_they_are_old() {
    let world = World::new().await;
    let volume = world.volume("v", 300_000).await;
    let backup = world.full(&volume).await;
    let before = world.repository.objects();
    for end in ["-00001", "-00002", "_sha256file"] {
        let name = format!("{LOST}{end}");
        world.repository.plant("83/da/x", &name, "12345").unwrap();
    }
    // A day is not over yet.
    let request = OrphanRequest::new().remove(true);
    let report = world
        .service
        .orphans(&world.caller, &request, &world.cx)
        .await
        .unwrap();
    assert_eq!((report.found.len(), report.left_alone), (0, 1));

    let report = world
        .service
        .orphans(&world.caller, &now(), &world.cx)
        .await
        .unwrap();
    assert_eq!(report.found.len(), 1);
    let orphan = &report.found[0].orphan;
    assert_eq!((orphan.objects, orphan.size), (3, Some(15)));
    assert!(
        matches!(&orphan.kind, OrphanKind::Backup { location, .. } if location.prefix.as_str() == LOST)
    );
    assert_eq!(report.found[0].state, OrphanState::Found);

    let request = now().remove(true);
    let report = world
        .service
        .orphans(&world.caller, &request, &world.cx)
        .await
        .unwrap();
    assert_eq!(report.found[0].state, OrphanState::Removed);
    assert_eq!(world.repository.objects(), before, "{}", backup.id);
}

#[tokio::test]
async fn what_has_a_record_or_metadata_is_no_orphan() {
    let world = World::new().await;
    let volume = world.volume("v", 300_000).await;
    let recorded = world.full(&volume).await;
    let unknown = world.full(&volume).await;
    // The record's metadata is lost: that is damage, and not ours to tidy away.
    let location = recorded.location.clone().unwrap();
    assert!(world.repository.remove(&location.metadata().to_string()));
    // The other backup is whole, and the catalogue does not know it.
    let other = World::over(
        &[super::world::named(
            "default",
            super::world::POSIX,
            &world.repository,
        )],
        world.repository.clone(),
    )
    .await;
    let report = world
        .service
        .orphans(&world.caller, &now(), &world.cx)
        .await
        .unwrap();
    assert_eq!((report.found.len(), report.left_alone), (0, 1));
    let report = other
        .service
        .orphans(&other.caller, &now(), &other.cx)
        .await
        .unwrap();
    assert_eq!(report.found.len(), 1, "only what lost its metadata");
    let OrphanKind::Backup { id, .. } = &report.found[0].orphan.kind else {
        panic!("{report:?}");
    };
    assert_eq!(*id, recorded.id);
    assert_ne!(*id, unknown.id);
}

#[tokio::test]
async fn a_backup_whose_metadata_came_after_the_look_is_kept() {
    let world = World::new().await;
    let container = "83/da/x";
    world
        .repository
        .plant(container, &format!("{LOST}-00001"), "12345")
        .unwrap();
    let named = world.service.repository(None).unwrap();
    let found: Vec<_> = {
        use futures::TryStreamExt;
        let found = named.backup.orphans(None, &world.cx).await.unwrap();
        found.try_collect().await.unwrap()
    };
    world
        .repository
        .plant(container, &format!("{LOST}_metadata"), "{}")
        .unwrap();
    assert!(
        !named
            .backup
            .remove_orphan(&found[0], &world.cx)
            .await
            .unwrap()
    );
    assert_eq!(world.repository.objects().len(), 2);
}

#[tokio::test]
async fn an_unfinished_upload_is_told_and_removed() {
    let world = World::new().await;
    let container = ContainerName::new("c").unwrap();
    world.repository.ensure_container(&container).await.unwrap();
    let key = ObjectKey::new(&container, format!("{LOST}_metadata")).unwrap();
    let upload = world.repository.begin(&key, None).await.unwrap();
    // A killed process runs no destructor.
    std::mem::forget(upload);
    let request = now().remove(true);
    let report = world
        .service
        .orphans(&world.caller, &request, &world.cx)
        .await
        .unwrap();
    assert_eq!(report.found.len(), 1);
    assert_eq!(report.found[0].state, OrphanState::Removed);
    assert_eq!(world.repository.open_uploads(), 0);
}

#[tokio::test]
async fn only_an_administrator_may_look() {
    let world = World::new().await;
    let caller = Caller {
        is_admin: false,
        ..world.caller.clone()
    };
    let e = world
        .service
        .orphans(&caller, &now(), &world.cx)
        .await
        .unwrap_err();
    assert!(e.is(ErrorKind::PermissionDenied), "{e}");
}

#[tokio::test]
async fn a_volume_that_cannot_be_asked_for_its_snapshots_is_told_and_the_others_are_searched() {
    let w = World::new().await;
    let mut volumes = Vec::new();
    for name in ["one", "two", "three"] {
        volumes.push(w.volume(name, 10_000).await);
    }
    let needed = w.full(&volumes[2]).await;
    let gone = crate::id::BackupId::generate();
    for volume in &volumes {
        for backup in [gone, needed.id] {
            let name = format!("backup.{backup}.snap.1");
            let snapshot = BackupSnapshot::new(name, backup, None);
            w.volumes.leave_snapshot(volume.id, snapshot);
        }
    }
    w.volumes.silence(volumes[0].id);
    let report = w
        .service
        .orphan_snapshots(&w.caller, None, Duration::ZERO, true, &w.cx)
        .await
        .unwrap();
    let silent: Vec<_> = report.not_asked.iter().map(|(v, _)| v.id).collect();
    assert_eq!(silent, [volumes[0].id]);
    assert!(report.not_asked[0].1.is(ErrorKind::Unavailable));
    let mut found: Vec<_> = report.found.iter().map(|f| f.volume.id).collect();
    let mut others = vec![volumes[1].id, volumes[2].id];
    found.sort_unstable();
    others.sort_unstable();
    assert_eq!(found, others);
    for one in &report.found {
        assert_eq!(one.snapshot.backup, gone, "{one:?}");
        assert_eq!(one.state, OrphanState::Removed);
    }
}
