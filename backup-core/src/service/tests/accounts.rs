//! Accounts of users: a backup is looked for, and above all called deleted, only in the account that holds it.

use super::world::{World, change, named};
use crate::catalog::{BackupChange, Catalog};
use crate::error::ErrorKind;
use crate::record::{BackupRecord, BackupStatus};
use crate::repository::{Layout, Repository};
use crate::service::{
    BackupService, CreateRequest, FoundState, NamedRepository, RestoreRequest, ScanRequest,
};
use crate::testing::MemoryRepository;

const SWIFT: &str = "cinder.backup.drivers.swift.SwiftBackupDriver";
const MINE: &str = "http://swift/v1/AUTH_mine";
const THEIRS: &str = "http://swift/v1/AUTH_theirs";

/// A repository of an account of its own.
fn of_account(name: &str, account: &str, repository: &MemoryRepository) -> NamedRepository {
    NamedRepository {
        account: Some(account.into()),
        ..named(name, SWIFT, repository)
    }
}

#[tokio::test]
async fn a_backup_in_a_users_own_account_is_looked_for_and_deleted_there_alone() {
    let mine = MemoryRepository::new();
    let repositories = [of_account("users", MINE, &mine)];
    let old = World::over(&repositories, mine.clone()).await;
    let v = old.volume("data", 200_000).await;
    let full = old.full(&v).await;
    assert_eq!(full.account.as_deref(), Some(MINE));
    let id = full.id.to_string();
    let exported = old.service.export_record(&old.caller, &id).await.unwrap();

    // Both hold the same names, as accounts do that all have a container `volumebackups`.
    let import = async |repositories: &[_]| {
        let w = World::over(repositories, mine.clone()).await;
        w.service.import_record(&w.caller, &exported, &w.cx).await
    };
    let theirs = of_account("theirs", THEIRS, &mine);
    // The server has another name by now; the account is the same.
    let moved = of_account(
        "moved",
        "https://swift.example.org:443/v1/AUTH_mine/",
        &mine,
    );
    let found = import(&[theirs.clone(), moved]).await.unwrap();
    assert_eq!(found.repository, "moved");
    assert_eq!(
        found.account.as_deref(),
        Some("https://swift.example.org:443/v1/AUTH_mine/")
    );
    let e = import(&[theirs]).await.unwrap_err();
    assert!(e.is(ErrorKind::NotFound), "{e}");
    assert!(e.to_string().contains(MINE), "{e}");

    // The settings name another account by now: what is missing there is not gone.
    let other = [of_account("users", THEIRS, &MemoryRepository::new())];
    let new = old.with_repositories(&other);
    let delete = new.delete_backup(&old.caller, &id, false, &old.cx);
    let e = delete.await.unwrap_err();
    assert!(e.is(ErrorKind::Conflict), "{e}");
    assert!(
        e.to_string().contains(MINE) && e.to_string().contains(THEIRS),
        "{e}"
    );
    assert!(e.hint_text().unwrap().contains("storage_url"), "{e:?}");
    let verify = new.verify_backup(&old.caller, &id, &old.cx);
    assert!(verify.await.unwrap_err().is(ErrorKind::Conflict));
    let still = new.show_backup(&old.caller, &id).await.unwrap();
    assert_eq!(still.status, BackupStatus::Available);
    old.service
        .delete_backup(&old.caller, &id, false, &old.cx)
        .await
        .unwrap();
}

/// A repository whose settings name no account, in one that it tells when it is asked, or in none.
fn of_one_user(
    name: &str,
    account: Option<&str>,
    repository: &MemoryRepository,
) -> NamedRepository {
    let layout = Layout {
        account: account.map(str::to_owned),
        ..repository.layout()
    };
    named(name, SWIFT, &repository.clone().with_layout(layout))
}

/// A world with a full backup in the account `MINE`.
async fn of_mine() -> (World, BackupRecord) {
    let mine = MemoryRepository::new();
    let w = World::over(&[of_account("users", MINE, &mine)], mine.clone()).await;
    let v = w.volume("data", 200_000).await;
    let full = w.full(&v).await;
    (w, full)
}

async fn delete(w: &World, service: &BackupService, id: &str, force: bool) -> ErrorKind {
    let deleted = service.delete_backup(&w.caller, id, force, &w.cx).await;
    let e = deleted.unwrap_err();
    assert!(!e.hint_text().unwrap_or_default().contains("http"), "{e:?}");
    e.kind()
}

#[tokio::test]
async fn a_repository_of_one_user_is_asked_for_its_account_before_anything_is_called_deleted() {
    let (w, full) = of_mine().await;
    let id = full.id.to_string();
    let empty = MemoryRepository::new();
    let other = w.with_repositories(&[of_one_user("users", Some(THEIRS), &empty)]);
    for force in [false, true] {
        assert_eq!(delete(&w, &other, &id, force).await, ErrorKind::Conflict);
    }
    let verify = other.verify_backup(&w.caller, &id, &w.cx).await;
    assert!(verify.unwrap_err().is(ErrorKind::Conflict));
    let request = RestoreRequest::of(&id);
    let restore = other.restore_backup(&w.caller, request, &w.cx).await;
    assert!(restore.unwrap_err().is(ErrorKind::Conflict));
    assert_eq!(w.catalog.backup(full.id).await.unwrap(), full);

    // The same account, as signing in tells it.
    let moved = Some("https://other/v1/AUTH_mine");
    let same = w.with_repositories(&[of_one_user("users", moved, &w.repository)]);
    same.delete_backup(&w.caller, &id, false, &w.cx)
        .await
        .unwrap();
    assert!(w.repository.objects().is_empty());
}

#[tokio::test]
async fn where_the_account_cannot_be_told_a_backup_that_is_not_found_stays_in_the_catalogue() {
    let (w, full) = of_mine().await;
    let id = full.id.to_string();
    let empty = MemoryRepository::new();
    let untold = w.with_repositories(&[of_one_user("users", None, &empty)]);
    assert_eq!(delete(&w, &untold, &id, false).await, ErrorKind::Conflict);
    assert_eq!(w.catalog.backup(full.id).await.unwrap(), full);
    // What is found can be deleted.
    let here = w.with_repositories(&[of_one_user("users", None, &w.repository)]);
    here.delete_backup(&w.caller, &id, false, &w.cx)
        .await
        .unwrap();
    assert!(w.repository.objects().is_empty());

    // And an administrator may say that nothing is left of it.
    let (w, full) = of_mine().await;
    let untold = w.with_repositories(&[of_one_user("users", None, &empty)]);
    let id = full.id.to_string();
    untold
        .delete_backup(&w.caller, &id, true, &w.cx)
        .await
        .unwrap();
    assert!(w.backups().await.is_empty());
}

#[tokio::test]
async fn a_committed_backup_is_not_taken_for_unfinished_in_another_account() {
    let mine = MemoryRepository::new();
    let w = World::over(&[of_account("users", MINE, &mine)], mine.clone()).await;
    let v = w.volume("data", 200_000).await;
    w.volumes.stall_undos(true);
    let request = CreateRequest::of(v.id.to_string());
    let create = w.service.create_backup(&w.caller, request, &w.cx);
    let ended = tokio::time::timeout(std::time::Duration::from_millis(300), create).await;
    assert!(ended.is_err(), "it waits for its detaching");
    w.volumes.stall_undos(false);

    let empty = MemoryRepository::new();
    for account in [Some(THEIRS), None] {
        let other = w.with_repositories(&[of_one_user("users", account, &empty)]);
        let recovered = other.recover(&w.cx).await.unwrap();
        assert_eq!(recovered.settled.len(), 1);
        assert!(recovered.settled[0].error.is_some(), "{account:?}");
        assert_eq!(w.backups().await[0].status, BackupStatus::Creating);
    }
    let recovered = w.service.recover(&w.cx).await.unwrap();
    assert_eq!(recovered.settled[0].error, None);
    let full = w.backups().await.remove(0);
    assert_eq!(full.status, BackupStatus::Available);
    w.check(&full, &w.device(&v)).await;
}

#[tokio::test]
async fn a_record_that_names_no_account_gets_it_once_its_backup_was_seen_there() {
    for seen_by in ["verify", "restore", "scan", "delete"] {
        // As an earlier program made it.
        let mine = MemoryRepository::new();
        let w = World::over(&[named("users", SWIFT, &mine)], mine.clone()).await;
        let v = w.volume("data", 200_000).await;
        let full = w.full(&v).await;
        assert_eq!(full.account, None);
        let id = full.id.to_string();

        // In another account it is not, and that says nothing.
        let other = w.with_repositories(&[of_account("users", THEIRS, &MemoryRepository::new())]);
        assert_eq!(delete(&w, &other, &id, false).await, ErrorKind::Conflict);
        let verify = other.verify_backup(&w.caller, &id, &w.cx).await;
        assert!(!verify.unwrap().report.data_is_right());
        assert_eq!(w.catalog.backup(full.id).await.unwrap(), full);

        let right = w.with_repositories(&[of_account("users", MINE, &mine)]);
        match seen_by {
            "verify" => {
                let verified = right.verify_backup(&w.caller, &id, &w.cx).await.unwrap();
                assert!(verified.report.data_is_right());
            }
            "restore" => {
                let request = RestoreRequest::of(&id);
                right
                    .restore_backup(&w.caller, request, &w.cx)
                    .await
                    .unwrap();
            }
            "scan" => {
                let request = ScanRequest::new();
                let scan = right.scan(&w.caller, &request, &w.cx);
                let found = scan.await.unwrap().found;
                assert_eq!(found[0].state, FoundState::Known);
                assert_eq!(found[0].backup.account.as_deref(), Some(MINE));
            }
            _ => {
                right
                    .delete_backup(&w.caller, &id, false, &w.cx)
                    .await
                    .unwrap();
                assert!(mine.objects().is_empty() && w.backups().await.is_empty());
                continue;
            }
        }
        let known = w.catalog.backup(full.id).await.unwrap();
        assert_eq!(known.account.as_deref(), Some(MINE), "{seen_by}");
    }
}

#[tokio::test]
async fn a_scan_of_another_account_takes_a_copy_there_for_a_copy() {
    let (w, full) = of_mine().await;
    let theirs = w.with_repositories(&[of_account("users", THEIRS, &w.repository)]);
    let request = ScanRequest::new();
    let scan = theirs.scan(&w.caller, &request, &w.cx);
    let found = scan.await.unwrap().found;
    assert_eq!(
        found[0].state,
        FoundState::Elsewhere(format!("users: {MINE}"))
    );
    assert_eq!(w.catalog.backup(full.id).await.unwrap(), full);
}

#[tokio::test]
async fn an_incremental_needs_its_parent_in_the_account_and_a_restore_all_layers() {
    let (w, full) = of_mine().await;
    let v = w.catalog.volume(full.volume_id).await.unwrap();
    change(&w.device(&v));
    let other = w.with_repositories(&[of_account("users", THEIRS, &MemoryRepository::new())]);
    let request = CreateRequest::of(v.id.to_string()).incremental(true);
    let made = other.create_backup(&w.caller, request, &w.cx).await;
    assert!(made.unwrap_err().is(ErrorKind::Conflict));
    assert_eq!(w.backups().await.len(), 1, "no record was made");
    w.assert_quiet().await;

    let incremental = w.incremental(&v).await;
    let elsewhere = BackupChange {
        account: Some(THEIRS.into()),
        ..BackupChange::default()
    };
    let now = crate::timestamp::Timestamp::now();
    w.catalog
        .update_backup(full.id, &elsewhere, now)
        .await
        .unwrap();
    let request = RestoreRequest::of(incremental.id.to_string());
    let restore = w.service.restore_backup(&w.caller, request, &w.cx).await;
    assert!(restore.unwrap_err().is(ErrorKind::Conflict));
}
