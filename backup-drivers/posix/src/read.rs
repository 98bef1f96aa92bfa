//! Reading an object: whole where it is short, else piece by piece with the next piece under way.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use backup_core::{BoxStream, BufferPool, ByteRange, Download, Error, Result};
use bytes::Bytes;
use direct_io::{Direct, cached_bytes};
use rustix::fs::Advice;
use rustix::io::Errno;
use tokio::task::JoinHandle;

use crate::error::{is_missing, missing, no_file, on_path};
use crate::files::FileSystem;
use crate::lane::Lane;
use crate::threads::Threads;
use crate::tree::Tree;

const READ: &str = "read object";

/// What is no longer comes as one piece, so that its taker need not put pieces together.
const WHOLE: u64 = 16 << 20;
/// Pieces of what is longer.
const PIECE: u64 = 4 << 20;

/// Reads of at least so many bytes may go past the page cache.
const DIRECT_READ: u64 = 128 << 10;

/// What reading needs.
#[derive(Clone, Debug)]
pub(crate) struct Reader {
    pub(crate) lane: Lane,
    pub(crate) buffers: BufferPool,
    pub(crate) tree: Tree,
}

/// Opens an object's file, and its length.
pub(crate) fn open(files: &dyn FileSystem, path: &Path) -> Result<(File, u64)> {
    let file = files
        .open(path)
        .map_err(|e| match Errno::from_io_error(&e) {
            _ if is_missing(&e) => missing(READ, path.display()),
            Some(Errno::LOOP | Errno::NXIO | Errno::NODEV) => no_file(READ, path),
            _ => on_path(READ, path, e),
        })?;
    let metadata = file.metadata().map_err(|e| on_path(READ, path, e))?;
    if metadata.is_dir() {
        // Names that go on below it exist, but no object of this name.
        return Err(missing(READ, path.display()));
    }
    if !metadata.is_file() {
        return Err(no_file(READ, path));
    }
    Ok((file, metadata.len()))
}

/// An object's file, open for reading.
#[derive(Debug)]
struct Source {
    open: Option<Open>,
    /// Those that close it: that may wait for a server.
    closers: Threads,
}

#[derive(Debug)]
struct Open {
    file: File,
    /// The same past the page cache.
    direct: Option<Direct>,
}

impl Drop for Source {
    fn drop(&mut self) {
        let open = self.open.take();
        self.closers.run_aside(move || drop(open));
    }
}

impl Source {
    /// `length`: what will be read of it. Small objects come by the thousand, and are not opened twice.
    fn new(file: File, length: u64, closers: Threads) -> Self {
        let direct = (length >= DIRECT_READ)
            .then(|| Direct::reading(&file))
            .flatten();
        Self {
            open: Some(Open { file, direct }),
            closers,
        }
    }

    /// Reads `range`, past the page cache where less than half of it is there: what is, is copied from it in a tenth of
    /// the time, and what is not would have to be put there first.
    fn piece(&self, path: &Path, range: ByteRange, buffers: &BufferPool) -> Result<Bytes> {
        let too_long = || Error::internal(READ, "a piece longer than the address space");
        let Some(Open { file, direct }) = &self.open else {
            return Err(Error::internal(READ, "the file is closed"));
        };
        let length = usize::try_from(range.len()).map_err(|_| too_long())?;
        // Whole pages, so that the last one too is read in the same way.
        let mut buf = buffers.take(length.next_multiple_of(direct_io::ALIGNMENT));
        let done = match direct {
            Some(direct) if range.len() >= DIRECT_READ && is_cold(file, range) => {
                direct.read_head(range.start(), &mut buf).min(length)
            }
            _ => 0,
        };
        buf.truncate(length);
        file.read_exact_at(&mut buf[done..], range.start() + done as u64)
            .map_err(|e| match e.kind() {
                io::ErrorKind::UnexpectedEof => {
                    Error::corrupt(READ, path.display(), "it became shorter while it was read")
                }
                _ => on_path(READ, path, e),
            })?;
        Ok(buf.into_bytes())
    }
}

/// Whether less than half of it is in the page cache.
fn is_cold(file: &File, range: ByteRange) -> bool {
    cached_bytes(file, range.start(), range.len()).is_some_and(|n| n < range.len() / 2)
}

impl Reader {
    /// Reads the file at `path`, or a range of it.
    pub(crate) async fn get(&self, path: PathBuf, range: Option<ByteRange>) -> Result<Download> {
        let buffers = self.buffers.clone();
        let (opened_path, tree) = (path.clone(), self.tree.clone());
        let closers = self.lane.threads().clone();
        let opened = self.lane.run(READ, path.clone(), WHOLE, move || {
            let path = opened_path;
            tree.refuse_links(READ, &path)?;
            let (file, length) = open(tree.files(), &path)?;
            let whole = ByteRange::up_to(length);
            let wanted = match range {
                None => whole,
                Some(range) => whole.intersection(range).ok_or_else(|| {
                    let reason = format!("range {range} lies outside of its {length} bytes");
                    Error::invalid(READ, reason).on(path.display())
                })?,
            };
            let piece = if wanted.len() <= WHOLE {
                wanted.len()
            } else {
                PIECE
            };
            if wanted.len() > WHOLE {
                // A hint; nothing depends on it.
                let _refused = rustix::fs::fadvise(&file, wanted.start(), None, Advice::Sequential);
            }
            let (first, rest) = wanted.split_at(wanted.start() + piece);
            let source = Source::new(file, wanted.len(), closers);
            let data = source.piece(&path, first, &buffers)?;
            // What is read whole is closed here.
            let source = (!rest.is_empty()).then_some(source);
            Ok((source, wanted.len(), data, rest))
        });
        let (source, length, first, rest) = opened.await?;
        let mut body = Body {
            reader: self.clone(),
            source: source.map(Arc::new),
            path,
            rest,
            ready: Some(first).filter(|data| !data.is_empty()),
            coming: None,
        };
        body.read_ahead();
        Ok(Download {
            length,
            body: body.into_stream(),
        })
    }
}

struct Body {
    reader: Reader,
    /// Until all is read, or about to be.
    source: Option<Arc<Source>>,
    path: PathBuf,
    rest: ByteRange,
    ready: Option<Bytes>,
    coming: Option<JoinHandle<Result<Bytes>>>,
}

impl Body {
    fn read_ahead(&mut self) {
        let Some(source) = self.source.clone().filter(|_| !self.rest.is_empty()) else {
            return;
        };
        let (piece, rest) = self.rest.split_at(self.rest.start().saturating_add(PIECE));
        self.rest = rest;
        let path = self.path.clone();
        let buffers = self.reader.buffers.clone();
        let reading = self
            .reader
            .lane
            .run(READ, self.path.clone(), PIECE, move || {
                source.piece(&path, piece, &buffers)
            });
        self.coming = Some(tokio::spawn(reading));
    }

    async fn next(&mut self) -> Result<Option<Bytes>> {
        if let Some(data) = self.ready.take() {
            return Ok(Some(data));
        }
        let Some(coming) = self.coming.take() else {
            return Ok(None);
        };
        let data = coming
            .await
            .map_err(|e| Error::internal(READ, e.to_string()))??;
        self.read_ahead();
        Ok(Some(data))
    }

    fn into_stream(self) -> BoxStream<Bytes> {
        Box::pin(futures::stream::try_unfold(self, |mut body| async move {
            Ok(body.next().await?.map(|data| (data, body)))
        }))
    }
}
