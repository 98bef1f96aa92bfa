//! [`ImageBackup`]: backups over any [`ImageRepository`], in the layout of Cinder's ceph driver.
//!
//! A full backup is an image of its own, the *base image*, with a snapshot; an incremental on it is another snapshot of the
//! same image. A backup is complete when its snapshot is there: that is the commit point. What the base image holds besides
//! its snapshots, its *head*, is scratch space: it is set back to the parent's snapshot before an incremental is written to
//! it, so that an attempt that was killed leaves nothing that counts.
//!
//! Where the source has a [change source](crate::ChangeSource) that still knows the parent's state, only what changed is
//! read. Any other source is read whole and compared with the parent's snapshot, and what differs is written: still an
//! incremental, which Cinder restores, though it cannot make it. Nothing is compressed, and no hashes are stored: a store of
//! images keeps checksums of its own.

mod base;
mod config;
mod copy;
mod create;
mod delete;
mod feed;
mod head;
mod orphans;
mod reader;
mod restore;
pub(crate) mod runs;
mod scan;
mod transfer;
mod verify;

use std::sync::Arc;

use async_trait::async_trait;

pub use config::ImagedConfig;

use crate::attach::Attachment;
use crate::backup::{
    Backup, BackupPlan, BackupReader, BackupRequest, Chain, Layer, Outcome, Report, RestoreOptions,
    ScanItem,
};
use crate::device::BlockDevice;
use crate::error::{Error, Result};
use crate::format::ceph::{self, BaseImage};
use crate::id::{BackupId, ContainerName, Location, VolumeId};
use crate::image::ImageRepository;
use crate::job::JobContext;
use crate::orphan::Orphan;
use crate::repository::BoxStream;

/// Backups as images and snapshots of an [`ImageRepository`]: what Cinder's ceph driver writes and reads.
#[derive(Debug, Clone)]
pub struct ImageBackup {
    repository: Arc<dyn ImageRepository>,
    config: ImagedConfig,
}

impl ImageBackup {
    /// Backups in `repository`, made as `config` says.
    ///
    /// # Errors
    /// [`InvalidInput`](crate::ErrorKind::InvalidInput) where the configuration makes no sense.
    pub fn new(repository: Arc<dyn ImageRepository>, config: ImagedConfig) -> Result<Self> {
        config.check()?;
        Ok(Self { repository, config })
    }

    /// Where the backups lie.
    pub fn repository(&self) -> &Arc<dyn ImageRepository> {
        &self.repository
    }
}

#[async_trait]
impl Backup for ImageBackup {
    /// An incremental lies where its parent does.
    fn plan(&self, request: &BackupRequest) -> Result<BackupPlan> {
        let container = match (&request.container, &request.parent) {
            (Some(container), Some(parent)) if *container != parent.location.container => {
                return Err(Error::invalid(
                    "plan an incremental backup",
                    format!(
                        "its parent lies in {}, and so it cannot lie in {container}",
                        parent.location.container
                    ),
                )
                .on(parent.id)
                .hint("leave the container out, or make a full backup"));
            }
            (_, Some(parent)) => {
                let location = parent.location.clone();
                return Ok(BackupPlan::at(request, location));
            }
            (Some(container), None) => container.clone(),
            (None, None) => self.repository.layout().container,
        };
        let base = BaseImage::new(request.volume_id, request.id).to_string();
        let prefix = ceph::service_metadata(&base)?;
        Ok(BackupPlan::at(request, Location { container, prefix }))
    }

    async fn create(
        &self,
        plan: &BackupPlan,
        parent: Option<&Layer>,
        source: &Attachment,
        cx: &JobContext,
    ) -> Result<Outcome> {
        create::create(self, plan, parent, source, cx).await
    }

    async fn open(&self, chain: &Chain, cx: &JobContext) -> Result<Arc<dyn BackupReader>> {
        reader::open(&self.repository, chain, cx).await
    }

    async fn length(&self, chain: &Chain, _: &JobContext) -> Result<u64> {
        let image = base::open(&self.repository, chain.newest()).await?;
        Ok(image.geometry().length)
    }

    /// What is checked is up to the store, whose own checksums are looked at when it is read: no hash is kept with such a
    /// backup.
    async fn restore(
        &self,
        chain: &Chain,
        target: &Arc<dyn BlockDevice>,
        options: &RestoreOptions,
        cx: &JobContext,
    ) -> Result<Report> {
        restore::restore(&self.repository, chain, target, options, cx).await
    }

    async fn committed(&self, layer: &Layer, _: &JobContext) -> Result<Option<Outcome>> {
        base::committed(&self.repository, layer).await
    }

    /// Removes the backup's snapshot; with the last one, the base image.
    async fn delete(&self, layer: &Layer, cx: &JobContext) -> Result<()> {
        delete::delete(&self.repository, layer, cx).await
    }

    /// Reads all that the newest backup holds, and sees that the others of the chain are there.
    async fn verify(&self, chain: &Chain, cx: &JobContext) -> Result<Report> {
        verify::verify(&self.repository, chain, cx).await
    }

    async fn locate(
        &self,
        id: BackupId,
        volume: VolumeId,
        container: Option<&ContainerName>,
        _: &JobContext,
    ) -> Result<Option<Location>> {
        base::locate(&self.repository, id, volume, container).await
    }

    async fn scan(
        &self,
        container: Option<&ContainerName>,
        cx: &JobContext,
    ) -> Result<BoxStream<ScanItem>> {
        scan::scan(&self.repository, container, cx).await
    }

    async fn orphans(
        &self,
        container: Option<&ContainerName>,
        cx: &JobContext,
    ) -> Result<BoxStream<Orphan>> {
        orphans::find(&self.repository, container, cx).await
    }

    async fn remove_orphan(&self, orphan: &Orphan, cx: &JobContext) -> Result<bool> {
        orphans::remove(&self.repository, orphan, cx).await
    }
}
