use std::sync::Arc;

use async_trait::async_trait;

use crate::device::{ChangePoint, ChangeSource};
use crate::error::{Error, Result};
use crate::id::BackupId;
use crate::image::Image;
use crate::range::{ByteRange, Extent};

/// Tells a volume's changes by the snapshots of its own image.
///
/// An attacher that reads a volume through a snapshot gives this along with the snapshot's device: the snapshot then stays
/// as the change point of the backup that was made of it.
#[derive(Debug, Clone)]
pub struct SnapshotChanges {
    image: Arc<dyn Image>,
    shown: Arc<dyn Image>,
    snapshot: String,
}

impl SnapshotChanges {
    /// `image` is the volume as it is, `shown` the same at its snapshot `snapshot`, which is what is backed up.
    pub fn new(image: Arc<dyn Image>, shown: Arc<dyn Image>, snapshot: impl Into<String>) -> Self {
        Self {
            image,
            shown,
            snapshot: snapshot.into(),
        }
    }
}

#[async_trait]
impl ChangeSource for SnapshotChanges {
    /// The snapshot that is shown is the mark: it was made, and named after the backup, when the volume was attached.
    async fn mark(&self, id: BackupId) -> Result<ChangePoint> {
        if !self.snapshot.contains(&id.to_string()) {
            return Err(Error::invalid(
                "mark the volume's state",
                format!("the attached snapshot is not of backup {id}"),
            )
            .on(self.shown.describe()));
        }
        ChangePoint::new(self.snapshot.clone())
    }

    async fn changed(&self, since: &ChangePoint, range: ByteRange) -> Result<Vec<Extent>> {
        self.shown.diff(Some(since.as_str()), range).await
    }

    async fn release(&self, point: &ChangePoint) -> Result<()> {
        self.image.remove_snapshot(point.as_str()).await
    }
}
