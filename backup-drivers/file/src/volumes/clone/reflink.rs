//! Reflinks: a new file that shares the blocks of another until one of them is written.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;

use backup_core::error::{Error, Result};
use backup_core::id::SnapshotId;
use rustix::fs::{IFlags, Mode, OFlags};
use rustix::io::Errno;

use super::super::create_private;

/// Makes `target` (new, empty) share all of `source`. `false` where the filesystem cannot do that.
///
/// The kernel holds off writers meanwhile and writes out what they have left in memory before.
pub(super) fn reflink(source: &File, target: &File) -> Result<bool> {
    share(source, target).map_err(|e| Error::io("reflink", "snapshot", e.into()))
}

fn share(source: &File, target: &File) -> Result<bool, Errno> {
    // btrfs refuses to share between files that differ in copy-on-write, and images often have it off.
    let no_cow = rustix::fs::ioctl_getflags(source).is_ok_and(|f| f.contains(IFlags::NOCOW));
    if no_cow && let Ok(flags) = rustix::fs::ioctl_getflags(target) {
        // Where that fails, so does the reflink, with the better error.
        let _ = rustix::fs::ioctl_setflags(target, flags | IFlags::NOCOW);
    }
    loop {
        match rustix::fs::ioctl_ficlone(target, source) {
            Ok(()) => return Ok(true),
            Err(Errno::INTR) => {}
            // Not there (ext4, tmpfs), another filesystem, not for this pair of files, an active swap file.
            Err(
                Errno::OPNOTSUPP
                | Errno::NOTTY
                | Errno::NOSYS
                | Errno::XDEV
                | Errno::INVAL
                | Errno::TXTBSY,
            ) => return Ok(false),
            Err(e) => return Err(e),
        }
    }
}

/// Whether a reflink of `volume` into `folder` works, tried with two small files of the same kind. They have no names
/// there, so that nothing can be left of them.
///
/// # Errors
/// What keeps one from making files there.
pub(super) fn works(volume: &File, folder: &Path) -> io::Result<bool> {
    let (source, target) = (nameless(folder)?, nameless(folder)?);
    if rustix::fs::ioctl_getflags(volume).is_ok_and(|f| f.contains(IFlags::NOCOW)) {
        let flags = rustix::fs::ioctl_getflags(&source)?;
        rustix::fs::ioctl_setflags(&source, flags | IFlags::NOCOW)?;
    }
    source.write_all_at(&[1; 4096], 0)?;
    Ok(share(&source, &target)?)
}

fn nameless(folder: &Path) -> io::Result<File> {
    let flags = OFlags::TMPFILE | OFlags::RDWR | OFlags::CLOEXEC;
    match rustix::fs::open(folder, flags, Mode::RUSR | Mode::WUSR) {
        Ok(file) => Ok(file.into()),
        // Network filesystems have no nameless files: a name for a moment.
        Err(Errno::OPNOTSUPP | Errno::ISDIR | Errno::INVAL) => {
            let path = folder.join(format!(".reflink-{}", SnapshotId::generate()));
            let file = create_private(&path)?;
            fs::remove_file(&path)?;
            Ok(file)
        }
        Err(e) => Err(e.into()),
    }
}
