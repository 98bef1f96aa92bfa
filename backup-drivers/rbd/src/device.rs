//! An image as a block device.

use std::fmt;

use async_trait::async_trait;
use backup_core::buffer::Buf;
use backup_core::device::{BlockDevice, Geometry};
use backup_core::error::{Error, Result};
use backup_core::range::{ByteRange, Extent, ExtentKind};
use bytes::Bytes;

use crate::differences::Differences;
use crate::image::{DiffRequest, Image};

/// Most bytes that are zeroed by one call: each becomes an operation for every object in it, all at once.
const ZEROES_AT_ONCE: u64 = 256 << 20;

/// An RBD image, or a snapshot of one, as a block device.
///
/// **Holes** of a snapshot are told by its object map, else by looking at each object; of an image that may be
/// written nothing is told. **Zeroes** are written by `rbd_write_zeroes`, never by a discard. **A dropped future**
/// leaves its operation running with the buffer that it owns.
pub struct RbdDevice {
    image: Image,
    geometry: Geometry,
    holes: Option<Differences>,
}

impl RbdDevice {
    /// Over an open image. Its length is the one when it was opened.
    pub fn new(image: Image) -> Self {
        let info = image.info();
        let read_only = image.read_only() || image.snapshot().is_some();
        let alignment = u32::try_from(info.object_size).unwrap_or(4096);
        let geometry = Geometry::new(info.size)
            .with_preferred_alignment(alignment)
            .with_read_only(read_only);
        let holes = image
            .snapshot()
            .is_some()
            .then(|| Differences::since_beginning(image.clone()));
        Self {
            image,
            geometry,
            holes,
        }
    }

    /// Looks whether the image is one hole, so that a restore need not write zeroes: by its object map, which costs
    /// next to nothing; without one nothing is known.
    pub async fn with_known_zero(mut self) -> Result<Self> {
        let all = ByteRange::up_to(self.geometry.length);
        if !all.is_empty() && self.image.has_fast_diff().await? {
            let request = DiffRequest::new(None, all)
                .by_whole_objects(true)
                .with_limit(1);
            let empty = self.image.diff(&request).await?.extents.is_empty();
            self.geometry = self.geometry.with_known_zero(empty);
        }
        Ok(self)
    }

    /// The image.
    pub fn image(&self) -> &Image {
        &self.image
    }

    fn check(&self, operation: &'static str, at: u64, length: u64) -> Result<()> {
        match ByteRange::at(at, length) {
            Some(range) if range.end() <= self.geometry.length => Ok(()),
            _ => Err(Error::invalid(
                operation,
                format!(
                    "{length} bytes at {at} reach past the end at {}",
                    self.geometry.length
                ),
            )
            .on(self.image.target())),
        }
    }
}

impl fmt::Debug for RbdDevice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RbdDevice")
            .field("image", &self.image)
            .field("geometry", &self.geometry)
            .finish_non_exhaustive()
    }
}

#[async_trait]
impl BlockDevice for RbdDevice {
    fn geometry(&self) -> Geometry {
        self.geometry
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
        self.check("write", at, data.len() as u64)?;
        self.image.write(at, data).await
    }

    async fn write_zeroes(&self, range: ByteRange) -> Result<()> {
        self.check("write zeroes", range.start(), range.len())?;
        for part in range.pieces(ZEROES_AT_ONCE) {
            self.image.write_zeroes(part).await?;
        }
        Ok(())
    }

    async fn discard(&self, range: ByteRange) -> Result<()> {
        self.check("discard", range.start(), range.len())?;
        for part in range.pieces(ZEROES_AT_ONCE) {
            self.image.discard(part).await?;
        }
        Ok(())
    }

    async fn flush(&self) -> Result<()> {
        if self.geometry.read_only {
            return Ok(());
        }
        self.image.flush().await
    }

    async fn allocated(&self, range: ByteRange) -> Result<Vec<Extent>> {
        self.check("find holes", range.start(), range.len())?;
        match &self.holes {
            Some(holes) => holes.extents(range).await,
            None if range.is_empty() => Ok(Vec::new()),
            None => Ok(vec![Extent::new(range, ExtentKind::Data)]),
        }
    }

    async fn still_there(&self) -> Result<()> {
        self.image.still_there().await
    }
}
