use std::collections::BTreeMap;
use std::sync::Arc;

use super::{BackupService, JobLocks, NamedRepository};
use crate::catalog::Catalog;
use crate::error::{Error, Result};
use crate::volume::VolumeProvider;

/// Collects what a [`BackupService`] is made of.
#[derive(Debug)]
pub struct ServiceBuilder {
    service: BackupService,
}

impl BackupService {
    /// A service over `catalog`, `volumes` and `locks`, with no repository yet; zone `nova`, this host's name.
    pub fn builder(
        catalog: Arc<dyn Catalog>,
        volumes: Arc<dyn VolumeProvider>,
        locks: Arc<dyn JobLocks>,
    ) -> ServiceBuilder {
        ServiceBuilder {
            service: BackupService {
                catalog,
                volumes,
                locks,
                repositories: BTreeMap::new(),
                default_repository: String::new(),
                availability_zone: "nova".into(),
                host: hostname(),
            },
        }
    }
}

impl ServiceBuilder {
    /// Adds a repository. The first one is the default until [`default_repository`](Self::default_repository).
    pub fn repository(mut self, repository: NamedRepository) -> Self {
        if self.service.repositories.is_empty() {
            self.service.default_repository.clone_from(&repository.name);
        }
        self.service
            .repositories
            .insert(repository.name.clone(), repository);
        self
    }

    /// New backups go to this one.
    pub fn default_repository(mut self, name: impl Into<String>) -> Self {
        self.service.default_repository = name.into();
        self
    }

    /// The availability zone that is recorded.
    pub fn availability_zone(mut self, zone: impl Into<String>) -> Self {
        self.service.availability_zone = zone.into();
        self
    }

    /// The host that is recorded, and whose jobs this service may settle.
    pub fn host(mut self, host: impl Into<String>) -> Self {
        self.service.host = host.into();
        self
    }

    /// The service.
    ///
    /// # Errors
    /// [`NotFound`](crate::ErrorKind::NotFound) where the default repository is not one of those added.
    pub fn build(self) -> Result<BackupService> {
        if self.service.repositories.is_empty() {
            return Err(Error::invalid(
                "start the service",
                "no repository is configured",
            ));
        }
        self.service.repository(None)?;
        Ok(self.service)
    }
}

/// This host's name as the kernel tells it.
fn hostname() -> String {
    std::fs::read_to_string("/proc/sys/kernel/hostname")
        .ok()
        .map(|name| name.trim().to_owned())
        .filter(|name| !name.is_empty())
        .unwrap_or_else(|| "localhost".into())
}
