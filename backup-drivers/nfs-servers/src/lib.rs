//! The NFS servers that the tests of the driver and those of the command line stand on.
//!
//! `scripts/servers/nfs/with-servers` starts the one that all tests share, and names it by `ASHLAR_TEST_NFS_PORT` and
//! others; without it these tests print that they are skipped. `scripts/servers/nfs/ganesha` starts those that a test has
//! for itself, to kill them.
#![forbid(unsafe_code)]
// A test's support: what fails here fails the test, with its reason.
#![allow(
    clippy::unwrap_used,
    clippy::missing_panics_doc,
    clippy::must_use_candidate,
    clippy::print_stdout
)]

use std::path::PathBuf;
use std::process::Command;
use std::{env, fs};

/// Versions of the protocol that the client without a mount speaks.
pub const VERSIONS: [&str; 2] = ["4.1", "3"];

/// A running server.
#[derive(Debug, Clone)]
pub struct Server {
    /// Where it listens on 127.0.0.1.
    pub port: u16,
    /// Where its mount protocol listens.
    pub mount_port: u16,
    /// The folder that it exports as `/export`.
    pub folder: PathBuf,
    /// A small filesystem that it exports as `/small`.
    pub small: Option<PathBuf>,
    /// Whether it is Linux's own server, not nfs-ganesha: some refusals are told otherwise.
    pub is_linux: bool,
}

/// The server that all tests share, where one runs.
pub fn shared() -> Option<Server> {
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
    pub fn options(&self, version: &str) -> String {
        format!(
            "vers={version},port={},mountport={},noresvport",
            self.port, self.mount_port
        )
    }
}

/// A server of one test's own, ended with it.
#[derive(Debug)]
pub struct Ganesha {
    folder: tempfile::TempDir,
    grace: Option<&'static str>,
}

impl Ganesha {
    /// With so many seconds after each start but the first in which its clients may claim what they had, and nobody else
    /// is served. `None` where no server is to run.
    pub fn start(grace: Option<&'static str>) -> Option<Self> {
        shared()?;
        let own = Self {
            folder: tempfile::tempdir().unwrap(),
            grace,
        };
        own.script("start", None);
        Some(own)
    }

    /// Kills it. What it had on its disk stays.
    pub fn kill(&self) {
        self.script("kill", None);
    }

    /// Starts it again.
    pub fn start_again(&self) {
        self.script("start", self.grace);
    }

    /// Ends it, and removes what it kept.
    pub fn end(&self) {
        self.script("destroy", None);
    }

    /// How it is reached.
    pub fn server(&self) -> Server {
        let folder = self.folder.path().join("ganesha");
        let ports = fs::read_to_string(folder.join("ports")).unwrap();
        let mut ports = ports.split_whitespace().map(|p| p.parse().unwrap());
        Server {
            port: ports.next().unwrap(),
            mount_port: ports.next().unwrap(),
            folder: folder.join("export"),
            small: None,
            is_linux: false,
        }
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
}

impl Drop for Ganesha {
    fn drop(&mut self) {
        // An end that the test did not come to.
        if self.folder.path().join("ganesha").exists() {
            self.end();
        }
    }
}
