//! The settings of a repository of `type = "nfs"`.

use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};

/// Cinder's driver class for an export.
const SERVICE: &str = "cinder.backup.drivers.nfs.NFSBackupDriver";

/// Where shares are mounted.
const MOUNT_POINT_BASE: &str = "/var/lib/ashlar/mount";

/// Who speaks NFS with the server.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum Client {
    /// The kernel: the share is mounted, which needs root.
    #[default]
    Kernel,
    /// This process itself: nothing is mounted, and no right of root is needed where the export takes ports above 1023.
    Userspace,
}

/// Which export it is, and how it is reached.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct NfsConfig {
    /// The server and the export: `server:/export`, `[2001:db8::1]:/export`; see [`Share`](crate::Share). As Cinder's
    /// `backup_share`: the mount point's name is made of this very text.
    pub share: String,
    /// A folder of the export that is the repository's root. It must be there. Without it: the export's root, as with
    /// Cinder. In a configuration it is called `folder`.
    #[serde(default, rename = "folder")]
    pub path: Option<PathBuf>,
    /// Who speaks NFS with the server.
    #[serde(default)]
    pub client: Client,
    /// Kernel: what `mount -o` is given, `vers=4.2,softerr`. Without it: see docs/nfs.md. Userspace: of the same options
    /// `vers` (4.1 or 3), `port`, `mountport` and `noresvport` are heeded.
    #[serde(default)]
    pub mount_options: Option<String>,
    /// Kernel: the folder that mount points are made in. Cinder's is `/var/lib/cinder/backup_mount`; with that one both
    /// share a mount.
    #[serde(default = "mount_point_base")]
    pub mount_point_base: PathBuf,
    /// Kernel: how often a mount is tried.
    #[serde(default = "mount_attempts")]
    pub mount_attempts: u32,
    /// Cinder's driver class, recorded as `backup_service`.
    #[serde(default = "service")]
    pub service: String,
    /// How long a call may go without the server's answer, in seconds, beyond one second for each MiB that it moves. It
    /// then ends with [`Timeout`](backup_core::ErrorKind::Timeout). Longer than a mount of the default options tries,
    /// so that a server that starts anew is waited for, and a mount that waits for ever is not.
    #[serde(default = "timeout_seconds")]
    pub timeout_seconds: u64,
}

fn mount_point_base() -> PathBuf {
    MOUNT_POINT_BASE.into()
}

fn mount_attempts() -> u32 {
    3
}

fn service() -> String {
    SERVICE.into()
}

fn timeout_seconds() -> u64 {
    300
}

impl NfsConfig {
    /// The export `share` with defaults for all else.
    pub fn new(share: impl Into<String>) -> Self {
        Self {
            share: share.into(),
            path: None,
            client: Client::default(),
            mount_options: None,
            mount_point_base: mount_point_base(),
            mount_attempts: mount_attempts(),
            service: service(),
            timeout_seconds: timeout_seconds(),
        }
    }

    /// What it is, for messages: the share, and the folder in it.
    pub fn place(&self) -> String {
        match &self.path {
            Some(path) => format!("{}/{}", self.share.trim_end_matches('/'), path.display()),
            None => self.share.clone(),
        }
    }

    /// By this client.
    pub fn with_client(mut self, client: Client) -> Self {
        self.client = client;
        self
    }

    /// With the repository's root in this folder of the export.
    pub fn with_path(mut self, path: impl Into<PathBuf>) -> Self {
        self.path = Some(path.into());
        self
    }

    /// With these options of `mount -o`.
    pub fn with_mount_options(mut self, options: impl Into<String>) -> Self {
        self.mount_options = Some(options.into());
        self
    }

    /// With mount points in this folder.
    pub fn with_mount_point_base(mut self, folder: impl Into<PathBuf>) -> Self {
        self.mount_point_base = folder.into();
        self
    }

    /// With this time for a call beyond one second for each MiB.
    pub fn with_timeout(mut self, time: Duration) -> Self {
        self.timeout_seconds = time.as_secs().max(1);
        self
    }
}
