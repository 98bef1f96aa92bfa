//! The storage drivers behind one [`open`]: what a configuration names becomes a [`Store`].
//!
//! Each driver is a crate of its own and a feature of this one, so that an embedder of one of them compiles no other:
//!
//! | feature | crate | is |
//! | --- | --- | --- |
//! | `posix` | `backup-posix` | a repository in a directory, as Cinder's posix driver lays it out |
//! | `nfs` | `backup-nfs` | a repository on an NFS export, as Cinder's nfs driver lays it out |
//! | `s3` | `backup-s3` | a repository in S3 buckets, as Cinder's s3 driver lays it out |
//! | `swift` | `backup-swift` | a repository in Swift's containers, as Cinder's swift driver lays it out |
//! | `file` | `backup-file` | image files and block devices as volumes |
//! | `rbd` (not a default) | `backup-rbd` | images of Ceph RBD as volumes, and a repository in a pool, as Cinder's ceph driver lays it out; needs librbd |
//! | `catalog-sql` | `backup-catalog-sql` | the catalogue in SQLite |
//!
//! The configuration types are plain serde: they read from TOML, JSON or whatever else the embedder has.
//!
//! ```
//! # #[cfg(feature = "posix")]
//! # fn main() -> backup_core::Result<()> {
//! # let folder = std::env::temp_dir().join(format!("ashlar-doc-{}", std::process::id()));
//! # std::fs::create_dir_all(&folder).unwrap();
//! use backup_drivers::{RepositoryConfig, Store, open};
//!
//! let config = RepositoryConfig::posix(&folder);
//! match open(&config)? {
//!     Store::Objects(repository) => println!("{}", repository.describe()),
//!     Store::Images(_) => println!("a store of images"),
//!     _ => println!("a store of a kind that came later"),
//! }
//! # let _ = std::fs::remove_dir_all(&folder);
//! # Ok(())
//! # }
//! # #[cfg(not(feature = "posix"))]
//! # fn main() {}
//! ```
#![forbid(unsafe_code)]

mod config;

use std::sync::Arc;

use backup_core::{Catalog, Error, ErrorKind, ImageRepository, Repository, Result, VolumeProvider};

#[cfg(feature = "catalog-sql")]
pub use backup_catalog_sql as catalog_sql;
#[cfg(feature = "file")]
pub use backup_file as file;
#[cfg(feature = "nfs")]
pub use backup_nfs as nfs;
#[cfg(feature = "posix")]
pub use backup_posix as posix;
#[cfg(feature = "rbd")]
pub use backup_rbd as rbd;
#[cfg(feature = "s3")]
pub use backup_s3 as s3;
#[cfg(feature = "swift")]
pub use backup_swift as swift;
pub use config::{RepositoryConfig, VolumesConfig};

/// An open repository. The two kinds meet only at the engine: objects know nothing of blocks, images know extents and
/// snapshots.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum Store {
    /// Flat objects: a directory, an NFS export, Swift, S3.
    Objects(Arc<dyn Repository>),
    /// Images with snapshots: Ceph RBD.
    Images(Arc<dyn ImageRepository>),
}

/// Opens the repository that `config` names.
///
/// # Errors
/// [`Unsupported`](ErrorKind::Unsupported) for a type that this build has no driver for, else what the driver says.
pub fn open(config: &RepositoryConfig) -> Result<Store> {
    match config {
        #[cfg(feature = "posix")]
        RepositoryConfig::Posix(config) => Ok(Store::Objects(Arc::new(
            backup_posix::PosixRepository::open(config)?,
        ))),
        #[cfg(feature = "nfs")]
        RepositoryConfig::Nfs(config) => Ok(Store::Objects(backup_nfs::open(config)?)),
        #[cfg(feature = "s3")]
        RepositoryConfig::S3(config) => Ok(Store::Objects(Arc::new(backup_s3::S3Repository::new(
            config,
        )?))),
        #[cfg(feature = "swift")]
        RepositoryConfig::Swift(config) => Ok(Store::Objects(Arc::new(
            backup_swift::SwiftRepository::open(config)?,
        ))),
        #[cfg(feature = "rbd")]
        RepositoryConfig::Ceph(config) => Ok(Store::Images(Arc::new(
            backup_rbd::CephRepository::new(config)?,
        ))),
        #[cfg(not(feature = "rbd"))]
        RepositoryConfig::Ceph => Err(Error::new(ErrorKind::Unsupported, "open the repository")
            .because("this build has no Ceph")
            .hint("build it with --features rbd; that needs librbd-dev and librados-dev")),
        #[allow(unreachable_patterns, reason = "a build may have all drivers")]
        other => Err(not_in_this_build(other.kind())),
    }
}

/// Opens the provider of volumes that `config` names.
///
/// # Errors
/// [`Unsupported`](ErrorKind::Unsupported) for a provider that this build has no driver for, else what the driver says.
pub fn open_volumes(config: &VolumesConfig) -> Result<Arc<dyn VolumeProvider>> {
    match config {
        #[cfg(feature = "file")]
        VolumesConfig::File { path: Some(path) } => {
            Ok(Arc::new(backup_file::FileVolumes::new(path)?))
        }
        VolumesConfig::File { path: None } => Err(Error::invalid(
            "open the volumes",
            "the file provider has no `path`",
        )),
        #[cfg(not(feature = "file"))]
        VolumesConfig::File { .. } => Err(not_in_this_build("file")),
        #[cfg(feature = "rbd")]
        VolumesConfig::Rbd(config) => Ok(Arc::new(backup_rbd::RbdVolumes::new(
            config.as_ref().clone(),
        )?)),
        #[cfg(not(feature = "rbd"))]
        VolumesConfig::Rbd => Err(Error::new(ErrorKind::Unsupported, "open the volumes")
            .because("this build has no Ceph")
            .hint("build it with --features rbd; that needs librbd-dev and librados-dev")),
    }
}

/// Opens the catalogue at `url`, making it where it is missing: `sqlite:/path/to/file`.
///
/// # Errors
/// [`Unsupported`](ErrorKind::Unsupported) for a database that this build has no driver for, else what the driver says.
#[cfg_attr(not(feature = "catalog-sql"), expect(clippy::unused_async))]
pub async fn open_catalog(url: &str) -> Result<Arc<dyn Catalog>> {
    #[cfg(feature = "catalog-sql")]
    if let Some(path) = url.strip_prefix("sqlite:") {
        let path = path.strip_prefix("//").unwrap_or(path);
        return Ok(Arc::new(
            backup_catalog_sql::SqliteCatalog::open(path).await?,
        ));
    }
    // A URL may hold a password: only its scheme is told.
    let scheme = url.split(':').next().unwrap_or_default();
    Err(Error::new(ErrorKind::Unsupported, "open the catalogue")
        .because(format!(
            "a database of type {scheme:?} is not in this build yet"
        ))
        .hint("use sqlite:/path/to/catalogue.sqlite"))
}

/// Waits until connections that were opened here are closed, at most `deadline`; whether they are. To be called before
/// the process ends: librados' own threads must not run while the C++ library takes its global state down.
pub fn wait_until_closed(deadline: std::time::Duration) -> bool {
    #[cfg(feature = "rbd")]
    return backup_rbd::wait_until_closed(deadline);
    #[cfg(not(feature = "rbd"))]
    {
        let _ = deadline;
        true
    }
}

fn not_in_this_build(kind: &str) -> Error {
    Error::new(ErrorKind::Unsupported, "open the repository")
        .because(format!("type {kind:?} is not in this build yet"))
        .hint(format!("this build has: {}", in_this_build().join(", ")))
}

/// The repository types that this build can open.
pub fn in_this_build() -> Vec<&'static str> {
    let mut types = Vec::new();
    if cfg!(feature = "posix") {
        types.push("posix");
    }
    if cfg!(feature = "nfs") {
        types.push("nfs");
    }
    if cfg!(feature = "s3") {
        types.push("s3");
    }
    if cfg!(feature = "swift") {
        types.push("swift");
    }
    if cfg!(feature = "rbd") {
        types.push("ceph");
    }
    types
}
