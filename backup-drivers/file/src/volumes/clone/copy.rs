//! Copies of whole volumes that keep holes.

use std::fs::File;
use std::io;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use backup_core::error::{Error, ErrorKind, Result};
use backup_core::range::{ByteRange, ExtentKind};
use rustix::io::Errno;

use super::Source;
use crate::device::{Kind, length_of};
use crate::holes::{self, Holes};

/// What is copied between two looks at the stop sign, in bytes.
const STEP: u64 = 16 << 20;
/// What is read at once where the kernel does not copy by itself, in bytes.
const READ: usize = 1 << 20;
/// Zeroes are left out of a copy in units of this many bytes.
const ZERO_UNIT: usize = 64 << 10;

/// A running copy, which can be told to stop.
#[derive(Debug, Clone, Default)]
pub(crate) struct Copying {
    stop: Arc<AtomicBool>,
}

/// Stops the copy when it is dropped; harmless once the copy is done.
pub(crate) struct StopOnDrop(Arc<AtomicBool>);

impl Copying {
    pub(crate) fn stop_on_drop(&self) -> StopOnDrop {
        StopOnDrop(Arc::clone(&self.stop))
    }

    fn check(&self) -> Result<()> {
        if self.stop.load(Ordering::Relaxed) {
            return Err(Error::cancelled("copy volume"));
        }
        Ok(())
    }
}

impl Drop for StopOnDrop {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// # Errors
/// `NoSpace` where a copy of `source` would fill the filesystem of `folder`.
pub(super) fn refuse_without_space(source: &Source, folder: &Path) -> Result<()> {
    const MIB: u64 = 1 << 20;
    let error = |e: io::Error| Error::io("look for free space", folder.display(), e);
    let needed = match source.kind {
        Kind::Regular => {
            let metadata = source.file.metadata().map_err(error)?;
            metadata.blocks().saturating_mul(512).min(source.length)
        }
        Kind::Block { .. } => source.length,
    };
    let fs = rustix::fs::statvfs(folder).map_err(|e| error(e.into()))?;
    let free = fs.f_bavail.saturating_mul(fs.f_frsize);
    if needed < free {
        return Ok(());
    }
    Err(Error::new(ErrorKind::NoSpace, "create snapshot")
        .on(source.path.display())
        .because(format!(
            "its filesystem has no reflinks, a copy may need {} MiB, and {} MiB are free in {}",
            needed.div_ceil(MIB),
            free / MIB,
            folder.display()
        ))
        .hint("free some space there, or keep the volume's image on xfs or btrfs"))
}

/// Copies all of `source` into `target` (new, empty), holes and long runs of zeroes as holes.
///
/// # Errors
/// `Conflict` where `source` was written or resized meanwhile: the copy is torn.
pub(super) fn copy(source: &Source, target: &File, copying: &Copying) -> Result<()> {
    let failed = |e: io::Error| Error::io("copy volume", source.path.display(), e);
    let before = fingerprint(&source.file).map_err(failed)?;
    target.set_len(source.length).map_err(failed)?;
    let whole = ByteRange::up_to(source.length);
    if source.kind == Kind::Regular && Holes::Auto.believed_for(&source.file) {
        source.file.sync_data().map_err(failed)?;
        for extent in holes::extents(&source.file, whole) {
            if extent.kind == ExtentKind::Data {
                copy_range(source, target, extent.range, copying)?;
            }
        }
    } else {
        copy_range(source, target, whole, copying)?;
    }
    let length = length_of(&source.file, source.kind).map_err(failed)?;
    let same = source.kind != Kind::Regular || fingerprint(&source.file).map_err(failed)? == before;
    if length != source.length || !same {
        return Err(Error::new(ErrorKind::Conflict, "copy volume")
            .on(source.path.display())
            .because("it was written while it was copied, so that the copy is torn")
            .hint("detach it or stop its guest, then try again"));
    }
    Ok(())
}

/// Changes with every write and resize.
fn fingerprint(file: &File) -> io::Result<[i64; 4]> {
    let m = file.metadata()?;
    Ok([m.mtime(), m.mtime_nsec(), m.ctime(), m.ctime_nsec()])
}

fn copy_range(source: &Source, target: &File, range: ByteRange, copying: &Copying) -> Result<()> {
    // Only between files: the kernel may then share blocks or let a file server copy.
    let mut by_kernel = source.kind == Kind::Regular;
    let mut buffer = Vec::new();
    for step in range.pieces(STEP) {
        copying.check()?;
        let mut at = step.start();
        while by_kernel && at < step.end() {
            match kernel_copy(&source.file, target, at, step.end() - at) {
                Ok(0) | Err(Errno::INTR) if copying.stop.load(Ordering::Relaxed) => break,
                Err(Errno::INTR) => {}
                Ok(n) if n > 0 => at += n,
                // Nothing copied, or not for this pair of files; what is really wrong shows when reading.
                _ => by_kernel = false,
            }
        }
        read_and_write(source, target, at, step.end(), &mut buffer)?;
    }
    Ok(())
}

fn kernel_copy(source: &File, target: &File, at: u64, length: u64) -> Result<u64, Errno> {
    let (mut from, mut to) = (at, at);
    let length = usize::try_from(length).unwrap_or(READ);
    rustix::fs::copy_file_range(source, Some(&mut from), target, Some(&mut to), length)
        .map(|n| n as u64)
}

fn read_and_write(
    source: &Source,
    target: &File,
    mut at: u64,
    end: u64,
    buffer: &mut Vec<u8>,
) -> Result<()> {
    buffer.resize(READ, 0);
    while at < end {
        let length = usize::try_from(end - at).map_or(READ, |n| n.min(READ));
        let piece = &mut buffer[..length];
        source.file.read_exact_at(piece, at).map_err(|e| {
            Error::io(
                "copy volume",
                format!("{} at byte {at}", source.path.display()),
                e,
            )
        })?;
        let mut to = at;
        for unit in piece.chunks(ZERO_UNIT) {
            if unit.iter().any(|&b| b != 0) {
                target
                    .write_all_at(unit, to)
                    .map_err(|e| Error::io("write snapshot", format!("at byte {to}"), e))?;
            }
            to += unit.len() as u64;
        }
        at = to;
    }
    Ok(())
}
