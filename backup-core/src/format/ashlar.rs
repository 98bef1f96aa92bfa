//! The key `ashlar` of the metadata: what Cinder keeps only in its database, or not at all.

use std::collections::BTreeMap;

use serde_json::{Map, Value};

use super::json::{push_key, push_line, push_number, push_string, scalar_text};
use crate::device::ChangePoint;
use crate::id::{ContainerName, Prefix, SnapshotId};
use crate::timestamp::Timestamp;

/// Most bytes that the value of the key `ashlar` may have.
pub(super) const MAX_ASHLAR: u64 = 256 << 10;

/// Longest volume: what a device's offsets can count.
const MAX_VOLUME: u64 = i64::MAX as u64;

/// What our metadata says besides Cinder's keys, under the key `ashlar`, which Cinder ignores. With it, a scan of the
/// repository brings back everything after a loss of the catalogue. All of it is optional on reading.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct AshlarKey {
    /// Version of this key's content. Of a newer one than [`AshlarKey::VERSION`] is kept what can be understood.
    pub version: u32,
    /// Length of the volume in bytes.
    pub volume_length: Option<u64>,
    /// Size in bytes of the blocks that the hash list counts.
    pub block_size: Option<u64>,
    /// The snapshot that was read.
    pub snapshot_id: Option<SnapshotId>,
    /// The point in time of the data.
    pub data_timestamp: Option<Timestamp>,
    /// The project that the backup belongs to.
    pub project_id: Option<String>,
    /// Who made it.
    pub user_id: Option<String>,
    /// The backup's own copy of the encryption key.
    pub encryption_key_id: Option<String>,
    /// Where the backup was written to: its container.
    pub container: Option<ContainerName>,
    /// Where the backup was written to: its prefix.
    pub prefix: Option<Prefix>,
    /// The volume's state that a change source can later compare with.
    pub change_point: Option<ChangePoint>,
    /// Bytes of the hash list as stored.
    pub hash_list_bytes: Option<u64>,
    /// SHA-256 of the hash list's bytes as stored.
    pub hash_list_sha256: Option<[u8; 32]>,
    /// Number of data objects.
    pub object_count: Option<u64>,
    /// Bytes stored in data objects.
    pub stored_bytes: Option<u64>,
    /// The backup's properties, given by the user.
    pub properties: BTreeMap<String, String>,
}

impl AshlarKey {
    /// The version that this build writes.
    pub const VERSION: u32 = 1;

    /// One of the present version with nothing else set.
    pub fn new() -> Self {
        Self {
            version: Self::VERSION,
            volume_length: None,
            block_size: None,
            snapshot_id: None,
            data_timestamp: None,
            project_id: None,
            user_id: None,
            encryption_key_id: None,
            container: None,
            prefix: None,
            change_point: None,
            hash_list_bytes: None,
            hash_list_sha256: None,
            object_count: None,
            stored_bytes: None,
            properties: BTreeMap::new(),
        }
    }

    /// Appends the value, its keys sorted, what is not set left out.
    pub(super) fn push(&self, out: &mut Vec<u8>) {
        out.push(b'{');
        let mut first = true;
        let number = |out: &mut Vec<u8>, first: &mut bool, key: &str, value: Option<u64>| {
            if let Some(value) = value {
                push_key(out, 4, first, key);
                push_number(out, value);
            }
        };
        let text = |out: &mut Vec<u8>, first: &mut bool, key: &str, value: Option<&str>| {
            if let Some(value) = value {
                push_key(out, 4, first, key);
                push_string(out, value);
            }
        };
        number(out, &mut first, "block_size", self.block_size);
        let point = self.change_point.as_ref().map(ChangePoint::as_str);
        text(out, &mut first, "change_point", point);
        let container = self.container.as_ref().map(ContainerName::as_str);
        text(out, &mut first, "container", container);
        let at = self.data_timestamp.map(Timestamp::python);
        text(out, &mut first, "data_timestamp", at.as_deref());
        let encryption_key = self.encryption_key_id.as_deref();
        text(out, &mut first, "encryption_key_id", encryption_key);
        number(out, &mut first, "hash_list_bytes", self.hash_list_bytes);
        let sha256 = self.hash_list_sha256.map(hex::encode);
        text(out, &mut first, "hash_list_sha256", sha256.as_deref());
        number(out, &mut first, "object_count", self.object_count);
        let prefix = self.prefix.as_ref().map(Prefix::as_str);
        text(out, &mut first, "prefix", prefix);
        text(out, &mut first, "project_id", self.project_id.as_deref());
        if !self.properties.is_empty() {
            push_key(out, 4, &mut first, "properties");
            out.push(b'{');
            let mut first = true;
            for (key, value) in &self.properties {
                push_key(out, 6, &mut first, key);
                push_string(out, value);
            }
            push_line(out, 4);
            out.push(b'}');
        }
        let snapshot = self.snapshot_id.map(|id| id.to_string());
        text(out, &mut first, "snapshot_id", snapshot.as_deref());
        number(out, &mut first, "stored_bytes", self.stored_bytes);
        text(out, &mut first, "user_id", self.user_id.as_deref());
        number(out, &mut first, "version", Some(self.version.into()));
        number(out, &mut first, "volume_length", self.volume_length);
        push_line(out, 2);
        out.push(b'}');
    }

    /// Takes the key's value apart; the reason where it makes no sense.
    pub(super) fn from_value(value: &Value) -> Result<Self, String> {
        let Value::Object(map) = value else {
            return Err("its key \"ashlar\" is not an object".to_owned());
        };
        let version = match map.get("version") {
            None => Self::VERSION,
            Some(version) => number(version)
                .ok()
                .and_then(|v| u32::try_from(v).ok())
                .ok_or("ashlar.version is not a version")?,
        };
        let fields = Fields {
            map,
            lenient: version > Self::VERSION,
        };
        let volume_length = fields.get("volume_length", |v| at_most(v, MAX_VOLUME))?;
        let block_size = fields.get("block_size", |v| match number(v)? {
            0 => Err("0 is no block size".to_owned()),
            size => Ok(size),
        })?;
        Ok(Self {
            version,
            volume_length,
            block_size,
            snapshot_id: fields.get("snapshot_id", parsed)?,
            data_timestamp: fields.get("data_timestamp", parsed)?,
            project_id: fields.get("project_id", |v| text(v).map(str::to_owned))?,
            user_id: fields.get("user_id", |v| text(v).map(str::to_owned))?,
            encryption_key_id: fields.get("encryption_key_id", |v| text(v).map(str::to_owned))?,
            container: fields.get("container", |v| checked(ContainerName::new(text(v)?)))?,
            prefix: fields.get("prefix", |v| checked(Prefix::new(text(v)?)))?,
            change_point: fields.get("change_point", |v| checked(ChangePoint::new(text(v)?)))?,
            hash_list_bytes: fields.get("hash_list_bytes", number)?,
            hash_list_sha256: fields.get("hash_list_sha256", sha256)?,
            object_count: fields.get("object_count", number)?,
            stored_bytes: fields.get("stored_bytes", number)?,
            properties: fields.get("properties", properties)?.unwrap_or_default(),
        })
    }
}

impl Default for AshlarKey {
    fn default() -> Self {
        Self::new()
    }
}

/// The keys, read strictly, or, where a newer version wrote them, as far as they mean what we think.
struct Fields<'a> {
    map: &'a Map<String, Value>,
    lenient: bool,
}

impl Fields<'_> {
    fn get<T>(
        &self,
        key: &str,
        read: impl FnOnce(&Value) -> Result<T, String>,
    ) -> Result<Option<T>, String> {
        match self.map.get(key) {
            None | Some(Value::Null) => Ok(None),
            Some(value) => match read(value) {
                Ok(value) => Ok(Some(value)),
                Err(_) if self.lenient => Ok(None),
                Err(reason) => Err(format!("ashlar.{key}: {reason}")),
            },
        }
    }
}

fn text(value: &Value) -> Result<&str, String> {
    value.as_str().ok_or_else(|| "not a string".to_owned())
}

fn number(value: &Value) -> Result<u64, String> {
    value
        .as_u64()
        .ok_or_else(|| "not a whole number from 0".to_owned())
}

fn at_most(value: &Value, limit: u64) -> Result<u64, String> {
    match number(value)? {
        n if n > limit => Err(format!("{n} is more than {limit}")),
        n => Ok(n),
    }
}

/// The short reason of one of our own checks.
fn checked<T>(result: crate::Result<T>) -> Result<T, String> {
    result.map_err(|e| super::json::shorten(e.reason().unwrap_or("not valid"), 200))
}

fn parsed<T: std::str::FromStr<Err = crate::Error>>(value: &Value) -> Result<T, String> {
    checked(text(value)?.parse())
}

fn sha256(value: &Value) -> Result<[u8; 32], String> {
    let mut hash = [0; 32];
    hex::decode_to_slice(text(value)?, &mut hash).map_err(|_| "not a SHA-256".to_owned())?;
    Ok(hash)
}

fn properties(value: &Value) -> Result<BTreeMap<String, String>, String> {
    let map = value.as_object().ok_or("not an object")?;
    Ok(map
        .iter()
        .map(|(key, value)| (key.clone(), scalar_text(value)))
        .collect())
}
