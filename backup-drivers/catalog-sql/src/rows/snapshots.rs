//! Snapshots.

use backup_core::catalog::SnapshotFilter;
use backup_core::catalog::rows::SnapshotRow;
use backup_core::{Result, SnapshotId, SnapshotRecord};
use sqlx::sqlite::SqliteRow;
use sqlx::{QueryBuilder, Sqlite};

use super::SqlRows;
use crate::columns::{Columns, number, some_text};

/// The columns, in the order of [`read`] and [`put`].
macro_rules! columns {
    () => {
        "id, volume_id, project_id, name, description, length, status, provider_location, \
         created_at, job_id"
    };
}

fn read(row: &SqliteRow) -> Result<SnapshotRow> {
    let mut columns = Columns::new(row);
    Ok(SnapshotRow {
        record: SnapshotRecord {
            id: columns.parsed()?,
            volume_id: columns.parsed()?,
            project_id: columns.text()?,
            name: columns.some_text()?,
            description: columns.some_text()?,
            length: columns.number()?,
            status: columns.parsed()?,
            provider_location: columns.some_text()?,
            created_at: columns.time()?,
        },
        job: columns.some_parsed()?,
    })
}

pub(super) async fn get(rows: &mut SqlRows<'_>, id: SnapshotId) -> Result<Option<SnapshotRow>> {
    let (connection, failed) = rows.parts();
    let row = sqlx::query(concat!(
        "SELECT ",
        columns!(),
        " FROM snapshots WHERE id = ?"
    ))
    .bind(id.to_string())
    .fetch_optional(connection)
    .await
    .map_err(failed)?;
    row.as_ref().map(read).transpose()
}

pub(super) async fn list(
    rows: &mut SqlRows<'_>,
    filter: &SnapshotFilter,
) -> Result<Vec<SnapshotRecord>> {
    let mut query =
        QueryBuilder::<Sqlite>::new(concat!("SELECT ", columns!(), " FROM snapshots WHERE TRUE"));
    if let Some(project) = &filter.project {
        query.push(" AND project_id = ").push_bind(project.clone());
    }
    if let Some(volume) = filter.volume {
        query
            .push(" AND volume_id = ")
            .push_bind(volume.to_string());
    }
    if let Some(name) = &filter.name {
        query.push(" AND name = ").push_bind(name.clone());
    }
    query.push(" ORDER BY created_at DESC, id DESC");
    let (connection, failed) = rows.parts();
    let found = query.build().fetch_all(connection).await.map_err(failed)?;
    found.iter().map(|row| Ok(read(row)?.record)).collect()
}

pub(super) async fn put(rows: &mut SqlRows<'_>, row: &SnapshotRow) -> Result<()> {
    let (connection, failed) = rows.parts();
    let snapshot = &row.record;
    sqlx::query(concat!(
        "INSERT OR REPLACE INTO snapshots (",
        columns!(),
        ") VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"
    ))
    .bind(snapshot.id.to_string())
    .bind(snapshot.volume_id.to_string())
    .bind(&snapshot.project_id)
    .bind(&snapshot.name)
    .bind(&snapshot.description)
    .bind(number(snapshot.length)?)
    .bind(snapshot.status.word())
    .bind(&snapshot.provider_location)
    .bind(snapshot.created_at.as_micros())
    .bind(some_text(row.job))
    .execute(connection)
    .await
    .map_err(failed)?;
    Ok(())
}

pub(super) async fn remove(rows: &mut SqlRows<'_>, id: SnapshotId) -> Result<()> {
    let (connection, failed) = rows.parts();
    sqlx::query("DELETE FROM snapshots WHERE id = ?")
        .bind(id.to_string())
        .execute(connection)
        .await
        .map_err(failed)?;
    Ok(())
}
