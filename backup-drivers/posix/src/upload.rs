//! Objects that come in parts: a temporary file that gets its name when it is whole and durable.

use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use async_trait::async_trait;
use backup_core::{ContainerName, Error, ErrorKind, ObjectKey, Result, Upload};
use bytes::Bytes;
use rustix::fs::Advice;

use crate::durability::Durability;
use crate::error::{is_missing, on_path};
use crate::lane::Lane;
use crate::threads::Threads;
use crate::tree::Tree;

const UPLOAD: &str = "write object";

/// What is written is handed to the disk each time that this many bytes have come, so that the end need not wait for
/// all of it.
const HAND_OVER: u64 = 8 << 20;

/// A file under a temporary name, removed where it is dropped.
#[derive(Debug)]
pub(crate) struct Temporary {
    /// Until it is dropped.
    file: Option<File>,
    path: PathBuf,
    named: bool,
    tree: Tree,
    closers: Threads,
}

impl Temporary {
    pub(crate) fn create(
        tree: &Tree,
        key: &ObjectKey,
        target: &Path,
        closers: &Threads,
    ) -> Result<Self> {
        let (file, path) = tree.create_temporary(UPLOAD, key, target)?;
        Ok(Self {
            file: Some(file),
            path,
            named: false,
            tree: tree.clone(),
            closers: closers.clone(),
        })
    }

    pub(crate) fn file(&self) -> Result<&File> {
        self.file
            .as_ref()
            .ok_or_else(|| Error::internal(UPLOAD, "the file is closed"))
    }

    pub(crate) fn write(&mut self, data: &[u8]) -> Result<()> {
        self.file()?
            .write_all(data)
            .map_err(|e| on_path(UPLOAD, &self.path, e))
    }

    /// Gives it its name, replacing what has it; with `sync` only once it is durable, so that a power cut leaves the
    /// one or the other.
    pub(crate) fn name(mut self, target: &Path, sync: bool) -> Result<File> {
        let file = self.file()?;
        if sync {
            file.sync_all()
                .map_err(|e| on_path("make durable", &self.path, e))?;
        }
        let renamed = self.tree.files().rename(file, &self.path, target);
        renamed.map_err(|e| {
            if is_missing(&e) {
                Error::new(ErrorKind::NotFound, UPLOAD)
                    .on(target.display())
                    .because("it was deleted while it was written")
            } else {
                on_path(UPLOAD, target, e)
            }
        })?;
        self.named = true;
        self.file
            .take()
            .ok_or_else(|| Error::internal(UPLOAD, "the file is closed"))
    }
}

impl Drop for Temporary {
    fn drop(&mut self) {
        let (file, path) = (self.file.take(), std::mem::take(&mut self.path));
        let (tree, named) = (self.tree.clone(), self.named);
        self.closers.run_aside(move || {
            drop(file);
            if named {
                return;
            }
            match tree.files().remove_file(&path) {
                Err(e) if !is_missing(&e) => {
                    tracing::warn!(file = %path.display(), error = %e, "temporary file stays behind");
                }
                _ => {}
            }
        });
    }
}

/// What an upload needs of its repository.
#[derive(Clone, Debug)]
pub(crate) struct Uploader {
    pub(crate) lane: Lane,
    pub(crate) durability: Option<Arc<Durability>>,
}

#[derive(Debug)]
pub(crate) struct PosixUpload {
    uploader: Uploader,
    container: ContainerName,
    target: PathBuf,
    state: Option<State>,
}

/// Moves to the thread that works on it and back.
#[derive(Debug)]
struct State {
    temporary: Temporary,
    size: u64,
    handed_over: u64,
}

impl PosixUpload {
    pub(crate) fn new(
        uploader: Uploader,
        container: ContainerName,
        target: PathBuf,
        temporary: Temporary,
    ) -> Self {
        Self {
            uploader,
            container,
            target,
            state: Some(State {
                temporary,
                size: 0,
                handed_over: 0,
            }),
        }
    }

    fn take(&mut self) -> Result<State> {
        self.state.take().ok_or_else(|| {
            Error::new(ErrorKind::Conflict, UPLOAD)
                .on(self.target.display())
                .because("an earlier part failed")
        })
    }
}

impl State {
    fn part(&mut self, data: &[u8], start_write_back: bool) -> Result<()> {
        self.temporary.write(data)?;
        self.size += data.len() as u64;
        if start_write_back && self.size - self.handed_over >= HAND_OVER {
            // To say that its pages are not needed starts their way to the disk and waits for nothing; they leave the
            // cache only if they are there already. A hint: what counts is the fsync.
            let file = self.temporary.file()?;
            let _refused = rustix::fs::fadvise(file, self.handed_over, None, Advice::DontNeed);
            self.handed_over = self.size;
        }
        Ok(())
    }
}

#[async_trait]
impl Upload for PosixUpload {
    async fn part(&mut self, data: Bytes) -> Result<()> {
        let mut state = self.take()?;
        let start_write_back = self.uploader.durability.is_some();
        let bytes = data.len() as u64;
        let path = self.target.clone();
        let work = self.uploader.lane.run(UPLOAD, path, bytes, move || {
            state.part(&data, start_write_back)?;
            Ok(state)
        });
        self.state = Some(work.await?);
        Ok(())
    }

    async fn complete(mut self: Box<Self>) -> Result<()> {
        let state = self.take()?;
        let target = self.target.clone();
        let container = self.container.clone();
        let durability = self.uploader.durability.clone();
        let path = self.target.clone();
        let size = state.size;
        self.uploader
            .lane
            .run("complete object", path, size, move || {
                state.temporary.name(&target, durability.is_some())?;
                let Some(durability) = durability else {
                    return Ok(());
                };
                durability.replaced(&container, &target);
                durability.sync_folders(&container)
            })
            .await
    }

    async fn abort(mut self: Box<Self>) -> Result<()> {
        let Some(state) = self.state.take() else {
            return Ok(());
        };
        let path = self.target.clone();
        let work = self.uploader.lane.run("abort object", path, 0, move || {
            drop(state);
            Ok(())
        });
        work.await
    }
}
