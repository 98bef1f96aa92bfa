//! The metadata object, `P_metadata`: what a backup is made of. Written last, it is the commit point.
//!
//! The list of objects can be millions long, so it is never held: writing appends head, entries and tail to a buffer
//! that the caller spills as it likes, reading hands each entry to a callback.
//!
//! ```
//! use backup_core::compress::Algorithm;
//! use backup_core::format::metadata::{self, Metadata, ObjectEntry};
//! use backup_core::{BackupId, Timestamp, VolumeId};
//!
//! let about = Metadata::new(BackupId::generate(), VolumeId::generate(), Timestamp::now());
//! let entry = ObjectEntry {
//!     name: "backup-00001".to_owned(),
//!     offset: 0,
//!     length: 4096,
//!     md5: Some([0; 16]),
//!     compression: Algorithm::Zlib,
//!     stored_length: Some(37),
//!     zero: false,
//! };
//! let mut stored = Vec::new();
//! metadata::write_head(&mut stored, &about);
//! metadata::write_entry(&mut stored, true, &entry);
//! metadata::write_tail(&mut stored, &about, true);
//!
//! let mut entries = Vec::new();
//! let read = metadata::read_metadata(&stored[..], &mut |entry| {
//!     entries.push(entry);
//!     Ok(())
//! })?;
//! assert_eq!((read, entries), (about, vec![entry]));
//! # Ok::<(), backup_core::Error>(())
//! ```

mod read;
#[cfg(test)]
mod tests;

pub use super::ashlar::AshlarKey;
pub use read::read_metadata;

use super::json::{push_key, push_line, push_number, push_optional, push_string};
use crate::compress::Algorithm;
use crate::id::{BackupId, VolumeId};
use crate::timestamp::Timestamp;

/// Longest name of an object, in bytes.
pub const MAX_OBJECT_NAME: usize = 1024;

/// One data object of a backup.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ObjectEntry {
    /// Its full name in the container.
    pub name: String,
    /// Where its bytes belong in the volume, in bytes.
    pub offset: u64,
    /// How many bytes of the volume it holds, decompressed. `offset + length` never overflows in an entry that was
    /// read.
    pub length: u64,
    /// MD5 of its bytes before compression. Cinder always writes one.
    pub md5: Option<[u8; 16]>,
    /// What it is compressed with.
    pub compression: Algorithm,
    /// Bytes that the stored object has. Ours only.
    pub stored_length: Option<u64>,
    /// Whether all its bytes are zero, so that it need not be fetched. Ours only.
    pub zero: bool,
}

/// All that the metadata object says, but for its objects.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Metadata {
    /// ID of the backup.
    pub backup_id: BackupId,
    /// ID of the volume.
    pub volume_id: VolumeId,
    /// Name of the backup.
    pub backup_name: Option<String>,
    /// Description of the backup.
    pub backup_description: Option<String>,
    /// When the backup was made; `None` where the text there is no time.
    pub created_at: Option<Timestamp>,
    /// The backup that this one holds the changes since; `None` for a full one.
    pub parent_id: Option<BackupId>,
    /// The volume's own metadata: a JSON text, see [`VolumeMetadata`](super::volume::VolumeMetadata).
    pub volume_meta: Option<String>,
    /// What only we write; `None` in what Cinder wrote.
    pub ashlar: Option<AshlarKey>,
}

impl Metadata {
    /// A full backup with nothing else said of it.
    pub fn new(backup_id: BackupId, volume_id: VolumeId, created_at: Timestamp) -> Self {
        Self {
            backup_id,
            volume_id,
            backup_name: None,
            backup_description: None,
            created_at: Some(created_at),
            parent_id: None,
            volume_meta: None,
            ashlar: None,
        }
    }
}

/// Appends everything that stands before the first object.
pub fn write_head(out: &mut Vec<u8>, m: &Metadata) {
    out.push(b'{');
    let mut first = true;
    if let Some(ashlar) = &m.ashlar {
        push_key(out, 2, &mut first, "ashlar");
        ashlar.push(out);
    }
    push_key(out, 2, &mut first, "backup_description");
    push_optional(out, m.backup_description.as_deref());
    push_key(out, 2, &mut first, "backup_id");
    push_string(out, &m.backup_id.to_string());
    push_key(out, 2, &mut first, "backup_name");
    push_optional(out, m.backup_name.as_deref());
    push_key(out, 2, &mut first, "created_at");
    push_optional(out, m.created_at.map(Timestamp::python).as_deref());
    push_key(out, 2, &mut first, "objects");
    out.push(b'[');
}

/// Appends one object. `first`: whether it is the first one.
pub fn write_entry(out: &mut Vec<u8>, first: bool, e: &ObjectEntry) {
    if !first {
        out.push(b',');
    }
    push_line(out, 4);
    out.push(b'{');
    push_key(out, 6, &mut true, &e.name);
    out.push(b'{');
    let mut first = true;
    push_key(out, 8, &mut first, "compression");
    push_string(out, e.compression.word());
    push_key(out, 8, &mut first, "length");
    push_number(out, e.length);
    if let Some(md5) = &e.md5 {
        push_key(out, 8, &mut first, "md5");
        push_string(out, &hex::encode(md5));
    }
    push_key(out, 8, &mut first, "offset");
    push_number(out, e.offset);
    if let Some(stored_length) = e.stored_length {
        push_key(out, 8, &mut first, "stored_length");
        push_number(out, stored_length);
    }
    if e.zero {
        push_key(out, 8, &mut first, "zero");
        out.extend_from_slice(b"true");
    }
    push_line(out, 6);
    out.push(b'}');
    push_line(out, 4);
    out.push(b'}');
}

/// Appends everything that stands behind the last object. `any_objects`: whether there was one.
pub fn write_tail(out: &mut Vec<u8>, m: &Metadata, any_objects: bool) {
    if any_objects {
        push_line(out, 2);
    }
    out.push(b']');
    let mut first = false;
    push_key(out, 2, &mut first, "parent_id");
    push_optional(out, m.parent_id.map(|id| id.to_string()).as_deref());
    push_key(out, 2, &mut first, "version");
    push_string(out, super::FORMAT_VERSION);
    push_key(out, 2, &mut first, "volume_id");
    push_string(out, &m.volume_id.to_string());
    push_key(out, 2, &mut first, "volume_meta");
    push_optional(out, m.volume_meta.as_deref());
    out.extend_from_slice(b"\n}");
}
