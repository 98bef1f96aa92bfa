use super::{BackupService, Caller};
use crate::catalog::{BackupFilter, Quota, SnapshotFilter, Usage, VolumeFilter};
use crate::error::{Error, ErrorKind, Result};
use crate::record::BackupRecord;
use crate::volume::{SnapshotRecord, VolumeRecord};

impl BackupService {
    /// A backup by name or ID.
    pub async fn show_backup(&self, caller: &Caller, backup: &str) -> Result<BackupRecord> {
        self.catalog.find_backup(caller.scope(), backup).await
    }

    /// Backups, newest first. A caller who is no administrator gets its own project's, whatever the filter says.
    pub async fn list_backups(
        &self,
        caller: &Caller,
        filter: &BackupFilter,
    ) -> Result<Vec<BackupRecord>> {
        let mut filter = filter.clone();
        narrow(&mut filter.project, caller);
        self.catalog.backups(&filter).await
    }

    /// A volume by name or ID.
    pub async fn show_volume(&self, caller: &Caller, volume: &str) -> Result<VolumeRecord> {
        self.catalog.find_volume(caller.scope(), volume).await
    }

    /// Volumes, newest first.
    pub async fn list_volumes(
        &self,
        caller: &Caller,
        filter: &VolumeFilter,
    ) -> Result<Vec<VolumeRecord>> {
        let mut filter = filter.clone();
        narrow(&mut filter.project, caller);
        self.catalog.volumes(&filter).await
    }

    /// A snapshot by name or ID.
    pub async fn show_snapshot(&self, caller: &Caller, snapshot: &str) -> Result<SnapshotRecord> {
        self.catalog.find_snapshot(caller.scope(), snapshot).await
    }

    /// Snapshots, newest first.
    pub async fn list_snapshots(
        &self,
        caller: &Caller,
        filter: &SnapshotFilter,
    ) -> Result<Vec<SnapshotRecord>> {
        let mut filter = filter.clone();
        narrow(&mut filter.project, caller);
        self.catalog.snapshots(&filter).await
    }

    /// The limits of a project; the caller's own for `None`.
    pub async fn quota(&self, caller: &Caller, project: Option<&str>) -> Result<Quota> {
        self.catalog.quota(own_project(caller, project)?).await
    }

    /// What a project has; the caller's own for `None`.
    pub async fn usage(&self, caller: &Caller, project: Option<&str>) -> Result<Usage> {
        self.catalog.usage(own_project(caller, project)?).await
    }

    /// Sets the limits of a project. For administrators.
    pub async fn set_quota(&self, caller: &Caller, project: &str, quota: &Quota) -> Result<()> {
        require_admin(caller, "set quota")?;
        self.catalog.set_quota(project, quota).await
    }
}

/// Keeps who is no administrator to its own project.
fn narrow(project: &mut Option<String>, caller: &Caller) {
    if let Some(own) = caller.scope() {
        *project = Some(own.to_owned());
    }
}

fn own_project<'a>(caller: &'a Caller, project: Option<&'a str>) -> Result<&'a str> {
    match project {
        Some(project) if project != caller.project_id => {
            require_admin(caller, "look at another project's quota")?;
            Ok(project)
        }
        _ => Ok(&caller.project_id),
    }
}

/// Refuses who is no administrator.
pub(super) fn require_admin(caller: &Caller, operation: &'static str) -> Result<()> {
    if caller.is_admin {
        return Ok(());
    }
    Err(Error::new(ErrorKind::PermissionDenied, operation)
        .because("only an administrator may do this"))
}
