//! Rows as SQL.

mod backups;
mod jobs;
mod settings;
mod snapshots;
mod volumes;

use std::path::Path;

use async_trait::async_trait;
use backup_core::catalog::rows::{BackupRow, SnapshotRow, VolumeRow};
use backup_core::catalog::{
    BackupFilter, Job, ParentQuery, Quota, Rows, SnapshotFilter, Usage, VolumeFilter,
};
use backup_core::{
    BackupId, BackupRecord, Error, JobId, Result, SnapshotId, SnapshotRecord, VolumeId,
    VolumeRecord,
};
use sqlx::{Sqlite, SqliteConnection, Transaction};

use crate::error::from_sql;

/// The rows within one transaction.
pub(crate) struct SqlRows<'a> {
    tx: Transaction<'static, Sqlite>,
    path: &'a Path,
}

impl<'a> SqlRows<'a> {
    pub(crate) fn new(tx: Transaction<'static, Sqlite>, path: &'a Path) -> Self {
        Self { tx, path }
    }

    pub(crate) fn path(&self) -> &'a Path {
        self.path
    }

    pub(crate) fn into_inner(self) -> Transaction<'static, Sqlite> {
        self.tx
    }

    /// The connection, and what makes an error of a failed query.
    fn parts(
        &mut self,
    ) -> (
        &mut SqliteConnection,
        impl Fn(sqlx::Error) -> Error + Copy + 'a,
    ) {
        let path = self.path;
        (&mut self.tx, move |e| from_sql("use catalogue", path, e))
    }
}

#[async_trait]
impl Rows for SqlRows<'_> {
    async fn setting(&mut self, key: &str) -> Result<Option<String>> {
        settings::get(self, key).await
    }
    async fn put_setting(&mut self, key: &str, value: Option<&str>) -> Result<()> {
        settings::put(self, key, value).await
    }

    async fn volume(&mut self, id: VolumeId) -> Result<Option<VolumeRow>> {
        volumes::get(self, id).await
    }
    async fn volume_at(&mut self, provider_location: &str) -> Result<Option<VolumeId>> {
        volumes::at(self, provider_location).await
    }
    async fn volumes(&mut self, filter: &VolumeFilter) -> Result<Vec<VolumeRecord>> {
        volumes::list(self, filter).await
    }
    async fn put_volume(&mut self, row: &VolumeRow) -> Result<()> {
        volumes::put(self, row).await
    }
    async fn remove_volume(&mut self, id: VolumeId) -> Result<()> {
        volumes::remove(self, id).await
    }

    async fn snapshot(&mut self, id: SnapshotId) -> Result<Option<SnapshotRow>> {
        snapshots::get(self, id).await
    }
    async fn snapshots(&mut self, filter: &SnapshotFilter) -> Result<Vec<SnapshotRecord>> {
        snapshots::list(self, filter).await
    }
    async fn put_snapshot(&mut self, row: &SnapshotRow) -> Result<()> {
        snapshots::put(self, row).await
    }
    async fn remove_snapshot(&mut self, id: SnapshotId) -> Result<()> {
        snapshots::remove(self, id).await
    }

    async fn backup(&mut self, id: BackupId) -> Result<Option<BackupRow>> {
        backups::get(self, id).await
    }
    async fn backups(&mut self, filter: &BackupFilter) -> Result<Vec<BackupRecord>> {
        backups::list(self, filter).await
    }
    async fn children(&mut self, id: BackupId) -> Result<Vec<BackupRecord>> {
        backups::children(self, id).await
    }
    async fn newest_parent(&mut self, query: &ParentQuery) -> Result<Option<BackupRecord>> {
        backups::newest_parent(self, query).await
    }
    async fn put_backup(&mut self, row: &BackupRow) -> Result<()> {
        backups::put(self, row).await
    }
    async fn usage(&mut self, project: &str) -> Result<Usage> {
        backups::usage(self, project).await
    }

    async fn quota(&mut self, project: &str) -> Result<Option<Quota>> {
        settings::quota(self, project).await
    }
    async fn put_quota(&mut self, project: &str, quota: &Quota) -> Result<()> {
        settings::put_quota(self, project, quota).await
    }

    async fn jobs(&mut self) -> Result<Vec<Job>> {
        jobs::list(self).await
    }
    async fn put_job(&mut self, job: &Job) -> Result<()> {
        jobs::put(self, job).await
    }
    async fn remove_job(&mut self, id: JobId) -> Result<()> {
        jobs::remove(self, id).await
    }
}
