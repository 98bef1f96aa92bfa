//! Snapshots.

use super::{find, forbidden, label, lost};
use crate::catalog::model::{Job, VolumeEnd};
use crate::catalog::rows::{Rows, SnapshotRow};
use crate::error::{Error, ErrorKind, Result};
use crate::id::{JobId, SnapshotId};
use crate::volume::{SnapshotRecord, VolumeStatus};

const CREATE: &str = "create snapshot";
const DELETE: &str = "delete snapshot";

pub(in crate::catalog) async fn begin_create(
    rows: &mut (dyn Rows + '_),
    record: &SnapshotRecord,
    job: &Job,
) -> Result<()> {
    if rows.snapshot(record.id).await?.is_some() {
        return Err(Error::new(ErrorKind::AlreadyExists, CREATE)
            .on(record.id)
            .because("a snapshot with that ID is in the catalogue"));
    }
    let volume = find::volume(rows, record.volume_id).await?.record;
    if !matches!(
        volume.status,
        VolumeStatus::Available | VolumeStatus::InUse | VolumeStatus::BackingUp
    ) {
        return Err(forbidden(
            CREATE,
            format!("of volume {}", label(volume.name.as_deref(), volume.id)),
            format!(
                "the volume is {} and must be available or in use",
                volume.status
            ),
            "wait until whatever changes it is done",
        ));
    }
    let mut row = SnapshotRow {
        record: record.clone(),
        job: Some(job.id),
    };
    row.record.status = VolumeStatus::Creating;
    rows.put_snapshot(&row).await?;
    rows.put_job(job).await
}

pub(in crate::catalog) async fn finish_create(
    rows: &mut (dyn Rows + '_),
    id: SnapshotId,
    job: JobId,
    end: &VolumeEnd,
) -> Result<Option<SnapshotRecord>> {
    let mut row = find::snapshot(rows, id).await?;
    if row.job != Some(job) || row.record.status != VolumeStatus::Creating {
        return Err(lost(CREATE, label(row.record.name.as_deref(), id), job));
    }
    row.job = None;
    match end {
        VolumeEnd::Made {
            provider_location,
            length,
        } => {
            row.record.status = VolumeStatus::Available;
            row.record.provider_location = Some(provider_location.clone());
            row.record.length = *length;
        }
        VolumeEnd::Gone => {
            rows.remove_snapshot(id).await?;
            rows.remove_job(job).await?;
            return Ok(None);
        }
        VolumeEnd::Failed => row.record.status = VolumeStatus::Error,
    }
    rows.put_snapshot(&row).await?;
    rows.remove_job(job).await?;
    Ok(Some(row.record))
}

pub(in crate::catalog) async fn begin_delete(
    rows: &mut (dyn Rows + '_),
    id: SnapshotId,
    job: &Job,
) -> Result<SnapshotRecord> {
    let mut row = find::snapshot(rows, id).await?;
    if !matches!(
        row.record.status,
        VolumeStatus::Available | VolumeStatus::Error
    ) {
        return Err(forbidden(
            DELETE,
            label(row.record.name.as_deref(), id),
            format!(
                "it is {} and only one that is available or in error can be deleted",
                row.record.status
            ),
            "wait until its job is done",
        ));
    }
    row.record.status = VolumeStatus::Deleting;
    row.job = Some(job.id);
    rows.put_snapshot(&row).await?;
    rows.put_job(job).await?;
    Ok(row.record)
}

pub(in crate::catalog) async fn finish_delete(
    rows: &mut (dyn Rows + '_),
    id: SnapshotId,
    job: JobId,
    failed: bool,
) -> Result<()> {
    let mut row = find::snapshot(rows, id).await?;
    if row.job != Some(job) || row.record.status != VolumeStatus::Deleting {
        return Err(lost(DELETE, label(row.record.name.as_deref(), id), job));
    }
    rows.remove_job(job).await?;
    if !failed {
        return rows.remove_snapshot(id).await;
    }
    row.job = None;
    row.record.status = VolumeStatus::Error;
    rows.put_snapshot(&row).await
}
