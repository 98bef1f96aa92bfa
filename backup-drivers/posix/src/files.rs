//! The calls to the filesystem that another kind of filesystem may want to do otherwise.

use std::fmt::Debug;
use std::fs::{self, DirBuilder, File, Metadata, OpenOptions, Permissions, ReadDir};
use std::io;
use std::os::unix::fs::{FileExt, OpenOptionsExt, PermissionsExt};
use std::path::Path;

use direct_io::Direct;
use rustix::fs::OFlags;

/// Objects of at least so many bytes are written past the page cache, where that can be. They are read again long
/// after, if ever, and the disk begins at once.
const DIRECT_WRITE: usize = 256 << 10;

/// How files and folders below the root are looked up, made, named and removed. All calls block. The methods' own
/// bodies are the plain calls of a local filesystem; a network's filesystem answers less reliably, and has others.
///
/// No method follows a link at the end of `path`.
pub trait FileSystem: Debug + Send + Sync + 'static {
    /// What is at `path`.
    fn look(&self, path: &Path) -> io::Result<Metadata> {
        fs::symlink_metadata(path)
    }

    /// The entries of a folder.
    fn entries(&self, path: &Path) -> io::Result<ReadDir> {
        fs::read_dir(path)
    }

    /// Opens a file for reading. A pipe is not waited for.
    fn open(&self, path: &Path) -> io::Result<File> {
        // Without NONBLOCK the open of a pipe would wait for a writer, without NOFOLLOW a link could lead anywhere.
        let flags = OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::NOCTTY;
        OpenOptions::new()
            .read(true)
            .custom_flags(flags.bits().cast_signed())
            .open(path)
    }

    /// Makes a file that must not be there, with just this mode, and opens it for writing.
    fn create(&self, path: &Path, mode: u32) -> io::Result<File> {
        let file = OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(mode)
            .custom_flags(OFlags::NOFOLLOW.bits().cast_signed())
            .open(path)?;
        // The umask took bits from the mode.
        file.set_permissions(Permissions::from_mode(mode))?;
        Ok(file)
    }

    /// Writes `data` to a file that was just made and is empty.
    fn fill(&self, file: &File, data: &[u8]) -> io::Result<()> {
        let direct = (data.len() >= DIRECT_WRITE)
            .then(|| Direct::writing(file))
            .flatten();
        let done = match direct {
            Some(direct) => direct.write_head(0, data)?,
            None => 0,
        };
        file.write_all_at(&data[done..], done as u64)
    }

    /// Makes a folder that must not be there: with just this mode, or by the umask.
    fn make_folder(&self, path: &Path, mode: Option<u32>) -> io::Result<()> {
        DirBuilder::new().create(path)?;
        match mode {
            Some(mode) => fs::set_permissions(path, Permissions::from_mode(mode)),
            None => Ok(()),
        }
    }

    /// Removes a file.
    fn remove_file(&self, path: &Path) -> io::Result<()> {
        fs::remove_file(path)
    }

    /// Removes an empty folder.
    fn remove_folder(&self, path: &Path) -> io::Result<()> {
        fs::remove_dir(path)
    }

    /// Gives `file`, which is at `from`, the name `to`, in place of what has it.
    fn rename(&self, file: &File, from: &Path, to: &Path) -> io::Result<()> {
        // Here its name says enough.
        let _ = file;
        fs::rename(from, to)
    }

    /// Whether an entry of that name is the filesystem's own, and no object.
    fn hides(&self, name: &str) -> bool {
        // None is.
        let _ = name;
        false
    }

    /// Whether a folder is at `path`.
    fn is_folder(&self, path: &Path) -> bool {
        self.look(path).is_ok_and(|found| found.is_dir())
    }
}

/// A local filesystem: the plain calls.
#[derive(Debug, Clone, Copy, Default)]
pub struct LocalFiles;

impl FileSystem for LocalFiles {}
