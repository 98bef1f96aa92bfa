//! Settings of the provider of volumes.

use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::cluster::ClusterConfig;

/// The table `[volumes]` with `provider = "rbd"`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
#[non_exhaustive]
pub struct RbdVolumesConfig {
    /// The pool of the volumes: `pool` or `pool/namespace`.
    pub pool: String,
    /// Ceph's configuration file.
    pub conf: PathBuf,
    /// The user, without `client.`.
    pub user: String,
    /// The user's keyring, where Ceph's configuration does not name it.
    pub keyring: Option<PathBuf>,
    /// Seconds that connecting may take.
    pub connect_timeout: u64,
    /// Seconds that a call may take; long ones may take more.
    pub timeout: u64,
    /// How many of its own snapshots a volume keeps for incrementals; 0: all, so that none is ever removed.
    pub max_snapshots: usize,
    /// Whether object maps are believed when they call an object untouched: see [`RbdChanges`](crate::RbdChanges).
    pub fast_diff: bool,
}

impl Default for RbdVolumesConfig {
    fn default() -> Self {
        Self {
            pool: "volumes".into(),
            conf: "/etc/ceph/ceph.conf".into(),
            user: "cinder".into(),
            keyring: None,
            connect_timeout: 30,
            timeout: 120,
            max_snapshots: 2,
            fast_diff: false,
        }
    }
}

impl RbdVolumesConfig {
    /// The defaults, for `pool`.
    pub fn new(pool: impl Into<String>) -> Self {
        Self {
            pool: pool.into(),
            ..Self::default()
        }
    }

    /// How the cluster is reached.
    pub fn cluster(&self) -> ClusterConfig {
        ClusterConfig {
            keyring: self.keyring.clone(),
            connect_timeout: Duration::from_secs(self.connect_timeout.max(1)),
            timeout: Duration::from_secs(self.timeout.max(1)),
            ..ClusterConfig::new(&self.conf, &self.user)
        }
    }
}
