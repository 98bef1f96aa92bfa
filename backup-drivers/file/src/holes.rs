//! Where a file has holes, by `SEEK_DATA` and `SEEK_HOLE`.

use std::fs::File;

use backup_core::range::{ByteRange, Extent, ExtentKind};
use rustix::fs::SeekFrom;
use rustix::io::Errno;

/// `statfs` type of ZFS. Its holes are not believed by default: for years `SEEK_HOLE` could call data that was not
/// yet on disk a hole (openzfs/zfs issue 15526), and a backup that believes it loses that data.
const ZFS: u32 = 0x2fc1_2fc1;

/// Whether holes of a file are believed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum Holes {
    /// Believed but on filesystems that were known to lie (ZFS).
    #[default]
    Auto,
    /// Believed on every filesystem.
    Believe,
    /// Everything is data.
    Ignore,
}

impl Holes {
    /// What it means for the filesystem that `file` lies on.
    pub(crate) fn believed_for(self, file: &File) -> bool {
        match self {
            Self::Believe => true,
            Self::Ignore => false,
            // A filesystem that does not tell its type is none whose holes were proven.
            Self::Auto => rustix::fs::fstatfs(file)
                .is_ok_and(|fs| u32::try_from(fs.f_type).is_ok_and(|t| t != ZFS)),
        }
    }
}

/// Data and holes of `range` of a regular file: in order, without gaps, adjacent equal kinds joined. What the
/// filesystem cannot tell is data.
pub(crate) fn extents(file: &File, range: ByteRange) -> Vec<Extent> {
    // Seeking moves the descriptor's offset, which nobody uses: all reads and writes name theirs.
    let seek = |from| loop {
        match rustix::fs::seek(file, from) {
            Err(Errno::INTR) => {}
            other => break other,
        }
    };
    let end = range.end();
    let mut found = Vec::new();
    let mut at = range.start();
    while at < end {
        let data = match seek(SeekFrom::Data(at)) {
            Ok(data) => data.clamp(at, end),
            Err(Errno::NXIO) => end, // no data from here to the end of the file
            Err(_) => {
                push(&mut found, at, end, ExtentKind::Data);
                break;
            }
        };
        push(&mut found, at, data, ExtentKind::Zero);
        if data == end {
            break;
        }
        // A hole that does not lie behind the data was made between the two calls, or is nonsense.
        let hole = match seek(SeekFrom::Hole(data)) {
            Ok(hole) if hole > data => hole.min(end),
            _ => end,
        };
        push(&mut found, data, hole, ExtentKind::Data);
        at = hole;
    }
    found
}

fn push(found: &mut Vec<Extent>, start: u64, end: u64, kind: ExtentKind) {
    let Some(mut range) = ByteRange::new(start, end).filter(|r| !r.is_empty()) else {
        return;
    };
    if let Some(last) = found.pop_if(|last| last.kind == kind) {
        range = ByteRange::new(last.range.start(), end).unwrap_or(range);
    }
    found.push(Extent::new(range, kind));
}

/// Whether `file` holds no data at all, and thus reads as zeroes.
///
/// `st_blocks` alone is not enough (small files may live in the inode), nor is `SEEK_DATA` where it lies.
pub(crate) fn is_one_hole(file: &File, length: u64) -> bool {
    use std::os::unix::fs::MetadataExt;
    length > 0
        && Holes::Auto.believed_for(file)
        && rustix::fs::fdatasync(file).is_ok()
        && file.metadata().is_ok_and(|m| m.blocks() == 0)
        && extents(file, ByteRange::up_to(length))
            .iter()
            .all(|e| e.kind == ExtentKind::Zero)
}
