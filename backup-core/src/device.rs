//! Block devices, the source and the target of every job, and change sources, which know what changed without reading.

use std::fmt;

use async_trait::async_trait;
use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::buffer::Buf;
use crate::error::Result;
use crate::id::BackupId;
use crate::range::{ByteRange, Extent};

/// Size and shape of a device.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Geometry {
    /// Length in bytes.
    pub length: u64,
    /// Alignment that reads and writes prefer, in bytes (1 where any offset is as good).
    pub preferred_alignment: u32,
    /// Whether writes are refused.
    pub read_only: bool,
    /// Whether every byte is known to read as zero now: a file just made, a volume just created. A restore then need
    /// not write zeroes.
    pub known_zero: bool,
}

impl Geometry {
    /// A writable device of `length` bytes with arbitrary content and no preferred alignment.
    pub fn new(length: u64) -> Self {
        Self {
            length,
            preferred_alignment: 1,
            read_only: false,
            known_zero: false,
        }
    }

    /// Every byte of it is known to read as zero.
    pub fn with_known_zero(mut self, yes: bool) -> Self {
        self.known_zero = yes;
        self
    }

    /// Writes are refused.
    pub fn with_read_only(mut self, yes: bool) -> Self {
        self.read_only = yes;
        self
    }

    /// Reads and writes prefer this alignment, in bytes.
    pub fn with_preferred_alignment(mut self, bytes: u32) -> Self {
        self.preferred_alignment = bytes.max(1);
        self
    }
}

/// A volume, snapshot or image whose bytes can be read and written at any offset.
///
/// Many calls may run at once; two writes to the same bytes never do. A call that has returned is finished. A caller
/// never drops one of these futures before it is done, and an implementor must keep the buffer of an operation until
/// the operation has really ended, even where its future was dropped.
#[async_trait]
pub trait BlockDevice: Send + Sync + fmt::Debug + 'static {
    /// Size and shape. Constant while the device is held.
    fn geometry(&self) -> Geometry;

    /// What the device is, for messages: a path, `pool/image@snapshot`.
    fn describe(&self) -> String;

    /// Fills all of `buf` from offset `at`. The buffer comes back in any case; its content is arbitrary on an error.
    ///
    /// # Errors
    /// A read that reaches past the end is [`InvalidInput`](crate::ErrorKind::InvalidInput); a device that turns out
    /// shorter than its geometry said is [`Io`](crate::ErrorKind::Io).
    async fn read(&self, at: u64, buf: Buf) -> (Buf, Result<()>);

    /// Fills all of `buf` from offset `at` on the calling thread, where nothing must be waited for: the bytes lie in
    /// memory (in the page cache, say). The engine then hashes them on the same core while they are in its caches.
    ///
    /// `None` where they do not, or where that cannot be told; [`read`](Self::read) is the way then. It is not to wait for
    /// a disk (but for what a system moved out to a swap) or a network. The content of `buf` is arbitrary after `None` and
    /// after an error. A device that always answers `None`, as this default does, is right.
    fn read_cached(&self, at: u64, buf: &mut [u8]) -> Option<Result<()>> {
        let _ = (at, buf);
        None
    }

    /// Writes all of `data` at offset `at`. Durable only after [`flush`](Self::flush).
    async fn write(&self, at: u64, data: Bytes) -> Result<()>;

    /// Makes `range` read as zeroes, whatever it held. Never by a discard, which promises nothing about content.
    async fn write_zeroes(&self, range: ByteRange) -> Result<()>;

    /// Hints that the content of `range` is no longer needed; it is undefined afterwards. Need not do anything.
    async fn discard(&self, range: ByteRange) -> Result<()>;

    /// All writes that returned before this call are durable when it returns.
    async fn flush(&self) -> Result<()>;

    /// Which parts of `range` hold data and which are holes: extents of kind
    /// [`Data`](crate::ExtentKind::Data) or [`Zero`](crate::ExtentKind::Zero), in order, without gaps, covering
    /// exactly `range`. One extent of data is always a right answer. `Zero` must be certain.
    async fn allocated(&self, range: ByteRange) -> Result<Vec<Extent>>;

    /// Whether what was read until now was really there: asked after the last read, before anything is called complete.
    ///
    /// A device whose reads fail once its bytes are gone needs nothing more than this default. A snapshot of RBD that is
    /// removed while it is open reads as zeroes from then on, without an error, so there somebody has to look.
    ///
    /// # Errors
    /// [`Conflict`](crate::ErrorKind::Conflict) where it is gone; another error says that nobody knows, which is as bad.
    async fn still_there(&self) -> Result<()> {
        Ok(())
    }
}

/// A volume's state that a change source can later compare with: an RBD snapshot, a dirty bitmap's epoch. Opaque to
/// the engine; it is stored in the backup's metadata.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct ChangePoint(String);

impl ChangePoint {
    /// Wraps the source's own name for the state (256 bytes at most, so that it fits the metadata's fixed field).
    ///
    /// # Errors
    /// [`InvalidInput`](crate::ErrorKind::InvalidInput) for a longer one.
    pub fn new(name: impl Into<String>) -> Result<Self> {
        let name = name.into();
        if name.len() > 256 {
            return Err(crate::Error::invalid(
                "name change point",
                format!("{} bytes are more than 256", name.len()),
            ));
        }
        Ok(Self(name))
    }

    /// The source's own name for the state.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The name of the snapshot that keeps the state, where one does: the last part of the name, behind a colon or alone.
    pub fn snapshot(&self) -> &str {
        self.0.rsplit(':').next().unwrap_or_default()
    }
}

/// Knows what changed on a volume since an earlier state without reading it.
///
/// What it calls [`Unchanged`](crate::ExtentKind::Unchanged) is trusted (but for an audit of a sample): when in doubt it
/// must answer [`Unknown`](crate::ExtentKind::Unknown).
#[async_trait]
pub trait ChangeSource: Send + Sync + fmt::Debug + 'static {
    /// Marks the state of the volume that the attached device shows, for the backup `id`. Idempotent.
    async fn mark(&self, id: BackupId) -> Result<ChangePoint>;

    /// What changed in `range` from `since` to the state that the attached device shows: extents of any kind, in
    /// order, without gaps, covering exactly `range`.
    ///
    /// # Errors
    /// [`NotFound`](crate::ErrorKind::NotFound) where `since` is gone: the engine then reads everything.
    async fn changed(&self, since: &ChangePoint, range: ByteRange) -> Result<Vec<Extent>>;

    /// Forgets `point`. One that is not there is success.
    async fn release(&self, point: &ChangePoint) -> Result<()>;
}
