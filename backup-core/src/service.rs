//! The service: what a user may do with volumes, snapshots and backups, in which state, and what happens when it fails.
//!
//! [`BackupService`] joins a [`Catalog`], a [`VolumeProvider`], any number of named repositories and [`JobLocks`], and
//! keeps Cinder's rules. The command line and the REST API stand on it. Each operation has a file of its own.
//!
//! # The order of a job
//! Its lock is taken; location, names and the way to attach are planned; the catalogue stores the plans with the
//! record in its transitional state; the source is attached; the work is done; the source is detached; the
//! catalogue gets the outcome; the lock is released. Whatever happens between, the names to clean up by are stored,
//! and [`BackupService::recover`] settles the job once its lock is free. A backup whose commit point was passed is
//! complete, also where the catalogue was never told.
//!
//! # Cancel
//! An operation that is cancelled through its [`JobContext`](crate::JobContext) cleans up before it returns
//! [`Cancelled`](crate::ErrorKind::Cancelled). One whose future is dropped leaves its job to `recover`.

mod account;
mod builder;
mod create;
mod delete;
mod difference;
pub mod locks;
#[cfg(feature = "testing")]
pub mod memory;
mod metadata;
mod orphans;
mod record;
mod recover;
mod request;
mod restore;
mod scan;
mod show;
mod snapshot;
#[cfg(all(test, feature = "testing"))]
mod tests;
mod update;
mod verify;
mod volume;

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

pub use crate::format::record::ExportedRecord;
pub use builder::ServiceBuilder;
pub use difference::{DiffContent, DiffInput, Exported, Since};
pub use locks::{FileLocks, JobLock, JobLocks};
pub use orphans::{
    FoundOrphan, FoundSnapshot, OrphanReport, OrphanRequest, OrphanState, SnapshotReport,
};
pub use recover::{Recovered, Settled};
pub use request::{
    Caller, CreateRequest, Created, Found, FoundState, NewVolume, RestoreRequest, RestoreTarget,
    Restored, ScanReport, ScanRequest, Verified, VolumeOrigin,
};

use crate::backup::Backup;
use crate::catalog::{Catalog, Job, JobKind};
use crate::error::{Error, ErrorKind, Result};
use crate::id::{ContainerName, JobId};
use crate::timestamp::Timestamp;
use crate::volume::VolumeProvider;

/// A configured repository.
#[derive(Debug, Clone)]
pub struct NamedRepository {
    /// Its name in the configuration.
    pub name: String,
    /// Makes and restores backups in it.
    pub backup: Arc<dyn Backup>,
    /// Cinder's driver class for it: `cinder.backup.drivers.posix.PosixBackupDriver`.
    pub service: String,
    /// The container where a request names none; `None` for the repository's own default.
    pub container: Option<ContainerName>,
    /// The address of the account that it uses, where each user has an account of its own ([`Layout::account`]).
    ///
    /// [`Layout::account`]: crate::Layout::account
    pub account: Option<String>,
}

/// Backs up, restores and manages by Cinder's rules. Made by [`BackupService::builder`]; cheap to share in an [`Arc`].
///
/// Every operation takes the [`Caller`], who sees the things of its own project only, unless it is an administrator.
/// Things are named by name or ID; one that nobody has, or that the caller may not see, is
/// [`NotFound`](ErrorKind::NotFound); a state that forbids an operation is [`Conflict`](ErrorKind::Conflict), and the
/// hint says the way out.
pub struct BackupService {
    catalog: Arc<dyn Catalog>,
    volumes: Arc<dyn VolumeProvider>,
    locks: Arc<dyn JobLocks>,
    repositories: BTreeMap<String, NamedRepository>,
    default_repository: String,
    availability_zone: String,
    host: String,
}

impl fmt::Debug for BackupService {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BackupService")
            .field("catalog", &self.catalog)
            .field("repositories", &self.repositories.keys())
            .field("default_repository", &self.default_repository)
            .field("host", &self.host)
            .finish_non_exhaustive()
    }
}

impl BackupService {
    /// The catalogue.
    pub fn catalog(&self) -> &Arc<dyn Catalog> {
        &self.catalog
    }

    /// What provides the volumes.
    pub fn volumes(&self) -> &Arc<dyn VolumeProvider> {
        &self.volumes
    }

    /// The configured repositories, by name.
    pub fn repositories(&self) -> impl Iterator<Item = &NamedRepository> {
        self.repositories.values()
    }

    /// The name of the repository that new backups go to.
    pub fn default_repository(&self) -> &str {
        &self.default_repository
    }

    /// The home's own project and user, as an administrator: who the command line acts for.
    pub async fn home_caller(&self) -> Result<Caller> {
        let identity = self.catalog.identity().await?;
        Ok(Caller {
            project_id: identity.project_id,
            user_id: identity.user_id,
            is_admin: true,
        })
    }

    /// A repository by its name; the default one for `None`.
    ///
    /// # Errors
    /// `NotFound` for one that is not configured; the hint lists those that are.
    pub fn repository(&self, name: Option<&str>) -> Result<&NamedRepository> {
        let name = name.unwrap_or(&self.default_repository);
        self.repositories.get(name).ok_or_else(|| {
            let known: Vec<_> = self.repositories.keys().map(String::as_str).collect();
            Error::new(ErrorKind::NotFound, "find repository")
                .on(name)
                .because("no repository of that name is configured")
                .hint(format!("configured are: {}", known.join(", ")))
        })
    }

    /// Takes the lock of a new job and describes it.
    fn start_job(&self, kind: JobKind, at: Timestamp) -> Result<(Job, Box<dyn JobLock>)> {
        let id = JobId::generate();
        let lock = self.locks.take(id)?;
        Ok((Job::new(id, kind, self.host.clone(), at), lock))
    }
}
