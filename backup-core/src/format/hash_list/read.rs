//! Reading a hash list: a JSON visitor for whatever style it has, and beside it a fast path for Cinder's.

use std::fmt;
use std::io::Read;

use serde::Deserialize;
use serde::de::{
    DeserializeSeed, Deserializer, Error as _, IgnoredAny, MapAccess, SeqAccess, Visitor,
};

use super::{BEFORE_DIGITS, BlockHash, ENTRY_STRIDE, HashListHead, MAX_BLOCK_SIZE, decode};
use crate::error::{Error, Result};
use crate::format::guard::Source;
use crate::format::{check_version, json};
use crate::id::{BackupId, VolumeId};
use crate::timestamp::Timestamp;

const OPERATION: &str = "read hash list";

/// Hashes handed on at once, at most.
const BATCH: usize = 4096;

/// Reads a hash list, and hands its hashes to `on_hashes` in order, in batches of up to 4096.
///
/// Keys may come in any order, so hashes can be handed on before block size and version are known. What was handed on
/// counts only when this returns `Ok`: all of the input was read then, and it is complete. `reader` need not be
/// buffered.
///
/// # Errors
/// * [`Corrupt`](crate::ErrorKind::Corrupt) for what is not such an object, is cut, is followed by something else, or
///   passes the bounds of [`format`](crate::format); for an entry that is not 64 hexadecimal digits; for a block size of
///   0 or above [`MAX_BLOCK_SIZE`].
/// * [`Unsupported`](crate::ErrorKind::Unsupported) for another version than 1.0.0.
/// * What `on_hashes` returned, and what the input failed with, as it was.
pub fn read_hash_list(
    reader: impl Read,
    on_hashes: &mut dyn FnMut(&[BlockHash]) -> Result<()>,
) -> Result<HashListHead> {
    let source = Source::new(OPERATION, reader);
    let mut parser = serde_json::Deserializer::from_reader(&source);
    let top = Top {
        source: &source,
        on_hashes,
    };
    parser
        .deserialize_map(top)
        .and_then(|head| parser.end().map(|()| head))
        .map_err(|e| source.explain(&e))
}

#[derive(Deserialize, Clone, Copy)]
#[serde(field_identifier, rename_all = "snake_case")]
enum Key {
    BackupDescription,
    BackupId,
    BackupName,
    ChunkSize,
    CreatedAt,
    Sha256s,
    Version,
    VolumeId,
    #[serde(other)]
    Unknown,
}

struct Top<'a, R> {
    source: &'a Source<R>,
    on_hashes: &'a mut dyn FnMut(&[BlockHash]) -> Result<()>,
}

impl<'de, R: Read> Visitor<'de> for Top<'_, R> {
    type Value = HashListHead;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object with a hash list")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<HashListHead, A::Error> {
        let mut seen = 0u32;
        let (mut backup_id, mut volume_id) = (None, None);
        let (mut backup_name, mut backup_description) = (None, None);
        let (mut created_at, mut block_size) = (None, None);
        let (mut hashes, mut version) = (false, false);
        while let Some(key) = map.next_key::<Key>()? {
            if !matches!(key, Key::Unknown) {
                let bit = 1 << key as u32;
                if seen & bit != 0 {
                    return Err(A::Error::custom("one of its keys stands there twice"));
                }
                seen |= bit;
            }
            match key {
                Key::BackupDescription => backup_description = map.next_value()?,
                Key::BackupId => backup_id = Some(id::<BackupId, _>(&map.next_value::<String>()?)?),
                Key::BackupName => backup_name = map.next_value()?,
                Key::ChunkSize => block_size = Some(check_block_size(map.next_value()?)?),
                Key::CreatedAt => {
                    let text: Option<String> = map.next_value()?;
                    created_at = text.and_then(|text| text.parse::<Timestamp>().ok());
                }
                Key::Sha256s => {
                    map.next_value_seed(Hashes {
                        source: self.source,
                        on_hashes: &mut *self.on_hashes,
                    })?;
                    hashes = true;
                }
                Key::Version => {
                    let text: String = map.next_value()?;
                    check_version(OPERATION, &text).map_err(|e| self.source.stop(e))?;
                    version = true;
                }
                Key::VolumeId => volume_id = Some(id::<VolumeId, _>(&map.next_value::<String>()?)?),
                Key::Unknown => {
                    map.next_value::<IgnoredAny>()?;
                }
            }
        }
        if !version {
            return Err(A::Error::missing_field("version"));
        }
        if !hashes {
            return Err(A::Error::missing_field("sha256s"));
        }
        Ok(HashListHead {
            backup_id: backup_id.ok_or_else(|| A::Error::missing_field("backup_id"))?,
            backup_name,
            backup_description,
            created_at,
            volume_id: volume_id.ok_or_else(|| A::Error::missing_field("volume_id"))?,
            block_size: block_size.ok_or_else(|| A::Error::missing_field("chunk_size"))?,
        })
    }
}

fn check_block_size<E: serde::de::Error>(size: u64) -> Result<u64, E> {
    if (1..=MAX_BLOCK_SIZE).contains(&size) {
        return Ok(size);
    }
    Err(E::custom(format!(
        "chunk_size (the size of a hashed block) is {size}, not from 1 to {MAX_BLOCK_SIZE}"
    )))
}

fn id<T: std::str::FromStr, E: serde::de::Error>(text: &str) -> Result<T, E> {
    text.parse()
        .map_err(|_| E::custom(format!("{:?} is not a UUID", json::shorten(text, 60))))
}

struct Hashes<'a, R> {
    source: &'a Source<R>,
    on_hashes: &'a mut dyn FnMut(&[BlockHash]) -> Result<()>,
}

impl<'de, R: Read> DeserializeSeed<'de> for Hashes<'_, R> {
    type Value = ();
    fn deserialize<D: Deserializer<'de>>(self, parser: D) -> Result<(), D::Error> {
        parser.deserialize_seq(self)
    }
}

impl<'de, R: Read> Visitor<'de> for Hashes<'_, R> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list of SHA-256 hashes")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<(), A::Error> {
        let mut batch = Batch {
            hashes: Vec::with_capacity(BATCH),
            handed_on: 0,
            on_hashes: self.on_hashes,
        };
        while let Some(hash) = list.next_element_seed(Entry(batch.count()))? {
            batch.push(hash).map_err(|e| self.source.stop(e))?;
            // The parser has read the closing quote of an entry and nothing behind it, so whole entries can be taken
            // from under it: it finds itself behind the closing quote of a later one.
            self.source
                .take_while(b'"', ENTRY_STRIDE, |input| batch.take_entries(input))
                .map_err(|e| self.source.stop(e))?;
        }
        batch.hand_on().map_err(|e| self.source.stop(e))
    }
}

struct Batch<'a> {
    hashes: Vec<BlockHash>,
    handed_on: u64,
    on_hashes: &'a mut dyn FnMut(&[BlockHash]) -> Result<()>,
}

impl Batch<'_> {
    fn count(&self) -> u64 {
        self.handed_on + self.hashes.len() as u64
    }

    fn push(&mut self, hash: BlockHash) -> Result<(), Error> {
        self.hashes.push(hash);
        if self.hashes.len() == BATCH {
            self.hand_on()?;
        }
        Ok(())
    }

    fn hand_on(&mut self) -> Result<(), Error> {
        if !self.hashes.is_empty() {
            (self.on_hashes)(&self.hashes)?;
            self.handed_on += self.hashes.len() as u64;
            self.hashes.clear();
        }
        Ok(())
    }

    /// Takes whole entries in Cinder's style, up to the first that is not one; tells how many bytes they were.
    fn take_entries(&mut self, input: &[u8]) -> Result<usize, Error> {
        let mut used = 0;
        for entry in input.as_chunks::<ENTRY_STRIDE>().0 {
            let Some((before, digits, after)) = split_entry(entry) else {
                break;
            };
            if before != BEFORE_DIGITS || after != b'"' {
                break;
            }
            let Some(hash) = decode(digits) else {
                break;
            };
            self.push(hash)?;
            used += ENTRY_STRIDE;
        }
        Ok(used)
    }
}

fn split_entry(entry: &[u8; ENTRY_STRIDE]) -> Option<(&[u8; 7], &[u8; 64], u8)> {
    let (before, rest) = entry.split_first_chunk()?;
    let (digits, after) = rest.split_first_chunk()?;
    Some((before, digits, *after.first()?))
}

/// One entry, by its number for the message.
struct Entry(u64);

impl<'de> DeserializeSeed<'de> for Entry {
    type Value = BlockHash;
    fn deserialize<D: Deserializer<'de>>(self, parser: D) -> Result<BlockHash, D::Error> {
        parser.deserialize_str(self)
    }
}

impl Visitor<'_> for Entry {
    type Value = BlockHash;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "a SHA-256 as entry {}", self.0)
    }

    fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<BlockHash, E> {
        text.as_bytes()
            .try_into()
            .ok()
            .and_then(decode)
            .ok_or_else(|| {
                E::custom(format!(
                    "entry {} is not a SHA-256: {:?}",
                    self.0,
                    json::shorten(text, 80)
                ))
            })
    }
}
