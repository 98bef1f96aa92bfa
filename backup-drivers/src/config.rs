//! What a configuration says of repositories and volumes, as serde reads it.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

/// A configured repository: the table `[repository.NAME]`, told apart by its `type`.
///
/// Types whose drivers are to come are recognised, so that a configuration may name them already; their settings are
/// read once their driver is there.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "lowercase")]
#[non_exhaustive]
pub enum RepositoryConfig {
    /// A directory.
    #[cfg(feature = "posix")]
    Posix(backup_posix::PosixConfig),
    /// A directory.
    #[cfg(not(feature = "posix"))]
    Posix,
    /// A directory of an NFS server.
    #[cfg(feature = "nfs")]
    Nfs(Box<backup_nfs::NfsConfig>),
    /// A directory of an NFS server.
    #[cfg(not(feature = "nfs"))]
    Nfs,
    /// Buckets of an S3 service.
    #[cfg(feature = "s3")]
    S3(Box<backup_s3::S3Config>),
    /// Buckets of an S3 service.
    #[cfg(not(feature = "s3"))]
    S3,
    /// Containers of OpenStack's object store.
    #[cfg(feature = "swift")]
    Swift(Box<backup_swift::SwiftConfig>),
    /// Containers of OpenStack's object store.
    #[cfg(not(feature = "swift"))]
    Swift,
    /// A pool of a Ceph cluster.
    #[cfg(feature = "rbd")]
    Ceph(Box<backup_rbd::CephConfig>),
    /// A pool of a Ceph cluster.
    #[cfg(not(feature = "rbd"))]
    Ceph,
}

impl RepositoryConfig {
    /// A repository in the directory `path`, which must be there.
    #[cfg(feature = "posix")]
    pub fn posix(path: impl Into<PathBuf>) -> Self {
        Self::Posix(backup_posix::PosixConfig::new(path))
    }

    /// The directory of a `posix` repository.
    pub fn folder(&self) -> Option<&Path> {
        match self {
            #[cfg(feature = "posix")]
            Self::Posix(config) => Some(&config.path),
            _ => None,
        }
    }

    /// Where it is, for people: a directory, or a server and a container. `None` where only its driver knows.
    pub fn place(&self) -> Option<String> {
        match self {
            #[cfg(feature = "posix")]
            Self::Posix(config) => Some(config.path.display().to_string()),
            #[cfg(feature = "nfs")]
            Self::Nfs(config) => Some(config.place()),
            #[cfg(feature = "s3")]
            Self::S3(config) => {
                let server = config.endpoint_url.as_deref().unwrap_or("Amazon S3");
                Some(format!(
                    "{} {}",
                    server.trim_end_matches('/'),
                    config.bucket
                ))
            }
            #[cfg(feature = "swift")]
            Self::Swift(config) => {
                let server = config.storage_url.as_deref().or(config.auth_url.as_deref());
                let server = server.unwrap_or("Swift").trim_end_matches('/');
                Some(format!("{server} {}", config.container))
            }
            #[cfg(feature = "rbd")]
            Self::Ceph(config) => Some(format!("{} {}", config.conf.display(), config.pool)),
            #[allow(unreachable_patterns, reason = "a build may have all drivers")]
            _ => None,
        }
    }

    /// The word of its `type`.
    pub fn kind(&self) -> &'static str {
        match self {
            #[cfg(feature = "posix")]
            Self::Posix(_) => "posix",
            #[cfg(not(feature = "posix"))]
            Self::Posix => "posix",
            #[cfg(feature = "nfs")]
            Self::Nfs(_) => "nfs",
            #[cfg(not(feature = "nfs"))]
            Self::Nfs => "nfs",
            #[cfg(feature = "s3")]
            Self::S3(_) => "s3",
            #[cfg(not(feature = "s3"))]
            Self::S3 => "s3",
            #[cfg(feature = "swift")]
            Self::Swift(_) => "swift",
            #[cfg(not(feature = "swift"))]
            Self::Swift => "swift",
            #[cfg(feature = "rbd")]
            Self::Ceph(_) => "ceph",
            #[cfg(not(feature = "rbd"))]
            Self::Ceph => "ceph",
        }
    }
}

/// What provides volumes: the table `[volumes]`, told apart by its `provider`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "provider", rename_all = "lowercase")]
#[non_exhaustive]
pub enum VolumesConfig {
    /// Image files in a directory, and image files and block devices anywhere.
    File {
        /// Where new volumes are made; the embedder's default where it is not set.
        path: Option<PathBuf>,
    },
    /// Images of a pool of a Ceph cluster.
    #[cfg(feature = "rbd")]
    Rbd(Box<backup_rbd::RbdVolumesConfig>),
    /// Images of a pool of a Ceph cluster.
    #[cfg(not(feature = "rbd"))]
    Rbd,
}

impl VolumesConfig {
    /// With `path` where none is set.
    pub fn with_default_path(self, default: &Path) -> Self {
        match self {
            Self::File { path } => Self::File {
                path: Some(path.unwrap_or_else(|| default.to_path_buf())),
            },
            other => other,
        }
    }
}

// By hand, since `provider` may be left out.
impl<'de> Deserialize<'de> for VolumesConfig {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        struct Table {
            #[serde(default)]
            provider: Option<String>,
            #[serde(flatten)]
            settings: serde_json::Map<String, serde_json::Value>,
        }
        #[derive(Deserialize)]
        #[serde(deny_unknown_fields)]
        struct FileTable {
            #[serde(default)]
            path: Option<PathBuf>,
        }
        let Table { provider, settings } = Table::deserialize(deserializer)?;
        let settings = serde_json::Value::Object(settings);
        let wrong = |e: serde_json::Error| serde::de::Error::custom(format!("[volumes]: {e}"));
        match provider.as_deref() {
            None | Some("file") => {
                let FileTable { path } = serde_json::from_value(settings).map_err(wrong)?;
                Ok(Self::File { path })
            }
            #[cfg(feature = "rbd")]
            Some("rbd") => Ok(Self::Rbd(Box::new(
                serde_json::from_value(settings).map_err(wrong)?,
            ))),
            #[cfg(not(feature = "rbd"))]
            Some("rbd") => Ok(Self::Rbd),
            Some(other) => Err(serde::de::Error::unknown_variant(other, &["file", "rbd"])),
        }
    }
}
