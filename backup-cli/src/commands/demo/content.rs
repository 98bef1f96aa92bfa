//! The sample volume: an ext4 image filled with the machine's own files where mkfs.ext4 is there, else text and random
//! data.

use std::fs::{self, File};
use std::io::{BufWriter, Write};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use backup_core::{Error, Result};

/// Where the machine's own files are taken from, in this order.
const SOURCES: &[&str] = &["/usr/share/doc", "/usr/bin", "/usr/share", "/usr/lib"];

/// A larger file would leave no room for the variety of others.
const LARGEST_FILE: u64 = 8 << 20; // bytes

const BLOCK: u64 = 32 * 1024; // bytes, the engine's default unit of change

/// Makes the image `path` of `length` bytes, using the folder `work`, which is gone afterwards. Answers its length and
/// what is in it.
pub(super) fn make(path: &Path, work: &Path, length: u64) -> Result<(u64, String)> {
    if let Some(mkfs) = mkfs() {
        let made = with_files(&mkfs, path, work, length);
        // Whether or not: the copies are in the image or of no use.
        let _ = fs::remove_dir_all(work);
        if let Some(files) = made? {
            return Ok((
                length,
                format!("ext4 with {files} of this machine's own files"),
            ));
        }
    }
    generated(path, length)?;
    Ok((
        length,
        "text, random data and zeroes (there is no mkfs.ext4)".into(),
    ))
}

/// The program, which may lie where a user's PATH does not reach.
fn mkfs() -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path)
        .chain(["/usr/sbin".into(), "/sbin".into()])
        .map(|dir| dir.join("mkfs.ext4"))
        .find(|p| p.is_file())
}

/// An ext4 image with copies of files in it; `None` where mkfs cannot (too old for `-d`, too little room).
fn with_files(mkfs: &Path, path: &Path, work: &Path, length: u64) -> Result<Option<u64>> {
    // Metadata and the unused part take the rest.
    let files = copy_files(work, length / 100 * 60)?;
    let image = File::create(path).map_err(|e| Error::io("make", path.display(), e))?;
    image
        .set_len(length)
        .map_err(|e| Error::io("make", path.display(), e))?;
    drop(image);
    let status = Command::new(mkfs)
        .args(["-q", "-F", "-m", "0", "-L", "ashlar-demo", "-d"])
        .arg(work)
        .arg(path)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status();
    Ok(status.is_ok_and(|s| s.success()).then_some(files))
}

/// Copies regular files into `target` until `room` bytes are used, and answers how many. What cannot be read is passed
/// over.
fn copy_files(target: &Path, room: u64) -> Result<u64> {
    fs::create_dir_all(target).map_err(|e| Error::io("make", target.display(), e))?;
    let mut left = room;
    let mut count = 0;
    for (i, source) in SOURCES.iter().enumerate() {
        // An equal share for each of those to come, so that there is text as well as code.
        let mut share = left / (SOURCES.len() - i) as u64;
        let folder = target.join(source.trim_start_matches('/').replace('/', "-"));
        let before = share;
        count += copy_tree(Path::new(source), &folder, &mut share);
        left -= before - share;
    }
    Ok(count)
}

fn copy_tree(from: &Path, to: &Path, room: &mut u64) -> u64 {
    let Ok(entries) = fs::read_dir(from) else {
        return 0;
    };
    let mut entries: Vec<_> = entries.flatten().collect();
    entries.sort_by_key(fs::DirEntry::file_name);
    let mut count = 0;
    let mut made = false;
    for entry in entries {
        if *room < BLOCK {
            break;
        }
        let Ok(meta) = entry.metadata() else { continue };
        let target = to.join(entry.file_name());
        if meta.is_dir() {
            count += copy_tree(&entry.path(), &target, room);
        } else if meta.is_file() && (1..=LARGEST_FILE.min(*room)).contains(&meta.len()) {
            if !made && fs::create_dir_all(to).is_err() {
                return count;
            }
            made = true;
            if fs::copy(entry.path(), &target).is_ok() {
                // A file takes whole blocks of the filesystem, and an inode.
                *room = room.saturating_sub(meta.len().next_multiple_of(4096) + 512);
                count += 1;
            }
        }
    }
    count
}

/// A third of text, a third of random data, a third of zeroes, in runs of 1 MiB.
fn generated(path: &Path, length: u64) -> Result<()> {
    let failed = |e| Error::io("write", path.display(), e);
    let file = File::create(path).map_err(failed)?;
    file.set_len(length).map_err(failed)?;
    let mut random = Random(42);
    let mut at = 0;
    let run = 1 << 20;
    while at < length {
        let size = run.min(length - at);
        let bytes = match at / run % 3 {
            0 => text(&mut random, size),
            1 => random.bytes(size),
            _ => Vec::new(), // a hole
        };
        file.write_all_at(&bytes, at).map_err(failed)?;
        at += size;
    }
    file.sync_data().map_err(failed)
}

fn text(random: &mut Random, length: u64) -> Vec<u8> {
    const WORDS: &[&str] = &[
        "volume",
        "snapshot",
        "backup",
        "chain",
        "repository",
        "container",
        "object",
        "chunk",
        "block",
        "extent",
        "location",
        "record",
        "catalogue",
        "attachment",
        "and",
        "the",
        "of",
        "a",
        "is",
        "in",
    ];
    let mut out = BufWriter::new(Vec::new());
    let mut written = 0;
    while written < length {
        let word = WORDS[usize::try_from(random.next() % WORDS.len() as u64).unwrap_or(0)];
        let number = random.next() % 1000;
        // Writing to memory does not fail.
        let _ = writeln!(out, "{word} {number}");
        written += word.len() as u64 + 2;
    }
    let mut bytes = out.into_inner().unwrap_or_default();
    bytes.truncate(usize::try_from(length).unwrap_or(usize::MAX));
    bytes
}

/// Writes new content into 1 % of the blocks, scattered over the image; every eighth of them becomes zero. Answers the
/// bytes changed.
pub(super) fn change(path: &Path) -> Result<u64> {
    let failed = |e| Error::io("change", path.display(), e);
    let file = File::options()
        .read(true)
        .write(true)
        .open(path)
        .map_err(failed)?;
    let blocks = file.metadata().map_err(failed)?.len() / BLOCK;
    let wanted = (blocks / 100).max(1);
    let stride = blocks / wanted;
    let mut random = Random(7);
    for i in 0..wanted {
        let block = i * stride + random.next() % stride;
        let bytes = if i % 8 == 7 {
            vec![0; usize::try_from(BLOCK).unwrap_or_default()]
        } else {
            random.bytes(BLOCK)
        };
        file.write_all_at(&bytes, block * BLOCK).map_err(failed)?;
    }
    file.sync_data().map_err(failed)?;
    Ok(wanted * BLOCK)
}

/// The same numbers in every run (SplitMix64).
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    fn bytes(&mut self, length: u64) -> Vec<u8> {
        let length = usize::try_from(length).unwrap_or(usize::MAX);
        let mut bytes = Vec::with_capacity(length + 8);
        while bytes.len() < length {
            bytes.extend_from_slice(&self.next().to_le_bytes());
        }
        bytes.truncate(length);
        bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LENGTH: u64 = 16 << 20;

    #[test]
    fn without_mkfs_there_is_text_random_data_and_a_hole() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("i");
        generated(&path, LENGTH + 100).unwrap();
        let bytes = fs::read(&path).unwrap();
        assert_eq!(bytes.len() as u64, LENGTH + 100);
        assert!(bytes[..1 << 20].is_ascii());
        assert!(bytes[2 << 20..3 << 20].iter().all(|&b| b == 0));
    }

    #[test]
    fn one_percent_of_the_blocks_change() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("i");
        generated(&path, LENGTH).unwrap();
        let before = fs::read(&path).unwrap();
        let changed = change(&path).unwrap();
        let after = fs::read(&path).unwrap();
        let block = usize::try_from(BLOCK).unwrap();
        let differ = before
            .chunks(block)
            .zip(after.chunks(block))
            .filter(|(a, b)| a != b);
        assert!(differ.count() as u64 <= changed / BLOCK);
        assert_eq!(changed, LENGTH / BLOCK / 100 * BLOCK);
    }

    #[test]
    fn the_sample_is_as_long_as_asked_for_and_its_work_folder_is_gone() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("i");
        let work = dir.path().join("w");
        make(&path, &work, LENGTH).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().len(), LENGTH);
        assert!(!work.exists());
    }
}
