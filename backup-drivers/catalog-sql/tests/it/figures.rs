//! Figures for docs, by hand: `cargo test --release -p backup-catalog-sql -- --ignored --nocapture figures`.

use std::time::Instant;

use backup_catalog_sql::SqliteCatalog;
use backup_core::Catalog;
use backup_core::catalog::conformance::{new_backup, outcome, time, volume};
use backup_core::catalog::{BackupEnd, BackupFilter};

#[tokio::test]
#[ignore = "measures"]
async fn figures() {
    let folder = tempfile::tempdir_in(std::env::var("FIGURES_DIR").unwrap_or_else(|_| ".".into()));
    let path = folder.as_ref().unwrap().path().join("catalogue.sqlite");
    let start = Instant::now();
    let catalog = SqliteCatalog::open(&path).await.unwrap();
    println!("first open, makes the schema: {:?}", start.elapsed());

    let v = volume(&catalog, "v").await;
    let (mut begin, mut finish) = (Vec::new(), Vec::new());
    for n in 0..50 {
        let new = new_backup(&v, None, n);
        let start = Instant::now();
        catalog.begin_backup(&new).await.unwrap();
        begin.push(start.elapsed());
        let end = BackupEnd::Complete(outcome(1));
        let start = Instant::now();
        let (id, job) = (new.record.id, new.job.id);
        catalog
            .finish_backup(id, job, &end, true, time(n))
            .await
            .unwrap();
        finish.push(start.elapsed());
    }
    begin.sort();
    finish.sort();
    println!(
        "median of 50: begin {:?}, finish {:?}",
        begin[25], finish[25]
    );

    let mut parent = None;
    for n in 50..10_000 {
        let record = new_backup(&v, parent, n).record;
        catalog.import_backup(&record, time(n)).await.unwrap();
        parent = (n % 100 != 0).then_some(record.id);
    }
    catalog.close().await;
    for _ in 0..3 {
        let start = Instant::now();
        let catalog = SqliteCatalog::open(&path).await.unwrap();
        let open = start.elapsed();
        let start = Instant::now();
        catalog.jobs().await.unwrap();
        catalog.identity().await.unwrap();
        let small = start.elapsed();
        let start = Instant::now();
        let listed = catalog
            .backups(&BackupFilter::of_project("project"))
            .await
            .unwrap();
        println!(
            "open {open:?}, jobs and identity {small:?}, list of {} backups {:?}",
            listed.len(),
            start.elapsed()
        );
        let start = Instant::now();
        let chain = catalog.chain(parent.unwrap()).await.unwrap();
        println!("chain of {}: {:?}", chain.len(), start.elapsed());
    }
}
