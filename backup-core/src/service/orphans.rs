use std::time::Duration;

use futures::StreamExt;

use super::show::require_admin;
use super::{BackupService, Caller};
use crate::catalog::{BackupFilter, VolumeFilter};
use crate::error::{Error, ErrorKind, Result};
use crate::id::ContainerName;
use crate::job::JobContext;
use crate::orphan::{Orphan, OrphanKind};
use crate::record::{BackupRecord, BackupStatus};
use crate::volume::{BackupSnapshot, VolumeRecord};

/// Asks for what belongs to no backup.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct OrphanRequest {
    /// The repository, by name; `None` for the default.
    pub repository: Option<String>,
    /// The container; `None` for all.
    pub container: Option<String>,
    /// What was changed within this time is left alone: it may be another host's running backup.
    pub older_than: Duration,
    /// Remove what is found.
    pub remove: bool,
}

impl Default for OrphanRequest {
    fn default() -> Self {
        Self {
            repository: None,
            container: None,
            older_than: Self::DEFAULT_AGE,
            remove: false,
        }
    }
}

impl OrphanRequest {
    /// A day: longer than any pause that a running backup makes between two objects.
    pub const DEFAULT_AGE: Duration = Duration::from_hours(24);

    /// All of the default repository that is older than a day; removes nothing.
    pub fn new() -> Self {
        Self::default()
    }

    /// Of this repository.
    pub fn in_repository(mut self, name: Option<String>) -> Self {
        self.repository = name;
        self
    }

    /// Of this container.
    pub fn in_container(mut self, container: Option<String>) -> Self {
        self.container = container;
        self
    }

    /// Of at least this age.
    pub fn older_than(mut self, age: Duration) -> Self {
        self.older_than = age;
        self
    }

    /// Removes what is found.
    pub fn remove(mut self, yes: bool) -> Self {
        self.remove = yes;
        self
    }
}

/// What was done about an orphan.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum OrphanState {
    /// It was found, and nothing was done.
    Found,
    /// It is removed.
    Removed,
    /// It is no orphan any more: its backup was completed, or goes on being written.
    Kept,
    /// It could not be removed, for this reason.
    Failed(String),
}

/// An orphan and what was done about it.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct FoundOrphan {
    /// What it is.
    pub orphan: Orphan,
    /// What was done.
    pub state: OrphanState,
}

/// What a search for orphans found.
#[derive(Debug, Clone, Default)]
#[non_exhaustive]
pub struct OrphanReport {
    /// The repository's name.
    pub repository: String,
    /// Orphans of the age that was asked for.
    pub found: Vec<FoundOrphan>,
    /// How many were left alone: too young, or a recorded backup's.
    pub left_alone: u64,
}

impl BackupService {
    /// Finds what lies in a repository and belongs to no backup: objects under a backup's prefix without metadata and
    /// without a record, and what the repository itself hides (unfinished uploads, lost segments, temporary files). With
    /// `remove`, removes it.
    ///
    /// Left alone is what has a record (a running backup has one; a failed one is removed by its delete), what is
    /// younger than asked for, and what has no known age, unless the age asked for is 0. Before it is removed, each is
    /// looked at once more. For an administrator only.
    pub async fn orphans(
        &self,
        caller: &Caller,
        request: &OrphanRequest,
        cx: &JobContext,
    ) -> Result<OrphanReport> {
        require_admin(caller, "look for orphans")?;
        let repository = self.repository(request.repository.as_deref())?;
        let container = match &request.container {
            Some(container) => Some(ContainerName::new(container)?),
            None => None,
        };
        let mut report = OrphanReport {
            repository: repository.name.clone(),
            ..OrphanReport::default()
        };
        let mut all = Vec::new();
        let mut found = repository.backup.orphans(container.as_ref(), cx).await?;
        while let Some(orphan) = found.next().await {
            all.push(orphan?);
        }
        drop(found);
        // After the repository: a backup whose record comes meanwhile stores its first object after its record.
        let records = self.catalog.backups(&BackupFilter::default()).await?;
        let age = i64::try_from(request.older_than.as_micros()).unwrap_or(i64::MAX);
        let latest = cx.now().as_micros().saturating_sub(age);
        for orphan in all {
            let old = match orphan.modified {
                Some(modified) => modified.as_micros() <= latest,
                None => request.older_than.is_zero(),
            };
            if !old || records.iter().any(|record| may_be_of(&orphan, record)) {
                report.left_alone += 1;
                continue;
            }
            let state = if request.remove {
                cx.cancel().check("remove orphans")?;
                match repository.backup.remove_orphan(&orphan, cx).await {
                    Ok(true) => OrphanState::Removed,
                    Ok(false) => OrphanState::Kept,
                    Err(e) if e.is(ErrorKind::Cancelled) => return Err(e),
                    Err(e) => OrphanState::Failed(e.to_string()),
                }
            } else {
                OrphanState::Found
            };
            report.found.push(FoundOrphan { orphan, state });
        }
        Ok(report)
    }
}

/// A snapshot that a backup left on a volume, and what was done about it.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct FoundSnapshot {
    /// The volume.
    pub volume: VolumeRecord,
    /// The snapshot.
    pub snapshot: BackupSnapshot,
    /// What was done.
    pub state: OrphanState,
}

/// What a search for snapshots on volumes found.
#[derive(Debug, Default)]
#[non_exhaustive]
pub struct SnapshotReport {
    /// The snapshots.
    pub found: Vec<FoundSnapshot>,
    /// Volumes that could not be asked, and why.
    pub not_asked: Vec<(VolumeRecord, Error)>,
}

impl BackupService {
    /// Finds snapshots that backups made on volumes and that no backup of the catalogue needs: those of deleted backups, and
    /// what was left where the catalogue was lost with a running job. With `remove`, removes them. `volume` is one by name
    /// or ID, or all of the catalogue.
    ///
    /// A volume that cannot be asked is told, and the search goes on.
    ///
    /// What removes too much: whoever else has the backup reads all in his next incremental, and where he reads this very
    /// snapshot now, his backup fails. Younger ones than `older_than` are left alone, so that a running backup of another
    /// catalogue is; so are those without a known age, unless it is 0. For an administrator only.
    pub async fn orphan_snapshots(
        &self,
        caller: &Caller,
        volume: Option<&str>,
        older_than: Duration,
        remove: bool,
        cx: &JobContext,
    ) -> Result<SnapshotReport> {
        require_admin(caller, "look for orphans")?;
        let volumes = match volume {
            Some(volume) => vec![self.show_volume(caller, volume).await?],
            None => self.catalog.volumes(&VolumeFilter::default()).await?,
        };
        let age = i64::try_from(older_than.as_micros()).unwrap_or(i64::MAX);
        let latest = cx.now().as_micros().saturating_sub(age);
        let mut report = SnapshotReport::default();
        for volume in volumes {
            cx.cancel().check("look for orphans")?;
            let reference = volume.reference();
            let snapshots = match self.volumes.backup_snapshots(&reference).await {
                Ok(snapshots) => snapshots,
                // Its image is gone: so are its snapshots.
                Err(e) if e.is(ErrorKind::NotFound) => continue,
                Err(e) if e.is(ErrorKind::Cancelled) => return Err(e),
                Err(e) => {
                    report.not_asked.push((volume, e));
                    continue;
                }
            };
            for snapshot in snapshots {
                let old = match snapshot.created_at {
                    Some(at) => at.as_micros() <= latest,
                    None => older_than.is_zero(),
                };
                // After the snapshots: a backup has its record before its snapshot.
                if !old || self.needs(&snapshot).await? {
                    continue;
                }
                let state = if remove {
                    let removed = self
                        .volumes
                        .delete_backup_snapshot(&reference, &snapshot)
                        .await;
                    removed.map_or_else(
                        |e| OrphanState::Failed(e.to_string()),
                        |()| OrphanState::Removed,
                    )
                } else {
                    OrphanState::Found
                };
                report.found.push(FoundSnapshot {
                    volume: volume.clone(),
                    snapshot,
                    state,
                });
            }
        }
        Ok(report)
    }

    /// Whether the catalogue has the backup that made a snapshot, and it did not fail.
    async fn needs(&self, snapshot: &BackupSnapshot) -> Result<bool> {
        match self.catalog.backup(snapshot.backup).await {
            Ok(record) => Ok(record.status != BackupStatus::Error),
            Err(e) if e.is(ErrorKind::NotFound) => Ok(false),
            Err(e) => Err(e),
        }
    }
}

/// Whether it may belong to the recorded backup.
fn may_be_of(orphan: &Orphan, record: &BackupRecord) -> bool {
    match &orphan.kind {
        OrphanKind::Backup { id, location } => {
            record.id == *id || record.location.as_ref() == Some(location)
        }
        // Its name may say nothing of the backup, so what came since a running one began in that container is its.
        OrphanKind::Leftover(leftover) => {
            let running = matches!(
                record.status,
                BackupStatus::Creating | BackupStatus::Deleting
            );
            running
                && record.location.as_ref().is_some_and(|l| {
                    leftover
                        .key
                        .container()
                        .as_str()
                        .starts_with(l.container.as_str())
                })
                && orphan.modified.is_none_or(|m| m >= record.created_at)
        }
    }
}
