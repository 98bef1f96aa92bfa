//! Restoring a backup.

use super::{find, forbidden, label, lost};
use crate::catalog::model::{RestoreEnd, RestoreStart, SnapshotFilter};
use crate::catalog::rows::Rows;
use crate::error::{Error, Result};
use crate::format::volume::RestoredMetadata;
use crate::id::{BackupId, JobId, VolumeId};
use crate::record::{BackupRecord, BackupStatus};
use crate::timestamp::Timestamp;
use crate::volume::{VolumeRecord, VolumeStatus};

const OPERATION: &str = "restore backup";

pub(in crate::catalog) async fn begin(
    rows: &mut (dyn Rows + '_),
    start: &RestoreStart,
) -> Result<(BackupRecord, VolumeRecord)> {
    if let Some((job, end)) = &start.made {
        super::volumes::finish_create(rows, start.volume, *job, end, start.job.started_at).await?;
    }
    restorable(rows, start.backup).await?;
    let mut row = find::backup(rows, start.backup).await?;
    let mut volume = find::volume(rows, start.volume).await?;
    check_target(rows, &volume.record, start.length).await?;

    row.record.status = BackupStatus::Restoring;
    row.record.restore_volume_id = Some(start.volume);
    row.record.updated_at = Some(start.job.started_at);
    row.job = Some(start.job.id);
    volume.record.status = VolumeStatus::RestoringBackup;
    volume.record.updated_at = Some(start.job.started_at);
    volume.job = Some(start.job.id);
    rows.put_job(&start.job).await?;
    rows.put_backup(&row).await?;
    rows.put_volume(&volume).await?;
    Ok((row.record, volume.record))
}

pub(in crate::catalog) async fn restorable(
    rows: &mut (dyn Rows + '_),
    id: BackupId,
) -> Result<Vec<BackupRecord>> {
    let record = find::backup(rows, id).await?.record;
    let target = label(record.name.as_deref(), id);
    if record.status != BackupStatus::Available {
        return Err(forbidden(
            OPERATION,
            target,
            format!(
                "it is {} and only an available one can be restored",
                record.status
            ),
            match record.status {
                BackupStatus::Restoring => "wait until the other restore of it is done",
                BackupStatus::Creating => "wait until it is complete",
                _ => "restore another backup",
            },
        ));
    }
    let chain = find::chain(rows, id).await?;
    for layer in &chain {
        check_layer(&target, &record, layer)?;
    }
    Ok(chain)
}

/// A layer counts while it is whole: available, or being restored itself.
fn check_layer(target: &str, newest: &BackupRecord, layer: &BackupRecord) -> Result<()> {
    let name = label(layer.name.as_deref(), layer.id);
    if !matches!(
        layer.status,
        BackupStatus::Available | BackupStatus::Restoring
    ) {
        return Err(forbidden(
            OPERATION,
            target,
            format!("it stands on backup {name}, which is {}", layer.status),
            "restore an older backup of the volume",
        ));
    }
    if layer.repository != newest.repository {
        return Err(forbidden(
            OPERATION,
            target,
            format!(
                "it lies in repository {} and stands on backup {name} in {}",
                newest.repository, layer.repository
            ),
            "configure one repository that holds the whole chain, and import the records again",
        ));
    }
    Ok(())
}

async fn check_target(
    rows: &mut (dyn Rows + '_),
    volume: &VolumeRecord,
    length: u64,
) -> Result<()> {
    let target = format!("onto volume {}", label(volume.name.as_deref(), volume.id));
    if volume.status != VolumeStatus::Available {
        return Err(forbidden(
            OPERATION,
            target,
            format!(
                "it is {} and only an available one can be restored onto",
                volume.status
            ),
            "restore into a new volume, or detach it first; after a failure set its state by \
             `volume set --state available`",
        ));
    }
    if volume.length < length {
        return Err(Error::invalid(
            OPERATION,
            format!(
                "the backup needs {length} bytes and the volume has {}",
                volume.length
            ),
        )
        .on(target)
        .hint("restore onto a larger volume or into a new one"));
    }
    // Nobody may write a volume while it is copied for a snapshot.
    let filter = SnapshotFilter {
        volume: Some(volume.id),
        ..SnapshotFilter::default()
    };
    let snapshots = rows.snapshots(&filter).await?;
    if snapshots.iter().any(|s| s.status == VolumeStatus::Creating) {
        return Err(forbidden(
            OPERATION,
            target,
            "a snapshot of it is being made",
            "wait until it is done",
        ));
    }
    Ok(())
}

pub(in crate::catalog) async fn finish(
    rows: &mut (dyn Rows + '_),
    id: BackupId,
    job: JobId,
    end: &RestoreEnd,
    undone: bool,
    at: Timestamp,
) -> Result<(BackupRecord, Option<VolumeRecord>)> {
    let mut row = find::backup(rows, id).await?;
    if row.job != Some(job) || row.record.status != BackupStatus::Restoring {
        return Err(lost(OPERATION, label(row.record.name.as_deref(), id), job));
    }
    row.record.status = BackupStatus::Available;
    row.record.updated_at = Some(at);
    row.record.fail_reason = match end {
        RestoreEnd::Complete(_) => None,
        RestoreEnd::Failed(reason) | RestoreEnd::Cancelled(reason) => Some(reason.clone()),
    };
    row.job = None;
    rows.put_backup(&row).await?;
    let volume = match row.record.restore_volume_id {
        Some(volume) => release_target(rows, &row.record, volume, job, end, at).await?,
        None => None,
    };
    if undone {
        rows.remove_job(job).await?;
    }
    Ok((row.record, volume))
}

/// Gives the volume its state and its metadata, where the job still holds it.
pub(super) async fn release_target(
    rows: &mut (dyn Rows + '_),
    record: &BackupRecord,
    volume: VolumeId,
    job: JobId,
    end: &RestoreEnd,
    at: Timestamp,
) -> Result<Option<VolumeRecord>> {
    let Some(mut row) = rows.volume(volume).await? else {
        return Ok(None);
    };
    if row.job != Some(job) {
        return Ok(None);
    }
    row.job = None;
    let volume = &mut row.record;
    volume.updated_at = Some(at);
    volume.status = match end {
        RestoreEnd::Complete(metadata) => {
            put_metadata(volume, metadata);
            if volume.id != record.volume_id {
                volume
                    .properties
                    .insert("src_backup_id".into(), record.id.to_string());
            }
            VolumeStatus::Available
        }
        RestoreEnd::Failed(_) => VolumeStatus::ErrorRestoring,
        RestoreEnd::Cancelled(_) => VolumeStatus::Error,
    };
    rows.put_volume(&row).await?;
    Ok(Some(row.record))
}

fn put_metadata(volume: &mut VolumeRecord, metadata: &RestoredMetadata) {
    if let Some(name) = &metadata.name {
        volume.name = Some(name.clone());
    }
    super::change_text(&mut volume.description, metadata.description.as_ref());
    if let Some(properties) = &metadata.properties {
        volume.properties.clone_from(properties);
    }
    if let Some(image) = &metadata.image_properties {
        volume.image_properties.clone_from(image);
    }
    volume.bootable |= metadata.bootable;
    if let Some(key) = &metadata.encryption_key_id {
        volume.encryption_key_id = Some(key.clone());
    }
}
