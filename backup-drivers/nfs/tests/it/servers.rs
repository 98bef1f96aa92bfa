//! The real servers, and what tests need of a repository.

use std::fs;
use std::ops::Deref;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use backup_core::{ContainerName, Listed, ObjectKey, PutMode, Repository, Result};
use backup_nfs::{Client, NfsConfig};
use backup_posix::{PosixConfig, PosixRepository};
use bytes::{Bytes, BytesMut};
use futures::TryStreamExt;

pub(crate) use nfs_servers::{Ganesha, VERSIONS};

/// A running server, and settings for it.
#[derive(Debug, Clone)]
pub(crate) struct Server(pub(crate) nfs_servers::Server);

impl Deref for Server {
    type Target = nfs_servers::Server;

    fn deref(&self) -> &Self::Target {
        &self.0
    }
}

/// The server that all tests share, where one runs.
pub(crate) fn ganesha() -> Option<Server> {
    nfs_servers::shared().map(Server)
}

impl Server {
    /// An export of it.
    pub(crate) fn config(&self, export: &str, version: &str) -> NfsConfig {
        NfsConfig::new(format!("127.0.0.1:{export}"))
            .with_client(Client::Userspace)
            .with_mount_options(self.options(version))
            .with_timeout(Duration::from_mins(1))
    }

    /// A folder of its own below `/export`, and the settings for it.
    pub(crate) fn place(&self, version: &str) -> (NfsConfig, PathBuf) {
        let name = fresh();
        let folder = self.folder.join(&name);
        fs::create_dir(&folder).unwrap();
        (self.config("/export", version).with_path(name), folder)
    }
}

/// A name that no other test has.
pub(crate) fn fresh() -> String {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let next = NEXT.fetch_add(1, Ordering::Relaxed);
    let time = backup_core::Timestamp::now().as_micros();
    format!("test-{time}-{}-{next}", std::process::id())
}

pub(crate) fn open(config: &NfsConfig) -> Arc<dyn Repository> {
    backup_nfs::open(config).unwrap_or_else(|e| panic!("{e}"))
}

/// The same files as a repository in a folder.
pub(crate) fn in_folder(folder: &Path) -> Arc<dyn Repository> {
    Arc::new(PosixRepository::open(&PosixConfig::new(folder)).unwrap())
}

pub(crate) fn container(name: &str) -> ContainerName {
    ContainerName::new(name).unwrap()
}

pub(crate) fn key(container: &ContainerName, name: &str) -> ObjectKey {
    ObjectKey::new(container, name).unwrap()
}

pub(crate) async fn put(repository: &dyn Repository, key: &ObjectKey, data: Bytes) {
    let put = repository.put(key, data, PutMode::Overwrite).await;
    put.unwrap_or_else(|e| panic!("{e}"));
}

pub(crate) async fn read(repository: &dyn Repository, key: &ObjectKey) -> Result<Bytes> {
    let mut body = repository.get(key, None).await?.body;
    let mut all = BytesMut::new();
    while let Some(piece) = body.try_next().await? {
        all.extend_from_slice(&piece);
    }
    Ok(all.freeze())
}

pub(crate) async fn list(repository: &dyn Repository, of: &ContainerName) -> Vec<Listed> {
    let stream = repository.list(of, "", None).await.unwrap();
    let mut all: Vec<Listed> = stream.try_collect().await.unwrap();
    all.sort_by(|a, b| a.name.cmp(&b.name));
    all
}

/// All files below a folder, by their paths in it.
pub(crate) fn files(folder: &Path) -> Vec<String> {
    fn walk(top: &Path, at: &Path, found: &mut Vec<String>) {
        for entry in fs::read_dir(at).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                walk(top, &path, found);
            } else {
                found.push(path.strip_prefix(top).unwrap().to_string_lossy().into());
            }
        }
    }
    let mut found = Vec::new();
    walk(folder, folder, &mut found);
    found.sort();
    found
}

/// Bytes that do not repeat, the same for each seed.
pub(crate) fn noise(length: usize, seed: u64) -> Bytes {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let words = std::iter::repeat_with(|| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()
    });
    words.flatten().take(length).collect()
}
