//! The stored formats: what was read is written and read again as the same, and how the bytes come in makes no
//! difference.

use std::io::Read;

use backup_core::format::hash_list::{self as hashes, BlockHash, HashListHead};
use backup_core::format::metadata::{self as meta, Metadata, ObjectEntry};
use backup_core::format::record::{ImportInto, export, import};
use backup_core::format::volume::{VolumeMetadata, restore_view};
use backup_core::{ErrorKind, Result, Timestamp};
use base64::Engine as _;

use super::MAX_INPUT;

/// Hands out at most `step` bytes at once.
struct Trickle<'a> {
    data: &'a [u8],
    step: usize,
}

impl Read for Trickle<'_> {
    fn read(&mut self, out: &mut [u8]) -> std::io::Result<usize> {
        let n = self.step.min(out.len()).min(self.data.len());
        let (now, later) = self.data.split_at(n);
        out[..n].copy_from_slice(now);
        self.data = later;
        Ok(n)
    }
}

/// A step for [`Trickle`] that depends on the input, often shorter than a hash list's entry.
fn step(data: &[u8]) -> usize {
    data.iter().fold(0usize, |sum, &b| {
        sum.wrapping_mul(31).wrapping_add(b.into())
    }) % 200
        + 1
}

/// A reader of stored bytes fails in these two ways only.
fn is_expected(kind: ErrorKind) -> bool {
    matches!(kind, ErrorKind::Corrupt | ErrorKind::Unsupported)
}

fn read_metadata(input: impl Read) -> Result<(Metadata, Vec<ObjectEntry>)> {
    let mut entries = Vec::new();
    let metadata = meta::read_metadata(input, &mut |entry| {
        entries.push(entry);
        Ok(())
    })?;
    Ok((metadata, entries))
}

/// Reads a metadata object.
pub fn metadata(data: &[u8]) {
    if data.len() > MAX_INPUT {
        return;
    }
    let slowly = read_metadata(Trickle {
        data,
        step: step(data),
    });
    match read_metadata(data) {
        Err(e) => {
            assert!(is_expected(e.kind()), "{e}");
            assert!(slowly.is_err(), "read in pieces it is taken");
        }
        Ok(read) => {
            assert_eq!(slowly.expect("read at once it is taken"), read);
            for entry in &read.1 {
                assert!(entry.offset.checked_add(entry.length).is_some());
            }
            let mut written = Vec::new();
            meta::write_head(&mut written, &read.0);
            for (i, entry) in read.1.iter().enumerate() {
                meta::write_entry(&mut written, i == 0, entry);
            }
            meta::write_tail(&mut written, &read.0, !read.1.is_empty());
            assert_eq!(
                read_metadata(&written[..]).expect("our own is taken"),
                read,
                "what was written is what was read"
            );
        }
    }
}

fn read_hash_list(input: impl Read) -> Result<(HashListHead, Vec<BlockHash>)> {
    let mut all = Vec::new();
    let head = hashes::read_hash_list(input, &mut |batch| {
        all.extend_from_slice(batch);
        Ok(())
    })?;
    Ok((head, all))
}

/// Reads a hash list. In pieces the fast path for Cinder's style is left and found again.
pub fn hash_list(data: &[u8]) {
    if data.len() > MAX_INPUT {
        return;
    }
    let slowly = read_hash_list(Trickle {
        data,
        step: step(data),
    });
    match read_hash_list(data) {
        Err(e) => {
            assert!(is_expected(e.kind()), "{e}");
            assert!(slowly.is_err(), "read in pieces it is taken");
        }
        Ok(read) => {
            assert_eq!(slowly.expect("read at once it is taken"), read);
            let mut written = Vec::new();
            hashes::write_head(&mut written, &read.0);
            hashes::write_hashes(&mut written, true, &read.1);
            hashes::write_tail(&mut written, &read.0, !read.1.is_empty());
            assert_eq!(
                read_hash_list(&written[..]).expect("our own is taken"),
                read,
                "what was written is what was read"
            );
        }
    }
}

const SERVICE: &str = "cinder.backup.drivers.posix.PosixBackupDriver";

/// Takes the input in as a `backup_url`, and as the JSON that one holds.
pub fn record(data: &[u8]) {
    if data.len() > MAX_INPUT {
        return;
    }
    exported_record(&String::from_utf8_lossy(data));
    exported_record(&base64::engine::general_purpose::STANDARD.encode(data));
}

fn exported_record(url: &str) {
    let here = || ImportInto {
        user_id: "user".to_owned(),
        project_id: "project".to_owned(),
        repository: "default".to_owned(),
        service: SERVICE.to_owned(),
        host: None,
        availability_zone: None,
        at: Timestamp::from_micros(0).expect("the epoch is a time"),
    };
    let imported = match import(SERVICE, url) {
        Ok(imported) => imported,
        Err(e) => {
            assert_eq!(e.kind(), ErrorKind::InvalidInput, "{e}");
            return;
        }
    };
    let first = export(&imported.into_record(here())).expect("an imported record is exported");
    let again = import(&first.backup_service, &first.backup_url).expect("our own is taken");
    let second = export(&again.into_record(here())).expect("an imported record is exported");
    assert_eq!(first, second, "a record comes out as it went in");
}

/// Reads a volume's own metadata.
pub fn volume_metadata(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else {
        return;
    };
    if data.len() > MAX_INPUT {
        return;
    }
    match VolumeMetadata::from_json(text) {
        Err(e) => assert!(is_expected(e.kind()), "{e}"),
        Ok(read) => {
            let again = VolumeMetadata::from_json(&read.to_json()).expect("our own is taken");
            assert_eq!(again, read, "what was written is what was read");
            let view = restore_view(&[read.clone(), read.clone()], None);
            assert_eq!(view.properties, read.properties);
            restore_view(&[read], Some("restore_backup_x"));
        }
    }
}
