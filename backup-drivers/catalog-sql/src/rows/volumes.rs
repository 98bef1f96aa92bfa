//! Volumes.

use backup_core::catalog::VolumeFilter;
use backup_core::catalog::rows::VolumeRow;
use backup_core::{Result, VolumeId, VolumeRecord};
use sqlx::sqlite::SqliteRow;
use sqlx::{QueryBuilder, Sqlite};

use super::SqlRows;
use crate::columns::{Columns, json, number, some_text};

/// The columns, in the order of [`read`] and [`put`].
macro_rules! columns {
    () => {
        "id, project_id, user_id, name, description, length, status, previous_status, properties, \
         image_properties, bootable, encryption_key_id, provider_location, adopted, created_at, \
         updated_at, job_id"
    };
}

fn read(row: &SqliteRow) -> Result<VolumeRow> {
    let mut columns = Columns::new(row);
    Ok(VolumeRow {
        record: VolumeRecord {
            id: columns.parsed()?,
            project_id: columns.text()?,
            user_id: columns.text()?,
            name: columns.some_text()?,
            description: columns.some_text()?,
            length: columns.number()?,
            status: columns.parsed()?,
            previous_status: columns.some_parsed()?,
            properties: columns.properties()?,
            image_properties: columns.properties()?,
            bootable: columns.flag()?,
            encryption_key_id: columns.some_text()?,
            provider_location: columns.some_text()?,
            adopted: columns.flag()?,
            created_at: columns.time()?,
            updated_at: columns.some_time()?,
        },
        job: columns.some_parsed()?,
    })
}

pub(super) async fn get(rows: &mut SqlRows<'_>, id: VolumeId) -> Result<Option<VolumeRow>> {
    let (connection, failed) = rows.parts();
    let row = sqlx::query(concat!("SELECT ", columns!(), " FROM volumes WHERE id = ?"))
        .bind(id.to_string())
        .fetch_optional(connection)
        .await
        .map_err(failed)?;
    row.as_ref().map(read).transpose()
}

pub(super) async fn at(
    rows: &mut SqlRows<'_>,
    provider_location: &str,
) -> Result<Option<VolumeId>> {
    let (connection, failed) = rows.parts();
    let row = sqlx::query("SELECT id FROM volumes WHERE provider_location = ? LIMIT 1")
        .bind(provider_location)
        .fetch_optional(connection)
        .await
        .map_err(failed)?;
    row.map(|row| Columns::new(&row).parsed()).transpose()
}

pub(super) async fn list(
    rows: &mut SqlRows<'_>,
    filter: &VolumeFilter,
) -> Result<Vec<VolumeRecord>> {
    let mut query =
        QueryBuilder::<Sqlite>::new(concat!("SELECT ", columns!(), " FROM volumes WHERE TRUE"));
    if let Some(project) = &filter.project {
        query.push(" AND project_id = ").push_bind(project.clone());
    }
    if let Some(status) = filter.status {
        query.push(" AND status = ").push_bind(status.word());
    }
    if let Some(name) = &filter.name {
        query.push(" AND name = ").push_bind(name.clone());
    }
    query.push(" ORDER BY created_at DESC, id DESC");
    let (connection, failed) = rows.parts();
    let found = query.build().fetch_all(connection).await.map_err(failed)?;
    found.iter().map(|row| Ok(read(row)?.record)).collect()
}

pub(super) async fn put(rows: &mut SqlRows<'_>, row: &VolumeRow) -> Result<()> {
    let (connection, failed) = rows.parts();
    let volume = &row.record;
    sqlx::query(concat!(
        "INSERT OR REPLACE INTO volumes (",
        columns!(),
        ") VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"
    ))
    .bind(volume.id.to_string())
    .bind(&volume.project_id)
    .bind(&volume.user_id)
    .bind(&volume.name)
    .bind(&volume.description)
    .bind(number(volume.length)?)
    .bind(volume.status.word())
    .bind(volume.previous_status.map(backup_core::VolumeStatus::word))
    .bind(json(&volume.properties)?)
    .bind(json(&volume.image_properties)?)
    .bind(volume.bootable)
    .bind(&volume.encryption_key_id)
    .bind(&volume.provider_location)
    .bind(volume.adopted)
    .bind(volume.created_at.as_micros())
    .bind(volume.updated_at.map(backup_core::Timestamp::as_micros))
    .bind(some_text(row.job))
    .execute(connection)
    .await
    .map_err(failed)?;
    Ok(())
}

pub(super) async fn remove(rows: &mut SqlRows<'_>, id: VolumeId) -> Result<()> {
    let (connection, failed) = rows.parts();
    sqlx::query("DELETE FROM volumes WHERE id = ?")
        .bind(id.to_string())
        .execute(connection)
        .await
        .map_err(failed)?;
    Ok(())
}
