//! The seam under [`Catalog`](super::Catalog): rows, read and written in a transaction.
//!
//! To keep the catalogue in another database, implement [`RowStore`] and run the conformance suite (feature
//! `testing`). Rows know no rules; the steps above them do.

use std::fmt;

use async_trait::async_trait;

use super::model::{BackupFilter, Job, ParentQuery, Quota, SnapshotFilter, Usage, VolumeFilter};
use crate::error::Result;
use crate::id::{BackupId, JobId, SnapshotId, VolumeId};
use crate::record::BackupRecord;
use crate::timestamp::Timestamp;
use crate::volume::{SnapshotRecord, VolumeRecord};

/// A volume's row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VolumeRow {
    /// What is known of it.
    pub record: VolumeRecord,
    /// The job that holds it in a transitional state.
    pub job: Option<JobId>,
}

/// A snapshot's row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SnapshotRow {
    /// What is known of it.
    pub record: SnapshotRecord,
    /// The job that holds it in a transitional state.
    pub job: Option<JobId>,
}

/// A backup's row. It stays when the backup is deleted, so that an import can tell and a chain can say so.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BackupRow {
    /// What is known of it. `num_dependent_backups` is counted from the rows when this is read, and not stored: a
    /// counter would drift.
    pub record: BackupRecord,
    /// The job that holds it in a transitional state.
    pub job: Option<JobId>,
    /// When it was deleted.
    pub deleted_at: Option<Timestamp>,
}

/// Rows within one transaction, or within one consistent view for reading. `put` adds a row or replaces it.
#[async_trait]
pub trait Rows: Send {
    /// A setting.
    async fn setting(&mut self, key: &str) -> Result<Option<String>>;
    /// Stores or removes a setting.
    async fn put_setting(&mut self, key: &str, value: Option<&str>) -> Result<()>;

    /// A volume.
    async fn volume(&mut self, id: VolumeId) -> Result<Option<VolumeRow>>;
    /// The volume that the provider keeps there.
    async fn volume_at(&mut self, provider_location: &str) -> Result<Option<VolumeId>>;
    /// Volumes, newest first.
    async fn volumes(&mut self, filter: &VolumeFilter) -> Result<Vec<VolumeRecord>>;
    /// Stores a volume.
    async fn put_volume(&mut self, row: &VolumeRow) -> Result<()>;
    /// Removes a volume.
    async fn remove_volume(&mut self, id: VolumeId) -> Result<()>;

    /// A snapshot.
    async fn snapshot(&mut self, id: SnapshotId) -> Result<Option<SnapshotRow>>;
    /// Snapshots, newest first.
    async fn snapshots(&mut self, filter: &SnapshotFilter) -> Result<Vec<SnapshotRecord>>;
    /// Stores a snapshot.
    async fn put_snapshot(&mut self, row: &SnapshotRow) -> Result<()>;
    /// Removes a snapshot.
    async fn remove_snapshot(&mut self, id: SnapshotId) -> Result<()>;

    /// A backup, also one that was deleted.
    async fn backup(&mut self, id: BackupId) -> Result<Option<BackupRow>>;
    /// Backups that are not deleted, newest first.
    async fn backups(&mut self, filter: &BackupFilter) -> Result<Vec<BackupRecord>>;
    /// Backups that are not deleted and have `id` as their parent, oldest first.
    async fn children(&mut self, id: BackupId) -> Result<Vec<BackupRecord>>;
    /// The available, not deleted backup with the newest data that `query` admits; of several, the one made last.
    async fn newest_parent(&mut self, query: &ParentQuery) -> Result<Option<BackupRecord>>;
    /// Stores a backup.
    async fn put_backup(&mut self, row: &BackupRow) -> Result<()>;
    /// Counts the backups of a project that are not deleted.
    async fn usage(&mut self, project: &str) -> Result<Usage>;

    /// The limits of a project, where it has its own.
    async fn quota(&mut self, project: &str) -> Result<Option<Quota>>;
    /// Stores the limits of a project.
    async fn put_quota(&mut self, project: &str, quota: &Quota) -> Result<()>;

    /// All jobs, oldest first.
    async fn jobs(&mut self) -> Result<Vec<Job>>;
    /// Stores a job.
    async fn put_job(&mut self, job: &Job) -> Result<()>;
    /// Removes a job. One that is not there is success.
    async fn remove_job(&mut self, id: JobId) -> Result<()>;
}

/// A write transaction. No other one sees or changes a row between its beginning and its end. Dropped, it changes
/// nothing.
#[async_trait]
pub trait Transaction: Send {
    /// Its rows.
    fn rows(&mut self) -> &mut dyn Rows;

    /// Makes everything written in it visible and durable at once.
    async fn commit(self: Box<Self>) -> Result<()>;
}

/// A database that keeps the rows.
#[async_trait]
pub trait RowStore: Send + Sync + fmt::Debug + 'static {
    /// Begins a write transaction; waits for others to end.
    async fn begin(&self) -> Result<Box<dyn Transaction + '_>>;

    /// Begins to read. Does not wait for writers.
    async fn read(&self) -> Result<Box<dyn Rows + '_>>;
}
