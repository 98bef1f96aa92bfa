//! What changed on a volume since an earlier backup's snapshot.

use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;
use backup_core::device::{ChangePoint, ChangeSource};
use backup_core::error::{Error, ErrorKind, Result};
use backup_core::id::BackupId;
use backup_core::range::{ByteRange, Extent, ExtentKind};
use tokio::sync::Mutex;

use crate::differences::Differences;
use crate::image::Image;
use crate::names;
use crate::presence::Presence;

/// What a change point's name begins with.
const SCHEME: &str = "rbd";

/// Knows what changed on an RBD image from an older snapshot to the one that is attached.
///
/// A change point is a snapshot, named with its number, its image's ID, pool and cluster: one that was removed and made
/// again, or an image of the same name, is another. Every object is looked at, so the answer is exact; with
/// [`with_fast_diff`](Self::with_fast_diff) only those that the image's object maps call touched.
pub struct RbdChanges {
    /// Open at the snapshot that is attached.
    image: Image,
    snapshot: u64,
    fast_diff: bool,
    asked: Mutex<Option<(ChangePoint, Arc<Source>)>>,
}

/// What is known of the change point that was asked about last.
enum Source {
    /// It is the attached snapshot itself.
    Same,
    Older(Differences),
}

/// A change point's parts.
struct Point<'a> {
    fsid: &'a str,
    pool: i64,
    image: &'a str,
    snapshot: u64,
    name: &'a str,
}

impl<'a> Point<'a> {
    fn parse(text: &'a str) -> Option<Self> {
        let mut parts = text.splitn(6, ':');
        if parts.next()? != SCHEME {
            return None;
        }
        Some(Self {
            fsid: parts.next()?,
            pool: parts.next()?.parse().ok()?,
            image: parts.next()?,
            snapshot: parts.next()?.parse().ok()?,
            name: parts.next()?,
        })
    }
}

impl RbdChanges {
    /// For an image that is open at a snapshot.
    ///
    /// # Errors
    /// [`InvalidInput`](ErrorKind::InvalidInput) for an image that is not: what it shows may change.
    pub fn new(image: Image) -> Result<Self> {
        let snapshot = image.info().snapshot_id.ok_or_else(|| {
            Error::invalid("track changes", "the image is not open at a snapshot")
                .on(image.target())
        })?;
        Ok(Self {
            image,
            snapshot,
            fast_diff: false,
            asked: Mutex::default(),
        })
    }

    /// Believes object maps where they are there and not marked invalid. They miss changes after a roll-back of the
    /// image.
    pub fn with_fast_diff(mut self, yes: bool) -> Self {
        self.fast_diff = yes;
        self
    }

    /// The change point of the snapshot `name` with number `id` of an image.
    pub fn point_of(image: &Image, name: &str, id: u64) -> Result<ChangePoint> {
        ChangePoint::new(format!(
            "{SCHEME}:{}:{}:{}:{id}:{name}",
            image.pool().cluster().fsid(),
            image.pool().id(),
            image.info().id,
        ))
    }

    /// The snapshot's name in a change point of this kind.
    pub fn snapshot_of(point: &ChangePoint) -> Option<&str> {
        Point::parse(point.as_str()).map(|point| point.name)
    }

    /// Whether `point` is a snapshot of this image, by all but its being there.
    fn is_ours(&self, point: &Point<'_>) -> bool {
        let pool = self.image.pool();
        point.fsid == pool.cluster().fsid()
            && point.pool == pool.id()
            && point.image == self.image.info().id
    }

    async fn source(&self, since: &ChangePoint) -> Result<Arc<Source>> {
        let mut asked = self.asked.lock().await;
        if let Some((point, source)) = asked.as_ref()
            && point == since
        {
            return Ok(Arc::clone(source));
        }
        let gone = |why: &str| {
            Error::new(ErrorKind::NotFound, "ask for changes since")
                .on(since.as_str())
                .because(why)
        };
        let snapshots = self.image.snapshots().await?;
        let snapshot = match Point::parse(since.as_str()) {
            Some(point) if !self.is_ours(&point) => return Err(gone("it is of another image")),
            Some(point) => snapshots
                .into_iter()
                .find(|s| s.id == point.snapshot && s.name == point.name),
            // Cinder knows a backup's state by nothing but the snapshot's name, which holds the backup's ID.
            None if names::is_backup_snapshot(since.as_str()) => {
                snapshots.into_iter().find(|s| s.name == since.as_str())
            }
            None => return Err(gone("this is no snapshot of an RBD image")),
        };
        let snapshot = snapshot.ok_or_else(|| gone("the snapshot is no longer there"))?;
        let source = if snapshot.id == self.snapshot {
            Source::Same
        } else {
            if snapshot.id > self.snapshot {
                return Err(gone("it is newer than what is backed up"));
            }
            let (pool, image) = (self.image.pool(), self.image.name());
            let older = match pool.open_read_only(image, Some(&snapshot.name)).await {
                Err(e) if e.is(ErrorKind::NotFound) => {
                    return Err(gone("the snapshot is no longer there"));
                }
                opened => opened?,
            };
            // By now the names may be another image's, or another snapshot's.
            let (one, other) = (self.image.info(), older.info());
            if one.id != other.id || other.snapshot_id != Some(snapshot.id) {
                return Err(gone("the snapshot is no longer there"));
            }
            let differences =
                Differences::since(Arc::new(Presence::new(older)), self.image.clone());
            Source::Older(differences.by_object_maps(self.fast_diff))
        };
        let source = Arc::new(source);
        *asked = Some((since.clone(), Arc::clone(&source)));
        Ok(source)
    }
}

impl fmt::Debug for RbdChanges {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RbdChanges")
            .field("image", &self.image)
            .finish_non_exhaustive()
    }
}

#[async_trait]
impl ChangeSource for RbdChanges {
    /// The attached snapshot itself: it was made before anything was read.
    async fn mark(&self, _id: BackupId) -> Result<ChangePoint> {
        let name = self.image.snapshot().unwrap_or_default();
        Self::point_of(&self.image, name, self.snapshot)
    }

    async fn changed(&self, since: &ChangePoint, range: ByteRange) -> Result<Vec<Extent>> {
        if range.end() > self.image.info().size {
            return Err(Error::invalid(
                "ask for changes",
                format!("{range} reaches past the end at {}", self.image.info().size),
            ));
        }
        match &*self.source(since).await? {
            _ if range.is_empty() => Ok(Vec::new()),
            Source::Same => Ok(vec![Extent::new(range, ExtentKind::Unchanged)]),
            // The snapshot may have gone since it was found.
            Source::Older(differences) => differences.extents(range).await,
        }
    }

    /// Removes the snapshot where it is one of a backup; a volume's own snapshots stay.
    async fn release(&self, point: &ChangePoint) -> Result<()> {
        let Some(point) = Point::parse(point.as_str()).filter(|point| self.is_ours(point)) else {
            return Ok(());
        };
        if !names::is_backup_snapshot(point.name) {
            return Ok(());
        }
        let snapshots = self.image.snapshots().await?;
        if !snapshots
            .iter()
            .any(|s| s.id == point.snapshot && s.name == point.name)
        {
            return Ok(());
        }
        let image = self.image.pool().open_image(self.image.name()).await?;
        match image.remove_snapshot(point.name).await {
            Err(e) if e.is(ErrorKind::NotFound) => Ok(()),
            done => done,
        }
    }
}
