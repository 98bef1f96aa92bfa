//! Removing a backup.

use super::{find, forbidden, label, lost};
use crate::catalog::model::Job;
use crate::catalog::rows::Rows;
use crate::error::Result;
use crate::id::{BackupId, JobId};
use crate::record::{BackupRecord, BackupStatus};
use crate::timestamp::Timestamp;

const OPERATION: &str = "delete backup";

pub(in crate::catalog) async fn begin(
    rows: &mut (dyn Rows + '_),
    id: BackupId,
    job: &Job,
    force: bool,
    at: Timestamp,
) -> Result<BackupRecord> {
    let mut row = find::backup(rows, id).await?;
    let target = label(row.record.name.as_deref(), id);
    let deletable = matches!(
        row.record.status,
        BackupStatus::Available | BackupStatus::Error | BackupStatus::ErrorDeleting
    );
    if !deletable && !force {
        return Err(forbidden(
            OPERATION,
            target,
            format!(
                "it is {} and only one that is available or in error can be deleted",
                row.record.status
            ),
            "wait until its job is done, or stop the job",
        ));
    }
    let children: Vec<String> = rows
        .children(id)
        .await?
        .iter()
        .map(|child| label(child.name.as_deref(), child.id))
        .collect();
    if !children.is_empty() {
        return Err(forbidden(
            OPERATION,
            target,
            format!("it has incrementals: {}", children.join(", ")),
            "delete them first, the newest first",
        ));
    }
    if let Some(other) = row.job.take() {
        // By force: what the other job held goes back now, since that job can no longer end it.
        super::records::release_subjects(rows, &row.record, other, at).await?;
    }
    row.record.status = BackupStatus::Deleting;
    row.record.updated_at = Some(at);
    row.job = Some(job.id);
    rows.put_job(job).await?;
    rows.put_backup(&row).await?;
    Ok(row.record)
}

pub(in crate::catalog) async fn finish(
    rows: &mut (dyn Rows + '_),
    id: BackupId,
    job: JobId,
    failed: Option<&str>,
    at: Timestamp,
) -> Result<()> {
    let mut row = find::backup(rows, id).await?;
    if row.job != Some(job) || row.record.status != BackupStatus::Deleting {
        return Err(lost(OPERATION, label(row.record.name.as_deref(), id), job));
    }
    row.job = None;
    row.record.updated_at = Some(at);
    if let Some(reason) = failed {
        row.record.status = BackupStatus::Error;
        row.record.fail_reason = Some(reason.to_owned());
    } else {
        row.record.status = BackupStatus::Deleted;
        row.deleted_at = Some(at);
    }
    rows.put_backup(&row).await?;
    rows.remove_job(job).await
}
