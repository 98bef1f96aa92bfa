//! Importing and changing records.

use super::{change_properties, change_text, create, find, forbidden, label, restore, settings};
use crate::catalog::model::{BackupChange, RestoreEnd};
use crate::catalog::rows::{BackupRow, Rows};
use crate::error::{Error, ErrorKind, Result};
use crate::id::{BackupId, JobId};
use crate::record::{BackupRecord, BackupStatus};
use crate::timestamp::Timestamp;

pub(in crate::catalog) async fn import(
    rows: &mut (dyn Rows + '_),
    record: &BackupRecord,
    at: Timestamp,
) -> Result<BackupRecord> {
    const OPERATION: &str = "import backup record";
    if let Some(row) = rows.backup(record.id).await?
        && row.deleted_at.is_none()
    {
        return Err(Error::new(ErrorKind::AlreadyExists, OPERATION)
            .on(label(row.record.name.as_deref(), record.id))
            .because("a backup with that ID is in the catalogue already"));
    }
    if record.parent_id == Some(record.id) {
        return Err(Error::invalid(OPERATION, "it is its own parent").on(record.id));
    }
    settings::charge(rows, OPERATION, &record.project_id, record.size_gib).await?;
    let mut row = BackupRow {
        record: record.clone(),
        job: None,
        deleted_at: None,
    };
    row.record.status = BackupStatus::Available;
    row.record.fail_reason = None;
    row.record.updated_at = Some(at);
    rows.put_backup(&row).await?;
    // Its children may have been imported before: read again for their number.
    Ok(find::backup(rows, record.id).await?.record)
}

pub(in crate::catalog) async fn update(
    rows: &mut (dyn Rows + '_),
    id: BackupId,
    change: &BackupChange,
    at: Timestamp,
) -> Result<BackupRecord> {
    const OPERATION: &str = "set backup";
    let mut row = find::backup(rows, id).await?;
    let target = label(row.record.name.as_deref(), id);
    change_text(&mut row.record.name, change.name.as_ref());
    change_text(&mut row.record.description, change.description.as_ref());
    change_properties(
        &mut row.record.properties,
        &change.set_properties,
        &change.unset_properties,
    );
    if let Some(account) = &change.account {
        row.record.account = Some(account.clone());
    }
    if let Some(status) = change.status {
        if !matches!(status, BackupStatus::Available | BackupStatus::Error) {
            return Err(Error::invalid(
                OPERATION,
                format!("its state can be set to available or error, not to {status}"),
            )
            .on(target));
        }
        if status == BackupStatus::Available && row.record.location.is_none() {
            return Err(forbidden(
                OPERATION,
                target,
                "it has no location, so it cannot be available",
                "delete it",
            ));
        }
        if let Some(job) = row.job.take() {
            release_subjects(rows, &row.record, job, at).await?;
        }
        row.record.status = status;
        row.record.fail_reason = match status {
            BackupStatus::Error => Some("set to error by an administrator".into()),
            _ => None,
        };
    }
    row.record.updated_at = Some(at);
    rows.put_backup(&row).await?;
    Ok(row.record)
}

/// Lets go of what a backup's job holds besides the backup, when somebody else takes the backup from it.
pub(super) async fn release_subjects(
    rows: &mut (dyn Rows + '_),
    record: &BackupRecord,
    job: JobId,
    at: Timestamp,
) -> Result<()> {
    match record.status {
        BackupStatus::Creating => create::release_source(rows, record, job, at).await,
        BackupStatus::Restoring => {
            if let Some(volume) = record.restore_volume_id {
                let end = RestoreEnd::Failed(String::new());
                restore::release_target(rows, record, volume, job, &end, at).await?;
            }
            Ok(())
        }
        _ => Ok(()),
    }
}
