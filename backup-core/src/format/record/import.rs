//! Taking an exported record in.

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::alphabet::STANDARD as ALPHABET;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use serde_json::{Map, Value};

use super::{MAX_URL, check_service};
use crate::error::{Error, Result};
use crate::format::json::{parse_bounded, scalar_text, shorten};
use crate::id::{BackupId, ContainerName, Location, SnapshotId, VolumeId};
use crate::record::{BackupRecord, BackupStatus, GIB, gib_rounded_up};
use crate::timestamp::Timestamp;

const OPERATION: &str = "import backup record";

/// Without these Cinder refuses a record, and so do we.
const REQUIRED: [&str; 7] = [
    "container",
    "display_description",
    "display_name",
    "id",
    "object_count",
    "service_metadata",
    "size",
];

/// Longest text of a field, in bytes: Cinder's columns have 255 characters.
const MAX_TEXT: usize = 4 << 10;

/// Longest address of an account, in bytes.
const MAX_ACCOUNT: usize = 2048;

/// Largest volume in GiB: what a device's offsets can count.
const MAX_GIB: u64 = (i64::MAX as u64) / GIB;

/// A record as it came: what an import takes over. Like Cinder, it leaves out who owned the backup, its status and
/// the host and zone that made it: an imported backup is available and belongs to who imports it.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct ImportedRecord {
    /// Cinder's driver class of the repository that holds the backup, or its module in old records.
    pub service: String,
    /// Its ID.
    pub id: BackupId,
    /// The volume that it is a copy of.
    pub volume_id: Option<VolumeId>,
    /// The snapshot that was read.
    pub snapshot_id: Option<SnapshotId>,
    /// The backup that this one holds the changes since; `None` for a full one.
    pub parent_id: Option<BackupId>,
    /// Size of the volume in GiB, rounded up.
    pub size_gib: u64,
    /// Length of the volume in bytes; only in records of ours. Never more than `size_gib`.
    pub volume_length: Option<u64>,
    /// Name given by the user.
    pub name: Option<String>,
    /// Description given by the user.
    pub description: Option<String>,
    /// Properties given by the user.
    pub properties: BTreeMap<String, String>,
    /// The address of the account that holds it; only in records of ours, of accounts for each user.
    pub account: Option<String>,
    /// Where it lies; `None` where the record does not tell.
    pub location: Option<Location>,
    /// The container, which a record may tell alone.
    pub container: Option<ContainerName>,
    /// Data objects.
    pub object_count: u64,
    /// Bytes stored; only in records of ours.
    pub stored_bytes: Option<u64>,
    /// Temporary volume of its making.
    pub temp_volume_id: Option<String>,
    /// Temporary snapshot of its making.
    pub temp_snapshot_id: Option<String>,
    /// The volume that it was last restored to.
    pub restore_volume_id: Option<VolumeId>,
    /// How many backups had this one as their parent at the time of the export.
    pub num_dependent_backups: u64,
    /// The backup's own copy of the volume's encryption key.
    pub encryption_key_id: Option<String>,
    /// The point in time of the data.
    pub data_timestamp: Option<Timestamp>,
    /// When it was made.
    pub created_at: Option<Timestamp>,
    /// When it was last changed.
    pub updated_at: Option<Timestamp>,
}

/// What an import sets itself.
#[derive(Debug, Clone)]
pub struct ImportInto {
    /// Who imports.
    pub user_id: String,
    /// The project that the backup will belong to.
    pub project_id: String,
    /// The configured repository that holds it, by name.
    pub repository: String,
    /// Cinder's driver class of that repository.
    pub service: String,
    /// The account that it uses, where each user has one.
    pub account: Option<String>,
    /// This host.
    pub host: Option<String>,
    /// This host's availability zone.
    pub availability_zone: Option<String>,
    /// The time for records that have none.
    pub at: Timestamp,
}

impl ImportedRecord {
    /// The record for the catalogue, available. A volume that the record does not name gets the ID of zeroes that
    /// Cinder gives it.
    pub fn into_record(self, into: ImportInto) -> BackupRecord {
        let created_at = self.created_at.unwrap_or(into.at);
        BackupRecord {
            id: self.id,
            user_id: into.user_id,
            project_id: into.project_id,
            volume_id: self.volume_id.unwrap_or(VolumeId::from_bytes([0; 16])),
            snapshot_id: self.snapshot_id,
            parent_id: self.parent_id,
            status: BackupStatus::Available,
            fail_reason: None,
            size_gib: self.size_gib,
            volume_length: self.volume_length,
            name: self.name,
            description: self.description,
            properties: self.properties,
            repository: into.repository,
            service: into.service,
            // The record's own word counts for nothing where the backup was found in a repository that has no account.
            account: into.account,
            location: self.location,
            object_count: self.object_count,
            stored_bytes: self.stored_bytes,
            host: into.host,
            availability_zone: into.availability_zone,
            temp_volume_id: self.temp_volume_id,
            temp_snapshot_id: self.temp_snapshot_id,
            restore_volume_id: self.restore_volume_id,
            num_dependent_backups: self.num_dependent_backups,
            encryption_key_id: self.encryption_key_id,
            data_timestamp: self.data_timestamp.unwrap_or(created_at),
            created_at,
            updated_at: self.updated_at,
        }
    }
}

/// Reads an exported record. The base64 may have line breaks and blanks in it, and lack its padding. Fields that are
/// unknown are ignored. No repository is looked at.
///
/// # Errors
/// [`InvalidInput`](crate::ErrorKind::InvalidInput) that says what is wrong: it cannot be decoded, fields are missing,
/// or a field holds what it must not: an ID that is none, a location that climbs out of its repository, a size that no
/// volume has.
pub fn import(service: &str, url: &str) -> Result<ImportedRecord> {
    check_service(OPERATION, service)?;
    let Value::Object(fields) = decode(url)? else {
        return Err(undecodable("it is not a JSON object"));
    };
    let missing: Vec<&str> = REQUIRED
        .into_iter()
        .filter(|key| !fields.contains_key(*key))
        .collect();
    if !missing.is_empty() {
        return Err(Error::invalid(
            OPERATION,
            format!("fields are missing: {}", missing.join(", ")),
        )
        .hint("export the record again; an export of any Cinder has them all"));
    }
    let f = Fields(&fields);
    let size_gib = match f.number("size")? {
        Some(size) if (1..=MAX_GIB).contains(&size) => size,
        _ => return Err(f.wrong("size", "is not a volume's size in GiB")),
    };
    let none = Map::new();
    let ours = Fields(
        fields
            .get("driver_info")
            .and_then(|info| info.get("ashlar"))
            .and_then(Value::as_object)
            .unwrap_or(&none),
    );
    let volume_length = ours.number("volume_length")?;
    if volume_length.is_some_and(|length| gib_rounded_up(length) > size_gib) {
        return Err(f.wrong("size", "is less than the record's volume_length"));
    }
    let container = f.text("container")?.filter(|name| !name.is_empty());
    let container = container.map(ContainerName::new).transpose()?;
    let location = match (&container, f.text("service_metadata")?) {
        (Some(container), Some(prefix)) => {
            Some(BackupRecord::location_of(container.as_str(), &prefix)?)
        }
        _ => None,
    };
    Ok(ImportedRecord {
        service: service.to_owned(),
        id: f
            .parsed("id")?
            .ok_or_else(|| f.wrong("id", "is not a backup's ID"))?,
        volume_id: f.parsed("volume_id")?,
        snapshot_id: f.parsed("snapshot_id")?,
        parent_id: f.parsed("parent_id")?,
        size_gib,
        volume_length,
        name: f.text("display_name")?,
        description: f.text("display_description")?,
        properties: f.properties("metadata")?,
        account: ours.account()?,
        location,
        container,
        object_count: f.number("object_count")?.unwrap_or(0),
        stored_bytes: ours.number("stored_bytes")?,
        temp_volume_id: f.text("temp_volume_id")?,
        temp_snapshot_id: f.text("temp_snapshot_id")?,
        restore_volume_id: f.parsed("restore_volume_id")?,
        num_dependent_backups: f.number("num_dependent_backups")?.unwrap_or(0),
        encryption_key_id: f.text("encryption_key_id")?,
        data_timestamp: f.parsed("data_timestamp")?,
        created_at: f.parsed("created_at")?,
        updated_at: f.parsed("updated_at")?,
    })
}

fn undecodable(reason: &str) -> Error {
    Error::invalid(OPERATION, format!("the record cannot be decoded: {reason}"))
        .hint("give the whole backup_url of `volume backup record export`, as one argument")
}

fn decode(url: &str) -> Result<Value> {
    if url.len() > MAX_URL {
        return Err(undecodable(&format!(
            "{} bytes are more than {MAX_URL}",
            url.len()
        )));
    }
    let base64: Vec<u8> = url
        .bytes()
        .filter(|byte| !byte.is_ascii_whitespace())
        .collect();
    let any_padding =
        GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent);
    let json = GeneralPurpose::new(&ALPHABET, any_padding)
        .decode(base64)
        .map_err(|e| undecodable(&format!("it is not base64 ({e})")))?;
    parse_bounded(OPERATION, &json, MAX_URL).map_err(|e| {
        undecodable(&format!(
            "it is not JSON ({})",
            e.reason().unwrap_or_default()
        ))
    })
}

struct Fields<'a>(&'a Map<String, Value>);

impl Fields<'_> {
    fn wrong(&self, key: &str, what: &str) -> Error {
        let value = self.0.get(key).map(ToString::to_string).unwrap_or_default();
        Error::invalid(
            OPERATION,
            format!("its field {key} {what}: {}", shorten(&value, 80)),
        )
    }

    /// The value of a key, `null` being as good as absent.
    fn get(&self, key: &str) -> Option<&Value> {
        self.0.get(key).filter(|value| !value.is_null())
    }

    fn text(&self, key: &str) -> Result<Option<String>> {
        match self.get(key) {
            None => Ok(None),
            Some(Value::String(text)) if text.len() <= MAX_TEXT => Ok(Some(text.clone())),
            Some(_) => Err(self.wrong(key, &format!("is not a text of at most {MAX_TEXT} bytes"))),
        }
    }

    fn parsed<T: std::str::FromStr<Err = Error>>(&self, key: &str) -> Result<Option<T>> {
        let Some(text) = self.text(key)? else {
            return Ok(None);
        };
        match text.parse() {
            Ok(value) => Ok(Some(value)),
            Err(_) => Err(self.wrong(key, "cannot be read")),
        }
    }

    /// An account's address goes into messages and a catalogue, so it must be nothing but that.
    fn account(&self) -> Result<Option<String>> {
        let Some(address) = self.text("account")? else {
            return Ok(None);
        };
        let rest = ["http://", "https://"]
            .into_iter()
            .find_map(|scheme| address.strip_prefix(scheme));
        let host = rest.and_then(|rest| rest.split(['/', '?', '#']).next());
        let is_address = address.len() <= MAX_ACCOUNT
            && !address.chars().any(|c| c.is_control() || c.is_whitespace())
            && host.is_some_and(|host| !host.is_empty() && !host.contains('@'));
        if !is_address {
            // What it holds is not shown: it may be a password.
            return Err(Error::invalid(
                OPERATION,
                format!(
                    "its field account is not an account's address: http or https, at most {MAX_ACCOUNT} bytes, without a \
                     user and a password"
                ),
            ));
        }
        Ok(Some(address))
    }

    fn number(&self, key: &str) -> Result<Option<u64>> {
        match self.get(key) {
            None => Ok(None),
            Some(value) => value
                .as_u64()
                // What a catalogue's columns can hold.
                .filter(|number| i64::try_from(*number).is_ok())
                .map(Some)
                .ok_or_else(|| self.wrong(key, "is not a whole number from 0")),
        }
    }

    fn properties(&self, key: &str) -> Result<BTreeMap<String, String>> {
        match self.get(key) {
            None => Ok(BTreeMap::new()),
            Some(Value::Object(map)) => Ok(map
                .iter()
                .map(|(key, value)| (key.clone(), scalar_text(value)))
                .collect()),
            Some(_) => Err(self.wrong(key, "is not a map of properties")),
        }
    }
}
