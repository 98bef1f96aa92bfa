//! The seam to image stores, which know extents, snapshots and differences themselves: Ceph RBD.
//!
//! **Unstable** until RBD has proven it. The in-memory implementor is in `testing`.

use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;

use crate::device::BlockDevice;
use crate::error::Result;
use crate::range::{ByteRange, Extent};

/// A store of images in one pool.
#[async_trait]
pub trait ImageRepository: Send + Sync + fmt::Debug + 'static {
    /// What it is, for messages.
    fn describe(&self) -> String;

    /// Opens the image `name`; makes it with `size` bytes of zeroes where it is missing.
    async fn open_or_create(&self, name: &str, size: u64) -> Result<Arc<dyn Image>>;

    /// Opens the image `name` as it is, or as it was at `snapshot` (then read-only).
    ///
    /// # Errors
    /// [`NotFound`](crate::ErrorKind::NotFound) where image or snapshot is missing.
    async fn open(&self, name: &str, snapshot: Option<&str>) -> Result<Arc<dyn Image>>;

    /// Removes an image without snapshots; one that is missing is success.
    ///
    /// # Errors
    /// [`Conflict`](crate::ErrorKind::Conflict) while it has snapshots or watchers.
    async fn remove(&self, name: &str) -> Result<()>;

    /// Names of the images that begin with `prefix`, in order.
    async fn list(&self, prefix: &str) -> Result<Vec<String>>;
}

/// An image: a block device with snapshots and differences between them.
#[async_trait]
pub trait Image: BlockDevice {
    /// Names of its snapshots, oldest first.
    async fn snapshots(&self) -> Result<Vec<String>>;

    /// Makes a snapshot of its present state; one of that name that exists is
    /// [`AlreadyExists`](crate::ErrorKind::AlreadyExists).
    async fn snapshot(&self, name: &str) -> Result<()>;

    /// Removes a snapshot; one that is missing is success.
    async fn remove_snapshot(&self, name: &str) -> Result<()>;

    /// What differs in `range` between the snapshot `from` (or the image's creation) and the state that this handle
    /// shows: extents of kind [`Data`](crate::ExtentKind::Data), [`Zero`](crate::ExtentKind::Zero) or
    /// [`Unchanged`](crate::ExtentKind::Unchanged), in order, without gaps, covering exactly `range`.
    async fn diff(&self, from: Option<&str>, range: ByteRange) -> Result<Vec<Extent>>;

    /// Sets its length in bytes. What is cut off is lost; what is added reads as zeroes.
    async fn resize(&self, size: u64) -> Result<()>;

    /// Stores a small record (volume metadata) beside the images under `name`;
    /// [`AlreadyExists`](crate::ErrorKind::AlreadyExists) where it is there.
    async fn put_record(&self, name: &str, data: Bytes) -> Result<()>;

    /// Reads a record; `None` where it is missing.
    async fn get_record(&self, name: &str) -> Result<Option<Bytes>>;
}
