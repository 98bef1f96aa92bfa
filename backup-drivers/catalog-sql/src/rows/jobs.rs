//! Jobs.

use backup_core::catalog::Job;
use backup_core::{JobId, Result};
use sqlx::sqlite::SqliteRow;

use super::SqlRows;
use crate::columns::{Columns, some_json, some_text};

fn read(row: &SqliteRow) -> Result<Job> {
    let mut columns = Columns::new(row);
    let mut job = Job::new(
        columns.parsed()?,
        columns.parsed()?,
        columns.text()?,
        columns.time()?,
    );
    job.backup = columns.some_parsed()?;
    job.volume = columns.some_parsed()?;
    job.snapshot = columns.some_parsed()?;
    job.plan = columns.some_json()?;
    job.attach = columns.some_json()?;
    Ok(job)
}

pub(super) async fn list(rows: &mut SqlRows<'_>) -> Result<Vec<Job>> {
    let (connection, failed) = rows.parts();
    let found = sqlx::query(
        "SELECT id, kind, host, started_at, backup_id, volume_id, snapshot_id, plan, attach
         FROM jobs ORDER BY started_at, id",
    )
    .fetch_all(connection)
    .await
    .map_err(failed)?;
    found.iter().map(read).collect()
}

pub(super) async fn put(rows: &mut SqlRows<'_>, job: &Job) -> Result<()> {
    let (connection, failed) = rows.parts();
    sqlx::query(
        "INSERT OR REPLACE INTO jobs
         (id, kind, host, started_at, backup_id, volume_id, snapshot_id, plan, attach)
         VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
    )
    .bind(job.id.to_string())
    .bind(job.kind.word())
    .bind(&job.host)
    .bind(job.started_at.as_micros())
    .bind(some_text(job.backup))
    .bind(some_text(job.volume))
    .bind(some_text(job.snapshot))
    .bind(some_json(job.plan.as_ref())?)
    .bind(some_json(job.attach.as_ref())?)
    .execute(connection)
    .await
    .map_err(failed)?;
    Ok(())
}

pub(super) async fn remove(rows: &mut SqlRows<'_>, id: JobId) -> Result<()> {
    let (connection, failed) = rows.parts();
    sqlx::query("DELETE FROM jobs WHERE id = ?")
        .bind(id.to_string())
        .execute(connection)
        .await
        .map_err(failed)?;
    Ok(())
}
