//! The folder as a repository: the promises of every repository, and those that only a folder makes.
// Clippy takes only functions that are marked as tests for tests.
#![allow(clippy::unwrap_used, clippy::print_stdout)]

mod files;
mod hostile;
mod life;
mod limits;
mod promises;

use std::path::Path;

use backup_core::{ContainerName, ObjectKey, Repository};
use backup_posix::{PosixConfig, PosixRepository};
use futures::TryStreamExt;
use tempfile::TempDir;

fn open(path: &Path) -> PosixRepository {
    PosixRepository::open(&PosixConfig::new(path)).unwrap()
}

/// An empty repository with the container `c`.
async fn fresh() -> (TempDir, PosixRepository, ContainerName) {
    let folder = tempfile::tempdir().unwrap();
    let repository = open(folder.path());
    let container = ContainerName::new("c").unwrap();
    repository.ensure_container(&container).await.unwrap();
    (folder, repository, container)
}

fn key(container: &ContainerName, name: &str) -> ObjectKey {
    ObjectKey::new(container, name).unwrap()
}

async fn names(repository: &PosixRepository, container: &ContainerName) -> Vec<String> {
    let listed = repository.list(container, "", None).await.unwrap();
    let mut names: Vec<String> = listed.map_ok(|l| l.name).try_collect().await.unwrap();
    names.sort();
    names
}
