//! The head of a base image, made ready for an incremental.

use std::sync::Arc;
use std::time::Duration;

use super::base;
use super::copy::Ends;
use super::feed;
use super::transfer::Transfer;
use crate::backup::Layer;
use crate::device::ChangePoint;
use crate::error::{Error, ErrorKind, Result};
use crate::format::ceph;
use crate::id::BackupId;
use crate::image::{Image, ImageKey, ImageRepository};
use crate::job::{JobContext, Phase};

const OPERATION: &str = "back up incrementally";

/// How long is waited for somebody else's lock: a client that died counts for half a minute.
const PATIENCE: Duration = Duration::from_secs(45);

/// How often is looked.
const LOOK: Duration = Duration::from_millis(500);

/// Locks an image, waiting for a holder that is about to end, or dead.
pub(super) async fn lock(image: &Arc<dyn Image>, cx: &JobContext) -> Result<()> {
    let end = tokio::time::Instant::now() + PATIENCE;
    loop {
        match image.lock().await {
            Err(e) if e.is(ErrorKind::Conflict) && tokio::time::Instant::now() < end => {}
            locked => return locked,
        }
        tokio::select! {
            () = tokio::time::sleep(LOOK) => {}
            () = cx.cancel().cancelled() => return Err(Error::cancelled(OPERATION)),
        }
    }
}

fn refused(base: &ImageKey, why: String) -> Error {
    Error::new(ErrorKind::Conflict, OPERATION)
        .on(base)
        .because(why)
        .hint("make a full backup")
}

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
        cx: &JobContext,
    ) -> Result<Self> {
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
                return Err(refused(base, "the parent's base image is missing".into()));
            }
            opened => opened?,
        };
        lock(&image, cx).await?;
        let head = Self::locked(repository, base, parent, id, &image).await;
        if head.is_err() {
            // What is told is why; the lock ends with its handle too.
            let _later = image.unlock().await;
        }
        head
    }

    async fn locked(
        repository: &Arc<dyn ImageRepository>,
        base: &ImageKey,
        parent: &Layer,
        id: BackupId,
        image: &Arc<dyn Image>,
    ) -> Result<Self> {
        let snapshots = image.snapshots().await?;
        if !base::of_backup(&snapshots, id).is_empty() {
            return Err(Error::new(ErrorKind::AlreadyExists, OPERATION)
                .on(base)
                .because(format!("it has a snapshot of backup {id} already")));
        }
        let Some(snapshot) = base::snapshot_of(&snapshots, parent.id, base)? else {
            let why = format!("it has no snapshot of the parent, {}", parent.id);
            return Err(refused(base, why));
        };
        // Cinder takes its next incremental on the newest backup, and counts on the head to be what that one holds.
        let newest = snapshots
            .iter()
            .rfind(|s| ceph::is_backup_snapshot(&s.name));
        if newest.is_some_and(|newest| newest.name != snapshot.name) {
            let why = format!("the parent, {}, is not the newest backup in it", parent.id);
            return Err(refused(base, why));
        }
        let snapshot = snapshot.name.clone();
        let noted = base::note(image, parent.id).await?;
        let since = match noted.and_then(|note| note.ashlar.change_point) {
            Some(point) => point,
            // Cinder names its snapshot on the source as on the base image.
            None => ChangePoint::new(snapshot.clone())?,
        };
        Ok(Self {
            parent: repository.open(base, Some(&snapshot)).await?,
            image: Arc::clone(image),
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
