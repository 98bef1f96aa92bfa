//! Volumes.

use super::{change_properties, change_text, find, forbidden, label, lost};
use crate::catalog::model::{Job, SnapshotFilter, VolumeChange, VolumeEnd};
use crate::catalog::rows::{Rows, VolumeRow};
use crate::error::{Error, ErrorKind, Result};
use crate::id::{JobId, VolumeId};
use crate::timestamp::Timestamp;
use crate::volume::{VolumeRecord, VolumeStatus};

const CREATE: &str = "create volume";
const DELETE: &str = "delete volume";

async fn add(rows: &mut (dyn Rows + '_), record: &VolumeRecord, job: Option<JobId>) -> Result<()> {
    if rows.volume(record.id).await?.is_some() {
        return Err(Error::new(ErrorKind::AlreadyExists, CREATE)
            .on(record.id)
            .because("a volume with that ID is in the catalogue"));
    }
    let row = VolumeRow {
        record: record.clone(),
        job,
    };
    free_place(rows, &row.record).await?;
    rows.put_volume(&row).await
}

/// Refuses a provider location that another volume has.
async fn free_place(rows: &mut (dyn Rows + '_), record: &VolumeRecord) -> Result<()> {
    let Some(place) = &record.provider_location else {
        return Ok(());
    };
    match rows.volume_at(place).await? {
        Some(other) if other != record.id => Err(Error::new(ErrorKind::AlreadyExists, CREATE)
            .on(place)
            .because(format!("volume {other} is there already"))),
        _ => Ok(()),
    }
}

pub(in crate::catalog) async fn insert(
    rows: &mut (dyn Rows + '_),
    record: &VolumeRecord,
) -> Result<()> {
    add(rows, record, None).await
}

pub(in crate::catalog) async fn begin_create(
    rows: &mut (dyn Rows + '_),
    record: &VolumeRecord,
    job: &Job,
) -> Result<()> {
    let mut record = record.clone();
    record.status = VolumeStatus::Creating;
    add(rows, &record, Some(job.id)).await?;
    rows.put_job(job).await
}

pub(in crate::catalog) async fn finish_create(
    rows: &mut (dyn Rows + '_),
    id: VolumeId,
    job: JobId,
    end: &VolumeEnd,
    at: Timestamp,
) -> Result<Option<VolumeRecord>> {
    let mut row = find::volume(rows, id).await?;
    if row.job != Some(job) || row.record.status != VolumeStatus::Creating {
        return Err(lost(CREATE, label(row.record.name.as_deref(), id), job));
    }
    row.job = None;
    row.record.updated_at = Some(at);
    match end {
        VolumeEnd::Made {
            provider_location,
            length,
        } => {
            row.record.status = VolumeStatus::Available;
            row.record.provider_location = Some(provider_location.clone());
            row.record.length = *length;
            free_place(rows, &row.record).await?;
        }
        VolumeEnd::Gone => {
            rows.remove_volume(id).await?;
            rows.remove_job(job).await?;
            return Ok(None);
        }
        VolumeEnd::Failed => row.record.status = VolumeStatus::Error,
    }
    rows.put_volume(&row).await?;
    rows.remove_job(job).await?;
    Ok(Some(row.record))
}

pub(in crate::catalog) async fn begin_delete(
    rows: &mut (dyn Rows + '_),
    id: VolumeId,
    job: &Job,
    at: Timestamp,
) -> Result<VolumeRecord> {
    let mut row = find::volume(rows, id).await?;
    let target = label(row.record.name.as_deref(), id);
    match row.record.status {
        VolumeStatus::Available | VolumeStatus::Error | VolumeStatus::ErrorRestoring => {}
        status => {
            return Err(forbidden(
                DELETE,
                target,
                format!("it is {status} and only one that is available or in error can be deleted"),
                match status {
                    VolumeStatus::InUse => {
                        "detach it first, or set its state by `volume set --state available`"
                    }
                    _ => "wait until its job is done",
                },
            ));
        }
    }
    let filter = SnapshotFilter {
        volume: Some(id),
        ..SnapshotFilter::default()
    };
    let snapshots: Vec<String> = rows
        .snapshots(&filter)
        .await?
        .iter()
        .map(|s| label(s.name.as_deref(), s.id))
        .collect();
    if !snapshots.is_empty() {
        return Err(forbidden(
            DELETE,
            target,
            format!("it has snapshots: {}", snapshots.join(", ")),
            "delete them first",
        ));
    }
    row.record.status = VolumeStatus::Deleting;
    row.record.updated_at = Some(at);
    row.job = Some(job.id);
    rows.put_volume(&row).await?;
    rows.put_job(job).await?;
    Ok(row.record)
}

pub(in crate::catalog) async fn finish_delete(
    rows: &mut (dyn Rows + '_),
    id: VolumeId,
    job: JobId,
    failed: bool,
    at: Timestamp,
) -> Result<()> {
    let mut row = find::volume(rows, id).await?;
    if row.job != Some(job) || row.record.status != VolumeStatus::Deleting {
        return Err(lost(DELETE, label(row.record.name.as_deref(), id), job));
    }
    rows.remove_job(job).await?;
    if !failed {
        return rows.remove_volume(id).await;
    }
    row.job = None;
    row.record.status = VolumeStatus::Error;
    row.record.updated_at = Some(at);
    rows.put_volume(&row).await
}

pub(in crate::catalog) async fn update(
    rows: &mut (dyn Rows + '_),
    id: VolumeId,
    change: &VolumeChange,
    at: Timestamp,
) -> Result<VolumeRecord> {
    const OPERATION: &str = "set volume";
    let mut row = find::volume(rows, id).await?;
    let record = &mut row.record;
    change_text(&mut record.name, change.name.as_ref());
    change_text(&mut record.description, change.description.as_ref());
    change_properties(
        &mut record.properties,
        &change.set_properties,
        &change.unset_properties,
    );
    if let Some(length) = change.length {
        record.length = length;
    }
    if let Some(status) = change.status {
        if !matches!(
            status,
            VolumeStatus::Available
                | VolumeStatus::InUse
                | VolumeStatus::Error
                | VolumeStatus::ErrorRestoring
        ) {
            return Err(Error::invalid(
                OPERATION,
                format!(
                    "its state can be set to available, in-use, error or error_restoring, not \
                     to {status}"
                ),
            )
            .on(label(record.name.as_deref(), id)));
        }
        record.status = status;
        record.previous_status = None;
        row.job = None;
    }
    row.record.updated_at = Some(at);
    rows.put_volume(&row).await?;
    Ok(row.record)
}
