//! The catalogue: what is known of backups, volumes, snapshots, quotas and running jobs.
//!
//! [`Catalog`] is what the service calls: whole steps, each one transaction, in which states are checked and changed
//! together. A database need not implement them all: one that implements [`RowStore`] (rows read and written in a
//! transaction) is a [`Catalog`], and the rules of the steps are the same everywhere, since they are written once, in
//! `steps`.
//!
//! # Jobs
//! Whatever takes time is a [`Job`]: `begin_…` stores it with its plans and puts its subject into a transitional
//! state, `finish_…` takes it out again. Only the job that is named in the subject's row can finish it: one that lost
//! its place (an operator reset the state, a recovery took over) gets [`Conflict`](crate::ErrorKind::Conflict).
//! The row of a job that left something attached stays until [`Catalog::forget_job`], so that it can be undone later.

#[cfg(feature = "testing")]
pub mod conformance;
pub mod memory;
mod model;
mod over_rows;
pub mod rows;
mod steps;

use std::fmt;

use async_trait::async_trait;

pub use memory::MemoryCatalog;
pub use model::{
    BackupChange, BackupEnd, BackupFilter, Identity, Job, JobKind, NewBackup, ParentQuery, Quota,
    RestoreEnd, RestoreStart, SnapshotFilter, Usage, VolumeChange, VolumeEnd, VolumeFilter,
};
pub use rows::{RowStore, Rows, Transaction};
#[cfg(feature = "service")]
pub(crate) use steps::label;

use crate::error::Result;
use crate::id::{BackupId, JobId, SnapshotId, VolumeId};
use crate::record::BackupRecord;
use crate::timestamp::Timestamp;
use crate::volume::{SnapshotRecord, VolumeRecord};

/// The database of records. Each call is one transaction: it happens as a whole or not at all, also when its future is
/// dropped, and what it wrote is durable when it returns.
///
/// Unless a method says otherwise: a thing that is not there is [`NotFound`](crate::ErrorKind::NotFound), one whose
/// state forbids the step [`Conflict`](crate::ErrorKind::Conflict) with the rule and the way out.
#[async_trait]
pub trait Catalog: Send + Sync + fmt::Debug + 'static {
    /// The home's own project and user, made at the first call and the same ever after.
    async fn identity(&self) -> Result<Identity>;

    /// A setting that was stored, or `None`.
    async fn setting(&self, key: &str) -> Result<Option<String>>;

    /// Stores a setting, or removes it.
    async fn set_setting(&self, key: &str, value: Option<&str>) -> Result<()>;

    // Volumes.

    /// Adds a volume as it is: one that exists already.
    ///
    /// # Errors
    /// [`AlreadyExists`](crate::ErrorKind::AlreadyExists) where its ID, or its provider location, is taken.
    async fn insert_volume(&self, volume: &VolumeRecord) -> Result<()>;

    /// Adds a volume that `job` is about to make, in state `creating`.
    async fn begin_create_volume(&self, volume: &VolumeRecord, job: &Job) -> Result<()>;

    /// The volume was made, or was not. Forgets the job.
    async fn finish_create_volume(
        &self,
        id: VolumeId,
        job: JobId,
        end: &VolumeEnd,
        at: Timestamp,
    ) -> Result<Option<VolumeRecord>>;

    /// Puts a volume into `deleting`: one that is available or in an error state and has no snapshots.
    async fn begin_delete_volume(
        &self,
        id: VolumeId,
        job: &Job,
        at: Timestamp,
    ) -> Result<VolumeRecord>;

    /// The volume is gone (its row goes), or its removal failed (`error`). Forgets the job.
    async fn finish_delete_volume(
        &self,
        id: VolumeId,
        job: JobId,
        failed: bool,
        at: Timestamp,
    ) -> Result<()>;

    /// Changes name, description, properties, length or, for the operator, the state.
    async fn update_volume(
        &self,
        id: VolumeId,
        change: &VolumeChange,
        at: Timestamp,
    ) -> Result<VolumeRecord>;

    /// A volume by its ID.
    async fn volume(&self, id: VolumeId) -> Result<VolumeRecord>;

    /// A volume by its name or ID, of one project or of all.
    ///
    /// # Errors
    /// [`InvalidInput`](crate::ErrorKind::InvalidInput) where several have that name; the hint lists them.
    async fn find_volume(&self, project: Option<&str>, name_or_id: &str) -> Result<VolumeRecord>;

    /// Volumes, newest first.
    async fn volumes(&self, filter: &VolumeFilter) -> Result<Vec<VolumeRecord>>;

    // Snapshots.

    /// Adds a snapshot that `job` is about to make, in state `creating`. Its volume must be available or in use.
    async fn begin_create_snapshot(&self, snapshot: &SnapshotRecord, job: &Job) -> Result<()>;

    /// The snapshot was made, or was not. Forgets the job.
    async fn finish_create_snapshot(
        &self,
        id: SnapshotId,
        job: JobId,
        end: &VolumeEnd,
    ) -> Result<Option<SnapshotRecord>>;

    /// Puts a snapshot into `deleting`: one that is available or in error.
    async fn begin_delete_snapshot(&self, id: SnapshotId, job: &Job) -> Result<SnapshotRecord>;

    /// The snapshot is gone (its row goes), or its removal failed (`error`). Forgets the job.
    async fn finish_delete_snapshot(&self, id: SnapshotId, job: JobId, failed: bool) -> Result<()>;

    /// A snapshot by its ID.
    async fn snapshot(&self, id: SnapshotId) -> Result<SnapshotRecord>;

    /// A snapshot by its name or ID, of one project or of all.
    ///
    /// # Errors
    /// [`InvalidInput`](crate::ErrorKind::InvalidInput) where several have that name; the hint lists them.
    async fn find_snapshot(
        &self,
        project: Option<&str>,
        name_or_id: &str,
    ) -> Result<SnapshotRecord>;

    /// Snapshots, newest first.
    async fn snapshots(&self, filter: &SnapshotFilter) -> Result<Vec<SnapshotRecord>>;

    // Backups.

    /// Begins a backup: checks the states of volume, snapshot and parent, charges the quota, adds the record in
    /// `creating` with its plans, and puts the volume (or the snapshot) into `backing-up`.
    ///
    /// # Errors
    /// [`AlreadyExists`](crate::ErrorKind::AlreadyExists) where the ID is taken,
    /// [`QuotaExceeded`](crate::ErrorKind::QuotaExceeded), and `Conflict` where a state forbids it.
    async fn begin_backup(&self, new: &NewBackup) -> Result<BackupRecord>;

    /// Ends it: `available` with its figures, or `error` with the reason. The volume goes back to its state. With
    /// `undone`, nothing is attached any more and the job is forgotten.
    async fn finish_backup(
        &self,
        id: BackupId,
        job: JobId,
        end: &BackupEnd,
        undone: bool,
        at: Timestamp,
    ) -> Result<BackupRecord>;

    /// The chain of a backup that can be restored: it is `available`, and so are all its ancestors (or being restored
    /// themselves), all in one repository.
    async fn restorable(&self, id: BackupId) -> Result<Vec<BackupRecord>>;

    /// Begins a restore: the backup is `available` and complete with all its ancestors, the volume `available` and
    /// large enough, or just made for it by a job that ends here. They go into `restoring` and `restoring-backup`.
    async fn begin_restore(&self, start: &RestoreStart) -> Result<(BackupRecord, VolumeRecord)>;

    /// Ends it. The backup is `available` again in any case; the volume is `available` with what
    /// [`RestoreEnd::Complete`] carries, `error_restoring` after a failure, `error` after a cancel. With `undone`,
    /// nothing is attached any more and the job is forgotten.
    async fn finish_restore(
        &self,
        id: BackupId,
        job: JobId,
        end: &RestoreEnd,
        undone: bool,
        at: Timestamp,
    ) -> Result<(BackupRecord, Option<VolumeRecord>)>;

    /// Begins a delete: the backup is `available` or in an error state (any state with `force`), and no other backup
    /// has it as its parent, whatever that one's state.
    async fn begin_delete(
        &self,
        id: BackupId,
        job: &Job,
        force: bool,
        at: Timestamp,
    ) -> Result<BackupRecord>;

    /// Ends it: the record is gone from all lists, or in `error` with the reason.
    async fn finish_delete(
        &self,
        id: BackupId,
        job: JobId,
        failed: Option<&str>,
        at: Timestamp,
    ) -> Result<()>;

    /// Adds a record that was exported or found by a scan, as `available`, and charges the quota. One that was deleted
    /// here comes back.
    ///
    /// # Errors
    /// [`AlreadyExists`](crate::ErrorKind::AlreadyExists) where a backup with that ID is there,
    /// [`QuotaExceeded`](crate::ErrorKind::QuotaExceeded).
    async fn import_backup(&self, record: &BackupRecord, at: Timestamp) -> Result<BackupRecord>;

    /// Changes name, description, properties or, for the operator, the state (to `available` or `error` only).
    async fn update_backup(
        &self,
        id: BackupId,
        change: &BackupChange,
        at: Timestamp,
    ) -> Result<BackupRecord>;

    /// A backup by its ID.
    async fn backup(&self, id: BackupId) -> Result<BackupRecord>;

    /// A backup by its name or ID, of one project or of all.
    ///
    /// # Errors
    /// [`InvalidInput`](crate::ErrorKind::InvalidInput) where several have that name; the hint lists them.
    async fn find_backup(&self, project: Option<&str>, name_or_id: &str) -> Result<BackupRecord>;

    /// Backups, newest first.
    async fn backups(&self, filter: &BackupFilter) -> Result<Vec<BackupRecord>>;

    /// The backups that have `id` as their parent, oldest first.
    async fn children(&self, id: BackupId) -> Result<Vec<BackupRecord>>;

    /// The backup and all that it stands on, oldest first: the full one, then each incremental up to `id`.
    ///
    /// # Errors
    /// [`NotFound`](crate::ErrorKind::NotFound) that names the ancestor which is missing;
    /// [`Corrupt`](crate::ErrorKind::Corrupt) where the parents go in a circle.
    async fn chain(&self, id: BackupId) -> Result<Vec<BackupRecord>>;

    /// The backup that an incremental is to be made on: of the available ones of the volume, in the project and the
    /// repository, the one with the newest data.
    async fn newest_parent(&self, query: &ParentQuery) -> Result<Option<BackupRecord>>;

    // Jobs.

    /// All jobs that were not forgotten: running ones, and those of processes that died.
    async fn jobs(&self) -> Result<Vec<Job>>;

    /// Removes a job's row: all that it left was undone. One that is not there is success.
    async fn forget_job(&self, id: JobId) -> Result<()>;

    // Quotas.

    /// What `project` may have: its own limits, else the catalogue's default, else none.
    async fn quota(&self, project: &str) -> Result<Quota>;

    /// Sets the limits of `project`.
    async fn set_quota(&self, project: &str, quota: &Quota) -> Result<()>;

    /// What `project` has, counted from its records.
    async fn usage(&self, project: &str) -> Result<Usage>;
}
