//! Reading an object: at once where it is short, else piece by piece with the next ones under way.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};

use backup_core::{BoxStream, ByteRange, Download, Error, ErrorKind, ObjectKey, Result};
use bytes::{Bytes, BytesMut};
use futures::StreamExt;
use nfs_rs::Attr;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::JoinHandle;

use super::connection::{Connection, FILE, FOLDER, joined, split};
use super::failure::Failure;
use super::link::{Call, Link};

const READ: &str = "read object";

/// What is no longer is read within one call: it is then of one version of the object even while that is replaced.
const WHOLE: u64 = 4 << 20;

/// Pieces of one object under way or waiting to be taken.
const AHEAD: usize = 8;

/// Such pieces of all objects beyond the first of each.
const AHEAD_IN_ALL: usize = 24;

/// What reading needs.
#[derive(Clone, Debug)]
pub(super) struct Reader {
    link: Arc<Link>,
    room: Arc<Semaphore>,
}

/// An object as it was found.
#[derive(Debug, Clone)]
struct Found {
    handle: Bytes,
    identity: Identity,
}

/// What must stay as it was while the object is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Identity {
    file: u64,
    length: u64,
    changed: (u32, u32),
}

impl Identity {
    fn of(attributes: &Attr) -> Self {
        Self {
            file: attributes.fileid,
            length: attributes.filesize,
            changed: (attributes.mtime.seconds, attributes.mtime.nseconds),
        }
    }
}

fn missing(path: &str) -> Error {
    Error::new(ErrorKind::NotFound, READ).on(path)
}

async fn find(on: &Connection, path: &str) -> Result<Found, Failure> {
    let (folder, name) = split(path);
    let cached = on.remembers(folder);
    let found = match look(on, folder, name).await {
        // The remembered folder may be one that is gone.
        Err(failure) if failure.is_missing() && cached => {
            on.forget_folders();
            look(on, folder, name).await
        }
        found => found,
    };
    match found {
        Err(failure) if failure.leads_nowhere() => Err(missing(path).into()),
        Err(failure) => Err(failure),
        Ok((handle, attributes)) => match attributes.type_ {
            FILE => Ok(Found {
                handle,
                identity: Identity::of(&attributes),
            }),
            // Names that go on below it exist, but no object of this name.
            FOLDER => Err(missing(path).into()),
            _ => Err(Error::corrupt(READ, path, "it is not a regular file").into()),
        },
    }
}

async fn look(on: &Connection, folder: &str, name: &str) -> Result<(Bytes, Attr), Failure> {
    let folder = on.folder(folder).await?;
    on.look_up(&folder, name).await
}

/// Reads `range` of a file, which must lie within it, with one request after another.
async fn read(
    link: &Link,
    on: &Connection,
    handle: &Bytes,
    path: &str,
    range: ByteRange,
) -> Result<Bytes, Failure> {
    let step = u64::from(on.read_size());
    let mut at = range.start();
    let mut got: Vec<Bytes> = Vec::with_capacity(1);
    while at < range.end() {
        let count = u32::try_from((range.end() - at).min(step)).unwrap_or(u32::MAX);
        let permit = link.read_permit().await?;
        let data = on.mount().read(handle.clone(), at, count).await?;
        drop(permit);
        if data.is_empty() {
            return Err(Error::corrupt(READ, path, "it became shorter while it was read").into());
        }
        if data.len() as u64 > range.end() - at {
            return Err(Error::new(ErrorKind::Io, READ)
                .on(path)
                .because("the server sent more bytes than were asked for")
                .into());
        }
        at += data.len() as u64;
        got.push(data);
    }
    Ok(match got.len() {
        1 => got.swap_remove(0),
        _ => joined_pieces(&got),
    })
}

fn joined_pieces(pieces: &[Bytes]) -> Bytes {
    let mut whole = BytesMut::with_capacity(pieces.iter().map(Bytes::len).sum());
    for piece in pieces {
        whole.extend_from_slice(piece);
    }
    whole.freeze()
}

/// The same in pieces side by side.
async fn read_side_by_side(
    link: &Link,
    on: &Connection,
    handle: &Bytes,
    path: &str,
    range: ByteRange,
) -> Result<Bytes, Failure> {
    let step = u64::from(on.read_size());
    if range.len() <= step {
        return read(link, on, handle, path, range).await;
    }
    let reads = range
        .pieces(step)
        .map(|piece| read(link, on, handle, path, piece));
    let all: Vec<Result<Bytes, Failure>> =
        futures::stream::iter(reads).buffered(AHEAD).collect().await;
    let pieces = all.into_iter().collect::<Result<Vec<Bytes>, Failure>>()?;
    Ok(joined_pieces(&pieces))
}

/// What `get` finds out at once.
struct Opened {
    found: Found,
    range: ByteRange,
    /// All of it, where it is short.
    whole: Option<Bytes>,
    piece: u64,
}

impl Reader {
    pub(super) fn new(link: Arc<Link>) -> Self {
        Self {
            link,
            room: Arc::new(Semaphore::new(AHEAD_IN_ALL)),
        }
    }

    /// Reads an object, or a range of it.
    pub(super) async fn get(&self, key: &ObjectKey, range: Option<ByteRange>) -> Result<Download> {
        let path = joined(key.container().as_str(), key.name());
        let (link, at) = (Arc::clone(&self.link), path.clone());
        let opened = self
            .link
            .run(Call::new(READ, &path, WHOLE), move |on, _| {
                let (link, path) = (Arc::clone(&link), at.clone());
                async move { open(&link, &on, &path, range).await }
            })
            .await?;
        let length = opened.range.len();
        if let Some(whole) = opened.whole {
            let pieces = (!whole.is_empty()).then_some(Ok(whole));
            return Ok(Download {
                length,
                body: Box::pin(futures::stream::iter(pieces)),
            });
        }
        let mut body = Body {
            reader: self.clone(),
            source: Arc::new(Source {
                path,
                identity: opened.found.identity,
                handle: Mutex::new(opened.found.handle),
            }),
            rest: opened.range,
            piece: opened.piece.max(1),
            coming: VecDeque::new(),
        };
        body.read_ahead();
        Ok(Download {
            length,
            body: body.into_stream(),
        })
    }
}

async fn open(
    link: &Link,
    on: &Connection,
    path: &str,
    range: Option<ByteRange>,
) -> Result<Opened, Failure> {
    let found = find(on, path).await?;
    let length = found.identity.length;
    let all = ByteRange::up_to(length);
    let range = match range {
        None => all,
        Some(range) => all.intersection(range).ok_or_else(|| {
            let reason = format!("range {range} lies outside of its {length} bytes");
            Error::invalid(READ, reason).on(path)
        })?,
    };
    let whole = if range.is_empty() {
        Some(Bytes::new())
    } else if range.len() <= WHOLE {
        Some(read_side_by_side(link, on, &found.handle, path, range).await?)
    } else {
        None
    };
    Ok(Opened {
        found,
        range,
        whole,
        piece: u64::from(on.read_size()),
    })
}

/// An object that is being read in pieces.
#[derive(Debug)]
struct Source {
    path: String,
    identity: Identity,
    handle: Mutex<Bytes>,
}

impl Source {
    fn handle(&self) -> Bytes {
        self.handle
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    async fn piece(
        &self,
        link: &Link,
        on: &Connection,
        range: ByteRange,
        again: bool,
    ) -> Result<Bytes, Failure> {
        if again {
            // A handle may be stale after the server's start: the name is looked up again, and must mean the same.
            let found = find(on, &self.path).await?;
            if found.identity != self.identity {
                return Err(Error::new(ErrorKind::Conflict, READ)
                    .on(&self.path)
                    .because("it was replaced while it was read")
                    .into());
            }
            *self.handle.lock().unwrap_or_else(PoisonError::into_inner) = found.handle;
        }
        read(link, on, &self.handle(), &self.path, range).await
    }
}

/// A piece under way.
struct Coming {
    data: JoinHandle<Result<Bytes>>,
    _room: Option<OwnedSemaphorePermit>,
}

struct Body {
    reader: Reader,
    source: Arc<Source>,
    rest: ByteRange,
    piece: u64,
    coming: VecDeque<Coming>,
}

impl Body {
    /// Begins what there is room for. One piece always goes: whoever waits for this body must not wait for what another
    /// body, which nobody takes from, has read ahead.
    fn read_ahead(&mut self) {
        while !self.rest.is_empty() && self.coming.len() < AHEAD {
            let room = if self.coming.is_empty() {
                None
            } else {
                match Arc::clone(&self.reader.room).try_acquire_owned() {
                    Ok(room) => Some(room),
                    Err(_) => return,
                }
            };
            let (range, rest) = self
                .rest
                .split_at(self.rest.start().saturating_add(self.piece));
            self.rest = rest;
            let call = Call::new(READ, &self.source.path, range.len());
            let (link, source) = (Arc::clone(&self.reader.link), Arc::clone(&self.source));
            let data = self.reader.link.start(call, move |on, this| {
                let (link, source) = (Arc::clone(&link), Arc::clone(&source));
                async move { source.piece(&link, &on, range, this.doubtful).await }
            });
            self.coming.push_back(Coming { data, _room: room });
        }
    }

    async fn next(&mut self) -> Result<Option<Bytes>> {
        self.read_ahead();
        let Some(mut first) = self.coming.pop_front() else {
            return Ok(None);
        };
        let data = (&mut first.data)
            .await
            .map_err(|e| Error::internal(READ, e.to_string()))??;
        drop(first);
        self.read_ahead();
        Ok(Some(data))
    }

    fn into_stream(self) -> BoxStream<Bytes> {
        Box::pin(futures::stream::try_unfold(self, |mut body| async move {
            Ok(body.next().await?.map(|data| (data, body)))
        }))
    }
}
