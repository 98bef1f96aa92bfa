//! The engine for callers without a runtime: each call waits for its end.
//!
//! [`BlockingBackup`] is made over a [`Backup`] and brings a runtime of its own, with two threads. It does what the
//! trait does, promise by promise; a job is cancelled from another thread, by its context's
//! [`CancelToken`](crate::CancelToken). A backup that is [opened](BlockingBackup::open) is read as a file is, by
//! [`Read`] and [`Seek`].
//!
//! It is not for a thread of an async runtime: a call there is refused with
//! [`InvalidInput`](crate::ErrorKind::InvalidInput), since waiting would stop what it waits for.
//!
//! ```
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! use std::io::{Read, Seek, SeekFrom};
//! use std::sync::Arc;
//! use backup_core::blocking::BlockingBackup;
//! use backup_core::testing::{MemoryDevice, MemoryRepository};
//! use backup_core::{
//!     Attachment, BackupRequest, Chain, ChunkedBackup, ChunkedConfig, JobContext, Layer, Timestamp, VolumeId,
//! };
//!
//! let cx = JobContext::new(64 << 20)?;
//! let engine = ChunkedBackup::new(Arc::new(MemoryRepository::new()), ChunkedConfig::zlib()?)?;
//! let engine = BlockingBackup::new(Arc::new(engine))?;
//! let source = Attachment::new(Arc::new(MemoryDevice::from_bytes(&b"a volume's content ".repeat(100_000))));
//!
//! let plan = engine.plan(&BackupRequest::new(VolumeId::generate(), Timestamp::now()))?;
//! engine.create(&plan, None, &source, &cx)?;
//!
//! let chain = Chain::new(vec![Layer { id: plan.id, location: plan.location }]).expect("it has a layer");
//! let mut volume = engine.open(&chain, &cx)?;
//! let mut word = [0; 6];
//! volume.seek(SeekFrom::Start(19 + 2))?;
//! volume.read_exact(&mut word)?;
//! assert_eq!(&word, b"volume");
//! # Ok(())
//! # }
//! ```

use std::fmt;
use std::future::Future;
use std::io::{self, Read, Seek, SeekFrom};
use std::sync::Arc;

use futures::StreamExt;
use tokio::runtime::{Builder, Handle, Runtime};

use crate::attach::Attachment;
use crate::backup::{
    Backup, BackupPlan, BackupReader, BackupRequest, Chain, Layer, Outcome, Report, RestoreOptions,
    ScanItem,
};
use crate::device::BlockDevice;
use crate::error::{Error, ErrorKind, Result};
use crate::id::{BackupId, ContainerName, Location, VolumeId};
use crate::job::JobContext;
use crate::orphan::Orphan;
use crate::repository::BoxStream;

/// Threads of the runtime. CPU work has threads of its own, in the job's context.
const THREADS: usize = 2;

/// The most that one call of [`read`](BlockingReader::read) fetches, in bytes.
const PIECE: usize = 1 << 20;

/// A [`Backup`] whose calls return when they are done. Cheap to clone: clones share the runtime.
#[derive(Clone)]
pub struct BlockingBackup {
    backup: Arc<dyn Backup>,
    waiter: Waiter,
}

impl BlockingBackup {
    /// Over `backup`, with a runtime of its own.
    ///
    /// # Errors
    /// [`Internal`](ErrorKind::Internal) where the system gives no threads.
    pub fn new(backup: Arc<dyn Backup>) -> Result<Self> {
        Ok(Self {
            backup,
            waiter: Waiter::new()?,
        })
    }

    /// See [`Backup::plan`].
    pub fn plan(&self, request: &BackupRequest) -> Result<BackupPlan> {
        self.backup.plan(request)
    }

    /// See [`Backup::create`].
    pub fn create(
        &self,
        plan: &BackupPlan,
        parent: Option<&Layer>,
        source: &Attachment,
        cx: &JobContext,
    ) -> Result<Outcome> {
        self.waiter
            .wait(self.backup.create(plan, parent, source, cx))?
    }

    /// Opens a chain for reading; see [`Backup::open`].
    pub fn open(&self, chain: &Chain, cx: &JobContext) -> Result<BlockingReader> {
        let reader = self.waiter.wait(self.backup.open(chain, cx))??;
        Ok(BlockingReader {
            reader,
            waiter: self.waiter.clone(),
            cx: cx.clone(),
            at: 0,
        })
    }

    /// See [`Backup::length`].
    pub fn length(&self, chain: &Chain, cx: &JobContext) -> Result<u64> {
        self.waiter.wait(self.backup.length(chain, cx))?
    }

    /// See [`Backup::restore`].
    pub fn restore(
        &self,
        chain: &Chain,
        target: &Arc<dyn BlockDevice>,
        options: &RestoreOptions,
        cx: &JobContext,
    ) -> Result<Report> {
        self.waiter
            .wait(self.backup.restore(chain, target, options, cx))?
    }

    /// See [`Backup::committed`].
    pub fn committed(&self, layer: &Layer, cx: &JobContext) -> Result<Option<Outcome>> {
        self.waiter.wait(self.backup.committed(layer, cx))?
    }

    /// See [`Backup::delete`].
    pub fn delete(&self, layer: &Layer, cx: &JobContext) -> Result<()> {
        self.waiter.wait(self.backup.delete(layer, cx))?
    }

    /// See [`Backup::locate`].
    pub fn locate(
        &self,
        id: BackupId,
        volume: VolumeId,
        container: Option<&ContainerName>,
        cx: &JobContext,
    ) -> Result<Option<Location>> {
        self.waiter
            .wait(self.backup.locate(id, volume, container, cx))?
    }

    /// See [`Backup::verify`].
    pub fn verify(&self, chain: &Chain, cx: &JobContext) -> Result<Report> {
        self.waiter.wait(self.backup.verify(chain, cx))?
    }

    /// Finds complete backups, one at each step; see [`Backup::scan`].
    pub fn scan(
        &self,
        container: Option<&ContainerName>,
        cx: &JobContext,
    ) -> Result<BlockingIter<ScanItem>> {
        let stream = self.waiter.wait(self.backup.scan(container, cx))??;
        Ok(self.iter(stream))
    }

    /// Finds what belongs to no backup, one at each step; see [`Backup::orphans`].
    pub fn orphans(
        &self,
        container: Option<&ContainerName>,
        cx: &JobContext,
    ) -> Result<BlockingIter<Orphan>> {
        let stream = self.waiter.wait(self.backup.orphans(container, cx))??;
        Ok(self.iter(stream))
    }

    /// See [`Backup::remove_orphan`].
    pub fn remove_orphan(&self, orphan: &Orphan, cx: &JobContext) -> Result<bool> {
        self.waiter.wait(self.backup.remove_orphan(orphan, cx))?
    }

    fn iter<T>(&self, stream: BoxStream<T>) -> BlockingIter<T> {
        BlockingIter {
            stream,
            waiter: self.waiter.clone(),
        }
    }
}

impl fmt::Debug for BlockingBackup {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BlockingBackup")
            .field("backup", &self.backup)
            .finish_non_exhaustive()
    }
}

/// The volume of an opened backup, as a file that can only be read. Every byte is checked; damage is an error of kind
/// [`InvalidData`](io::ErrorKind::InvalidData) that holds an [`Error`].
///
/// A call reads at most a mebibyte. Where many small pieces are read one after the other, put a
/// [`BufReader`](io::BufReader) around it.
pub struct BlockingReader {
    reader: Arc<dyn BackupReader>,
    waiter: Waiter,
    cx: JobContext,
    at: u64,
}

impl BlockingReader {
    /// Length of the volume in bytes.
    pub fn length(&self) -> u64 {
        self.reader.length()
    }
}

impl fmt::Debug for BlockingReader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BlockingReader")
            .field("reader", &self.reader)
            .field("at", &self.at)
            .finish_non_exhaustive()
    }
}

impl Read for BlockingReader {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        let left = self.reader.length().saturating_sub(self.at);
        let length = usize::try_from(left).unwrap_or(usize::MAX);
        let length = length.min(out.len()).min(PIECE);
        if length == 0 {
            return Ok(0);
        }
        let buffer = self.cx.buffers().take(length);
        let (buffer, read) = self
            .waiter
            .wait(self.reader.read(self.at, buffer))
            .map_err(io_error)?;
        read.map_err(io_error)?;
        out[..length].copy_from_slice(&buffer);
        self.at += length as u64;
        Ok(length)
    }
}

impl Seek for BlockingReader {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        let at = match to {
            SeekFrom::Start(at) => Some(at),
            SeekFrom::End(by) => self.reader.length().checked_add_signed(by),
            SeekFrom::Current(by) => self.at.checked_add_signed(by),
        };
        self.at = at.ok_or_else(|| {
            io::Error::new(
                io::ErrorKind::InvalidInput,
                "a position before the volume's start",
            )
        })?;
        Ok(self.at)
    }
}

/// What a search finds, one item at each step.
pub struct BlockingIter<T> {
    stream: BoxStream<T>,
    waiter: Waiter,
}

impl<T> fmt::Debug for BlockingIter<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BlockingIter").finish_non_exhaustive()
    }
}

impl<T> Iterator for BlockingIter<T> {
    type Item = Result<T>;

    fn next(&mut self) -> Option<Result<T>> {
        match self.waiter.wait(self.stream.next()) {
            Ok(item) => item,
            Err(e) => Some(Err(e)),
        }
    }
}

/// A runtime to wait on.
#[derive(Clone)]
struct Waiter {
    runtime: Arc<Threads>,
}

impl Waiter {
    fn new() -> Result<Self> {
        let runtime = Builder::new_multi_thread()
            .worker_threads(THREADS)
            .thread_name("backup-core")
            .enable_all()
            .build()
            .map_err(|e| {
                Error::internal("start threads", e.to_string())
                    .hint("see the limits of threads and memory")
            })?;
        Ok(Self {
            runtime: Arc::new(Threads(Some(runtime))),
        })
    }

    fn wait<T>(&self, future: impl Future<Output = T>) -> Result<T> {
        if Handle::try_current().is_ok() {
            return Err(Error::invalid(
                "wait for the engine",
                "this is a thread of an async runtime",
            )
            .hint("await the methods of Backup there, or call from a thread of your own"));
        }
        match &self.runtime.0 {
            Some(runtime) => Ok(runtime.block_on(future)),
            None => Err(Error::internal("wait for the engine", "it has ended")),
        }
    }
}

/// The runtime's threads. The last of them may be dropped anywhere, also where waiting for them is not allowed.
struct Threads(Option<Runtime>);

impl Drop for Threads {
    fn drop(&mut self) {
        if let Some(runtime) = self.0.take() {
            runtime.shutdown_background();
        }
    }
}

fn io_error(e: Error) -> io::Error {
    let kind = match e.kind() {
        ErrorKind::NotFound => io::ErrorKind::NotFound,
        ErrorKind::PermissionDenied | ErrorKind::Unauthenticated => io::ErrorKind::PermissionDenied,
        ErrorKind::InvalidInput => io::ErrorKind::InvalidInput,
        ErrorKind::Corrupt => io::ErrorKind::InvalidData,
        ErrorKind::Timeout => io::ErrorKind::TimedOut,
        _ => io::ErrorKind::Other,
    };
    io::Error::new(kind, e)
}
