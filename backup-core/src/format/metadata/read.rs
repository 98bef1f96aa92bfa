//! Reading the metadata object: a visitor that hands on each entry as it comes, so that nothing piles up.

use std::fmt;
use std::io::Read;

use serde::Deserialize;
use serde::de::{
    DeserializeSeed, Deserializer, Error as _, IgnoredAny, MapAccess, SeqAccess, Visitor,
};
use serde_json::Value;

use super::{AshlarKey, MAX_OBJECT_NAME, Metadata, ObjectEntry};
use crate::compress::Algorithm;
use crate::error::{Error, ErrorKind, Result};
use crate::format::ashlar::MAX_ASHLAR;
use crate::format::guard::Source;
use crate::format::{check_version, json};
use crate::id::{BackupId, VolumeId};
use crate::timestamp::Timestamp;

const OPERATION: &str = "read backup metadata";

/// Furthest byte of a volume that an object may reach to: what a device's offsets can count.
const MAX_END: u64 = i64::MAX as u64;

/// Reads a metadata object, and hands each of its entries to `on_entry` in the order in which they stand.
///
/// Keys may come in any order, so entries can be handed on before the version is known. What was handed on counts only
/// when this returns `Ok`: all of the input was read then, and it is complete. `reader` need not be buffered.
///
/// # Errors
/// * [`Corrupt`](ErrorKind::Corrupt) for what is not such an object, is cut, is followed by something else, or passes
///   the bounds of [this module](crate::format); for an entry without `length`, `offset` or `compression`, or one that
///   reaches past the largest possible volume.
/// * [`Unsupported`](ErrorKind::Unsupported) for another version than 1.0.0 and for an unknown compression.
/// * What `on_entry` returned, and what the input failed with, as it was.
pub fn read_metadata(
    reader: impl Read,
    on_entry: &mut dyn FnMut(ObjectEntry) -> Result<()>,
) -> Result<Metadata> {
    let source = Source::new(OPERATION, reader);
    let mut parser = serde_json::Deserializer::from_reader(&source);
    let top = Top {
        source: &source,
        on_entry,
    };
    parser
        .deserialize_map(top)
        .and_then(|metadata| parser.end().map(|()| metadata))
        .map_err(|e| source.explain(&e))
}

#[derive(Deserialize, Clone, Copy)]
#[serde(field_identifier, rename_all = "snake_case")]
enum Key {
    Ashlar,
    BackupDescription,
    BackupId,
    BackupName,
    CreatedAt,
    Objects,
    ParentId,
    Version,
    VolumeId,
    VolumeMeta,
    #[serde(other)]
    Unknown,
}

/// Refuses a second key of the same name: two readers could take different ones.
fn once<E: serde::de::Error>(seen: &mut u32, key: u32, what: impl fmt::Display) -> Result<(), E> {
    let bit = 1 << key;
    if *seen & bit != 0 {
        return Err(E::custom(format!("the key {what} stands there twice")));
    }
    *seen |= bit;
    Ok(())
}

struct Top<'a, R> {
    source: &'a Source<R>,
    on_entry: &'a mut dyn FnMut(ObjectEntry) -> Result<()>,
}

impl<'de, R: Read> Visitor<'de> for Top<'_, R> {
    type Value = Metadata;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object with a backup's metadata")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Metadata, A::Error> {
        let mut seen = 0;
        let (mut backup_id, mut volume_id) = (None, None);
        let (mut backup_name, mut backup_description) = (None, None);
        let (mut created_at, mut parent_id) = (None, None);
        let (mut volume_meta, mut ashlar) = (None, None);
        let (mut objects, mut version) = (false, false);
        while let Some(key) = map.next_key::<Key>()? {
            if !matches!(key, Key::Unknown) {
                once(&mut seen, key as u32, Named(key))?;
            }
            match key {
                Key::Ashlar => {
                    self.source.limit(MAX_ASHLAR);
                    let value: Option<Value> = map.next_value()?;
                    self.source.unlimited();
                    ashlar = value
                        .map(|value| AshlarKey::from_value(&value))
                        .transpose()
                        .map_err(A::Error::custom)?;
                }
                Key::BackupDescription => backup_description = map.next_value()?,
                Key::BackupId => backup_id = Some(id::<BackupId, _>(&map.next_value::<String>()?)?),
                Key::BackupName => backup_name = map.next_value()?,
                Key::CreatedAt => {
                    let text: Option<String> = map.next_value()?;
                    created_at = text.and_then(|text| text.parse::<Timestamp>().ok());
                }
                Key::Objects => {
                    map.next_value_seed(Objects {
                        source: self.source,
                        on_entry: &mut *self.on_entry,
                    })?;
                    objects = true;
                }
                Key::ParentId => {
                    let text: Option<String> = map.next_value()?;
                    parent_id = text.map(|text| id::<BackupId, _>(&text)).transpose()?;
                }
                Key::Version => {
                    let text: String = map.next_value()?;
                    check_version(OPERATION, &text).map_err(|e| self.source.stop(e))?;
                    version = true;
                }
                Key::VolumeId => volume_id = Some(id::<VolumeId, _>(&map.next_value::<String>()?)?),
                Key::VolumeMeta => volume_meta = map.next_value()?,
                Key::Unknown => {
                    map.next_value::<IgnoredAny>()?;
                }
            }
        }
        if !version {
            return Err(A::Error::missing_field("version"));
        }
        if !objects {
            return Err(A::Error::missing_field("objects"));
        }
        Ok(Metadata {
            backup_id: backup_id.ok_or_else(|| A::Error::missing_field("backup_id"))?,
            volume_id: volume_id.ok_or_else(|| A::Error::missing_field("volume_id"))?,
            backup_name,
            backup_description,
            created_at,
            parent_id,
            volume_meta,
            ashlar,
        })
    }
}

struct Named(Key);

impl fmt::Display for Named {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.0 {
            Key::Ashlar => "ashlar",
            Key::BackupDescription => "backup_description",
            Key::BackupId => "backup_id",
            Key::BackupName => "backup_name",
            Key::CreatedAt => "created_at",
            Key::Objects => "objects",
            Key::ParentId => "parent_id",
            Key::Version => "version",
            Key::VolumeId => "volume_id",
            Key::VolumeMeta => "volume_meta",
            Key::Unknown => "?",
        })
    }
}

fn id<T: std::str::FromStr, E: serde::de::Error>(text: &str) -> Result<T, E> {
    text.parse()
        .map_err(|_| E::custom(format!("{:?} is not a UUID", json::shorten(text, 60))))
}

struct Objects<'a, R> {
    source: &'a Source<R>,
    on_entry: &'a mut dyn FnMut(ObjectEntry) -> Result<()>,
}

impl<'de, R: Read> DeserializeSeed<'de> for Objects<'_, R> {
    type Value = ();
    fn deserialize<D: Deserializer<'de>>(self, parser: D) -> Result<(), D::Error> {
        parser.deserialize_seq(self)
    }
}

impl<'de, R: Read> Visitor<'de> for Objects<'_, R> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list of objects")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<(), A::Error> {
        while let Some(entry) = list.next_element_seed(Entry(self.source))? {
            (self.on_entry)(entry).map_err(|e| self.source.stop(e))?;
        }
        Ok(())
    }
}

/// An object of one key, which is a data object's name.
struct Entry<'a, R>(&'a Source<R>);

impl<'de, R: Read> DeserializeSeed<'de> for Entry<'_, R> {
    type Value = ObjectEntry;
    fn deserialize<D: Deserializer<'de>>(self, parser: D) -> Result<ObjectEntry, D::Error> {
        parser.deserialize_map(self)
    }
}

impl<'de, R: Read> Visitor<'de> for Entry<'_, R> {
    type Value = ObjectEntry;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object whose one key is the name of a data object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<ObjectEntry, A::Error> {
        let Some(name) = map.next_key::<String>()? else {
            return Err(A::Error::custom("an entry names no object"));
        };
        if name.len() > MAX_OBJECT_NAME {
            return Err(A::Error::custom(format!(
                "the name of an object has {} bytes, more than {MAX_OBJECT_NAME}",
                name.len()
            )));
        }
        let body = map
            .next_value_seed(Body {
                source: self.0,
                name: &name,
            })
            .inspect_err(|_| self.0.note_place(format!("object {name:?}")))?;
        if map.next_key::<IgnoredAny>()?.is_some() {
            self.0.note_place(format!("object {name:?}"));
            return Err(A::Error::custom("its entry names another object too"));
        }
        Ok(ObjectEntry { name, ..body })
    }
}

#[derive(Deserialize, Clone, Copy)]
#[serde(field_identifier, rename_all = "snake_case")]
enum BodyKey {
    Compression,
    Length,
    Md5,
    Offset,
    StoredLength,
    Zero,
    #[serde(other)]
    Unknown,
}

struct Body<'a, R> {
    source: &'a Source<R>,
    name: &'a str,
}

impl<'de, R: Read> DeserializeSeed<'de> for Body<'_, R> {
    type Value = ObjectEntry;
    fn deserialize<D: Deserializer<'de>>(self, parser: D) -> Result<ObjectEntry, D::Error> {
        parser.deserialize_map(self)
    }
}

impl<'de, R: Read> Visitor<'de> for Body<'_, R> {
    type Value = ObjectEntry;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object with offset, length and compression")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<ObjectEntry, A::Error> {
        let mut seen = 0;
        let (mut compression, mut length, mut md5, mut offset) = (None, None, None, None);
        let (mut stored_length, mut zero) = (None, None);
        while let Some(key) = map.next_key::<BodyKey>()? {
            if !matches!(key, BodyKey::Unknown) {
                once(&mut seen, key as u32, "of one of its values")?;
            }
            match key {
                BodyKey::Compression => {
                    compression = Some(self.algorithm(&map.next_value::<String>()?)?);
                }
                BodyKey::Length => length = Some(map.next_value::<u64>()?),
                BodyKey::Md5 => {
                    let text: Option<String> = map.next_value()?;
                    md5 = text.map(|text| md5_of(&text)).transpose()?;
                }
                BodyKey::Offset => offset = Some(map.next_value::<u64>()?),
                BodyKey::StoredLength => stored_length = map.next_value::<Option<u64>>()?,
                BodyKey::Zero => zero = map.next_value::<Option<bool>>()?,
                BodyKey::Unknown => {
                    map.next_value::<IgnoredAny>()?;
                }
            }
        }
        let offset = offset.ok_or_else(|| A::Error::missing_field("offset"))?;
        let length = length.ok_or_else(|| A::Error::missing_field("length"))?;
        if offset.checked_add(length).is_none_or(|end| end > MAX_END) {
            return Err(A::Error::custom(format!(
                "offset {offset} and length {length} reach past the end of any volume"
            )));
        }
        Ok(ObjectEntry {
            name: String::new(),
            offset,
            length,
            md5,
            compression: compression.ok_or_else(|| A::Error::missing_field("compression"))?,
            stored_length,
            zero: zero.unwrap_or(false),
        })
    }
}

impl<R: Read> Body<'_, R> {
    fn algorithm<E: serde::de::Error>(&self, word: &str) -> Result<Algorithm, E> {
        word.parse().map_err(|_| {
            self.source.stop(
                Error::new(ErrorKind::Unsupported, OPERATION).because(format!(
                    "object {:?} is compressed with {:?}, which this build does not know",
                    self.name,
                    json::shorten(word, 40)
                )),
            )
        })
    }
}

fn md5_of<E: serde::de::Error>(text: &str) -> Result<[u8; 16], E> {
    let mut md5 = [0; 16];
    hex::decode_to_slice(text, &mut md5)
        .map_err(|_| E::custom(format!("{:?} is not an MD5", json::shorten(text, 40))))?;
    Ok(md5)
}
