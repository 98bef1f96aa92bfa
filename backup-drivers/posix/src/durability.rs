//! Makes files durable in the background while others are written, and tells when a container's are.
//!
//! A failed fsync is never repeated: the kernel may have dropped the dirty pages and call the next one a success. The
//! file is remembered as lost, and every barrier on its container fails, until it is written anew or deleted.

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::fmt;
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use backup_core::{ContainerName, Error, ErrorKind, Result};
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore};

use crate::error::on_path;
use crate::threads::Threads;

/// Threads in fsync at once. Many small files share the journal's commits; more than 8 gained nothing (ADR 0003).
const THREADS: usize = 8;

/// What may be written but not yet durable, in units of 1 MiB; every file counts for one at least, so that this also
/// bounds the files that are open.
const ROOM: u32 = 256;

/// How a file is made durable. Another one only in tests.
type SyncFile = fn(&File) -> io::Result<()>;

pub(crate) struct Durability {
    state: Mutex<State>,
    changed: Notify,
    room: Arc<Semaphore>,
    sync: SyncFile,
    workers: Threads,
}

#[derive(Default)]
struct State {
    next: u64,
    queue: VecDeque<Pending>,
    threads: usize,
    containers: HashMap<ContainerName, Standing>,
}

/// How far a container is from being durable.
#[derive(Default)]
struct Standing {
    outstanding: BTreeSet<u64>,
    lost: BTreeMap<PathBuf, Lost>,
    folders: BTreeMap<PathBuf, Folder>,
}

struct Lost {
    code: Option<i32>,
    text: String,
}

/// A folder whose entries changed.
struct Folder {
    changed: u64,
    required: bool,
}

struct Pending {
    number: u64,
    container: ContainerName,
    path: PathBuf,
    file: File,
    _room: OwnedSemaphorePermit,
}

impl Durability {
    pub(crate) fn new() -> Arc<Self> {
        Self::with(File::sync_all)
    }

    fn with(sync: SyncFile) -> Arc<Self> {
        Arc::new(Self {
            state: Mutex::default(),
            changed: Notify::new(),
            room: Arc::new(Semaphore::new(ROOM as usize)),
            sync,
            workers: Threads::new(THREADS),
        })
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until there is room for a file of `bytes`.
    pub(crate) async fn room(&self, bytes: usize) -> Result<OwnedSemaphorePermit> {
        let units = u32::try_from(bytes.div_ceil(1 << 20)).unwrap_or(ROOM);
        Arc::clone(&self.room)
            .acquire_many_owned(units.clamp(1, ROOM))
            .await
            .map_err(|e| Error::internal("wait for the disk", e.to_string()))
    }

    /// Takes a file that was written, and sees to it that it becomes durable.
    pub(crate) fn written(
        self: &Arc<Self>,
        container: &ContainerName,
        path: PathBuf,
        file: File,
        room: OwnedSemaphorePermit,
    ) {
        let mut state = self.state();
        let number = state.number();
        let standing = state.standing(container);
        standing.lost.remove(&path);
        standing.outstanding.insert(number);
        if let Some(folder) = path.parent() {
            standing.folder(folder, number, true);
        }
        state.queue.push_back(Pending {
            number,
            container: container.clone(),
            path,
            file,
            _room: room,
        });
        if state.threads < THREADS {
            state.threads += 1;
            drop(state);
            let this = Arc::clone(self);
            // Where there is no other thread, this one does it.
            if let Err(work) = self.workers.run(Box::new(move || this.work())) {
                work();
            }
        }
    }

    /// Takes note that entries of a folder changed. A `required` one must become durable; of another, which we did
    /// not change ourselves, it is enough to try.
    pub(crate) fn folder_changed(&self, container: &ContainerName, folder: &Path, required: bool) {
        let mut state = self.state();
        let number = state.number();
        state.standing(container).folder(folder, number, required);
    }

    /// Takes note that a file is gone or another one: what was lost of it counts no more.
    pub(crate) fn replaced(&self, container: &ContainerName, path: &Path) {
        let mut state = self.state();
        let number = state.number();
        let standing = state.standing(container);
        standing.lost.remove(path);
        if let Some(folder) = path.parent() {
            standing.folder(folder, number, true);
        }
    }

    fn work(&self) {
        loop {
            let pending = {
                let mut state = self.state();
                let Some(pending) = state.queue.pop_front() else {
                    state.threads -= 1;
                    return;
                };
                pending
            };
            let synced = (self.sync)(&pending.file);
            let mut state = self.state();
            let standing = state.standing(&pending.container);
            standing.outstanding.remove(&pending.number);
            if let Err(error) = synced {
                standing.lost.insert(pending.path, Lost::new(&error));
            }
            drop(state);
            self.changed.notify_waiters();
        }
    }

    /// Waits until all that was written to `container` before this call was synced, well or not. `patience` is how
    /// long nothing may become durable.
    pub(crate) async fn settled(
        &self,
        container: &ContainerName,
        patience: Duration,
    ) -> Result<()> {
        let end = self.state().next;
        loop {
            // Registered before the look, so that no change is missed between the two.
            let changed = self.changed.notified();
            tokio::pin!(changed);
            changed.as_mut().enable();
            let left = self
                .state()
                .containers
                .get(container)
                .map_or(0, |s| s.outstanding.range(..end).count());
            if left == 0 {
                return Ok(());
            }
            if tokio::time::timeout(patience, changed).await.is_err() {
                return Err(Error::new(ErrorKind::Timeout, "make durable")
                    .on(format!("container {container}"))
                    .because(format!("{left} objects are still not on the disk"))
                    .hint("see whether that filesystem still answers"));
            }
        }
    }

    /// Makes the folders durable that changed. Blocks.
    pub(crate) fn sync_folders(&self, container: &ContainerName) -> Result<()> {
        let folders: Vec<(PathBuf, u64, bool)> = {
            let mut state = self.state();
            let folders = &state.standing(container).folders;
            folders
                .iter()
                .map(|(path, f)| (path.clone(), f.changed, f.required))
                .collect()
        };
        for (path, changed, required) in folders {
            let synced = match File::open(&path) {
                Ok(folder) => (self.sync)(&folder).or_else(|e| match e.kind() {
                    // Filesystems that write folders at once know no fsync of them.
                    io::ErrorKind::InvalidInput | io::ErrorKind::Unsupported => Ok(()),
                    _ => Err(e),
                }),
                Err(_) if !required => Ok(()),
                // Its container was deleted as a whole behind our back.
                Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(()),
                Err(e) => return Err(on_path("make durable", &path, e)),
            };
            let mut state = self.state();
            let standing = state.standing(container);
            match synced {
                Ok(()) => {
                    if standing
                        .folders
                        .get(&path)
                        .is_some_and(|f| f.changed == changed)
                    {
                        standing.folders.remove(&path);
                    }
                }
                Err(error) => {
                    standing.lost.insert(path, Lost::new(&error));
                }
            }
        }
        Ok(())
    }

    /// The first of what was lost in `container`. Forgets a container of which nothing is left to do.
    pub(crate) fn verdict(&self, container: &ContainerName) -> Result<()> {
        let mut state = self.state();
        let standing = state.standing(container);
        let Some((path, lost)) = standing.lost.first_key_value() else {
            if standing.outstanding.is_empty() && standing.folders.is_empty() {
                state.containers.remove(container);
            }
            return Ok(());
        };
        let cause = match lost.code {
            Some(code) => io::Error::from_raw_os_error(code),
            None => io::Error::other(lost.text.clone()),
        };
        let more = standing.lost.len() - 1;
        let error = on_path("make durable", path, cause);
        Err(if more > 0 {
            error.because(format!(
                "it and {more} others could not be written to the disk"
            ))
        } else {
            error
        })
    }
}

impl State {
    fn number(&mut self) -> u64 {
        self.next += 1;
        self.next - 1
    }

    fn standing(&mut self, container: &ContainerName) -> &mut Standing {
        self.containers.entry(container.clone()).or_default()
    }
}

impl Standing {
    fn folder(&mut self, path: &Path, changed: u64, required: bool) {
        let required = required || self.folders.get(path).is_some_and(|f| f.required);
        let folder = Folder { changed, required };
        self.folders.insert(path.to_path_buf(), folder);
    }
}

impl Lost {
    fn new(error: &io::Error) -> Self {
        Self {
            code: error.raw_os_error(),
            text: error.to_string(),
        }
    }
}

impl fmt::Debug for Durability {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Durability").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PATIENCE: Duration = Duration::from_mins(1);

    /// Fails as a disk does whose write-back failed: once, for files that hold "bad".
    fn failing_for_bad(file: &File) -> io::Result<()> {
        use std::os::unix::fs::FileExt;
        let mut start = [0; 3];
        let read = file.read_at(&mut start, 0);
        if read.is_ok_and(|n| n == 3) && start == *b"bad" {
            return Err(io::Error::from_raw_os_error(5));
        }
        Ok(())
    }

    struct Disk {
        durability: Arc<Durability>,
        folder: tempfile::TempDir,
    }

    impl Disk {
        fn new() -> Self {
            Self {
                durability: Durability::with(failing_for_bad),
                folder: tempfile::tempdir().unwrap(),
            }
        }

        async fn write(&self, container: &ContainerName, name: &str, data: &str) -> PathBuf {
            let path = self.folder.path().join(name);
            std::fs::write(&path, data).unwrap();
            let file = File::open(&path).unwrap();
            let room = self.durability.room(data.len()).await.unwrap();
            self.durability.written(container, path.clone(), file, room);
            path
        }

        async fn barrier(&self, container: &ContainerName) -> Result<()> {
            self.durability.settled(container, PATIENCE).await?;
            self.durability.sync_folders(container)?;
            self.durability.verdict(container)
        }
    }

    #[tokio::test]
    async fn a_failed_fsync_fails_every_barrier_until_the_object_is_deleted_or_written_anew() {
        let disk = Disk::new();
        let container = ContainerName::new("c").unwrap();
        let other = ContainerName::new("d").unwrap();
        disk.write(&container, "one", "good").await;
        let lost = disk.write(&container, "two", "bad").await;
        disk.write(&other, "three", "good").await;
        for _ in 0..2 {
            let failed = disk.barrier(&container).await.unwrap_err();
            assert!(
                failed.is(ErrorKind::Io) && failed.to_string().contains("two"),
                "{failed}"
            );
        }
        disk.barrier(&other).await.unwrap();
        disk.durability.replaced(&container, &lost);
        disk.barrier(&container).await.unwrap();

        disk.write(&container, "two", "bad").await;
        assert!(disk.barrier(&container).await.is_err());
        disk.write(&container, "two", "good").await;
        disk.barrier(&container).await.unwrap();
        assert!(
            disk.durability.state().containers.is_empty() || disk.barrier(&other).await.is_ok()
        );
    }

    #[tokio::test]
    async fn more_files_than_there_is_room_for_become_durable_one_after_another() {
        let disk = Disk::new();
        let container = ContainerName::new("c").unwrap();
        for i in 0..ROOM + 50 {
            disk.write(&container, &format!("object-{i}"), "good").await;
        }
        disk.barrier(&container).await.unwrap();
        assert_eq!(disk.durability.room.available_permits(), ROOM as usize);
        assert!(
            disk.durability.state().containers.is_empty(),
            "nothing is remembered"
        );
    }
}
