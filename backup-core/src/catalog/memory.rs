//! A catalogue in memory: for embedders that keep no records between runs, and for tests.

use std::collections::{BTreeMap, HashMap};

use async_trait::async_trait;
use tokio::sync::{Mutex, MutexGuard};

use super::model::{BackupFilter, Job, ParentQuery, Quota, SnapshotFilter, Usage, VolumeFilter};
use super::rows::{BackupRow, RowStore, Rows, SnapshotRow, Transaction, VolumeRow};
use crate::error::Result;
use crate::id::{BackupId, JobId, SnapshotId, VolumeId};
use crate::record::{BackupRecord, BackupStatus};
use crate::volume::{SnapshotRecord, VolumeRecord};

/// A [`Catalog`](super::Catalog) in memory. A transaction works on a copy of all rows: fit for thousands of records,
/// not for millions.
#[derive(Debug, Default)]
pub struct MemoryCatalog {
    tables: Mutex<Tables>,
}

impl MemoryCatalog {
    /// An empty one.
    pub fn new() -> Self {
        Self::default()
    }
}

#[derive(Debug, Clone, Default)]
struct Tables {
    settings: BTreeMap<String, String>,
    volumes: HashMap<VolumeId, VolumeRow>,
    snapshots: HashMap<SnapshotId, SnapshotRow>,
    backups: HashMap<BackupId, BackupRow>,
    quotas: BTreeMap<String, Quota>,
    jobs: HashMap<JobId, Job>,
}

impl Tables {
    fn counted(&self, record: &BackupRecord) -> BackupRecord {
        let mut record = record.clone();
        record.num_dependent_backups = self
            .live()
            .filter(|other| other.parent_id == Some(record.id))
            .count() as u64;
        record
    }

    fn live(&self) -> impl Iterator<Item = &BackupRecord> {
        self.backups
            .values()
            .filter(|row| row.deleted_at.is_none())
            .map(|row| &row.record)
    }
}

fn named(filter: Option<&String>, name: Option<&String>) -> bool {
    filter.is_none() || filter == name
}

fn within(filter: Option<&String>, project: &String) -> bool {
    filter.is_none_or(|p| p == project)
}

#[async_trait]
impl Rows for Tables {
    async fn setting(&mut self, key: &str) -> Result<Option<String>> {
        Ok(self.settings.get(key).cloned())
    }

    async fn put_setting(&mut self, key: &str, value: Option<&str>) -> Result<()> {
        match value {
            Some(value) => self.settings.insert(key.to_owned(), value.to_owned()),
            None => self.settings.remove(key),
        };
        Ok(())
    }

    async fn volume(&mut self, id: VolumeId) -> Result<Option<VolumeRow>> {
        Ok(self.volumes.get(&id).cloned())
    }

    async fn volume_at(&mut self, provider_location: &str) -> Result<Option<VolumeId>> {
        Ok(self
            .volumes
            .values()
            .find(|row| row.record.provider_location.as_deref() == Some(provider_location))
            .map(|row| row.record.id))
    }

    async fn volumes(&mut self, filter: &VolumeFilter) -> Result<Vec<VolumeRecord>> {
        let mut found: Vec<_> = self
            .volumes
            .values()
            .map(|row| &row.record)
            .filter(|v| {
                within(filter.project.as_ref(), &v.project_id)
                    && filter.status.is_none_or(|s| s == v.status)
                    && named(filter.name.as_ref(), v.name.as_ref())
            })
            .cloned()
            .collect();
        found.sort_by_key(|v| std::cmp::Reverse((v.created_at, v.id)));
        Ok(found)
    }

    async fn put_volume(&mut self, row: &VolumeRow) -> Result<()> {
        self.volumes.insert(row.record.id, row.clone());
        Ok(())
    }

    async fn remove_volume(&mut self, id: VolumeId) -> Result<()> {
        self.volumes.remove(&id);
        Ok(())
    }

    async fn snapshot(&mut self, id: SnapshotId) -> Result<Option<SnapshotRow>> {
        Ok(self.snapshots.get(&id).cloned())
    }

    async fn snapshots(&mut self, filter: &SnapshotFilter) -> Result<Vec<SnapshotRecord>> {
        let mut found: Vec<_> = self
            .snapshots
            .values()
            .map(|row| &row.record)
            .filter(|s| {
                within(filter.project.as_ref(), &s.project_id)
                    && filter.volume.is_none_or(|v| v == s.volume_id)
                    && named(filter.name.as_ref(), s.name.as_ref())
            })
            .cloned()
            .collect();
        found.sort_by_key(|s| std::cmp::Reverse((s.created_at, s.id)));
        Ok(found)
    }

    async fn put_snapshot(&mut self, row: &SnapshotRow) -> Result<()> {
        self.snapshots.insert(row.record.id, row.clone());
        Ok(())
    }

    async fn remove_snapshot(&mut self, id: SnapshotId) -> Result<()> {
        self.snapshots.remove(&id);
        Ok(())
    }

    async fn backup(&mut self, id: BackupId) -> Result<Option<BackupRow>> {
        Ok(self.backups.get(&id).map(|row| BackupRow {
            record: self.counted(&row.record),
            ..row.clone()
        }))
    }

    async fn backups(&mut self, filter: &BackupFilter) -> Result<Vec<BackupRecord>> {
        let mut children: HashMap<BackupId, u64> = HashMap::new();
        for parent in self.live().filter_map(|b| b.parent_id) {
            *children.entry(parent).or_default() += 1;
        }
        let mut found: Vec<_> = self.live().filter(|b| filter.admits(b)).cloned().collect();
        for backup in &mut found {
            backup.num_dependent_backups = children.get(&backup.id).copied().unwrap_or(0);
        }
        found.sort_by_key(|b| std::cmp::Reverse((b.created_at, b.id)));
        Ok(found)
    }

    async fn children(&mut self, id: BackupId) -> Result<Vec<BackupRecord>> {
        let mut found: Vec<_> = self
            .live()
            .filter(|b| b.parent_id == Some(id))
            .map(|b| self.counted(b))
            .collect();
        found.sort_by_key(|b| (b.created_at, b.id));
        Ok(found)
    }

    async fn newest_parent(&mut self, query: &ParentQuery) -> Result<Option<BackupRecord>> {
        Ok(self
            .live()
            .filter(|b| {
                b.status == BackupStatus::Available
                    && b.project_id == query.project
                    && b.volume_id == query.volume
                    && query.repository.as_ref().is_none_or(|r| *r == b.repository)
                    && query.before.is_none_or(|t| b.data_timestamp < t)
            })
            .max_by_key(|b| (b.data_timestamp, b.created_at, b.id))
            .map(|b| self.counted(b)))
    }

    async fn put_backup(&mut self, row: &BackupRow) -> Result<()> {
        self.backups.insert(row.record.id, row.clone());
        Ok(())
    }

    async fn usage(&mut self, project: &str) -> Result<Usage> {
        let mut usage = Usage::default();
        for backup in self.live().filter(|b| b.project_id == project) {
            usage.backups += 1;
            usage.gigabytes = usage.gigabytes.saturating_add(backup.size_gib);
        }
        Ok(usage)
    }

    async fn quota(&mut self, project: &str) -> Result<Option<Quota>> {
        Ok(self.quotas.get(project).copied())
    }

    async fn put_quota(&mut self, project: &str, quota: &Quota) -> Result<()> {
        self.quotas.insert(project.to_owned(), *quota);
        Ok(())
    }

    async fn jobs(&mut self) -> Result<Vec<Job>> {
        let mut jobs: Vec<_> = self.jobs.values().cloned().collect();
        jobs.sort_by_key(|job| (job.started_at, job.id));
        Ok(jobs)
    }

    async fn put_job(&mut self, job: &Job) -> Result<()> {
        self.jobs.insert(job.id, job.clone());
        Ok(())
    }

    async fn remove_job(&mut self, id: JobId) -> Result<()> {
        self.jobs.remove(&id);
        Ok(())
    }
}

/// A copy that takes the place of the original when it is committed.
struct Draft<'a> {
    rows: Tables,
    original: MutexGuard<'a, Tables>,
}

#[async_trait]
impl Transaction for Draft<'_> {
    fn rows(&mut self) -> &mut dyn Rows {
        &mut self.rows
    }

    async fn commit(mut self: Box<Self>) -> Result<()> {
        *self.original = std::mem::take(&mut self.rows);
        Ok(())
    }
}

#[async_trait]
impl RowStore for MemoryCatalog {
    async fn begin(&self) -> Result<Box<dyn Transaction + '_>> {
        let original = self.tables.lock().await;
        Ok(Box::new(Draft {
            rows: original.clone(),
            original,
        }))
    }

    async fn read(&self) -> Result<Box<dyn Rows + '_>> {
        Ok(Box::new(self.tables.lock().await.clone()))
    }
}

#[cfg(all(test, feature = "testing"))]
mod tests {
    use super::*;

    #[tokio::test]
    async fn it_passes_the_suite() {
        crate::catalog::conformance::conformance(async || MemoryCatalog::new()).await;
    }
}
