//! A backup's metadata, read once: what it says of itself, and its objects in order of their offsets.

use std::sync::Arc;

use super::fetch::parse_object;
use super::spool::Spool;
use crate::backup::Layer;
use crate::compress::Algorithm;
use crate::diff::Coverage;
use crate::error::{Error, ErrorKind, Result};
use crate::format::metadata::{self, Metadata, ObjectEntry};
use crate::format::shorten;
use crate::id::{Location, ObjectKey, VolumeId};
use crate::job::JobContext;
use crate::range::ByteRange;
use crate::repository::Repository;

/// Bytes of a stored entry.
const ENTRY: usize = 64;

/// Objects that can be put in order in memory where a metadata does not list them so. Cinder always does, and so do
/// we; 8 bytes an object.
const MAX_UNSORTED: u64 = 8 << 20;

/// Longest text with a volume's metadata that is kept of a layer, in bytes.
const MAX_VOLUME_METADATA: usize = 1 << 20;

const NO_MD5: u8 = 1;
const ZERO: u8 = 2;
const NAMED: u8 = 4;
const NO_STORED_LENGTH: u8 = 8;

/// One backup of a chain, ready for use.
#[derive(Debug)]
pub(crate) struct LayerIndex {
    pub(crate) layer: Layer,
    pub(crate) metadata: Metadata,
    entries: Spool,
    names: Spool,
    order: Option<Vec<u64>>, // positions in order of offset, where they were not listed so
    count: u64,
    end: u64,
    stored_bytes: Option<u64>,
}

#[derive(Default)]
struct Builder {
    entries: Spool,
    names: Spool,
    count: u64,
    last: u64,
    end: u64,
    unsorted: bool,
    offsets: Vec<(u64, u64)>,
    stored: u64,
    untold: bool, // whether an object's stored length is not told
}

impl LayerIndex {
    /// Reads the metadata of `layer`, the backup after `parent` in its chain.
    ///
    /// # Errors
    /// [`NotFound`](ErrorKind::NotFound) where it is missing (the backup is not complete),
    /// [`Corrupt`](ErrorKind::Corrupt) where it is damaged or another backup's.
    pub(crate) async fn load(
        repository: &Arc<dyn Repository>,
        layer: &Layer,
        parent: Option<&Layer>,
        cx: &JobContext,
    ) -> Result<Self> {
        let key = layer.location.metadata();
        let (mut metadata, mut built) = Self::parse(repository, &layer.location, cx)
        .await
        .map_err(|e| {
            if e.is(ErrorKind::NotFound) {
                e.hint("the backup is incomplete or was removed; run `volume backup scan` to see what is there")
            } else {
                e
            }
        })?;
        if metadata.backup_id != layer.id {
            return Err(Error::corrupt(
                "read metadata",
                &key,
                format!(
                    "it belongs to backup {}, not {}",
                    metadata.backup_id, layer.id
                ),
            ));
        }
        if metadata.parent_id != parent.map(|p| p.id) {
            let tell = |id: Option<_>| {
                id.map_or_else(|| "none".into(), |id: crate::id::BackupId| id.to_string())
            };
            return Err(Error::corrupt(
                "read metadata",
                &key,
                format!(
                    "its parent is {}, the record's is {}",
                    tell(metadata.parent_id),
                    tell(parent.map(|p| p.id))
                ),
            )
            .hint("the record is wrong; import it again from `volume backup scan --import`"));
        }
        check_volume(&layer.location, &metadata)?;
        check_count(&layer.location, &metadata, built.count)?;
        let order = built.order(&key)?;
        leave_out(&mut metadata, &key, cx);
        Ok(Self {
            layer: layer.clone(),
            metadata,
            entries: built.entries,
            names: built.names,
            order,
            count: built.count,
            end: built.end,
            stored_bytes: (!built.untold).then_some(built.stored),
        })
    }

    async fn parse(
        repository: &Arc<dyn Repository>,
        location: &Location,
        cx: &JobContext,
    ) -> Result<(Metadata, Builder)> {
        let key = location.metadata();
        let location = location.clone();
        parse_object(repository, &key, cx, move |reader| {
            let mut built = Builder::default();
            let metadata =
                metadata::read_metadata(reader, &mut |entry| built.add(&location, &entry))?;
            Ok((metadata, built))
        })
        .await
    }

    /// Reads the names of the objects that the metadata at `location` lists, whatever backup and parent it names.
    ///
    /// # Errors
    /// As those of [`load`](Self::load).
    pub(crate) async fn load_names(
        repository: &Arc<dyn Repository>,
        location: &Location,
        cx: &JobContext,
    ) -> Result<Self> {
        let (metadata, built) = Self::parse(repository, location, cx).await?;
        Ok(Self {
            layer: Layer {
                id: metadata.backup_id,
                location: location.clone(),
            },
            metadata,
            entries: built.entries,
            names: built.names,
            // As they are listed: names need no order.
            order: None,
            count: built.count,
            end: built.end,
            stored_bytes: None,
        })
    }

    /// Reads only what the metadata of `layer` says of the backup itself.
    pub(crate) async fn load_metadata(
        repository: &Arc<dyn Repository>,
        layer: &Layer,
        cx: &JobContext,
    ) -> Result<Metadata> {
        let key = layer.location.metadata();
        parse_object(repository, &key, cx, |reader| {
            metadata::read_metadata(reader, &mut |_| Ok(()))
        })
        .await
    }

    /// The offset behind the last byte that an object of it covers.
    pub(crate) fn end(&self) -> u64 {
        self.end
    }

    /// The object `index`, in order of offsets.
    pub(crate) fn entry(&self, index: u64) -> Result<ObjectEntry> {
        let raw = self.raw(index)?;
        let flags = raw[49];
        let name_at = number(&raw, 40);
        let name = if flags & NAMED == 0 {
            self.layer.location.prefix.data_object(name_at)
        } else {
            let length = usize::from(u16::from_le_bytes([raw[50], raw[51]]));
            let mut name = vec![0; length];
            self.names.read(name_at, &mut name)?;
            String::from_utf8(name)
                .map_err(|_| Error::internal("read spool", "name is not UTF-8"))?
        };
        let mut md5 = [0; 16];
        md5.copy_from_slice(&raw[24..40]);
        Ok(ObjectEntry {
            name,
            offset: number(&raw, 0),
            length: number(&raw, 8),
            md5: (flags & NO_MD5 == 0).then_some(md5),
            compression: match raw[48] {
                0 => Algorithm::None,
                1 => Algorithm::Zlib,
                2 => Algorithm::Bzip2,
                _ => Algorithm::Zstd,
            },
            stored_length: (flags & NO_STORED_LENGTH == 0).then(|| number(&raw, 16)),
            zero: flags & ZERO != 0,
        })
    }

    /// The key of an object that the metadata names; a name outside the backup's prefix or container is refused.
    pub(crate) fn key(&self, entry: &ObjectEntry) -> Result<ObjectKey> {
        ObjectKey::new(&self.layer.location.container, entry.name.clone())
    }

    /// The names of its objects.
    pub(crate) fn names(&self) -> impl Iterator<Item = Result<String>> + '_ {
        self.stored().map(|stored| stored.map(|(name, _)| name))
    }

    /// The names of its objects and how many bytes each has as stored, in order of offsets.
    pub(crate) fn stored(&self) -> impl Iterator<Item = Result<(String, Option<u64>)>> + '_ {
        (0..self.count).map(|index| {
            self.entry(index)
                .map(|entry| (entry.name, entry.stored_length))
        })
    }

    /// Bytes that all its objects have as stored; `None` where the metadata does not tell of each.
    pub(crate) fn stored_bytes(&self) -> Option<u64> {
        self.stored_bytes
    }

    fn raw(&self, index: u64) -> Result<[u8; ENTRY]> {
        let position = match &self.order {
            None => index,
            Some(order) => usize::try_from(index)
                .ok()
                .and_then(|i| order.get(i).copied())
                .ok_or_else(|| Error::internal("read spool", "no such entry"))?,
        };
        let mut raw = [0; ENTRY];
        self.entries.read(position * ENTRY as u64, &mut raw)?;
        Ok(raw)
    }
}

fn overlap(offset: u64, end: u64, before: u64) -> String {
    format!("its bytes {offset}..{end} begin before the object in front of them ends, at {before}")
}

/// Holds the volume that a metadata tells against the one in its name: Cinder's prefixes and ours begin with
/// `volume_<ID>`.
pub(crate) fn check_volume(location: &Location, metadata: &Metadata) -> Result<()> {
    let named = location
        .prefix
        .as_str()
        .strip_prefix("volume_")
        .and_then(|rest| rest.get(..36)?.parse::<VolumeId>().ok());
    match named {
        Some(named) if named != metadata.volume_id => Err(Error::corrupt(
            "read metadata",
            location.metadata(),
            format!(
                "it says that it is of volume {}, its name says {named}",
                metadata.volume_id
            ),
        )),
        _ => Ok(()),
    }
}

fn check_count(location: &Location, metadata: &Metadata, objects: u64) -> Result<()> {
    match metadata.ashlar.as_ref().and_then(|a| a.object_count) {
        Some(counted) if counted != objects => Err(Error::corrupt(
            "read metadata",
            location.metadata(),
            format!("it lists {objects} objects and says that there are {counted}"),
        )),
        _ => Ok(()),
    }
}

/// A chain can be long, so a layer keeps no text that is not needed, and none of a length that no volume's metadata has.
fn leave_out(metadata: &mut Metadata, key: &ObjectKey, cx: &JobContext) {
    metadata.backup_name = None;
    metadata.backup_description = None;
    let length = metadata.volume_meta.as_ref().map_or(0, String::len);
    if length > MAX_VOLUME_METADATA {
        cx.observer().warning(&format!(
            "the volume metadata in {key} is left out: {length} bytes are more than {MAX_VOLUME_METADATA}"
        ));
        metadata.volume_meta = None;
    }
}

fn number(raw: &[u8; ENTRY], at: usize) -> u64 {
    let mut bytes = [0; 8];
    bytes.copy_from_slice(&raw[at..at + 8]);
    u64::from_le_bytes(bytes)
}

impl Coverage for &LayerIndex {
    fn count(&self) -> u64 {
        self.count
    }

    fn range(&self, index: u64) -> Result<ByteRange> {
        let raw = self.raw(index)?;
        ByteRange::at(number(&raw, 0), number(&raw, 8))
            .ok_or_else(|| Error::internal("read spool", "range overflows"))
    }
}

impl Builder {
    fn add(&mut self, location: &Location, e: &ObjectEntry) -> Result<()> {
        let prefix = &location.prefix;
        let wrong = |why: String| {
            let name = shorten(&e.name, 200);
            Err(Error::corrupt(
                "read metadata",
                location.metadata(),
                format!("object {name:?}: {why}"),
            ))
        };
        let Some(end) = e.offset.checked_add(e.length) else {
            return wrong("offset and length overflow".into());
        };
        if !e.name.starts_with(prefix.as_str()) {
            return wrong(format!(
                "its name does not begin with the backup's prefix {prefix}"
            ));
        }
        if let Err(e) = ObjectKey::new(&location.container, e.name.clone()) {
            return wrong(shorten(e.reason().unwrap_or("it is no name"), 200));
        }
        // Those in order are looked at here, the others once they are in order.
        self.unsorted |= e.offset < self.last;
        if !self.unsorted && e.length > 0 && e.offset < self.end {
            return wrong(overlap(e.offset, end, self.end));
        }
        let mut raw = [0; ENTRY];
        let mut flags = 0;
        raw[0..8].copy_from_slice(&e.offset.to_le_bytes());
        raw[8..16].copy_from_slice(&e.length.to_le_bytes());
        match e.stored_length {
            Some(n) => raw[16..24].copy_from_slice(&n.to_le_bytes()),
            None => flags |= NO_STORED_LENGTH,
        }
        match e.md5 {
            Some(md5) => raw[24..40].copy_from_slice(&md5),
            None => flags |= NO_MD5,
        }
        let number = e.name[prefix.as_str().len()..]
            .strip_prefix('-')
            .and_then(|n| n.parse().ok())
            .filter(|&n| prefix.data_object(n) == e.name);
        let name_at: u64 = if let Some(number) = number {
            number
        } else {
            flags |= NAMED;
            let at = self.names.len();
            self.names.append(e.name.as_bytes())?;
            // A name that was checked is shorter than that.
            let length = u16::try_from(e.name.len())
                .map_err(|_| Error::internal("read metadata", "a name too long"))?;
            raw[50..52].copy_from_slice(&length.to_le_bytes());
            at
        };
        raw[40..48].copy_from_slice(&name_at.to_le_bytes());
        raw[48] = match e.compression {
            Algorithm::None => 0,
            Algorithm::Zlib => 1,
            Algorithm::Bzip2 => 2,
            Algorithm::Zstd => 3,
        };
        if e.zero {
            flags |= ZERO;
        }
        raw[49] = flags;
        self.entries.append(&raw)?;
        self.stored = self.stored.saturating_add(e.stored_length.unwrap_or(0));
        self.untold |= e.stored_length.is_none();
        self.last = e.offset;
        self.end = self.end.max(end);
        self.count += 1;
        Ok(())
    }

    /// The order of offsets, where the objects were not listed in it.
    fn order(&mut self, key: &ObjectKey) -> Result<Option<Vec<u64>>> {
        if !self.unsorted {
            return Ok(None);
        }
        if self.count > MAX_UNSORTED {
            return Err(Error::new(ErrorKind::Unsupported, "read metadata").on(key).because(format!(
                "its {} objects are not in order of their offsets, and more than {MAX_UNSORTED} are not sorted",
                self.count
            )));
        }
        for position in 0..self.count {
            let mut offset = [0; 8];
            self.entries.read(position * ENTRY as u64, &mut offset)?;
            self.offsets.push((u64::from_le_bytes(offset), position));
        }
        self.offsets.sort_unstable();
        let mut before = 0;
        for &(offset, position) in &self.offsets {
            let mut length = [0; 8];
            self.entries
                .read(position * ENTRY as u64 + 8, &mut length)?;
            let end = offset.saturating_add(u64::from_le_bytes(length));
            if end > offset && offset < before {
                return Err(Error::corrupt(
                    "read metadata",
                    key,
                    overlap(offset, end, before),
                ));
            }
            before = before.max(end);
        }
        let order = std::mem::take(&mut self.offsets);
        Ok(Some(
            order.into_iter().map(|(_, position)| position).collect(),
        ))
    }
}
