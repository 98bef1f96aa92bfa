use std::sync::Arc;

use backup_core::testing::{ConformanceOptions, conformance};
use backup_posix::{PosixConfig, PosixRepository, Sync};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_folder_keeps_every_promise_of_a_repository() {
    let folder = tempfile::tempdir().unwrap();
    let repository = Arc::new(super::open(folder.path()));
    let options = ConformanceOptions::default().with_cleared_leftovers();
    let passed = conformance(repository, options).await.unwrap();
    assert!(passed.len() > 30, "{passed:#?}");
    let left: Vec<_> = walk(folder.path());
    assert!(left.is_empty(), "files left behind: {left:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_folder_that_never_syncs_keeps_every_promise_but_durability() {
    let folder = tempfile::tempdir().unwrap();
    let config = PosixConfig::new(folder.path()).with_sync(Sync::Never);
    let repository = Arc::new(PosixRepository::open(&config).unwrap());
    conformance(repository, ConformanceOptions::default())
        .await
        .unwrap();
}

fn walk(path: &std::path::Path) -> Vec<std::path::PathBuf> {
    let mut files = Vec::new();
    for entry in std::fs::read_dir(path).unwrap() {
        let entry = entry.unwrap();
        if entry.file_type().unwrap().is_dir() {
            files.extend(walk(&entry.path()));
        } else {
            files.push(entry.path());
        }
    }
    files
}
