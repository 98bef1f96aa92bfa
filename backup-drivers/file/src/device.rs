//! A raw image file or a block device, read and written at any offset.

mod open;
mod raw;
mod zero;

use std::fmt;
use std::path::Path;
use std::sync::Arc;

use async_trait::async_trait;
use backup_core::buffer::Buf;
use backup_core::device::{BlockDevice, Geometry};
use backup_core::error::{Error, Result};
use backup_core::range::{ByteRange, Extent};
use bytes::Bytes;
use tokio::sync::Semaphore;

use crate::blocking::blocking;
use crate::holes::Holes;
use raw::RawDevice;

pub(crate) use open::{Kind, identify, length_of};

/// Most system calls of one device that run at once. Disks gain nothing from more, and each holds a thread.
const CALLS_AT_ONCE: usize = 8;

/// How a [`FileDevice`] is opened.
#[derive(Debug, Clone)]
pub struct DeviceOptions {
    writable: bool,
    known_zero: bool,
    holes: Holes,
    direct_reads: DirectReads,
    direct_writes: bool,
}

impl DeviceOptions {
    /// For reading only.
    pub fn read_only() -> Self {
        Self {
            writable: false,
            known_zero: false,
            holes: Holes::Auto,
            direct_reads: DirectReads::default(),
            direct_writes: true,
        }
    }

    /// For reading and writing.
    pub fn writable() -> Self {
        Self {
            writable: true,
            ..Self::read_only()
        }
    }

    /// The caller knows that every byte reads as zero now: a file just made.
    pub fn with_known_zero(mut self, yes: bool) -> Self {
        self.known_zero = yes;
        self
    }

    /// Whether holes of a file are believed.
    pub fn with_holes(mut self, holes: Holes) -> Self {
        self.holes = holes;
        self
    }

    /// When reads go past the page cache.
    pub fn with_direct_reads(mut self, when: DirectReads) -> Self {
        self.direct_reads = when;
        self
    }

    /// Whether writes of 256 KiB and more go past the page cache where they can (`O_DIRECT`), as they do by default.
    ///
    /// A restore writes each byte once. Through the cache that costs a copy and a page for each 4 KiB, and the disk has
    /// most of its work still to do when the flush begins.
    pub fn with_direct_writes(mut self, yes: bool) -> Self {
        self.direct_writes = yes;
        self
    }
}

/// When reads go past the page cache (`O_DIRECT`).
///
/// That saves the processor most of the work of reading (a cold GiB cost 0.1 s of CPU time instead of 0.3 to 0.5 s)
/// and keeps a backup of a large volume from pushing everything else out of memory. What is in the cache already is
/// read from there many times as fast. Only ranges whose offset and length are multiples of 4096 bytes, into aligned
/// buffers, are read so; where the filesystem refuses, the cache serves.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum DirectReads {
    /// Of a device opened for reading only, where less than half of a range is in the cache. Needs Linux 6.5 or newer
    /// to tell, and as its owner; never otherwise.
    #[default]
    WhereCold,
    /// Never.
    Never,
    /// Always.
    Always,
}

/// A raw image file or a block device of Linux.
///
/// At most 8 system calls of one device run at once; further ones wait. Dropping a future leaves the call running to
/// its end with the buffer that it owns. Nothing is ever read or written past the length that was found when it was
/// opened.
///
/// **Zeroes** are made by punching a hole into files (then zero-range, then writing zeroes, where the filesystem cannot),
/// and by `fallocate`'s zero-range on block devices, which is the kernel function behind `BLKZEROOUT`: never by a
/// discard.
///
/// **Holes** are found by `SEEK_DATA`, after a sync, since some filesystems do not count what they have not yet
/// placed. Block devices are all data.
///
/// **A block device** is opened for writing with `O_EXCL`, and not while it is mounted: a restore onto a mounted
/// device destroys the filesystem above it.
///
/// **Failed flushes stay failed**: the kernel tells a lost write once and may drop the data, so after one failed
/// [`flush`](BlockDevice::flush) every later one fails too.
pub struct FileDevice {
    raw: Arc<RawDevice>,
    calls: Arc<Semaphore>,
}

impl FileDevice {
    /// Opens a regular file or a block device.
    ///
    /// # Errors
    /// * [`NotFound`](backup_core::ErrorKind::NotFound), [`PermissionDenied`](backup_core::ErrorKind::PermissionDenied);
    /// * [`InvalidInput`](backup_core::ErrorKind::InvalidInput) for anything but a regular file or a block device;
    /// * [`Conflict`](backup_core::ErrorKind::Conflict) for writing to a block device that is mounted or held by
    ///   something else (LVM, RAID, swap, another restore).
    pub async fn open(path: impl AsRef<Path>, options: DeviceOptions) -> Result<Self> {
        let path = path.as_ref().to_owned();
        let raw = blocking("open device", move || RawDevice::open(path, &options)).await??;
        Ok(Self {
            raw: Arc::new(raw),
            calls: Arc::new(Semaphore::new(CALLS_AT_ONCE)),
        })
    }

    /// The path that it was opened by.
    pub fn path(&self) -> &Path {
        self.raw.path()
    }

    async fn run<T: Send + 'static>(
        &self,
        operation: &'static str,
        work: impl FnOnce(&RawDevice) -> T + Send + 'static,
    ) -> Result<T> {
        let permit = Arc::clone(&self.calls)
            .acquire_owned()
            .await
            .map_err(|e| Error::internal(operation, e.to_string()))?;
        let raw = Arc::clone(&self.raw);
        blocking(operation, move || {
            let result = work(&raw);
            drop(permit); // held by the call, not by the future, which may be gone
            result
        })
        .await
    }
}

impl fmt::Debug for FileDevice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FileDevice")
            .field("path", &self.raw.path())
            .field("geometry", &self.raw.geometry())
            .finish_non_exhaustive()
    }
}

#[async_trait]
impl BlockDevice for FileDevice {
    fn geometry(&self) -> Geometry {
        self.raw.geometry()
    }

    fn describe(&self) -> String {
        self.raw.path().display().to_string()
    }

    async fn read(&self, at: u64, mut buf: Buf) -> (Buf, Result<()>) {
        let length = buf.len();
        if let Err(e) = self.raw.check("read", at, length as u64) {
            return (buf, Err(e));
        }
        if length == 0 {
            return (buf, Ok(()));
        }
        let read = self.run("read", move |raw| {
            let result = raw.read(at, &mut buf);
            (buf, result)
        });
        match read.await {
            Ok((buf, result)) => (buf, result),
            Err(e) => (Buf::zeroed(length), Err(e)),
        }
    }

    fn read_cached(&self, at: u64, buf: &mut [u8]) -> Option<Result<()>> {
        if let Err(e) = self.raw.check("read", at, buf.len() as u64) {
            return Some(Err(e));
        }
        self.raw.read_cached(at, buf)
    }

    async fn write(&self, at: u64, data: Bytes) -> Result<()> {
        self.raw.check_write("write", at, data.len() as u64)?;
        if data.is_empty() {
            return Ok(());
        }
        self.run("write", move |raw| raw.write(at, &data)).await?
    }

    async fn write_zeroes(&self, range: ByteRange) -> Result<()> {
        self.raw
            .check_write("write zeroes", range.start(), range.len())?;
        if range.is_empty() {
            return Ok(());
        }
        self.run("write zeroes", move |raw| raw.write_zeroes(range))
            .await?
    }

    async fn discard(&self, range: ByteRange) -> Result<()> {
        self.raw
            .check_write("discard", range.start(), range.len())?;
        if range.is_empty() {
            return Ok(());
        }
        self.run("discard", move |raw| raw.discard(range)).await?
    }

    async fn flush(&self) -> Result<()> {
        self.run("flush", RawDevice::flush).await?
    }

    async fn allocated(&self, range: ByteRange) -> Result<Vec<Extent>> {
        self.raw.check("find holes", range.start(), range.len())?;
        if range.is_empty() {
            return Ok(Vec::new());
        }
        self.run("find holes", move |raw| raw.allocated(range))
            .await?
    }
}
