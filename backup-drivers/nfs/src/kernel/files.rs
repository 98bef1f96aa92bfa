//! What a network's filesystem answers, looked at twice.
//!
//! * **Not there** may be what the client remembers of a minute ago: the folders on the way are opened, for which it asks
//!   the server whether they changed, and the call is made once more.
//! * **Stale** (`ESTALE`) says that what a name meant was exchanged on the server: it is looked up anew.
//! * **Failed** may mean done: where an answer is lost, the client sends its request again, and the server, which no
//!   longer knows that it did it, says "not there" of a rename or "is there already" of a folder. Where the mount gave up
//!   (`ETIMEDOUT`, `EIO`), nobody knows. So what should have come of it is looked for.
//!
//! New files need none of that: the kernel makes them with an exclusive create, which the server can tell from a repeated
//! one. Errors of writing come with the `fsync` that every file gets before it counts; nothing is left that a close could
//! fail with.

use std::fs::{File, Metadata, Permissions, ReadDir};
use std::io;
use std::os::unix::fs::{FileExt, MetadataExt, PermissionsExt, chown, fchown};
use std::path::{Path, PathBuf};

use backup_posix::FileSystem;
use rustix::fs::OFlags;
use rustix::io::Errno;

/// How often a stale name is looked up anew.
const LOOK_UPS: u32 = 3;

/// A mounted share. What is made in it gets its root's group, as what Cinder makes has, whoever runs this.
#[derive(Debug)]
pub(super) struct NfsFiles<F> {
    inner: F,
    root: PathBuf,
    /// The root's filesystem: once another one is there, the share is not mounted any more.
    device: u64,
    group: u32,
}

impl<F: FileSystem> NfsFiles<F> {
    /// The share whose repository's root is at `root`.
    pub(super) fn new(inner: F, root: &Path, device: u64, group: u32) -> Self {
        Self {
            inner,
            root: root.to_path_buf(),
            device,
            group,
        }
    }

    /// Makes a call on `path`, and once more where it may have been answered from memory.
    fn again<T>(&self, path: &Path, call: impl Fn() -> io::Result<T>) -> io::Result<T> {
        let mut asked = false;
        let mut stale = 0;
        loop {
            match call() {
                Err(e) if e.kind() == io::ErrorKind::NotFound && !asked => asked = true,
                Err(e) if is_stale(&e) && stale < LOOK_UPS => stale += 1,
                other => return other,
            }
            self.ask_anew(path);
        }
    }

    /// Has the client ask the server for the folders from the root to `path`.
    fn ask_anew(&self, path: &Path) {
        let mut folders: Vec<_> = path
            .ancestors()
            .skip(1)
            .take_while(|folder| folder.starts_with(&self.root))
            .collect();
        folders.reverse();
        for folder in folders {
            if self.inner.entries(folder).is_err() {
                break;
            }
        }
    }

    /// Refuses to make anything where the share is not mounted any more: it would land on the disk below.
    fn still_mounted(&self) -> io::Result<()> {
        let now = self.inner.look(&self.root)?;
        if now.dev() == self.device {
            return Ok(());
        }
        Err(io::Error::new(
            io::ErrorKind::NotConnected,
            "the share is no longer mounted there",
        ))
    }

    /// Whether `file` is what is at `path`.
    fn is_at(&self, file: &File, path: &Path) -> bool {
        let same = |a: &Metadata, b: &Metadata| (a.dev(), a.ino()) == (b.dev(), b.ino());
        match (file.metadata(), self.look(path)) {
            (Ok(own), Ok(there)) => same(&own, &there),
            _ => false,
        }
    }

    /// What a folder that was just made is like: its group that of the root, and open to it. `None` is as the umask has
    /// it, which must not shut Cinder out, whose process is another user of the same group.
    fn open_to_group(&self, path: &Path, mode: Option<u32>) -> io::Result<()> {
        const SET_GROUP: u32 = 0o2000;
        let made = self.inner.look(path)?;
        if made.gid() != self.group {
            allowed_or_not(chown(path, None, Some(self.group)))?;
        }
        let now = made.mode() & 0o7777;
        let owners = (now & 0o700) >> 3;
        // A bit that was inherited stays: it hands the group down.
        let wanted = (now & SET_GROUP) | mode.unwrap_or((now & 0o777) | owners);
        if wanted == now {
            return Ok(());
        }
        std::fs::set_permissions(path, Permissions::from_mode(wanted))
    }
}

fn is_stale(e: &io::Error) -> bool {
    Errno::from_io_error(e) == Some(Errno::STALE)
}

/// Whether nobody knows if it happened.
fn is_unknown(e: &io::Error) -> bool {
    matches!(
        Errno::from_io_error(e),
        Some(Errno::TIMEDOUT | Errno::IO | Errno::STALE | Errno::REMOTEIO)
    )
}

/// Has a new file written past the client's cache, whatever its length. What lay in there and could not be sent, since
/// the server is gone, would hold up the end of the process: the kernel waits for it when files are closed. Without it
/// (there is a kernel's client that cannot) the cache serves.
fn past_the_cache(file: &File) {
    let set = rustix::fs::fcntl_getfl(file)
        .and_then(|flags| rustix::fs::fcntl_setfl(file, flags | OFlags::DIRECT));
    if let Err(e) = set {
        tracing::debug!(error = %e, "written through the cache");
    }
}

/// A server that maps all users to one, or a user who is no member of the group, changes no group: what is made is then
/// as the server wants it.
fn allowed_or_not(changed: io::Result<()>) -> io::Result<()> {
    match changed {
        Err(e)
            if matches!(
                Errno::from_io_error(&e),
                Some(Errno::PERM | Errno::ACCESS | Errno::INVAL)
            ) =>
        {
            tracing::debug!(error = %e, "the group of what was made stays as the server made it");
            Ok(())
        }
        other => other,
    }
}

impl<F: FileSystem> FileSystem for NfsFiles<F> {
    fn look(&self, path: &Path) -> io::Result<Metadata> {
        self.again(path, || self.inner.look(path))
    }

    fn entries(&self, path: &Path) -> io::Result<ReadDir> {
        self.again(path, || self.inner.entries(path))
    }

    fn open(&self, path: &Path) -> io::Result<File> {
        self.again(path, || self.inner.open(path))
    }

    fn create(&self, path: &Path, mode: u32) -> io::Result<File> {
        self.still_mounted()?;
        let file = self.again(path, || self.inner.create(path, mode))?;
        if file.metadata()?.gid() != self.group {
            allowed_or_not(fchown(&file, None, Some(self.group)))?;
        }
        past_the_cache(&file);
        Ok(file)
    }

    /// The file is past the cache already, and the kernel's client wants nothing aligned.
    fn fill(&self, file: &File, data: &[u8]) -> io::Result<()> {
        file.write_all_at(data, 0)
    }

    fn make_folder(&self, path: &Path, mode: Option<u32>) -> io::Result<()> {
        self.still_mounted()?;
        if let Err(e) = self.again(path, || self.inner.make_folder(path, None)) {
            // Whoever calls this saw none there.
            let is_ours = |found: &Metadata| {
                found.is_dir() && found.uid() == rustix::process::geteuid().as_raw()
            };
            let suspect = is_unknown(&e) || e.kind() == io::ErrorKind::AlreadyExists;
            if !suspect || !self.look(path).is_ok_and(|found| is_ours(&found)) {
                return Err(e);
            }
            tracing::debug!(folder = %path.display(), error = %e, "made all the same");
        }
        self.open_to_group(path, mode)
    }

    fn remove_file(&self, path: &Path) -> io::Result<()> {
        match self.again(path, || self.inner.remove_file(path)) {
            Err(e) if is_unknown(&e) => match self.look(path) {
                Err(gone) if gone.kind() == io::ErrorKind::NotFound => Ok(()),
                _ => Err(e),
            },
            other => other,
        }
    }

    fn remove_folder(&self, path: &Path) -> io::Result<()> {
        self.inner.remove_folder(path)
    }

    fn rename(&self, file: &File, from: &Path, to: &Path) -> io::Result<()> {
        match self.again(from, || self.inner.rename(file, from, to)) {
            Err(e) if e.kind() == io::ErrorKind::NotFound || is_unknown(&e) => {
                if self.is_at(file, to) {
                    tracing::debug!(file = %to.display(), error = %e, "renamed all the same");
                    return Ok(());
                }
                Err(e)
            }
            other => other,
        }
    }

    /// What the client calls a file that was removed while it is open: `.nfs`, the file's number and a count.
    fn hides(&self, name: &str) -> bool {
        name.strip_prefix(".nfs").is_some_and(|rest| {
            (16..=24).contains(&rest.len()) && rest.bytes().all(|b| b.is_ascii_hexdigit())
        }) || self.inner.hides(name)
    }
}

#[cfg(test)]
mod tests;
