//! Every [`RowStore`] is a [`Catalog`]: each call is one transaction around a step.

use async_trait::async_trait;

use super::model::{
    BackupChange, BackupEnd, BackupFilter, Identity, Job, NewBackup, ParentQuery, Quota,
    RestoreEnd, RestoreStart, SnapshotFilter, Usage, VolumeChange, VolumeEnd, VolumeFilter,
};
use super::rows::RowStore;
use super::{Catalog, steps};
use crate::error::Result;
use crate::id::{BackupId, JobId, SnapshotId, VolumeId};
use crate::record::BackupRecord;
use crate::timestamp::Timestamp;
use crate::volume::{SnapshotRecord, VolumeRecord};

/// Runs a step in a write transaction and commits it.
macro_rules! write {
    ($store:ident, $step:path $(, $argument:expr)*) => {{
        let mut tx = $store.begin().await?;
        let done = $step(tx.rows() $(, $argument)*).await?;
        tx.commit().await?;
        Ok(done)
    }};
}

/// Runs a query.
macro_rules! read {
    ($store:ident, $step:path $(, $argument:expr)*) => {{
        let mut rows = $store.read().await?;
        $step(&mut *rows $(, $argument)*).await
    }};
}

#[async_trait]
impl<S: RowStore> Catalog for S {
    async fn identity(&self) -> Result<Identity> {
        let known = {
            let mut rows = self.read().await?;
            steps::settings::identity(&mut *rows).await?
        };
        if let Some(identity) = known {
            return Ok(identity);
        }
        write!(self, steps::settings::make_identity)
    }

    async fn setting(&self, key: &str) -> Result<Option<String>> {
        self.read().await?.setting(key).await
    }

    async fn set_setting(&self, key: &str, value: Option<&str>) -> Result<()> {
        let mut tx = self.begin().await?;
        tx.rows().put_setting(key, value).await?;
        tx.commit().await
    }

    async fn insert_volume(&self, volume: &VolumeRecord) -> Result<()> {
        write!(self, steps::volumes::insert, volume)
    }

    async fn begin_create_volume(&self, volume: &VolumeRecord, job: &Job) -> Result<()> {
        write!(self, steps::volumes::begin_create, volume, job)
    }

    async fn finish_create_volume(
        &self,
        id: VolumeId,
        job: JobId,
        end: &VolumeEnd,
        at: Timestamp,
    ) -> Result<Option<VolumeRecord>> {
        write!(self, steps::volumes::finish_create, id, job, end, at)
    }

    async fn begin_delete_volume(
        &self,
        id: VolumeId,
        job: &Job,
        at: Timestamp,
    ) -> Result<VolumeRecord> {
        write!(self, steps::volumes::begin_delete, id, job, at)
    }

    async fn finish_delete_volume(
        &self,
        id: VolumeId,
        job: JobId,
        failed: bool,
        at: Timestamp,
    ) -> Result<()> {
        write!(self, steps::volumes::finish_delete, id, job, failed, at)
    }

    async fn update_volume(
        &self,
        id: VolumeId,
        change: &VolumeChange,
        at: Timestamp,
    ) -> Result<VolumeRecord> {
        write!(self, steps::volumes::update, id, change, at)
    }

    async fn volume(&self, id: VolumeId) -> Result<VolumeRecord> {
        read!(self, steps::find::volume, id).map(|row| row.record)
    }

    async fn find_volume(&self, project: Option<&str>, name_or_id: &str) -> Result<VolumeRecord> {
        read!(self, steps::find::find_volume, project, name_or_id)
    }

    async fn volumes(&self, filter: &VolumeFilter) -> Result<Vec<VolumeRecord>> {
        self.read().await?.volumes(filter).await
    }

    async fn begin_create_snapshot(&self, snapshot: &SnapshotRecord, job: &Job) -> Result<()> {
        write!(self, steps::snapshots::begin_create, snapshot, job)
    }

    async fn finish_create_snapshot(
        &self,
        id: SnapshotId,
        job: JobId,
        end: &VolumeEnd,
    ) -> Result<Option<SnapshotRecord>> {
        write!(self, steps::snapshots::finish_create, id, job, end)
    }

    async fn begin_delete_snapshot(&self, id: SnapshotId, job: &Job) -> Result<SnapshotRecord> {
        write!(self, steps::snapshots::begin_delete, id, job)
    }

    async fn finish_delete_snapshot(&self, id: SnapshotId, job: JobId, failed: bool) -> Result<()> {
        write!(self, steps::snapshots::finish_delete, id, job, failed)
    }

    async fn snapshot(&self, id: SnapshotId) -> Result<SnapshotRecord> {
        read!(self, steps::find::snapshot, id).map(|row| row.record)
    }

    async fn find_snapshot(
        &self,
        project: Option<&str>,
        name_or_id: &str,
    ) -> Result<SnapshotRecord> {
        read!(self, steps::find::find_snapshot, project, name_or_id)
    }

    async fn snapshots(&self, filter: &SnapshotFilter) -> Result<Vec<SnapshotRecord>> {
        self.read().await?.snapshots(filter).await
    }

    async fn begin_backup(&self, new: &NewBackup) -> Result<BackupRecord> {
        write!(self, steps::create::begin, new)
    }

    async fn finish_backup(
        &self,
        id: BackupId,
        job: JobId,
        end: &BackupEnd,
        undone: bool,
        at: Timestamp,
    ) -> Result<BackupRecord> {
        write!(self, steps::create::finish, id, job, end, undone, at)
    }

    async fn restorable(&self, id: BackupId) -> Result<Vec<BackupRecord>> {
        read!(self, steps::restore::restorable, id)
    }

    async fn begin_restore(&self, start: &RestoreStart) -> Result<(BackupRecord, VolumeRecord)> {
        write!(self, steps::restore::begin, start)
    }

    async fn finish_restore(
        &self,
        id: BackupId,
        job: JobId,
        end: &RestoreEnd,
        undone: bool,
        at: Timestamp,
    ) -> Result<(BackupRecord, Option<VolumeRecord>)> {
        write!(self, steps::restore::finish, id, job, end, undone, at)
    }

    async fn begin_delete(
        &self,
        id: BackupId,
        job: &Job,
        force: bool,
        at: Timestamp,
    ) -> Result<BackupRecord> {
        write!(self, steps::delete::begin, id, job, force, at)
    }

    async fn finish_delete(
        &self,
        id: BackupId,
        job: JobId,
        failed: Option<&str>,
        at: Timestamp,
    ) -> Result<()> {
        write!(self, steps::delete::finish, id, job, failed, at)
    }

    async fn import_backup(&self, record: &BackupRecord, at: Timestamp) -> Result<BackupRecord> {
        write!(self, steps::records::import, record, at)
    }

    async fn update_backup(
        &self,
        id: BackupId,
        change: &BackupChange,
        at: Timestamp,
    ) -> Result<BackupRecord> {
        write!(self, steps::records::update, id, change, at)
    }

    async fn backup(&self, id: BackupId) -> Result<BackupRecord> {
        read!(self, steps::find::backup, id).map(|row| row.record)
    }

    async fn find_backup(&self, project: Option<&str>, name_or_id: &str) -> Result<BackupRecord> {
        read!(self, steps::find::find_backup, project, name_or_id)
    }

    async fn backups(&self, filter: &BackupFilter) -> Result<Vec<BackupRecord>> {
        self.read().await?.backups(filter).await
    }

    async fn children(&self, id: BackupId) -> Result<Vec<BackupRecord>> {
        self.read().await?.children(id).await
    }

    async fn chain(&self, id: BackupId) -> Result<Vec<BackupRecord>> {
        read!(self, steps::find::chain, id)
    }

    async fn newest_parent(&self, query: &ParentQuery) -> Result<Option<BackupRecord>> {
        self.read().await?.newest_parent(query).await
    }

    async fn jobs(&self) -> Result<Vec<Job>> {
        self.read().await?.jobs().await
    }

    async fn forget_job(&self, id: JobId) -> Result<()> {
        let mut tx = self.begin().await?;
        tx.rows().remove_job(id).await?;
        tx.commit().await
    }

    async fn quota(&self, project: &str) -> Result<Quota> {
        read!(self, steps::settings::quota, project)
    }

    async fn set_quota(&self, project: &str, quota: &Quota) -> Result<()> {
        let mut tx = self.begin().await?;
        tx.rows().put_quota(project, quota).await?;
        tx.commit().await
    }

    async fn usage(&self, project: &str) -> Result<Usage> {
        self.read().await?.usage(project).await
    }
}
