//! Settings and quotas.

use backup_core::Result;
use backup_core::catalog::Quota;

use super::SqlRows;
use crate::columns::{Columns, some_number};

pub(super) async fn get(rows: &mut SqlRows<'_>, key: &str) -> Result<Option<String>> {
    let (connection, failed) = rows.parts();
    let row = sqlx::query("SELECT value FROM settings WHERE key = ?")
        .bind(key)
        .fetch_optional(connection)
        .await
        .map_err(failed)?;
    row.map(|row| Columns::new(&row).text()).transpose()
}

pub(super) async fn put(rows: &mut SqlRows<'_>, key: &str, value: Option<&str>) -> Result<()> {
    let (connection, failed) = rows.parts();
    let query = match value {
        Some(value) => sqlx::query("INSERT OR REPLACE INTO settings (key, value) VALUES (?, ?)")
            .bind(key)
            .bind(value),
        None => sqlx::query("DELETE FROM settings WHERE key = ?").bind(key),
    };
    query.execute(connection).await.map_err(failed)?;
    Ok(())
}

pub(super) async fn quota(rows: &mut SqlRows<'_>, project: &str) -> Result<Option<Quota>> {
    let (connection, failed) = rows.parts();
    let row = sqlx::query("SELECT backups, gigabytes FROM quotas WHERE project_id = ?")
        .bind(project)
        .fetch_optional(connection)
        .await
        .map_err(failed)?;
    let Some(row) = row else { return Ok(None) };
    let mut columns = Columns::new(&row);
    Ok(Some(Quota {
        backups: columns.some_number()?,
        gigabytes: columns.some_number()?,
    }))
}

pub(super) async fn put_quota(rows: &mut SqlRows<'_>, project: &str, quota: &Quota) -> Result<()> {
    let (connection, failed) = rows.parts();
    sqlx::query("INSERT OR REPLACE INTO quotas (project_id, backups, gigabytes) VALUES (?, ?, ?)")
        .bind(project)
        .bind(some_number(quota.backups)?)
        .bind(some_number(quota.gigabytes)?)
        .execute(connection)
        .await
        .map_err(failed)?;
    Ok(())
}
