//! The schema and its steps.

use std::path::Path;

use backup_core::{Error, ErrorKind, Result};
use sqlx::{Row, SqliteConnection};

use crate::error::from_sql;

/// The steps from an empty database to the present schema; step `n` leaves `user_version` at `n + 1`. A step that was
/// released is never changed.
const STEPS: [&str; 3] = [
    include_str!("../migrations/1.sql"),
    include_str!("../migrations/2.sql"),
    include_str!("../migrations/3.sql"),
];

/// The version that this program knows.
#[expect(clippy::cast_possible_wrap, reason = "a handful")]
pub(crate) const VERSION: i64 = STEPS.len() as i64;

/// The version of the database. Within a transaction, this also fixes what the transaction sees.
pub(crate) async fn version(connection: &mut SqliteConnection) -> Result<i64, sqlx::Error> {
    sqlx::query("PRAGMA user_version")
        .fetch_one(connection)
        .await?
        .try_get(0)
}

/// Refuses a schema of a later program.
pub(crate) fn check(version: i64, path: &Path) -> Result<()> {
    if version <= VERSION {
        return Ok(());
    }
    Err(Error::new(ErrorKind::Unsupported, "open catalogue")
        .on(path.display())
        .because(format!(
            "its schema has version {version} and this program knows versions up to {VERSION}"
        ))
        .hint("use the newer version of Ashlar that wrote it"))
}

/// Brings the schema up to date within the write transaction that `connection` is in.
pub(crate) async fn migrate(connection: &mut SqliteConnection, path: &Path) -> Result<()> {
    let failed = |e| from_sql("bring the catalogue's schema up to date in", path, e);
    // Another process may have done it between the look and this transaction.
    let from = version(connection).await.map_err(failed)?;
    check(from, path)?;
    let from = usize::try_from(from).unwrap_or(0);
    for step in STEPS.iter().skip(from) {
        sqlx::raw_sql(*step)
            .execute(&mut *connection)
            .await
            .map_err(failed)?;
    }
    // A pragma takes no bound value; the version is a number of ours.
    sqlx::raw_sql(sqlx::AssertSqlSafe(format!(
        "PRAGMA user_version = {VERSION}"
    )))
    .execute(&mut *connection)
    .await
    .map_err(failed)?;
    Ok(())
}
