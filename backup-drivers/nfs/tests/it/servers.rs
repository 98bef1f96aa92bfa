//! The real servers, and what tests need of a repository.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;
use std::{env, fs};

use backup_core::{ContainerName, Listed, ObjectKey, PutMode, Repository, Result};
use backup_nfs::{Client, NfsConfig};
use backup_posix::{PosixConfig, PosixRepository};
use bytes::{Bytes, BytesMut};
use futures::TryStreamExt;

/// Versions of the protocol that the client without a mount speaks.
pub(crate) const VERSIONS: [&str; 2] = ["4.1", "3"];

/// A running server.
#[derive(Debug, Clone)]
pub(crate) struct Server {
    pub(crate) port: u16,
    pub(crate) mount_port: u16,
    /// The folder that it exports as `/export`.
    pub(crate) folder: PathBuf,
    /// A small filesystem that it exports as `/small`.
    pub(crate) small: Option<PathBuf>,
    /// Whether it is Linux's own server, not nfs-ganesha: some refusals are told otherwise.
    pub(crate) is_linux: bool,
}

/// The server that all tests share, where one runs.
pub(crate) fn ganesha() -> Option<Server> {
    let named = |variable: &str| env::var(variable).ok().filter(|v| !v.is_empty());
    let Some(port) = named("ASHLAR_TEST_NFS_PORT") else {
        println!(
            "skipped: ASHLAR_TEST_NFS_PORT is not set; scripts/servers/nfs/with-servers sets it"
        );
        return None;
    };
    Some(Server {
        port: port.parse().unwrap(),
        mount_port: named("ASHLAR_TEST_NFS_MOUNT_PORT")
            .unwrap()
            .parse()
            .unwrap(),
        folder: named("ASHLAR_TEST_NFS_FOLDER").unwrap().into(),
        small: named("ASHLAR_TEST_NFS_SMALL").map(PathBuf::from),
        is_linux: named("ASHLAR_TEST_NFS_SERVER").as_deref() == Some("linux"),
    })
}

impl Server {
    /// Options by which it is reached with this version, from a port above 1023.
    pub(crate) fn options(&self, version: &str) -> String {
        format!(
            "vers={version},port={},mountport={},noresvport",
            self.port, self.mount_port
        )
    }

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

/// A server of one test's own, ended with it.
pub(crate) struct Ganesha {
    folder: tempfile::TempDir,
    grace: Option<&'static str>,
}

impl Ganesha {
    /// With this many seconds of grace time after each start but the first. `None` where no server is to run.
    pub(crate) fn start(grace: Option<&'static str>) -> Option<Self> {
        ganesha()?;
        let own = Self {
            folder: tempfile::tempdir().unwrap(),
            grace,
        };
        own.script("start", None);
        Some(own)
    }

    pub(crate) fn kill(&self) {
        self.script("kill", None);
    }

    pub(crate) fn start_again(&self) {
        self.script("start", self.grace);
    }

    fn script(&self, command: &str, grace: Option<&str>) {
        let script = concat!(
            env!("CARGO_MANIFEST_DIR"),
            "/../../scripts/servers/nfs/ganesha"
        );
        let mut run = Command::new(script);
        run.arg(command).arg(self.folder.path().join("ganesha"));
        if let Some(grace) = grace {
            run.env("GANESHA_GRACE", grace);
        }
        let done = run.output().unwrap();
        assert!(done.status.success(), "{command}: {done:?}");
    }

    pub(crate) fn server(&self) -> Server {
        let folder = self.folder.path().join("ganesha");
        let ports = fs::read_to_string(folder.join("ports")).unwrap();
        let mut ports = ports.split_whitespace().map(|p| p.parse().unwrap());
        Server {
            port: ports.next().unwrap(),
            mount_port: ports.next().unwrap(),
            small: None,
            is_linux: false,
            folder: folder.join("export"),
        }
    }
}

impl Ganesha {
    /// Ends it, and removes what it kept.
    pub(crate) fn end(&self) {
        self.script("destroy", None);
    }
}

impl Drop for Ganesha {
    fn drop(&mut self) {
        // An end that a failed test did not come to.
        if self.folder.path().join("ganesha").exists() {
            self.end();
        }
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
