//! The seam to image stores, which know extents, snapshots and differences themselves: Ceph RBD.
//!
//! To add one, implement [`ImageRepository`] and [`Image`], and run `image_conformance` of the feature `testing` against a
//! real one. [`ImageBackup`](crate::ImageBackup) makes backups of it.

use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;

use crate::device::BlockDevice;
use crate::error::{Error, Result};
use crate::id::{ContainerName, ObjectKey};
use crate::range::{ByteRange, Extent};
use crate::timestamp::Timestamp;

/// Longest image or snapshot name that is accepted, in bytes. RBD keeps an image's name in the name of an object of its
/// own, whose length the cluster limits.
const MAX_NAME: usize = 200;

/// An image's address in a repository: its container (a Ceph pool) and its name there.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ImageKey {
    container: ContainerName,
    name: String,
}

impl ImageKey {
    /// The image `name` in `container`.
    ///
    /// # Errors
    /// [`InvalidInput`](crate::ErrorKind::InvalidInput) for a name that is empty, longer than 200 bytes, or holds a
    /// slash, an `@` or a control character: it would be read as that of another image, or of a snapshot.
    pub fn new(container: &ContainerName, name: impl Into<String>) -> Result<Self> {
        let name = name.into();
        check_name("check image name", &name)?;
        Ok(Self {
            container: container.clone(),
            name,
        })
    }

    /// The container.
    pub fn container(&self) -> &ContainerName {
        &self.container
    }

    /// The name in the container.
    pub fn name(&self) -> &str {
        &self.name
    }
}

impl fmt::Display for ImageKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.container, self.name)
    }
}

/// Refuses an image's or a snapshot's name that would be read as another's.
pub(crate) fn check_name(operation: &'static str, name: &str) -> Result<()> {
    let wrong = name.is_empty()
        || name.len() > MAX_NAME
        || name
            .chars()
            .any(|c| matches!(c, '/' | '@') || c.is_control());
    if wrong {
        return Err(Error::invalid(
            operation,
            format!(
                "{:?} is not 1 to {MAX_NAME} bytes without '/', '@' and control characters",
                crate::format::shorten(name, 80)
            ),
        ));
    }
    Ok(())
}

/// A snapshot as an image tells it.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct ImageSnapshot {
    /// Its name.
    pub name: String,
    /// Length of the image in bytes when it was made.
    pub length: u64,
    /// When it was made, where the store tells.
    pub created: Option<Timestamp>,
}

impl ImageSnapshot {
    /// A snapshot of an image that had `length` bytes.
    pub fn new(name: impl Into<String>, length: u64, created: Option<Timestamp>) -> Self {
        Self {
            name: name.into(),
            length,
            created,
        }
    }
}

/// Which of Cinder's drivers an image repository is, and where backups go that name no container.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ImageLayout {
    /// Cinder's driver class, recorded as `backup_service`: `cinder.backup.drivers.ceph.CephBackupDriver`.
    pub service: String,
    /// The container where the user gave none.
    pub container: ContainerName,
}

/// A store of images, each with snapshots, in containers, and of small records beside them.
///
/// What every implementor keeps, and the conformance suite checks:
/// * Calls may run at once, from any thread. A call that has returned an error may still have happened.
/// * A missing image, snapshot or container is [`NotFound`](crate::ErrorKind::NotFound), a refused right
///   [`PermissionDenied`](crate::ErrorKind::PermissionDenied), a full store [`NoSpace`](crate::ErrorKind::NoSpace), a
///   cluster that is not there [`Unavailable`](crate::ErrorKind::Unavailable) or
///   [`Timeout`](crate::ErrorKind::Timeout). Nothing waits for ever.
/// * What has returned is durable, but for writes to an image, which a flush or a snapshot makes durable.
#[async_trait]
pub trait ImageRepository: Send + Sync + fmt::Debug + 'static {
    /// What it is, for messages.
    fn describe(&self) -> String;

    /// Which driver of Cinder's it is, and its default container. Constant.
    fn layout(&self) -> ImageLayout;

    /// The containers that it looks into where none is named: at least the default one. It need not exist.
    async fn containers(&self) -> Result<Vec<ContainerName>>;

    /// Makes an image of `size` bytes of zeroes, and opens it; its geometry says that it is known to be zero.
    ///
    /// # Errors
    /// [`AlreadyExists`](crate::ErrorKind::AlreadyExists) where an image of that name is there.
    async fn create(&self, key: &ImageKey, size: u64) -> Result<Arc<dyn Image>>;

    /// Opens an image to look at it, as it is or as it was at `snapshot`. Nothing can be changed by this handle, and it is
    /// in nobody's way.
    async fn open(&self, key: &ImageKey, snapshot: Option<&str>) -> Result<Arc<dyn Image>>;

    /// Opens an image to read and change it.
    async fn open_to_write(&self, key: &ImageKey) -> Result<Arc<dyn Image>>;

    /// Removes an image without snapshots, and its notes. One that is missing is success.
    ///
    /// # Errors
    /// [`Conflict`](crate::ErrorKind::Conflict) while it has snapshots, or is in use by somebody else.
    async fn remove(&self, key: &ImageKey) -> Result<()>;

    /// Names of a container's images that begin with `prefix`, in order. A missing container has none.
    async fn list(&self, container: &ContainerName, prefix: &str) -> Result<Vec<String>>;

    /// Stores a record of at most [`MAX_RECORD`] bytes beside the images.
    ///
    /// # Errors
    /// [`AlreadyExists`](crate::ErrorKind::AlreadyExists) where it is there.
    async fn put_record(&self, key: &ObjectKey, data: Bytes) -> Result<()>;

    /// Reads a record; `None` where it is missing.
    ///
    /// # Errors
    /// [`Corrupt`](crate::ErrorKind::Corrupt) for one longer than [`MAX_RECORD`].
    async fn get_record(&self, key: &ObjectKey) -> Result<Option<Bytes>>;

    /// Removes a record. One that is missing is success.
    async fn remove_record(&self, key: &ObjectKey) -> Result<()>;
}

/// Longest record, in bytes.
pub const MAX_RECORD: usize = 4 << 20;

/// Longest value of an [image's note](Image::set_note), in bytes.
pub const MAX_NOTE: usize = 64 << 10;

/// An image: a block device with snapshots and differences between them.
///
/// What a handle shows is the image's present state, or the state at the snapshot that it was opened at. The length that
/// its geometry tells is the one at the time of opening, or of its own last [`resize`](Self::resize). By a handle that was
/// opened to look only, every change is [`PermissionDenied`](crate::ErrorKind::PermissionDenied).
#[async_trait]
pub trait Image: BlockDevice {
    /// Its snapshots, in the order in which they were made.
    async fn snapshots(&self) -> Result<Vec<ImageSnapshot>>;

    /// Makes a snapshot of its present state, durable with all writes that returned before. One of that name is
    /// [`AlreadyExists`](crate::ErrorKind::AlreadyExists).
    async fn snapshot(&self, name: &str) -> Result<()>;

    /// Removes a snapshot; one that is missing is success.
    async fn remove_snapshot(&self, name: &str) -> Result<()>;

    /// What differs in `range` between the snapshot `from` and the state that this handle shows (with `None`: what it
    /// holds at all): extents of kind [`Data`](crate::ExtentKind::Data), [`Zero`](crate::ExtentKind::Zero) or
    /// [`Unchanged`](crate::ExtentKind::Unchanged), in order, without gaps, covering exactly `range`. `Data` is always a
    /// right answer, so what lies near may be joined; `Zero` and `Unchanged` must be certain. What lies behind the
    /// snapshot's end is `Data` or `Zero`.
    ///
    /// # Errors
    /// [`NotFound`](crate::ErrorKind::NotFound) where `from` is missing.
    async fn diff(&self, from: Option<&str>, range: ByteRange) -> Result<Vec<Extent>>;

    /// Sets the image's length in bytes. What is cut off is lost; what is added reads as zeroes.
    async fn resize(&self, size: u64) -> Result<()>;

    /// Keeps everybody else from writing to the image until [`unlock`](Self::unlock), or some time after this handle was
    /// dropped. A holder that died counts no more once the store has noticed.
    ///
    /// # Errors
    /// [`Conflict`](crate::ErrorKind::Conflict) where somebody else holds it.
    async fn lock(&self) -> Result<()>;

    /// Gives the lock back. Success where this handle does not hold it.
    async fn unlock(&self) -> Result<()>;

    /// When its bytes were last changed, or it was made; `None` where the store does not tell.
    async fn modified(&self) -> Result<Option<Timestamp>>;

    /// Keeps `value`, at most [`MAX_NOTE`] bytes, with the image under `key`, replacing what is there. Snapshots have
    /// nothing to do with it.
    async fn set_note(&self, key: &str, value: &str) -> Result<()>;

    /// All notes whose keys begin with `prefix`, in the order of their keys.
    async fn notes(&self, prefix: &str) -> Result<Vec<(String, String)>>;

    /// Removes a note; one that is missing is success.
    async fn remove_note(&self, key: &str) -> Result<()>;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_that_would_be_anothers_is_refused() {
        let pool = ContainerName::new("backups").unwrap();
        for bad in ["", "a/b", "a@b", "a\nb", &"x".repeat(201)] {
            assert!(ImageKey::new(&pool, bad).is_err(), "{bad:?}");
        }
        let key = ImageKey::new(&pool, "volume-1.backup.base").unwrap();
        assert_eq!(key.to_string(), "backups/volume-1.backup.base");
    }
}
