use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};

/// Cinder's driver class for a folder.
const SERVICE: &str = "cinder.backup.drivers.posix.PosixBackupDriver";

/// When what was written becomes durable.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Sync {
    /// A barrier and the completion of an upload return when all is durable.
    #[default]
    Barrier,
    /// Never asked for: a power cut may lose or damage backups that were told to be done. For tests, and for
    /// filesystems that lose everything anyway.
    Never,
}

/// Where the folder is, and how it is used.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct PosixConfig {
    /// The root folder. It must exist: a missing one is more often a missing mount than a new repository.
    pub path: PathBuf,
    /// When what was written becomes durable.
    #[serde(default)]
    pub sync: Sync,
    /// Cinder's driver class, recorded as `backup_service`.
    #[serde(default = "service")]
    pub service: String,
    /// How long a call may take beyond one second for each MiB, in seconds. A mount whose server is gone hangs; the
    /// call then ends with [`Timeout`](backup_core::ErrorKind::Timeout).
    #[serde(default = "timeout_seconds")]
    pub timeout_seconds: u64,
}

fn service() -> String {
    SERVICE.into()
}

fn timeout_seconds() -> u64 {
    120
}

impl PosixConfig {
    /// The folder at `path` with defaults for all else.
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self {
            path: path.into(),
            sync: Sync::default(),
            service: service(),
            timeout_seconds: timeout_seconds(),
        }
    }

    /// With another moment at which things become durable.
    pub fn with_sync(mut self, sync: Sync) -> Self {
        self.sync = sync;
        self
    }

    /// With another driver class of Cinder's: `cinder.backup.drivers.nfs.NFSBackupDriver` for a mounted export.
    pub fn with_service(mut self, service: impl Into<String>) -> Self {
        self.service = service.into();
        self
    }

    /// With this time for a call beyond one second for each MiB.
    pub fn with_timeout(mut self, time: Duration) -> Self {
        self.timeout_seconds = time.as_secs().max(1);
        self
    }
}
