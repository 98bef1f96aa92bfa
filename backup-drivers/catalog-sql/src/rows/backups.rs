//! Backups.

mod packed;

use backup_core::catalog::rows::BackupRow;
use backup_core::catalog::{BackupFilter, ParentQuery, Usage};
use backup_core::{BackupId, BackupRecord, BackupStatus, Location, Result, Timestamp};
use futures::TryStreamExt;
use sqlx::sqlite::SqliteRow;
use sqlx::{QueryBuilder, Sqlite};

use super::SqlRows;
use crate::columns::{Columns, json, number, some_number, some_text};

/// The stored columns, in the order of [`read`] and [`put`].
macro_rules! columns {
    () => {
        "id, user_id, project_id, volume_id, snapshot_id, parent_id, status, fail_reason, \
         size_gib, volume_length, name, description, properties, repository, service, account, \
         container, prefix, object_count, stored_bytes, host, availability_zone, temp_volume_id, \
         temp_snapshot_id, restore_volume_id, encryption_key_id, data_timestamp, created_at, \
         updated_at, job_id, deleted_at"
    };
}

/// Those, and how many backups stand on it: a look into the index for each.
macro_rules! select {
    ($rest:literal) => {
        concat!(
            "SELECT ",
            columns!(),
            ", (SELECT count(*) FROM backups child
                WHERE child.parent_id = backups.id AND child.deleted_at IS NULL)
             FROM backups ",
            $rest
        )
    };
}

fn read(row: &SqliteRow) -> Result<BackupRow> {
    let mut columns = Columns::new(row);
    let mut record = BackupRecord {
        id: columns.parsed()?,
        user_id: columns.text()?,
        project_id: columns.text()?,
        volume_id: columns.parsed()?,
        snapshot_id: columns.some_parsed()?,
        parent_id: columns.some_parsed()?,
        status: columns.parsed()?,
        fail_reason: columns.some_text()?,
        size_gib: columns.number()?,
        volume_length: columns.some_number()?,
        name: columns.some_text()?,
        description: columns.some_text()?,
        properties: columns.properties()?,
        repository: columns.text()?,
        service: columns.text()?,
        account: columns.some_text()?,
        location: location(columns.some_text()?, columns.some_text()?)?,
        object_count: columns.number()?,
        stored_bytes: columns.some_number()?,
        host: columns.some_text()?,
        availability_zone: columns.some_text()?,
        temp_volume_id: columns.some_text()?,
        temp_snapshot_id: columns.some_text()?,
        restore_volume_id: columns.some_parsed()?,
        encryption_key_id: columns.some_text()?,
        data_timestamp: columns.time()?,
        created_at: columns.time()?,
        updated_at: columns.some_time()?,
        num_dependent_backups: 0,
    };
    let job = columns.some_parsed()?;
    let deleted_at = columns.some_time()?;
    record.num_dependent_backups = columns.number()?;
    Ok(BackupRow {
        record,
        job,
        deleted_at,
    })
}

fn location(container: Option<String>, prefix: Option<String>) -> Result<Option<Location>> {
    container
        .zip(prefix)
        .map(|(container, prefix)| BackupRecord::location_of(&container, &prefix))
        .transpose()
}

fn records(found: &[SqliteRow]) -> Result<Vec<BackupRecord>> {
    found.iter().map(|row| Ok(read(row)?.record)).collect()
}

pub(super) async fn get(rows: &mut SqlRows<'_>, id: BackupId) -> Result<Option<BackupRow>> {
    let (connection, failed) = rows.parts();
    let row = sqlx::query(select!("WHERE id = ?"))
        .bind(id.to_string())
        .fetch_optional(connection)
        .await
        .map_err(failed)?;
    row.as_ref().map(read).transpose()
}

pub(super) async fn list(
    rows: &mut SqlRows<'_>,
    filter: &BackupFilter,
) -> Result<Vec<BackupRecord>> {
    let mut query = QueryBuilder::<Sqlite>::new(packed::SELECT);
    if let Some(project) = &filter.project {
        query.push(" AND project_id = ").push_bind(project.clone());
    }
    if let Some(volume) = filter.volume {
        query
            .push(" AND volume_id = ")
            .push_bind(volume.to_string());
    }
    if let Some(status) = filter.status {
        query.push(" AND status = ").push_bind(status.word());
    }
    if let Some(name) = &filter.name {
        query.push(" AND name = ").push_bind(name.clone());
    }
    query.push(" ORDER BY created_at DESC, id DESC");
    let (connection, failed) = rows.parts();
    // SQLite's thread looks for the next rows while this one unpacks.
    let mut found = query.build().fetch(connection);
    let mut records = Vec::new();
    while let Some(row) = found.try_next().await.map_err(failed)? {
        records.push(packed::unpack(Columns::new(&row).borrowed()?)?);
    }
    Ok(records)
}

pub(super) async fn children(rows: &mut SqlRows<'_>, id: BackupId) -> Result<Vec<BackupRecord>> {
    let (connection, failed) = rows.parts();
    let found = sqlx::query(select!(
        "WHERE parent_id = ? AND deleted_at IS NULL ORDER BY created_at, id"
    ))
    .bind(id.to_string())
    .fetch_all(connection)
    .await
    .map_err(failed)?;
    records(&found)
}

pub(super) async fn newest_parent(
    rows: &mut SqlRows<'_>,
    query: &ParentQuery,
) -> Result<Option<BackupRecord>> {
    let (connection, failed) = rows.parts();
    let row = sqlx::query(select!(
        "WHERE deleted_at IS NULL AND status = ?1 AND project_id = ?2 AND volume_id = ?3
           AND (?4 IS NULL OR repository = ?4) AND (?5 IS NULL OR data_timestamp < ?5)
         ORDER BY data_timestamp DESC, created_at DESC, id DESC LIMIT 1"
    ))
    .bind(BackupStatus::Available.word())
    .bind(&query.project)
    .bind(query.volume.to_string())
    .bind(&query.repository)
    .bind(query.before.map(Timestamp::as_micros))
    .fetch_optional(connection)
    .await
    .map_err(failed)?;
    Ok(row.as_ref().map(read).transpose()?.map(|row| row.record))
}

pub(super) async fn usage(rows: &mut SqlRows<'_>, project: &str) -> Result<Usage> {
    let (connection, failed) = rows.parts();
    let row = sqlx::query(
        "SELECT count(*), coalesce(sum(size_gib), 0) FROM backups
         WHERE project_id = ? AND deleted_at IS NULL",
    )
    .bind(project)
    .fetch_one(connection)
    .await
    .map_err(failed)?;
    let mut columns = Columns::new(&row);
    Ok(Usage {
        backups: columns.number()?,
        gigabytes: columns.number()?,
    })
}

pub(super) async fn put(rows: &mut SqlRows<'_>, row: &BackupRow) -> Result<()> {
    let (connection, failed) = rows.parts();
    let backup = &row.record;
    let (container, prefix) = match &backup.location {
        Some(location) => (
            Some(location.container.as_str()),
            Some(location.prefix.as_str()),
        ),
        None => (None, None),
    };
    sqlx::query(concat!(
        "INSERT OR REPLACE INTO backups (",
        columns!(),
        ") VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, \
         ?, ?, ?, ?, ?)"
    ))
    .bind(backup.id.to_string())
    .bind(&backup.user_id)
    .bind(&backup.project_id)
    .bind(backup.volume_id.to_string())
    .bind(some_text(backup.snapshot_id))
    .bind(some_text(backup.parent_id))
    .bind(backup.status.word())
    .bind(&backup.fail_reason)
    .bind(number(backup.size_gib)?)
    .bind(some_number(backup.volume_length)?)
    .bind(&backup.name)
    .bind(&backup.description)
    .bind(json(&backup.properties)?)
    .bind(&backup.repository)
    .bind(&backup.service)
    .bind(&backup.account)
    .bind(container)
    .bind(prefix)
    .bind(number(backup.object_count)?)
    .bind(some_number(backup.stored_bytes)?)
    .bind(&backup.host)
    .bind(&backup.availability_zone)
    .bind(&backup.temp_volume_id)
    .bind(&backup.temp_snapshot_id)
    .bind(some_text(backup.restore_volume_id))
    .bind(&backup.encryption_key_id)
    .bind(backup.data_timestamp.as_micros())
    .bind(backup.created_at.as_micros())
    .bind(backup.updated_at.map(Timestamp::as_micros))
    .bind(some_text(row.job))
    .bind(row.deleted_at.map(Timestamp::as_micros))
    .execute(connection)
    .await
    .map_err(failed)?;
    Ok(())
}
