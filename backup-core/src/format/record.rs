//! The exported record: what is known of a backup, as two texts that carry it to another catalogue, Cinder's or ours.
//!
//! With the objects in the repository it is all that a recovery needs. The JSON inside keeps Cinder's fields in Cinder's
//! order; what only we know goes into `driver_info`, which Cinder hands to a driver that ignores it.

mod import;
#[cfg(test)]
mod tests;

use serde_json::{Map, Value};

use super::json::push_value;
use crate::error::{Error, Result};
use crate::record::BackupRecord;
use crate::timestamp::Timestamp;

pub use import::{ImportInto, ImportedRecord, import};

/// Longest `backup_url` that is accepted, in bytes.
pub const MAX_URL: usize = 4 << 20;

/// Longest `backup_service` that is accepted, in bytes: what Cinder's API allows.
pub const MAX_SERVICE: usize = 255;

/// A record as `openstack volume backup record export` prints it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ExportedRecord {
    /// Cinder's driver class of the repository.
    pub backup_service: String,
    /// The record: base64 of a JSON object.
    pub backup_url: String,
}

/// The record in the form that Cinder exports and imports. Times lose their fraction.
///
/// # Errors
/// [`InvalidInput`](crate::ErrorKind::InvalidInput) for a record whose `service` no import would take.
pub fn export(record: &BackupRecord) -> Result<ExportedRecord> {
    check_service("export backup record", &record.service)?;
    Ok(ExportedRecord {
        backup_service: record.service.clone(),
        backup_url: base64::Engine::encode(
            &base64::engine::general_purpose::STANDARD,
            record_json(record),
        ),
    })
}

fn check_service(operation: &'static str, service: &str) -> Result<()> {
    if service.is_empty() || service.len() > MAX_SERVICE || service.chars().any(char::is_control) {
        return Err(Error::invalid(
            operation,
            format!(
                "{:?} is not a backup service: 1 to {MAX_SERVICE} printable characters",
                super::json::shorten(service, 60)
            ),
        )
        .hint("it looks like cinder.backup.drivers.posix.PosixBackupDriver"));
    }
    Ok(())
}

/// Every field of Cinder's backup object but `parent`, in its order.
fn record_json(record: &BackupRecord) -> Vec<u8> {
    let location = record.location.as_ref();
    let uuid = |id: Option<String>| id.map_or(Value::Null, Value::String);
    let text = |text: Option<&str>| text.map_or(Value::Null, Value::from);
    let at = |time: Option<Timestamp>| uuid(time.map(Timestamp::record));
    let properties = record.properties.iter();
    let fields = [
        ("driver_info", driver_info(record)),
        ("id", record.id.to_string().into()),
        ("user_id", record.user_id.as_str().into()),
        ("project_id", record.project_id.as_str().into()),
        ("volume_id", record.volume_id.to_string().into()),
        ("host", text(record.host.as_deref())),
        (
            "availability_zone",
            text(record.availability_zone.as_deref()),
        ),
        ("container", text(location.map(|l| l.container.as_str()))),
        ("parent_id", uuid(record.parent_id.map(|id| id.to_string()))),
        ("status", record.status.word().into()),
        ("fail_reason", text(record.fail_reason.as_deref())),
        ("size", record.size_gib.into()),
        ("display_name", text(record.name.as_deref())),
        ("display_description", text(record.description.as_deref())),
        (
            "service_metadata",
            text(location.map(|l| l.prefix.as_str())),
        ),
        ("service", record.service.as_str().into()),
        ("object_count", record.object_count.into()),
        ("temp_volume_id", text(record.temp_volume_id.as_deref())),
        ("temp_snapshot_id", text(record.temp_snapshot_id.as_deref())),
        ("num_dependent_backups", record.num_dependent_backups.into()),
        (
            "snapshot_id",
            uuid(record.snapshot_id.map(|id| id.to_string())),
        ),
        ("data_timestamp", at(Some(record.data_timestamp))),
        (
            "restore_volume_id",
            uuid(record.restore_volume_id.map(|id| id.to_string())),
        ),
        (
            "metadata",
            properties
                .map(|(k, v)| (k.clone(), Value::from(v.as_str())))
                .collect(),
        ),
        (
            "encryption_key_id",
            text(record.encryption_key_id.as_deref()),
        ),
        ("created_at", at(Some(record.created_at))),
        ("updated_at", at(record.updated_at)),
        ("deleted_at", Value::Null),
        ("deleted", false.into()),
    ];
    let fields: Map<String, Value> = fields
        .map(|(key, value)| (key.to_owned(), value))
        .into_iter()
        .collect();
    let mut out = Vec::new();
    push_value(&mut out, &Value::Object(fields));
    out
}

/// What Cinder has no field for. Its API takes a record with anything in `driver_info`.
fn driver_info(record: &BackupRecord) -> Value {
    let number = |value: Option<u64>| value.map(Value::from);
    let ours: Map<String, Value> = [
        ("account", record.account.as_deref().map(Value::from)),
        ("stored_bytes", number(record.stored_bytes)),
        ("volume_length", number(record.volume_length)),
    ]
    .into_iter()
    .filter_map(|(key, value)| Some((key.to_owned(), value?)))
    .collect();
    let mut info = Map::new();
    if !ours.is_empty() {
        info.insert("ashlar".to_owned(), Value::Object(ours));
    }
    Value::Object(info)
}
