//! The stored formats: what was read is written and read again as the same, and how the bytes come in makes no
//! difference.

use std::io::Read;

use backup_core::format::hash_list::{self as hashes, BlockHash, HashListHead};
use backup_core::format::metadata::{self as meta, Metadata, ObjectEntry};
use backup_core::format::rbd_diff::{DiffHead, DiffReader, DiffRecord, DiffVersion, DiffWriter};
use backup_core::format::record::{ImportInto, export, import};
use backup_core::format::volume::{VolumeMetadata, restore_view};
use backup_core::{Algorithm, ErrorKind, Result, Timestamp};
use base64::Engine as _;
use serde_json::Value;

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
            same_metadata_as_a_plain_reader(data, &read.0, &read.1);
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

/// A reader that holds all of the JSON, as Cinder's does, sees the same. It refuses some that ours passes over: text with
/// half a character, or a number beyond all bounds, under a key that nobody reads.
fn same_metadata_as_a_plain_reader(data: &[u8], head: &Metadata, entries: &[ObjectEntry]) {
    let Ok(plain) = serde_json::from_slice::<Value>(data) else {
        return;
    };
    let text = |key: &str| plain[key].as_str().map(str::to_owned);
    assert_eq!(text("version").as_deref(), Some("1.0.0"));
    assert_eq!(text("backup_name"), head.backup_name);
    assert_eq!(text("backup_description"), head.backup_description);
    assert_eq!(text("volume_meta"), head.volume_meta);
    let id = |key: &str| text(key).map(|id| without_dashes(&id));
    let parent = head.parent_id.map(|id| id.to_string());
    assert_eq!(
        id("backup_id"),
        Some(without_dashes(&head.backup_id.to_string()))
    );
    assert_eq!(id("parent_id"), parent.map(|id| without_dashes(&id)));

    let listed = plain["objects"].as_array().expect("a list of objects");
    let mut plainly = listed
        .iter()
        .flat_map(|o| o.as_object().expect("an object"));
    for entry in entries {
        let (name, about) = plainly.next().expect("as many objects");
        assert_eq!(*name, entry.name);
        assert_eq!(about["offset"].as_u64(), Some(entry.offset));
        assert_eq!(about["length"].as_u64(), Some(entry.length));
        let algorithm = about["compression"].as_str().map(str::parse::<Algorithm>);
        assert_eq!(algorithm.and_then(Result::ok), Some(entry.compression));
        let md5 = about.get("md5").and_then(Value::as_str);
        assert_eq!(
            md5.map(str::to_ascii_lowercase),
            entry.md5.map(|md5| hexadecimal(&md5))
        );
    }
    assert!(plainly.next().is_none(), "no object more");
}

fn without_dashes(id: &str) -> String {
    id.chars()
        .filter(|&c| c != '-')
        .collect::<String>()
        .to_ascii_lowercase()
}

fn hexadecimal(bytes: &[u8]) -> String {
    bytes
        .iter()
        .flat_map(|b| [b >> 4, b & 15])
        .filter_map(|digit| char::from_digit(digit.into(), 16))
        .collect()
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
            if let Ok(plain) = serde_json::from_slice::<Value>(data) {
                let listed = plain["sha256s"].as_array().expect("a list of hashes");
                let plainly: Vec<String> = listed
                    .iter()
                    .map(|h| h.as_str().expect("a text").to_ascii_lowercase())
                    .collect();
                let ours: Vec<String> = read.1.iter().map(|h| hexadecimal(h)).collect();
                assert_eq!(plainly, ours, "a plain reader sees the same hashes");
                assert_eq!(plain["chunk_size"].as_u64(), Some(read.0.block_size));
            }
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
        account: None,
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
            // A number beyond 64 bits is held as the nearest that is, and its text as the nearest of that.
            assert_eq!(
                without_rounding(&again),
                without_rounding(&read),
                "what was written is what was read"
            );
            let view = restore_view(&[read.clone(), read.clone()], None);
            assert_eq!(view.properties, read.properties);
            restore_view(&[read], Some("restore_backup_x"));
        }
    }
}

/// With numbers that are no whole 64 bits cut to twelve digits, however deep they lie.
fn without_rounding(metadata: &VolumeMetadata) -> VolumeMetadata {
    fn cut(value: &mut Value) {
        match value {
            Value::Number(n) if n.is_f64() => {
                *value = Value::String(format!("{:.11e}", n.as_f64().unwrap_or_default()));
            }
            Value::Array(list) => list.iter_mut().for_each(cut),
            Value::Object(map) => map.values_mut().for_each(cut),
            _ => {}
        }
    }
    let mut cut_down = metadata.clone();
    cut_down.base.values_mut().for_each(cut);
    cut_down
}

/// What a difference file holds.
#[derive(Debug, PartialEq)]
struct Difference {
    version: DiffVersion,
    head: DiffHead,
    /// Each range with its data; one of zeroes has none.
    records: Vec<(DiffRecord, Vec<u8>)>,
    sha256: [u8; 32],
}

/// Reads one whole, data in pieces of `step` bytes.
fn read_difference(input: impl Read, step: usize) -> Result<Difference> {
    let mut reader = DiffReader::new(input)?;
    let (version, head) = (reader.version(), reader.head().clone());
    let mut records = Vec::new();
    let mut piece = vec![0; step];
    while let Some(record) = reader.next_record()? {
        let mut data = Vec::new();
        loop {
            match reader.data(&mut piece)? {
                0 => break,
                n => data.extend_from_slice(&piece[..n]),
            }
        }
        records.push((record, data));
    }
    let (_, sha256) = reader.end()?;
    Ok(Difference {
        version,
        head,
        records,
        sha256,
    })
}

/// Reads a difference file of `rbd export-diff`.
pub fn difference(data: &[u8]) {
    if data.len() > MAX_INPUT {
        return;
    }
    let step = step(data);
    let slowly = read_difference(Trickle { data, step }, step);
    let read = match read_difference(data, 64 << 10) {
        Err(e) => {
            assert!(is_expected(e.kind()), "{e}");
            assert!(slowly.is_err(), "read in pieces it is taken");
            return;
        }
        Ok(read) => read,
    };
    assert_eq!(slowly.expect("read at once it is taken"), read);
    let mut writer =
        DiffWriter::new(Vec::new(), read.version, &read.head).expect("its head was taken");
    for (record, data) in &read.records {
        let written = match record {
            DiffRecord::Data(range) => {
                assert!(range.end() <= read.head.size);
                assert_eq!(range.len(), data.len() as u64);
                writer.data(range.start(), data)
            }
            DiffRecord::Zero(range) => {
                assert!(range.end() <= read.head.size && data.is_empty());
                writer.zero(*range)
            }
        };
        written.expect("it fits");
    }
    let (written, length, sha256) = writer.end().expect("a vector takes all");
    assert_eq!(written.len() as u64, length);
    let again = read_difference(&written[..], 64 << 10).expect("our own is taken");
    assert_eq!((&again.version, &again.head), (&read.version, &read.head));
    assert_eq!(again.sha256, sha256);
    // A range of no bytes says nothing, and is not written.
    let told = |d: &Difference| -> Vec<(DiffRecord, Vec<u8>)> {
        let is_empty = |r: &DiffRecord| match r {
            DiffRecord::Data(range) | DiffRecord::Zero(range) => range.is_empty(),
        };
        let full = d.records.iter().filter(|(record, _)| !is_empty(record));
        full.cloned().collect()
    };
    assert_eq!(
        told(&again),
        told(&read),
        "what was written is what was read"
    );
}
