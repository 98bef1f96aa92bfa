//! Writing: a temporary file beside the object's, whose data is durable before it gets the object's name.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use backup_core::{Error, ErrorKind, ObjectKey, PutMode, Result};
use backup_posix::layout::{FILE_MODE, FOLDER_MODE, is_temporary, temporary_name};
use bytes::Bytes;
use futures::StreamExt;
use nfs_rs::WriteOutcome;

use super::connection::{Connection, FILE, joined, split};
use super::failure::{Failure, exists, has_no_links, is_late, is_missing, lost_unstable_data};
use super::link::{Call, Link, REQUESTS, Try};

pub(super) const WRITE: &str = "write object";

/// How often data is sent again whose server started anew before it was durable. Its deadline ends it too.
const REWRITES: usize = 8;

/// Where an object goes, by paths below the root.
#[derive(Debug, Clone)]
pub(super) struct Place {
    /// The container's folder.
    pub(super) container: String,
    /// The object's own folder: the container's, or one that its name has with slashes.
    pub(super) folder: String,
    /// The last part of the object's name.
    pub(super) name: String,
    /// The file that becomes the object.
    pub(super) temporary: String,
}

impl Place {
    /// # Errors
    /// `InvalidInput` for a name of the form that temporary files have: listings hide those.
    pub(super) fn of(operation: &'static str, key: &ObjectKey) -> Result<Self> {
        let container = key.container().to_string();
        let path = joined(&container, key.name());
        let (folder, name) = split(&path);
        if is_temporary(name) {
            return Err(
                Error::invalid(operation, "names of this form are for temporary files").on(key),
            );
        }
        Ok(Self {
            temporary: temporary_name(name),
            folder: folder.to_owned(),
            name: name.to_owned(),
            container,
        })
    }

    pub(super) fn path(&self) -> String {
        joined(&self.folder, &self.name)
    }

    /// The handle of the object's folder; one that only its name has is made.
    pub(super) async fn folder(&self, on: &Connection, this: Try) -> Result<Bytes, Failure> {
        match on.folder(&self.container).await {
            Err(failure) if failure.is_missing() => {
                return Err(Error::new(ErrorKind::NotFound, "find container")
                    .on(&self.container)
                    .into());
            }
            found => found?,
        };
        if self.folder == self.container {
            return on.folder(&self.folder).await;
        }
        on.make_folder(&self.folder, FOLDER_MODE, this.doubtful)
            .await
    }

    /// Makes the temporary file, or opens the one that an earlier try made.
    pub(super) async fn create(&self, on: &Connection, this: Try) -> Result<Open, Failure> {
        // A remembered folder may be gone and made anew, or a delete may have removed it while it was empty.
        let mut looks = 0;
        loop {
            let folder = self.folder(on, this).await?;
            let made = on
                .mount()
                .create(folder.clone(), &self.temporary, Some(FILE_MODE));
            let made = match made.await {
                Err(error) if is_missing(&error) && looks < 5 => {
                    looks += 1;
                    on.forget_folders();
                    continue;
                }
                made => made?,
            };
            let (handle, attributes) = on.with_attributes(made).await?;
            let open = Open {
                folder,
                handle: handle.clone(),
                file: attributes.fileid,
            };
            if let Err(failure) = on.give(&handle, &attributes, FILE_MODE).await {
                let _first_error_counts = on.mount().close(handle).await;
                return Err(failure);
            }
            return Ok(open);
        }
    }

    /// Opens the temporary file again, which must be the one that it was.
    pub(super) async fn reopen(&self, on: &Connection, file: u64) -> Result<Open, Failure> {
        let folder = on.folder(&self.folder).await?;
        let opened = on
            .mount()
            .open(folder.clone(), &self.temporary, nfs_rs::OPEN_WRITE);
        let opened = match opened.await {
            Err(error) if is_missing(&error) => return Err(self.deleted().into()),
            opened => opened?,
        };
        let (handle, attributes) = on.with_attributes(opened).await?;
        if attributes.fileid != file {
            let _first_error_counts = on.mount().close(handle).await;
            return Err(self.deleted().into());
        }
        Ok(Open {
            folder,
            handle,
            file,
        })
    }

    fn deleted(&self) -> Error {
        Error::new(ErrorKind::NotFound, WRITE)
            .on(self.path())
            .because("it was deleted while it was written")
    }

    /// Gives the temporary file, which is durable, the object's name. One that was given by an earlier try is found to
    /// have it.
    pub(super) async fn name(
        &self,
        on: &Connection,
        open: &Open,
        mode: PutMode,
    ) -> Result<(), Failure> {
        match mode {
            PutMode::Overwrite => self.rename(on, open).await,
            PutMode::CreateOnly => self.link(on, open).await,
        }
    }

    async fn rename(&self, on: &Connection, open: &Open) -> Result<(), Failure> {
        let folder = &open.folder;
        let renamed =
            on.mount()
                .rename(folder.clone(), &self.temporary, folder.clone(), &self.name);
        match renamed.await {
            Err(error) if is_missing(&error) => {
                if self.has_name(on, open).await? {
                    Ok(())
                } else {
                    Err(self.deleted().into())
                }
            }
            Err(error) if exists(&error) => Err(Error::new(ErrorKind::Conflict, WRITE)
                .on(self.path())
                .because("a folder of that name is in the way")
                .into()),
            renamed => Ok(renamed?),
        }
    }

    /// By a hard link, which never replaces anything, where the server has such.
    async fn link(&self, on: &Connection, open: &Open) -> Result<(), Failure> {
        let linked = on
            .mount()
            .link(open.handle.clone(), open.folder.clone(), &self.name);
        match linked.await {
            Ok(_) => {}
            Err(error) if has_no_links(&error) => {
                if self.is_taken(on, &open.folder).await? {
                    return Err(self.taken().into());
                }
                return self.rename(on, open).await;
            }
            // The library also says so where the server told no attributes afterwards.
            Err(error) => match self.has_name(on, open).await {
                Ok(true) => {}
                Ok(false) if exists(&error) => return Err(self.taken().into()),
                _ => return Err(error.into()),
            },
        }
        match on
            .mount()
            .remove(open.folder.clone(), &self.temporary)
            .await
        {
            Err(error) if is_missing(&error) => Ok(()),
            removed => Ok(removed?),
        }
    }

    fn taken(&self) -> Error {
        Error::new(ErrorKind::AlreadyExists, WRITE).on(self.path())
    }

    /// Whether the file that was written has the object's name.
    async fn has_name(&self, on: &Connection, open: &Open) -> Result<bool, Failure> {
        match on.look_up(&open.folder, &self.name).await {
            Ok((_, attributes)) => Ok(attributes.type_ == FILE && attributes.fileid == open.file),
            Err(failure) if failure.is_missing() => Ok(false),
            Err(failure) => Err(failure),
        }
    }

    /// Whether anything has the object's name.
    async fn is_taken(&self, on: &Connection, folder: &Bytes) -> Result<bool, Failure> {
        match on.look_up(folder, &self.name).await {
            Ok(_) => Ok(true),
            Err(failure) if failure.is_missing() => Ok(false),
            Err(failure) => Err(failure),
        }
    }

    /// Removes the temporary file. One that is gone is success.
    pub(super) async fn discard(&self, link: &Arc<Link>) -> Result<()> {
        let call = Call::new("remove temporary file", self.path(), 0);
        let place = self.clone();
        link.run(call, move |on, _| {
            let place = place.clone();
            async move {
                let removed = match on.folder(&place.folder).await {
                    Ok(folder) => on.mount().remove(folder, &place.temporary).await,
                    Err(failure) if failure.is_missing() => return Ok(()),
                    Err(failure) => return Err(failure),
                };
                match removed {
                    Err(error) if is_missing(&error) => Ok(()),
                    removed => Ok(removed?),
                }
            }
        })
        .await
    }
}

/// A temporary file, open on one connection.
#[derive(Debug, Clone)]
pub(super) struct Open {
    pub(super) folder: Bytes,
    pub(super) handle: Bytes,
    /// The server's number of the file, by which it is known again.
    pub(super) file: u64,
}

/// How far a put has come, over its tries.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    Writing,
    /// The data of this file is durable; what follows may have happened too.
    Durable(u64),
}

/// Stores a whole object.
pub(super) async fn put(
    link: &Arc<Link>,
    key: &ObjectKey,
    data: Bytes,
    mode: PutMode,
) -> Result<()> {
    let place = Place::of(WRITE, key)?;
    let call = Call::new(WRITE, key, data.len() as u64);
    let stage = Arc::new(Mutex::new(Stage::Writing));
    let (line, at) = (Arc::clone(link), place.clone());
    let stored = link
        .run(call, move |on, this| {
            let (line, at, data) = (Arc::clone(&line), at.clone(), data.clone());
            let stage = Arc::clone(&stage);
            async move { put_once(&line, &on, this, &at, &data, mode, &stage).await }
        })
        .await;
    if let Err(error) = &stored
        && !error.is_retryable()
    {
        // The error that counts is the first one; what stays behind is found by its name.
        let _left = place.discard(link).await;
    }
    stored
}

async fn put_once(
    link: &Link,
    on: &Connection,
    this: Try,
    place: &Place,
    data: &Bytes,
    mode: PutMode,
    stage: &Mutex<Stage>,
) -> Result<(), Failure> {
    let reached = *stage.lock().unwrap_or_else(PoisonError::into_inner);
    if let Stage::Durable(file) = reached
        && finish(on, place, file, mode).await?
    {
        return Ok(());
    }
    if mode == PutMode::CreateOnly {
        let folder = place.folder(on, this).await?;
        if place.is_taken(on, &folder).await? {
            return Err(place.taken().into());
        }
    }
    let open = place.create(on, this).await?;
    let written = store(link, on, &open.handle, 0, data).await;
    let closed = on.mount().close(open.handle.clone()).await;
    written?;
    closed?;
    *stage.lock().unwrap_or_else(PoisonError::into_inner) = Stage::Durable(open.file);
    place.name(on, &open, mode).await
}

/// Does what is left for a file whose data is durable. `false` where all must be done anew.
async fn finish(on: &Connection, place: &Place, file: u64, mode: PutMode) -> Result<bool, Failure> {
    let folder = on.folder(&place.folder).await?;
    let handle = match on.look_up(&folder, &place.temporary).await {
        Ok((handle, attributes)) if attributes.fileid == file => handle,
        Ok(_) => return Ok(false),
        // It has the object's name already, or somebody removed it.
        Err(failure) if failure.is_missing() => Bytes::new(),
        Err(failure) => return Err(failure),
    };
    let open = Open {
        folder,
        handle,
        file,
    };
    if open.handle.is_empty() {
        return place.has_name(on, &open).await;
    }
    place.name(on, &open, mode).await?;
    Ok(true)
}

/// Writes `data` from `offset` on, and makes it durable: UNSTABLE writes side by side, then a COMMIT whose verifier must
/// be that of every write. Where it is not, the server started anew and may have lost them: they are sent again.
pub(super) async fn store(
    link: &Link,
    on: &Connection,
    handle: &Bytes,
    offset: u64,
    data: &Bytes,
) -> Result<(), Failure> {
    if data.is_empty() {
        return Ok(());
    }
    for _ in 0..REWRITES {
        let receipts = send(link, on, handle, offset, data).await?;
        match commit(on, handle, &receipts).await {
            Err(Failure::Nfs(error)) if lost_unstable_data(&error) => {
                tracing::debug!(
                    "the server started anew before data was durable: it is sent again"
                );
            }
            done => return done,
        }
    }
    Err(Error::new(ErrorKind::Unavailable, WRITE)
        .because("the server starts anew again and again before the data is durable")
        .into())
}

async fn send(
    link: &Link,
    on: &Connection,
    handle: &Bytes,
    offset: u64,
    data: &Bytes,
) -> Result<Vec<WriteOutcome>, Failure> {
    let step = on.write_size() as usize;
    // All that was begun is awaited also after a failure: a request that is cut in its middle takes the connection of
    // all others with it.
    let failed = AtomicBool::new(false);
    let failed = &failed;
    let pieces = futures::stream::iter((0..data.len()).step_by(step)).map(|start| async move {
        if failed.load(Ordering::Relaxed) {
            return Ok(Vec::new());
        }
        let piece = data.slice(start..data.len().min(start + step));
        let sent = send_piece(link, on, handle, offset + start as u64, piece).await;
        if sent.is_err() {
            failed.store(true, Ordering::Relaxed);
        }
        sent
    });
    let all: Vec<Result<Vec<WriteOutcome>, Failure>> =
        pieces.buffer_unordered(REQUESTS).collect().await;
    let mut receipts = Vec::with_capacity(all.len());
    for piece in all {
        receipts.extend(piece?);
    }
    Ok(receipts)
}

async fn send_piece(
    link: &Link,
    on: &Connection,
    handle: &Bytes,
    mut offset: u64,
    mut piece: Bytes,
) -> Result<Vec<WriteOutcome>, Failure> {
    let mut receipts = Vec::with_capacity(1);
    while !piece.is_empty() {
        let permit = link.write_permit().await?;
        let outcome = on
            .mount()
            .write(handle.clone(), offset, piece.clone())
            .await?;
        drop(permit);
        let taken = outcome.count as usize;
        if taken == 0 || taken > piece.len() {
            return Err(Error::new(ErrorKind::Io, WRITE)
                .because(format!(
                    "the server says that it took {taken} bytes of {}",
                    piece.len()
                ))
                .into());
        }
        let _sent = piece.split_to(taken);
        offset += taken as u64;
        receipts.push(outcome);
    }
    Ok(receipts)
}

/// Makes durable what was written. A server whose disks are slow may take longer than the library waits: it is asked
/// again until the deadline of the whole call.
async fn commit(on: &Connection, handle: &Bytes, receipts: &[WriteOutcome]) -> Result<(), Failure> {
    loop {
        match on
            .mount()
            .commit_write_batch(handle.clone(), 0, 0, receipts)
            .await
        {
            Err(error) if is_late(&error) && !lost_unstable_data(&error) => {
                tracing::debug!(%error, "the server is slow to make data durable: it is asked again");
            }
            done => return Ok(done?),
        }
    }
}
