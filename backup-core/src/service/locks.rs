//! Locks that tell a running job from a dead one.

use std::fmt;
use std::fs::{File, OpenOptions, TryLockError};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::error::{Error, ErrorKind, Result};
use crate::id::JobId;

/// Gives out job locks. A lock is free as soon as its holder is gone, however it went: also by kill -9.
pub trait JobLocks: Send + Sync + fmt::Debug + 'static {
    /// Takes the lock of a new job.
    ///
    /// # Errors
    /// [`Conflict`](ErrorKind::Conflict) where somebody holds it.
    fn take(&self, job: JobId) -> Result<Box<dyn JobLock>> {
        // Nobody else knows a new job, but a sweep may have its lock in hand for a moment.
        for _ in 0..100 {
            if let Some(lock) = self.try_take(job)? {
                return Ok(lock);
            }
            std::thread::sleep(Duration::from_millis(2));
        }
        Err(Error::new(ErrorKind::Conflict, "lock job")
            .on(job)
            .because("another process holds this job"))
    }

    /// Takes the lock of a job if it is free: its holder is dead, or there never was one. `None` while the holder
    /// lives.
    fn try_take(&self, job: JobId) -> Result<Option<Box<dyn JobLock>>>;

    /// Removes what free locks left behind whose jobs are not `known`: a process that was killed before it had stored
    /// its job, or a power cut that undid a removal. Nothing, where locks leave nothing behind.
    fn sweep(&self, known: &dyn Fn(JobId) -> bool) -> Result<()> {
        let _ = known;
        Ok(())
    }
}

/// A lock that is held until this is dropped.
pub trait JobLock: Send + Sync + fmt::Debug {}

/// A lock file for each running job, in one folder of a local filesystem.
#[derive(Debug, Clone)]
pub struct FileLocks {
    folder: PathBuf,
}

#[derive(Debug)]
struct FileLock {
    path: PathBuf,
    // Held for its lock, which goes when it is closed.
    _file: File,
}

impl JobLock for FileLock {}

impl Drop for FileLock {
    fn drop(&mut self) {
        // Still locked while it goes, so that nobody can hold the lock of a file without a name and think it counts:
        // who locks a file looks whether it is still the one of that name.
        let _ = std::fs::remove_file(&self.path);
    }
}

impl FileLocks {
    /// Locks in `folder`, which is made at the first lock.
    pub fn new(folder: impl Into<PathBuf>) -> Self {
        Self {
            folder: folder.into(),
        }
    }

    fn open(&self, path: &Path) -> std::io::Result<File> {
        let open = || {
            OpenOptions::new()
                .create(true)
                .truncate(false)
                .write(true)
                .mode(0o600)
                .open(path)
        };
        match open() {
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => {
                std::fs::DirBuilder::new()
                    .recursive(true)
                    .mode(0o700)
                    .create(&self.folder)?;
                open()
            }
            other => other,
        }
    }
}

impl JobLocks for FileLocks {
    fn try_take(&self, job: JobId) -> Result<Option<Box<dyn JobLock>>> {
        let path = self.folder.join(format!("{job}.lock"));
        let failed = |e| Error::io("lock job", path.display(), e);
        loop {
            let file = self.open(&path).map_err(failed)?;
            match file.try_lock() {
                Ok(()) => {}
                Err(TryLockError::WouldBlock) => return Ok(None),
                Err(TryLockError::Error(e)) => return Err(failed(e)),
            }
            // Its holder may have removed the file between our open and our lock.
            let ours = file.metadata().map_err(failed)?;
            match std::fs::metadata(&path) {
                Ok(named) if (named.dev(), named.ino()) == (ours.dev(), ours.ino()) => {
                    return Ok(Some(Box::new(FileLock { path, _file: file })));
                }
                Ok(_) => {}
                Err(e) if e.kind() == std::io::ErrorKind::NotFound => {}
                Err(e) => return Err(failed(e)),
            }
        }
    }

    fn sweep(&self, known: &dyn Fn(JobId) -> bool) -> Result<()> {
        let failed = |e| Error::io("look for locks", self.folder.display(), e);
        let entries = match std::fs::read_dir(&self.folder) {
            Ok(entries) => entries,
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(()),
            Err(e) => return Err(failed(e)),
        };
        for entry in entries {
            let name = entry.map_err(failed)?.file_name();
            let job = name
                .to_str()
                .and_then(|n| n.strip_suffix(".lock"))
                .and_then(|id| id.parse().ok());
            if let Some(job) = job
                && !known(job)
            {
                // Dropped, it takes its file along.
                drop(self.try_take(job)?);
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lock_is_free_once_its_holder_is_gone_and_leaves_no_file() {
        let folder = tempfile::tempdir().unwrap();
        let locks = FileLocks::new(folder.path().join("jobs"));
        let job = JobId::generate();
        let held = locks.take(job).unwrap();
        assert!(locks.try_take(job).unwrap().is_none());
        assert!(locks.take(job).unwrap_err().is(ErrorKind::Conflict));
        drop(held);
        assert!(locks.try_take(job).unwrap().is_some());
        let left = std::fs::read_dir(folder.path().join("jobs")).unwrap();
        assert_eq!(left.count(), 0);
    }

    #[test]
    fn a_sweep_removes_free_locks_of_unknown_jobs_only() {
        let folder = tempfile::tempdir().unwrap();
        let locks = FileLocks::new(folder.path());
        let [held, known, dead] = [(); 3].map(|()| JobId::generate());
        let _held = locks.take(held).unwrap();
        for left in [known, dead] {
            std::fs::write(folder.path().join(format!("{left}.lock")), "").unwrap();
        }
        std::fs::write(folder.path().join("notes.txt"), "somebody's own").unwrap();
        locks.sweep(&|job| job == known).unwrap();
        let mut left: Vec<_> = std::fs::read_dir(folder.path())
            .unwrap()
            .map(|e| e.unwrap().file_name().into_string().unwrap())
            .collect();
        left.sort();
        let mut expected = vec![
            format!("{held}.lock"),
            format!("{known}.lock"),
            "notes.txt".to_owned(),
        ];
        expected.sort();
        assert_eq!(left, expected);
        let nowhere = FileLocks::new(folder.path().join("missing"));
        nowhere.sweep(&|_| false).unwrap();
    }
}
