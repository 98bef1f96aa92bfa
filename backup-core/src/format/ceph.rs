//! What Cinder's ceph driver keeps: names of base images and snapshots, the record of the volume's metadata, and a note of
//! ours on the base image.
//!
//! | thing | name |
//! | --- | --- |
//! | base image, one for each full backup, with a snapshot for it and for each incremental on it | `volume-<volume>.backup.<backup>` |
//! | base image of old backups, and of Cinder's backups of snapshots | `volume-<volume>.backup.base` |
//! | snapshot, on the volume's image and on the base image | `backup.<backup>.snap.<time>` |
//! | the volume's metadata, a record in the pool | `backup.<backup>.meta` |
//! | `service_metadata`, by which a backup is found | `{"base": "<base image>"}` |
//!
//! The note has the key `ashlar.backup.<backup>` and holds what Cinder keeps in its database only. Cinder does not look at
//! an image's own metadata.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use serde_json::{Map, Value};

use super::ashlar::AshlarKey;
use super::json::{parse_bounded, push_value, shorten};
use crate::error::{Error, ErrorKind, Result};
use crate::id::{BackupId, Prefix, VolumeId};
use crate::image::{MAX_NOTE, check_name};
use crate::timestamp::Timestamp;

/// Cinder's class of the driver.
pub const SERVICE: &str = "cinder.backup.drivers.ceph.CephBackupDriver";

/// What the notes of ours begin with.
pub const NOTE_PREFIX: &str = "ashlar.backup.";

/// What a base image's name says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BaseImage {
    /// The volume.
    pub volume: VolumeId,
    /// The full backup that it was made for; `None` for the old style, which does not tell.
    pub full: Option<BackupId>,
}

impl BaseImage {
    /// What every base image's name begins with.
    pub const PREFIX: &'static str = "volume-";

    /// The base image of a full backup.
    pub fn new(volume: VolumeId, full: BackupId) -> Self {
        Self {
            volume,
            full: Some(full),
        }
    }

    /// The base image of the old style.
    pub fn old_style(volume: VolumeId) -> Self {
        Self { volume, full: None }
    }

    /// What `name` says, where it is a base image's.
    pub fn parse(name: &str) -> Option<Self> {
        let (volume, full) = name.strip_prefix(Self::PREFIX)?.split_once(".backup.")?;
        let full = match full {
            "base" => None,
            id => Some(id.parse().ok()?),
        };
        let parsed = Self {
            volume: volume.parse().ok()?,
            full,
        };
        // An ID in capitals or braces is read, but names another image.
        (parsed.to_string() == name).then_some(parsed)
    }
}

impl fmt::Display for BaseImage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}.backup.", Self::PREFIX, self.volume)?;
        match self.full {
            Some(full) => write!(f, "{full}"),
            None => f.write_str("base"),
        }
    }
}

/// The name of a backup's snapshot.
pub fn snapshot_name(backup: BackupId, at: Timestamp) -> String {
    let micros = at.as_micros();
    format!(
        "backup.{backup}.snap.{}.{:06}",
        micros.div_euclid(1_000_000),
        micros.rem_euclid(1_000_000)
    )
}

/// Whether Cinder takes `name` for a backup's snapshot, whoever made it: `backup.<something>.snap.<something>`.
pub fn is_backup_snapshot(name: &str) -> bool {
    backup_part(name).is_some()
}

fn backup_part(name: &str) -> Option<(&str, &str)> {
    let (id, time) = name.strip_prefix("backup.")?.split_once(".snap.")?;
    let plain = !id.is_empty()
        && id
            .bytes()
            .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-');
    (plain && !time.is_empty()).then_some((id, time))
}

/// The backup whose snapshot has this name.
pub fn backup_of_snapshot(name: &str) -> Option<BackupId> {
    let (id, _) = backup_part(name)?;
    let parsed = BackupId::from_str(id).ok()?;
    (parsed.to_string() == id).then_some(parsed)
}

/// The time in a snapshot's name: seconds since 1970 with a fraction, as Python prints them.
pub fn time_of_snapshot(name: &str) -> Option<Timestamp> {
    let (_, time) = backup_part(name)?;
    let (seconds, fraction) = time.split_once('.').unwrap_or((time, ""));
    let digits = |text: &str| text.bytes().all(|b| b.is_ascii_digit());
    if seconds.is_empty() || !digits(seconds) || !digits(fraction) {
        return None;
    }
    let micros: i64 = format!("{:0<6}", fraction.get(..6).unwrap_or(fraction))
        .parse()
        .ok()?;
    let seconds: i64 = seconds.parse().ok()?;
    Timestamp::from_micros(seconds.checked_mul(1_000_000)?.checked_add(micros)?).ok()
}

/// The name of the record that holds the metadata of the volume that was backed up.
pub fn record_name(backup: BackupId) -> String {
    format!("backup.{backup}.meta")
}

/// `service_metadata` of backups in this base image.
///
/// # Errors
/// [`InvalidInput`](ErrorKind::InvalidInput) for a name that no image may have.
pub fn service_metadata(base: &str) -> Result<Prefix> {
    let mut text = Vec::new();
    let map = Map::from_iter([("base".to_owned(), Value::from(base))]);
    push_value(&mut text, &Value::Object(map));
    check_name("name the base image", base)?;
    Prefix::new(String::from_utf8_lossy(&text))
}

/// The base image that `service_metadata` names.
///
/// # Errors
/// [`Corrupt`](ErrorKind::Corrupt) where it names none.
pub fn base_of(service_metadata: &Prefix) -> Result<String> {
    let operation = "find the base image";
    let wrong = |why: &str| Error::corrupt(operation, shorten(service_metadata.as_str(), 120), why);
    let value = parse_bounded(operation, service_metadata.as_str().as_bytes(), 4096)
        .map_err(|_| wrong("this service_metadata is not of a backup in Ceph"))?;
    let base = value
        .get("base")
        .and_then(Value::as_str)
        .ok_or_else(|| wrong("this service_metadata names no base image"))?;
    check_name(operation, base).map_err(|_| wrong("no image can have that name"))?;
    Ok(base.to_owned())
}

/// What the note says of a backup besides what [`AshlarKey`] does.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct BackupNote {
    /// Name given by the user.
    pub name: Option<String>,
    /// Description given by the user.
    pub description: Option<String>,
    /// When it was made.
    pub created_at: Option<Timestamp>,
    /// The backup that this one holds the changes since.
    pub parent_id: Option<BackupId>,
    /// The rest.
    pub ashlar: AshlarKey,
}

impl BackupNote {
    /// One that says nothing.
    pub fn new() -> Self {
        Self {
            name: None,
            description: None,
            created_at: None,
            parent_id: None,
            ashlar: AshlarKey::new(),
        }
    }

    /// The key of a backup's note.
    pub fn key(backup: BackupId) -> String {
        format!("{NOTE_PREFIX}{backup}")
    }

    /// The backup whose note has this key.
    pub fn backup_of(key: &str) -> Option<BackupId> {
        let id = key.strip_prefix(NOTE_PREFIX)?;
        let parsed = BackupId::from_str(id).ok()?;
        (parsed.to_string() == id).then_some(parsed)
    }

    /// The text to keep. Properties are left out where it would be too long with them.
    ///
    /// # Errors
    /// [`InvalidInput`](ErrorKind::InvalidInput) for a name and description that are too long by themselves.
    pub fn to_text(&self) -> Result<String> {
        let whole = self.text();
        if whole.len() <= MAX_NOTE {
            return Ok(whole);
        }
        let mut short = self.clone();
        short.ashlar.properties = BTreeMap::new();
        let short = short.text();
        if short.len() <= MAX_NOTE {
            return Ok(short);
        }
        Err(Error::invalid(
            "note the backup",
            format!("its name and description are too long: more than {MAX_NOTE} bytes"),
        ))
    }

    fn text(&self) -> String {
        let mut ashlar = Vec::new();
        self.ashlar.push(&mut ashlar);
        // What was just written can be read.
        let mut map = match serde_json::from_slice(&ashlar) {
            Ok(Value::Object(map)) => map,
            _ => Map::new(),
        };
        let mut set = |key: &str, value: Option<String>| {
            if let Some(value) = value {
                map.insert(key.to_owned(), value.into());
            }
        };
        set("backup_name", self.name.clone());
        set("backup_description", self.description.clone());
        set("created_at", self.created_at.map(Timestamp::python));
        set("parent_id", self.parent_id.map(|id| id.to_string()));
        let mut text = Vec::new();
        push_value(&mut text, &Value::Object(map));
        // Only ASCII was appended.
        String::from_utf8_lossy(&text).into_owned()
    }

    /// Reads a note.
    ///
    /// # Errors
    /// [`Corrupt`](ErrorKind::Corrupt) for what is none.
    pub fn from_text(text: &str) -> Result<Self> {
        let operation = "read the backup's note";
        let corrupt = |why: String| Error::new(ErrorKind::Corrupt, operation).because(why);
        let value = parse_bounded(operation, text.as_bytes(), MAX_NOTE)?;
        let ashlar = AshlarKey::from_value(&value).map_err(corrupt)?;
        let field = |key: &str| value.get(key).and_then(Value::as_str).map(str::to_owned);
        let wrong = |key: &str| corrupt(format!("its {key} makes no sense"));
        Ok(Self {
            name: field("backup_name"),
            description: field("backup_description"),
            created_at: field("created_at")
                .map(|t| t.parse().map_err(|_| wrong("created_at")))
                .transpose()?,
            parent_id: field("parent_id")
                .map(|id| id.parse().map_err(|_| wrong("parent_id")))
                .transpose()?,
            ashlar,
        })
    }
}

impl Default for BackupNote {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BACKUP: &str = "481a3887-35cf-4cf2-87bc-f5669a497edc";
    const VOLUME: &str = "00000220-aaaa-4bbb-8ccc-000000000220";

    #[test]
    fn names_are_cinders() {
        // As Cinder 29 wrote them.
        let base = format!("volume-{VOLUME}.backup.{BACKUP}");
        let parsed = BaseImage::parse(&base).unwrap();
        assert_eq!(
            parsed,
            BaseImage::new(VOLUME.parse().unwrap(), BACKUP.parse().unwrap())
        );
        assert_eq!(parsed.to_string(), base);
        let old = format!("volume-{VOLUME}.backup.base");
        assert_eq!(BaseImage::parse(&old).unwrap().to_string(), old);

        let snapshot = format!("backup.{BACKUP}.snap.1795397391.3858814");
        assert_eq!(backup_of_snapshot(&snapshot).unwrap().to_string(), BACKUP);
        let time = time_of_snapshot(&snapshot).unwrap();
        assert_eq!(time.as_micros(), 1_795_397_391_385_881);
        assert_eq!(
            snapshot_name(BACKUP.parse().unwrap(), time),
            format!("backup.{BACKUP}.snap.1795397391.385881")
        );
        assert_eq!(
            time_of_snapshot("backup.a.snap.7").unwrap().as_micros(),
            7_000_000
        );

        let metadata = service_metadata(&base).unwrap();
        assert_eq!(metadata.as_str(), format!("{{\"base\": \"{base}\"}}"));
        assert_eq!(base_of(&metadata).unwrap(), base);
    }

    #[test]
    fn what_is_no_name_of_cinders_is_none_of_ours() {
        for bad in [
            "volume-x.backup.base".to_owned(),
            format!("volume-{VOLUME}"),
            format!("volume-{VOLUME}.backup."),
            format!("volume-{VOLUME}.backup.{BACKUP}.x"),
            format!("volume-{}.backup.base", VOLUME.to_uppercase()),
        ] {
            assert_eq!(BaseImage::parse(&bad), None, "{bad}");
        }
        for bad in [
            "backup.x.snap.",
            "backup..snap.1",
            "backup.X.snap.1",
            "x.backup.x.snap.1",
            "backup.x",
        ] {
            assert!(!is_backup_snapshot(bad), "{bad}");
        }
        // Cinder's pattern takes it, whatever it is.
        assert!(is_backup_snapshot("backup.x.snap.y"));
        assert_eq!(backup_of_snapshot("backup.x.snap.y"), None);
        assert_eq!(time_of_snapshot("backup.x.snap.-5"), None);
        assert_eq!(time_of_snapshot("backup.x.snap.99999999999999999999"), None);
    }

    #[test]
    fn a_service_metadata_that_names_no_image_is_refused() {
        for bad in [
            "volume_x",
            "{}",
            "{\"base\": 5}",
            "{\"base\": \"\"}",
            "{\"base\": \"a@b\"}",
        ] {
            let e = base_of(&Prefix::new(bad).unwrap()).unwrap_err();
            assert!(e.is(ErrorKind::Corrupt), "{bad}: {e}");
        }
    }

    #[test]
    fn a_note_is_read_back_and_a_long_one_goes_without_its_properties() {
        let mut note = BackupNote::new();
        note.name = Some("größe \"x\"".into());
        note.created_at = Some("2026-11-23 01:14:22.909467+00:00".parse().unwrap());
        note.parent_id = Some(BACKUP.parse().unwrap());
        note.ashlar.volume_length = Some(12345);
        note.ashlar.properties.insert("a".into(), "b".into());
        let text = note.to_text().unwrap();
        assert!(text.is_ascii());
        assert_eq!(BackupNote::from_text(&text).unwrap(), note);

        let long = "x".repeat(MAX_NOTE);
        note.ashlar.properties.insert("long".into(), long.clone());
        let short = BackupNote::from_text(&note.to_text().unwrap()).unwrap();
        assert!(short.ashlar.properties.is_empty());
        assert_eq!(short.name, note.name);
        note.description = Some(long);
        assert!(note.to_text().unwrap_err().is(ErrorKind::InvalidInput));

        assert!(
            BackupNote::from_text("[]")
                .unwrap_err()
                .is(ErrorKind::Corrupt)
        );
        assert!(BackupNote::from_text("{\"parent_id\": \"x\"}").is_err());
        let id: BackupId = BACKUP.parse().unwrap();
        assert_eq!(BackupNote::backup_of(&BackupNote::key(id)), Some(id));
    }
}
