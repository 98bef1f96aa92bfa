//! What a path is, and how long.

use std::fs::{File, Metadata, OpenOptions};
use std::io;
use std::os::unix::fs::{FileTypeExt, MetadataExt, OpenOptionsExt};
use std::path::Path;
use std::time::Duration;

use backup_core::error::{Error, ErrorKind, Result};
use rustix::fs::{OFlags, SeekFrom};
use rustix::io::Errno;

use crate::mounts;

/// What keeps the bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Regular,
    Block { major: u32, minor: u32 },
}

impl Kind {
    fn of(metadata: &Metadata) -> Option<Self> {
        let kind = metadata.file_type();
        if kind.is_file() {
            Some(Self::Regular)
        } else if kind.is_block_device() {
            let device = metadata.rdev();
            Some(Self::Block {
                major: rustix::fs::major(device),
                minor: rustix::fs::minor(device),
            })
        } else {
            None
        }
    }
}

/// What `path` is, links followed.
///
/// # Errors
/// `InvalidInput` for anything but a regular file or a block device.
pub(crate) fn identify(operation: &'static str, path: &Path) -> Result<(Kind, Metadata)> {
    let metadata = std::fs::metadata(path).map_err(|e| Error::io(operation, path.display(), e))?;
    let kind = Kind::of(&metadata).ok_or_else(|| {
        Error::invalid(
            operation,
            if metadata.is_dir() {
                "it is a folder, not an image file or a block device"
            } else {
                "it is neither an image file nor a block device"
            },
        )
        .on(path.display())
    })?;
    Ok((kind, metadata))
}

/// Opens what `identify` has seen.
pub(super) fn open(path: &Path, kind: Kind, writable: bool) -> Result<File> {
    const OPERATION: &str = "open device";
    let mut flags = OFlags::NOCTTY;
    if let (Kind::Block { major, minor }, true) = (kind, writable) {
        refuse_mounted(OPERATION, path, major, minor)?;
        // On a block device without O_CREAT: only where nothing in the kernel holds it (mounts in any namespace, LVM,
        // RAID, swap), and nothing can take it until we are done.
        flags |= OFlags::EXCL;
    }
    let mut options = OpenOptions::new();
    options
        .read(true)
        .write(writable)
        .custom_flags(flags.bits().cast_signed());
    let file = open_patiently(&options, path).map_err(|e| {
        if is_busy(&e) {
            Error::new(ErrorKind::Conflict, OPERATION)
                .on(path.display())
                .because(
                    "the device is held by something else: a mount, LVM, RAID, swap or another program",
                )
                .hint("free it first; `lsblk` shows what is on it")
                .caused_by(e)
        } else {
            Error::io(OPERATION, path.display(), e)
        }
    })?;
    // Between the two looks the path may have come to mean something else.
    let metadata = file
        .metadata()
        .map_err(|e| Error::io(OPERATION, path.display(), e))?;
    if Kind::of(&metadata) != Some(kind) {
        return Err(Error::new(ErrorKind::Conflict, OPERATION)
            .on(path.display())
            .because("it was replaced while it was being opened"));
    }
    Ok(file)
}

/// Opens; waits up to a second where the device is busy. A device that was just closed stays held for a moment where
/// another thread is starting a program: the new process has a copy of every descriptor until it runs the program.
fn open_patiently(options: &OpenOptions, path: &Path) -> io::Result<File> {
    const TRIES: u32 = 20;
    const PAUSE: Duration = Duration::from_millis(50);
    for _ in 0..TRIES {
        match options.open(path) {
            Err(e) if is_busy(&e) => std::thread::sleep(PAUSE),
            other => return other,
        }
    }
    options.open(path)
}

fn is_busy(e: &io::Error) -> bool {
    e.raw_os_error() == Some(Errno::BUSY.raw_os_error())
}

fn refuse_mounted(operation: &'static str, path: &Path, major: u32, minor: u32) -> Result<()> {
    match mounts::mount_of(major, minor)? {
        None => Ok(()),
        Some(mount) => Err(Error::new(ErrorKind::Conflict, operation)
            .on(path.display())
            .because(format!(
                "the device is mounted on {}; writing to it would destroy that filesystem",
                mount.point.display()
            ))
            .hint(format!("umount {} first", mount.point.display()))),
    }
}

/// Length in bytes as it is now. Where a block device ends is where seeking to its end leads, which is the same number
/// that `BLKGETSIZE64` answers.
pub(crate) fn length_of(file: &File, kind: Kind) -> io::Result<u64> {
    match kind {
        Kind::Regular => Ok(file.metadata()?.len()),
        Kind::Block { .. } => Ok(rustix::fs::seek(file, SeekFrom::End(0))?),
    }
}

/// The unit in which the device itself reads and writes, in bytes: a power of two.
pub(super) fn preferred_alignment(file: &File, kind: Kind) -> u32 {
    const PAGE: u32 = 4096;
    match kind {
        Kind::Regular => PAGE,
        Kind::Block { .. } => rustix::fs::ioctl_blkpbszget(file)
            .ok()
            .filter(|size| size.is_power_of_two())
            .map_or(PAGE, |size| size.max(PAGE)),
    }
}

/// Whether a file lies on a tmpfs.
#[allow(
    clippy::useless_conversion,
    reason = "the type of a filesystem's number is another one on other machines"
)]
pub(super) fn is_in_memory(file: &File) -> bool {
    const TMPFS: i64 = 0x0102_1994;
    rustix::fs::fstatfs(file).is_ok_and(|of| i64::try_from(of.f_type) == Ok(TMPFS))
}
