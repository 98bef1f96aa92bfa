//! A row in one value: what a long list is read as.
//!
//! Each value that crosses from SQLite costs some allocations, and a record has thirty: a list of ten thousand took
//! most of its time there. A JSON array, packed by SQLite and unpacked by serde, is one value.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::str::FromStr;

use backup_core::{BackupRecord, Error, Result, Timestamp};
use serde::Deserialize;

/// The columns in the order of [`Packed`], then the number of dependants.
pub(super) const SELECT: &str = "SELECT json_array(id, user_id, project_id, volume_id, snapshot_id, parent_id, status, \
     fail_reason, size_gib, volume_length, name, description, properties, repository, service, \
     account, container, prefix, object_count, stored_bytes, host, availability_zone, temp_volume_id, \
     temp_snapshot_id, restore_volume_id, encryption_key_id, data_timestamp, created_at, \
     updated_at, (SELECT count(*) FROM backups child \
     WHERE child.parent_id = backups.id AND child.deleted_at IS NULL)) \
     FROM backups WHERE deleted_at IS NULL";

/// IDs and states are borrowed: they hold nothing that JSON escapes.
#[derive(Deserialize)]
struct Packed<'a> {
    id: &'a str,
    user_id: String,
    project_id: String,
    volume_id: &'a str,
    snapshot_id: Option<&'a str>,
    parent_id: Option<&'a str>,
    status: &'a str,
    fail_reason: Option<String>,
    size_gib: u64,
    volume_length: Option<u64>,
    name: Option<String>,
    description: Option<String>,
    #[serde(borrow)]
    properties: Cow<'a, str>,
    repository: String,
    service: String,
    account: Option<String>,
    container: Option<String>,
    prefix: Option<String>,
    object_count: u64,
    stored_bytes: Option<u64>,
    host: Option<String>,
    availability_zone: Option<String>,
    temp_volume_id: Option<String>,
    temp_snapshot_id: Option<String>,
    restore_volume_id: Option<&'a str>,
    encryption_key_id: Option<String>,
    data_timestamp: i64,
    created_at: i64,
    updated_at: Option<i64>,
    num_dependent_backups: u64,
}

fn damaged(e: impl std::fmt::Display) -> Error {
    Error::corrupt("read catalogue", "a backup's row", e.to_string())
}

fn some<T: FromStr<Err = Error>>(text: Option<&str>) -> Result<Option<T>> {
    text.map(str::parse).transpose()
}

fn properties(text: &str) -> Result<BTreeMap<String, String>> {
    match text {
        "{}" => Ok(BTreeMap::new()),
        text => serde_json::from_str(text).map_err(damaged),
    }
}

/// The record of a packed row.
pub(super) fn unpack(row: &str) -> Result<BackupRecord> {
    let packed: Packed<'_> = serde_json::from_str(row).map_err(damaged)?;
    Ok(BackupRecord {
        id: packed.id.parse()?,
        user_id: packed.user_id,
        project_id: packed.project_id,
        volume_id: packed.volume_id.parse()?,
        snapshot_id: some(packed.snapshot_id)?,
        parent_id: some(packed.parent_id)?,
        status: packed.status.parse()?,
        fail_reason: packed.fail_reason,
        size_gib: packed.size_gib,
        volume_length: packed.volume_length,
        name: packed.name,
        description: packed.description,
        properties: properties(&packed.properties)?,
        repository: packed.repository,
        service: packed.service,
        account: packed.account,
        location: super::location(packed.container, packed.prefix)?,
        object_count: packed.object_count,
        stored_bytes: packed.stored_bytes,
        host: packed.host,
        availability_zone: packed.availability_zone,
        temp_volume_id: packed.temp_volume_id,
        temp_snapshot_id: packed.temp_snapshot_id,
        restore_volume_id: some(packed.restore_volume_id)?,
        num_dependent_backups: packed.num_dependent_backups,
        encryption_key_id: packed.encryption_key_id,
        data_timestamp: Timestamp::from_micros(packed.data_timestamp)?,
        created_at: Timestamp::from_micros(packed.created_at)?,
        updated_at: packed.updated_at.map(Timestamp::from_micros).transpose()?,
    })
}
