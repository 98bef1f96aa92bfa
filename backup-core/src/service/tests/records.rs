//! Records that leave and come back, and repositories without records.

use super::world::{POSIX, World, change, named};
use crate::error::ErrorKind;
use crate::record::BackupStatus;
use crate::service::{ExportedRecord, FoundState, ScanRequest};
use crate::testing::MemoryRepository;

const NFS: &str = "cinder.backup.drivers.nfs.NFSBackupDriver";

/// A chain of two in a world, and an empty world over the same repository.
async fn two_worlds() -> (World, World) {
    let old = World::new().await;
    let v = old.volume("data", 200_000).await;
    old.full(&v).await;
    change(&old.device(&v));
    old.incremental(&v).await;
    let repositories = [named("rescued", NFS, &old.repository)];
    let new = World::over(&repositories, old.repository.clone()).await;
    (old, new)
}

#[tokio::test]
async fn exported_records_restore_elsewhere_imported_in_any_order() {
    let (old, new) = two_worlds().await;
    let [inc, full] = <[_; 2]>::try_from(old.backups().await).unwrap();
    let content = old.volumes.device(inc.volume_id).unwrap();
    for (imported, backup) in [&inc, &full].into_iter().enumerate() {
        let exported = old
            .service
            .export_record(&old.caller, &backup.id.to_string())
            .await
            .unwrap();
        assert_eq!(exported.backup_service, POSIX);
        let record = new
            .service
            .import_record(&new.caller, &exported, &new.cx)
            .await
            .unwrap();
        assert_eq!(
            (record.id, record.status),
            (backup.id, BackupStatus::Available)
        );
        assert_eq!(
            (record.repository.as_str(), record.service.as_str()),
            ("rescued", NFS)
        );
        assert_eq!(record.project_id, new.caller.project_id);
        let again = new.service.import_record(&new.caller, &exported, &new.cx);
        assert!(again.await.unwrap_err().is(ErrorKind::AlreadyExists));
        if imported == 0 {
            let e = new
                .restore(&inc, crate::service::RestoreTarget::New { name: None })
                .await
                .unwrap_err();
            assert!(e.is(ErrorKind::NotFound), "{e}");
            assert!(e.to_string().contains(&full.id.to_string()), "{e}");
        }
    }
    new.check(&inc, &content).await;
}

#[tokio::test]
async fn a_record_goes_to_the_one_repository_of_its_type_that_holds_it() {
    let (old, _) = two_worlds().await;
    let full = old.backups().await.pop().unwrap();
    let exported = old
        .service
        .export_record(&old.caller, &full.id.to_string())
        .await
        .unwrap();
    let empty = MemoryRepository::new();
    let import = async |repositories: &[_], record: &ExportedRecord| {
        let w = World::over(repositories, empty.clone()).await;
        w.service.import_record(&w.caller, record, &w.cx).await
    };
    let here = |name| named(name, POSIX, &old.repository);
    let there = named("there", POSIX, &empty);
    let swift = named(
        "swift",
        "cinder.backup.drivers.swift.SwiftBackupDriver",
        &old.repository,
    );

    let found = import(&[there.clone(), here("here"), swift.clone()], &exported).await;
    assert_eq!(found.unwrap().repository, "here");
    let e = import(&[there], &exported).await.unwrap_err();
    assert!(
        e.is(ErrorKind::NotFound) && e.to_string().contains("there"),
        "{e}"
    );
    let e = import(&[swift], &exported).await.unwrap_err();
    assert!(e.is(ErrorKind::NotFound), "{e}");
    let e = import(&[here("one"), here("two")], &exported)
        .await
        .unwrap_err();
    assert!(
        e.is(ErrorKind::Conflict) && e.to_string().contains("one, two"),
        "{e}"
    );
    let junk = ExportedRecord {
        backup_url: "bm8ganNvbg==".into(),
        ..exported
    };
    let e = import(&[here("here")], &junk).await.unwrap_err();
    assert!(e.is(ErrorKind::InvalidInput), "{e}");
}

#[tokio::test]
async fn a_scan_brings_the_records_back_after_the_catalogue_was_lost() {
    let (old, new) = two_worlds().await;
    let [inc, full] = <[_; 2]>::try_from(old.backups().await).unwrap();
    let scan = async |w: &World, import: bool| {
        let request = ScanRequest::new().import(import);
        let report = w.service.scan(&w.caller, &request, &w.cx).await.unwrap();
        assert!(report.broken.is_empty());
        let ids: Vec<_> = report.found.iter().map(|f| f.backup.id).collect();
        assert_eq!(ids, [full.id, inc.id], "parents first");
        assert!(report.found.iter().all(|f| f.missing_parent.is_none()));
        report
            .found
            .into_iter()
            .map(|f| f.state)
            .collect::<Vec<_>>()
    };
    let twice = |state: FoundState| vec![state.clone(), state];
    assert_eq!(scan(&old, true).await, twice(FoundState::Known));
    assert_eq!(scan(&new, false).await, twice(FoundState::Missing));
    assert!(new.backups().await.is_empty());
    assert_eq!(scan(&new, true).await, twice(FoundState::Imported));
    assert_eq!(scan(&new, true).await, twice(FoundState::Known));

    let mine = crate::catalog::BackupFilter::of_project(&new.caller.project_id);
    let listed = new.service.list_backups(&new.caller, &mine).await.unwrap();
    assert_eq!(listed.len(), 2, "they belong to who imported them");
    assert_eq!(listed[0].volume_length, inc.volume_length);
    assert_eq!(listed[1].name, full.name);
    new.check(&inc, &old.volumes.device(inc.volume_id).unwrap())
        .await;
}

#[tokio::test]
async fn a_scan_tells_what_is_broken_and_which_parent_is_missing() {
    let (old, new) = two_worlds().await;
    let [inc, full] = <[_; 2]>::try_from(old.backups().await).unwrap();
    let metadata = full.location.unwrap().metadata().to_string();
    assert!(old.repository.damage(&metadata, |bytes| bytes.truncate(40)));
    let request = ScanRequest::new().import(true);
    let report = new
        .service
        .scan(&new.caller, &request, &new.cx)
        .await
        .unwrap();
    assert_eq!(report.broken.len(), 1);
    assert!(
        metadata.contains(&report.broken[0].object) || report.broken[0].object.contains(&metadata)
    );
    assert_eq!(report.found.len(), 1);
    assert_eq!(report.found[0].backup.id, inc.id);
    assert_eq!(report.found[0].missing_parent, Some(full.id));
}
