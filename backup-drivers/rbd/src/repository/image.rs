//! A base image, as it is or at a snapshot.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

use async_trait::async_trait;
use backup_core::buffer::Buf;
use backup_core::device::{BlockDevice, Geometry};
use backup_core::error::{Error, ErrorKind, Result};
use backup_core::image::{Image as AnyImage, ImageSnapshot, MAX_NOTE};
use backup_core::range::{ByteRange, Extent};
use backup_core::timestamp::Timestamp;
use bytes::Bytes;
use tokio::sync::Mutex;

use crate::differences::Differences;
use crate::image::Image;
use crate::presence::Presence;

/// Most bytes that are zeroed by one call: each becomes an operation for every object in it, all at once.
const ZEROES_AT_ONCE: u64 = 256 << 20;

/// What a handle may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Access {
    /// Nothing but look.
    Look,
    Write,
    /// Write to an image that was just made.
    Fresh,
}

pub(super) struct BaseImage {
    image: Image,
    access: Access,
    length: AtomicU64,
    /// What a snapshot holds at all, asked for in large windows: it stays as it is.
    held: Option<Differences>,
    /// The snapshot that differences were asked for last.
    older: Mutex<Option<Arc<Presence>>>,
}

impl BaseImage {
    pub(super) fn new(image: Image, access: Access) -> Self {
        Self {
            length: AtomicU64::new(image.info().size),
            held: image
                .snapshot()
                .is_some()
                .then(|| Differences::since_beginning(image.clone())),
            older: Mutex::default(),
            image,
            access,
        }
    }

    /// Asked anew each time: the image may have been written since the last answer.
    async fn differences(&self, from: Option<&str>) -> Result<Differences> {
        let Some(from) = from else {
            return Ok(Differences::since_beginning(self.image.clone()));
        };
        let snapshots = self.image.snapshots().await?;
        let snapshot = snapshots.into_iter().find(|s| s.name == from);
        let snapshot = snapshot.ok_or_else(|| {
            Error::new(ErrorKind::NotFound, "ask for differences")
                .on(format!("{}@{from}", self.image.target()))
        })?;
        let mut older = self.older.lock().await;
        let same = |known: &&Arc<Presence>| known.image().info().snapshot_id == Some(snapshot.id);
        let known = if let Some(known) = older.as_ref().filter(same) {
            Arc::clone(known)
        } else {
            let (pool, name) = (self.image.pool(), self.image.name());
            let image = pool.open_read_only(name, Some(from)).await?;
            Arc::clone(older.insert(Arc::new(Presence::new(image))))
        };
        Ok(Differences::since(known, self.image.clone()))
    }

    fn length(&self) -> u64 {
        self.length.load(Ordering::Acquire)
    }

    fn check(&self, operation: &'static str, at: u64, length: u64) -> Result<()> {
        match ByteRange::at(at, length) {
            Some(range) if range.end() <= self.length() => Ok(()),
            _ => Err(Error::invalid(
                operation,
                format!(
                    "{length} bytes at {at} reach past the end at {}",
                    self.length()
                ),
            )
            .on(self.image.target())),
        }
    }

    fn check_access(&self, operation: &'static str) -> Result<()> {
        if self.access == Access::Look {
            return Err(Error::new(ErrorKind::PermissionDenied, operation)
                .on(self.image.target())
                .because("it was opened to look at it only"));
        }
        Ok(())
    }
}

impl fmt::Debug for BaseImage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BaseImage")
            .field("image", &self.image)
            .field("access", &self.access)
            .finish_non_exhaustive()
    }
}

#[async_trait]
impl BlockDevice for BaseImage {
    fn geometry(&self) -> Geometry {
        let alignment = u32::try_from(self.image.info().object_size).unwrap_or(4096);
        Geometry::new(self.length())
            .with_preferred_alignment(alignment)
            .with_read_only(self.access == Access::Look)
            .with_known_zero(self.access == Access::Fresh)
    }

    fn describe(&self) -> String {
        self.image.target()
    }

    async fn read(&self, at: u64, buf: Buf) -> (Buf, Result<()>) {
        if let Err(e) = self.check("read", at, buf.len() as u64) {
            return (buf, Err(e));
        }
        self.image.read(at, buf).await
    }

    async fn write(&self, at: u64, data: Bytes) -> Result<()> {
        self.check_access("write")?;
        self.check("write", at, data.len() as u64)?;
        self.image.write(at, data).await
    }

    async fn write_zeroes(&self, range: ByteRange) -> Result<()> {
        self.check_access("write zeroes")?;
        self.check("write zeroes", range.start(), range.len())?;
        for part in range.pieces(ZEROES_AT_ONCE) {
            self.image.write_zeroes(part).await?;
        }
        Ok(())
    }

    async fn discard(&self, range: ByteRange) -> Result<()> {
        self.check_access("discard")?;
        self.check("discard", range.start(), range.len())?;
        for part in range.pieces(ZEROES_AT_ONCE) {
            self.image.discard(part).await?;
        }
        Ok(())
    }

    async fn flush(&self) -> Result<()> {
        if self.access == Access::Look {
            return Ok(());
        }
        self.image.flush().await
    }

    async fn allocated(&self, range: ByteRange) -> Result<Vec<Extent>> {
        self.diff(None, range).await
    }

    async fn still_there(&self) -> Result<()> {
        self.image.still_there().await
    }
}

#[async_trait]
impl AnyImage for BaseImage {
    async fn snapshots(&self) -> Result<Vec<ImageSnapshot>> {
        let snapshots = self.image.snapshots().await?;
        Ok(snapshots
            .into_iter()
            .map(|s| ImageSnapshot::new(s.name, s.size, s.created_at.and_then(timestamp)))
            .collect())
    }

    async fn snapshot(&self, name: &str) -> Result<()> {
        self.check_access("make snapshot")?;
        self.image.create_snapshot(name).await
    }

    async fn remove_snapshot(&self, name: &str) -> Result<()> {
        self.check_access("remove snapshot")?;
        match self.image.remove_snapshot(name).await {
            Err(e) if e.is(ErrorKind::NotFound) => Ok(()),
            removed => removed,
        }
    }

    async fn diff(&self, from: Option<&str>, range: ByteRange) -> Result<Vec<Extent>> {
        self.check("ask for differences", range.start(), range.len())?;
        if from.is_none()
            && let Some(held) = &self.held
        {
            return held.extents(range).await;
        }
        self.differences(from).await?.extents(range).await
    }

    async fn resize(&self, size: u64) -> Result<()> {
        self.check_access("resize image")?;
        self.image.resize(size).await?;
        self.length.store(size, Ordering::Release);
        Ok(())
    }

    async fn lock(&self) -> Result<()> {
        self.check_access("lock image")?;
        self.image.take_lock().await
    }

    async fn unlock(&self) -> Result<()> {
        if self.access == Access::Look {
            return Ok(());
        }
        match self.image.release_lock().await {
            // It does not hold it.
            Err(e) if e.is(ErrorKind::InvalidInput) => Ok(()),
            released => released,
        }
    }

    async fn modified(&self) -> Result<Option<Timestamp>> {
        Ok(self.image.modified().await?.and_then(timestamp))
    }

    async fn set_note(&self, key: &str, value: &str) -> Result<()> {
        self.check_access("note")?;
        if value.len() > MAX_NOTE {
            return Err(Error::invalid(
                "note",
                format!("{} bytes are more than {MAX_NOTE}", value.len()),
            )
            .on(self.image.target()));
        }
        self.image.set_metadata(key, value).await
    }

    async fn notes(&self, prefix: &str) -> Result<Vec<(String, String)>> {
        let all = self.image.all_metadata().await?;
        Ok(all
            .into_iter()
            .filter(|(key, _)| key.starts_with(prefix))
            .collect())
    }

    async fn remove_note(&self, key: &str) -> Result<()> {
        self.check_access("remove note")?;
        self.image.remove_metadata(key).await
    }
}

/// A time of the cluster's; `None` for one that no calendar has.
pub(crate) fn timestamp(at: SystemTime) -> Option<Timestamp> {
    let since = at.duration_since(UNIX_EPOCH).ok()?;
    let micros = i64::try_from(since.as_micros()).ok()?;
    Timestamp::from_micros(micros).ok()
}
