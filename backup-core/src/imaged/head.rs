//! The head of a base image, made ready for an incremental.

use std::sync::Arc;

use super::base;
use super::copy::Ends;
use super::feed;
use super::transfer::Transfer;
use crate::backup::Layer;
use crate::device::{BlockDevice, ChangePoint};
use crate::error::{Error, ErrorKind, Result};
use crate::format::ceph;
use crate::id::BackupId;
use crate::image::{Image, ImageKey, ImageRepository};
use crate::job::{JobContext, Phase};

const OPERATION: &str = "back up incrementally";

/// The base image of a chain, locked, and its parent's state.
pub(super) struct Head {
    pub(super) image: Arc<dyn Image>,
    /// The image at the parent's snapshot.
    pub(super) parent: Arc<dyn Image>,
    /// The parent's snapshot.
    pub(super) snapshot: String,
    /// The source's state that the parent is of.
    pub(super) since: ChangePoint,
}

impl Head {
    /// Opens and locks `base` for a backup `id` that is to stand on `parent`.
    ///
    /// # Errors
    /// [`Conflict`](ErrorKind::Conflict) where the parent cannot serve, or somebody else writes to the image.
    pub(super) async fn open(
        repository: &Arc<dyn ImageRepository>,
        base: &ImageKey,
        parent: &Layer,
        id: BackupId,
    ) -> Result<Self> {
        let refused = |why: String| {
            Error::new(ErrorKind::Conflict, OPERATION)
                .on(base)
                .because(why)
                .hint("make a full backup")
        };
        if base::key(&parent.location)? != *base {
            return Err(Error::invalid(
                OPERATION,
                format!(
                    "its plan is not for the base image of its parent, {}",
                    parent.location
                ),
            )
            .on(base));
        }
        let image = match repository.open_to_write(base).await {
            Err(e) if e.is(ErrorKind::NotFound) => {
                return Err(refused("the parent's base image is missing".into()));
            }
            opened => opened?,
        };
        image.lock().await?;
        let snapshots = image.snapshots().await?;
        if !base::of_backup(&snapshots, id).is_empty() {
            return Err(Error::new(ErrorKind::AlreadyExists, OPERATION)
                .on(base)
                .because(format!("it has a snapshot of backup {id} already")));
        }
        let Some(snapshot) = base::snapshot_of(&snapshots, parent.id, base)? else {
            return Err(refused(format!(
                "it has no snapshot of the parent, {}",
                parent.id
            )));
        };
        // Cinder takes its next incremental on the newest backup, and counts on the head to be what that one holds.
        let newest = snapshots
            .iter()
            .rfind(|s| ceph::is_backup_snapshot(&s.name));
        if newest.is_some_and(|newest| newest.name != snapshot.name) {
            return Err(refused(format!(
                "the parent, {}, is not the newest backup in it",
                parent.id
            )));
        }
        let snapshot = snapshot.name.clone();
        let noted = base::note(&image, parent.id).await?;
        let since = match noted.and_then(|note| note.ashlar.change_point) {
            Some(point) => point,
            // Cinder names its snapshot on the source as on the base image.
            None => ChangePoint::new(snapshot.clone())?,
        };
        Ok(Self {
            parent: repository.open(base, Some(&snapshot)).await?,
            image,
            snapshot,
            since,
        })
    }

    /// Makes the head what the parent's snapshot holds: what an attempt that was killed has left is undone.
    pub(super) async fn reset(&self, cx: &JobContext) -> Result<()> {
        let length = self.parent.geometry().length;
        if self.image.geometry().length != length {
            self.image.resize(length).await?;
        }
        let ends = Ends {
            operation: OPERATION,
            from: Arc::<dyn Image>::clone(&self.parent),
            onto: Some(Arc::<dyn Image>::clone(&self.image)),
            before: None,
            zero_from: u64::MAX,
            tolerant: false,
            cx: cx.clone(),
        };
        let mut transfer = Transfer::new(ends, Phase::BackUp, length);
        let fed = feed::back_to(&mut transfer, &*self.image, &self.snapshot, length).await;
        transfer.end(fed).await.map(|_| ())
    }

    /// Gives the head the length of what is backed up. What it grows by is zero.
    pub(super) async fn fit(&self, length: u64) -> Result<()> {
        if self.image.geometry().length != length {
            self.image.resize(length).await?;
        }
        Ok(())
    }
}
