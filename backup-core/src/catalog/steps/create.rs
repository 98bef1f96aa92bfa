//! Making a backup.

use super::{find, forbidden, label, lost, settings};
use crate::catalog::model::{BackupEnd, NewBackup};
use crate::catalog::rows::{BackupRow, Rows};
use crate::error::{Error, ErrorKind, Result};
use crate::id::{BackupId, JobId};
use crate::record::{BackupRecord, BackupStatus, gib_rounded_up};
use crate::timestamp::Timestamp;
use crate::volume::VolumeStatus;

const OPERATION: &str = "create backup";

pub(in crate::catalog) async fn begin(
    rows: &mut (dyn Rows + '_),
    new: &NewBackup,
) -> Result<BackupRecord> {
    let record = &new.record;
    if rows.backup(record.id).await?.is_some() {
        return Err(Error::new(ErrorKind::AlreadyExists, OPERATION)
            .on(record.id)
            .because("a backup with that ID is in the catalogue"));
    }
    if record.location.is_none() || record.status != BackupStatus::Creating {
        return Err(Error::internal(
            OPERATION,
            "a new record has a location and is creating",
        ));
    }
    hold_source(rows, new).await?;
    if let Some(parent) = record.parent_id {
        check_parent(rows, record, parent).await?;
    }
    settings::charge(rows, OPERATION, &record.project_id, record.size_gib).await?;
    rows.put_job(&new.job).await?;
    rows.put_backup(&BackupRow {
        record: record.clone(),
        job: Some(new.job.id),
        deleted_at: None,
    })
    .await?;
    Ok(record.clone())
}

/// Checks volume or snapshot and puts what is read into `backing-up`.
async fn hold_source(rows: &mut (dyn Rows + '_), new: &NewBackup) -> Result<()> {
    let mut volume = find::volume(rows, new.record.volume_id).await?;
    let target = format!(
        "volume {}",
        label(volume.record.name.as_deref(), volume.record.id)
    );
    if let Some(id) = new.record.snapshot_id {
        let mut snapshot = find::snapshot(rows, id).await?;
        let name = label(snapshot.record.name.as_deref(), id);
        if snapshot.record.volume_id != new.record.volume_id {
            return Err(Error::invalid(
                OPERATION,
                format!("snapshot {name} is one of another volume"),
            )
            .on(target));
        }
        if snapshot.record.status != VolumeStatus::Available {
            return Err(forbidden(
                OPERATION,
                format!("snapshot {name}"),
                format!(
                    "it is {} and only an available one can be backed up",
                    snapshot.record.status
                ),
                "wait until whatever uses it is done",
            ));
        }
        snapshot.record.status = VolumeStatus::BackingUp;
        snapshot.job = Some(new.job.id);
        return rows.put_snapshot(&snapshot).await;
    }
    match volume.record.status {
        VolumeStatus::Available => {}
        VolumeStatus::InUse if new.force => {}
        VolumeStatus::InUse => {
            return Err(forbidden(
                OPERATION,
                target,
                "it is in use",
                "give --force to back up a point in time of it, or back up a snapshot",
            ));
        }
        status => {
            return Err(forbidden(
                OPERATION,
                target,
                format!(
                    "it is {status} and only an available one, or with --force one in use, can be backed up"
                ),
                "wait until whatever uses it is done; after a failure set its state by `volume set --state`",
            ));
        }
    }
    volume.record.previous_status = Some(volume.record.status);
    volume.record.status = VolumeStatus::BackingUp;
    volume.job = Some(new.job.id);
    rows.put_volume(&volume).await
}

async fn check_parent(
    rows: &mut (dyn Rows + '_),
    record: &BackupRecord,
    parent: BackupId,
) -> Result<()> {
    let parent = find::backup(rows, parent).await?.record;
    let target = format!(
        "incremental on {}",
        label(parent.name.as_deref(), parent.id)
    );
    let refuse = |rule: String| {
        Err(forbidden(
            OPERATION,
            &target,
            rule,
            "make a full backup (without --incremental)",
        ))
    };
    if parent.status != BackupStatus::Available {
        return refuse(format!(
            "that backup is {} and only an available one can be a parent",
            parent.status
        ));
    }
    if parent.volume_id != record.volume_id || parent.project_id != record.project_id {
        return refuse("that backup is of another volume or project".into());
    }
    if parent.repository != record.repository {
        return refuse(format!(
            "that backup is in repository {} and the new one would be in {}",
            parent.repository, record.repository
        ));
    }
    Ok(())
}

pub(in crate::catalog) async fn finish(
    rows: &mut (dyn Rows + '_),
    id: BackupId,
    job: JobId,
    end: &BackupEnd,
    undone: bool,
    at: Timestamp,
) -> Result<BackupRecord> {
    let mut row = find::backup(rows, id).await?;
    let record = &mut row.record;
    if row.job != Some(job) || record.status != BackupStatus::Creating {
        return Err(lost(OPERATION, label(record.name.as_deref(), id), job));
    }
    match end {
        BackupEnd::Complete(outcome) => {
            record.status = BackupStatus::Available;
            record.fail_reason = None;
            record.volume_length = Some(outcome.volume_length);
            record.size_gib = gib_rounded_up(outcome.volume_length);
            record.object_count = outcome.object_count;
            record.stored_bytes = outcome.stored_bytes.checked_add(outcome.index_bytes);
        }
        BackupEnd::Failed(reason) => {
            record.status = BackupStatus::Error;
            record.fail_reason = Some(reason.clone());
        }
    }
    record.updated_at = Some(at);
    row.job = None;
    rows.put_backup(&row).await?;
    release_source(rows, &row.record, job, at).await?;
    if undone {
        rows.remove_job(job).await?;
    }
    Ok(row.record)
}

/// Puts what was read back into its state, where the job still holds it.
pub(super) async fn release_source(
    rows: &mut (dyn Rows + '_),
    record: &BackupRecord,
    job: JobId,
    at: Timestamp,
) -> Result<()> {
    if let Some(id) = record.snapshot_id {
        if let Some(mut snapshot) = rows.snapshot(id).await?
            && snapshot.job == Some(job)
        {
            snapshot.job = None;
            if snapshot.record.status == VolumeStatus::BackingUp {
                snapshot.record.status = VolumeStatus::Available;
            }
            rows.put_snapshot(&snapshot).await?;
        }
        return Ok(());
    }
    if let Some(mut volume) = rows.volume(record.volume_id).await?
        && volume.job == Some(job)
    {
        volume.job = None;
        let previous = volume.record.previous_status.take();
        if volume.record.status == VolumeStatus::BackingUp {
            volume.record.status = previous.unwrap_or(VolumeStatus::Available);
        }
        volume.record.updated_at = Some(at);
        rows.put_volume(&volume).await?;
    }
    Ok(())
}
