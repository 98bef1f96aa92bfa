use std::os::unix::fs::PermissionsExt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use backup_catalog_sql::SqliteCatalog;
use backup_core::catalog::conformance::{conformance, new_backup, outcome, time, volume};
use backup_core::catalog::{BackupEnd, BackupFilter, Catalog};
use backup_core::{BackupRecord, ErrorKind};
use sqlx::{ConnectOptions, Connection, Executor};

#[tokio::test]
async fn it_passes_the_suite() {
    let folder = tempfile::tempdir().unwrap();
    let number = AtomicU32::new(0);
    conformance(async || {
        let n = number.fetch_add(1, Ordering::SeqCst);
        let path = folder.path().join(format!("{n}.sqlite"));
        SqliteCatalog::open(path).await.unwrap()
    })
    .await;
}

#[tokio::test]
async fn what_was_stored_is_there_after_it_was_opened_again_and_only_its_owner_reads_it() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("catalogue.sqlite");
    let catalog = SqliteCatalog::open(&path).await.unwrap();
    let identity = catalog.identity().await.unwrap();
    let v = volume(&catalog, "v").await;
    let new = new_backup(&v, None, 1);
    catalog.begin_backup(&new).await.unwrap();
    for entry in std::fs::read_dir(folder.path()).unwrap() {
        let entry = entry.unwrap();
        let mode = entry.metadata().unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600, "{}", entry.path().display());
    }
    catalog.close().await;
    let catalog = SqliteCatalog::open(&path).await.unwrap();
    assert_eq!(catalog.identity().await.unwrap(), identity);
    assert_eq!(catalog.backup(new.record.id).await.unwrap(), new.record);
    let jobs = catalog.jobs().await.unwrap();
    assert_eq!(jobs[0].attach, new.job.attach);
}

#[tokio::test]
async fn a_catalogue_of_an_earlier_program_is_brought_up_to_date_and_keeps_its_records() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("catalogue.sqlite");
    let catalog = SqliteCatalog::open(&path).await.unwrap();
    let v = volume(&catalog, "v").await;
    let new = new_backup(&v, None, 1);
    catalog.begin_backup(&new).await.unwrap();
    catalog.close().await;
    let options = sqlx::sqlite::SqliteConnectOptions::new().filename(&path);
    let mut connection = options.connect().await.unwrap();
    // As the first schema was.
    connection
        .execute(
            "DROP INDEX backups_by_project_age; ALTER TABLE backups DROP COLUMN account; \
             PRAGMA user_version = 1",
        )
        .await
        .unwrap();
    connection.close().await.unwrap();

    let catalog = SqliteCatalog::open(&path).await.unwrap();
    let kept = BackupRecord {
        account: None,
        ..new.record.clone()
    };
    assert_eq!(catalog.backup(new.record.id).await.unwrap(), kept);
    let filter = BackupFilter {
        project: Some(new.record.project_id.clone()),
        ..BackupFilter::default()
    };
    assert_eq!(catalog.backups(&filter).await.unwrap().len(), 1);
    catalog.close().await;
    let mut connection = options.connect().await.unwrap();
    let plan = "EXPLAIN QUERY PLAN SELECT name FROM backups \
                WHERE deleted_at IS NULL AND project_id = 'p' ORDER BY created_at DESC, id DESC";
    let steps: Vec<(i64, i64, i64, String)> = sqlx::query_as(plan)
        .fetch_all(&mut connection)
        .await
        .unwrap();
    let steps: Vec<_> = steps.into_iter().map(|(_, _, _, step)| step).collect();
    assert_eq!(steps.len(), 1, "a list is read in its order: {steps:?}");
    assert!(steps[0].contains("backups_by_project_age"), "{steps:?}");
}

#[tokio::test]
async fn a_catalogue_of_a_later_program_and_a_file_that_is_none_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("catalogue.sqlite");
    SqliteCatalog::open(&path).await.unwrap().close().await;
    let mut connection = sqlx::sqlite::SqliteConnectOptions::new()
        .filename(&path)
        .connect()
        .await
        .unwrap();
    connection
        .execute("PRAGMA user_version = 99")
        .await
        .unwrap();
    connection.close().await.unwrap();
    let e = SqliteCatalog::open(&path).await.unwrap_err();
    assert!(
        e.is(ErrorKind::Unsupported) && e.to_string().contains("99"),
        "{e}"
    );

    let path = folder.path().join("text");
    std::fs::write(
        &path,
        "This is no database, but it is long enough to be one.".repeat(100),
    )
    .unwrap();
    let e = SqliteCatalog::open(&path).await.unwrap_err();
    assert!(e.is(ErrorKind::Corrupt) && e.hint_text().is_some(), "{e}");
}

/// Each with connections of its own, as processes have.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn many_openers_of_one_new_file_lose_nothing_and_see_no_lock() {
    const OPENERS: i64 = 6;
    const BACKUPS: i64 = 8;
    let folder = tempfile::tempdir().unwrap();
    let path = Arc::new(folder.path().join("catalogue.sqlite"));
    let workers: Vec<_> = (0..OPENERS)
        .map(|worker| {
            let path = Arc::clone(&path);
            tokio::spawn(async move {
                let catalog = SqliteCatalog::open(&*path).await.unwrap();
                let identity = catalog.identity().await.unwrap();
                let v = volume(&catalog, &format!("v{worker}")).await;
                let mut parent = None;
                for n in 0..BACKUPS {
                    let new = new_backup(&v, parent, n);
                    catalog.begin_backup(&new).await.unwrap();
                    catalog.backups(&BackupFilter::default()).await.unwrap();
                    let end = BackupEnd::Complete(outcome(v.length));
                    let (id, job) = (new.record.id, new.job.id);
                    catalog
                        .finish_backup(id, job, &end, true, time(n))
                        .await
                        .unwrap();
                    parent = Some(id);
                }
                identity
            })
        })
        .collect();
    let mut identities = Vec::new();
    for worker in workers {
        identities.push(worker.await.unwrap());
    }
    identities.dedup();
    assert_eq!(identities.len(), 1, "made once");
    let catalog = SqliteCatalog::open(&*path).await.unwrap();
    let all = catalog.backups(&BackupFilter::default()).await.unwrap();
    assert_eq!(all.len() as i64, OPENERS * BACKUPS);
    let tips = all.iter().filter(|b| b.num_dependent_backups == 0);
    assert_eq!(tips.count() as i64, OPENERS);
    assert!(catalog.jobs().await.unwrap().is_empty());
}
