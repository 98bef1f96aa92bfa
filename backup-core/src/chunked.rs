//! [`ChunkedBackup`]: backups over any flat [`Repository`], in the format of Cinder's chunked drivers.

mod check;
mod committed;
mod config;
mod create;
mod delete;
mod fetch;
mod gather;
mod hash_index;
mod item;
mod layer_index;
mod long_objects;
mod orphans;
mod proof;
mod reader;
mod restore;
mod scan;
mod slices;
mod split;
mod spool;
mod summary;
mod target;
mod verify;
mod writer;

use std::sync::Arc;

use async_trait::async_trait;

pub use config::ChunkedConfig;

use crate::attach::Attachment;
use crate::backup::{
    Backup, BackupPlan, BackupReader, BackupRequest, Chain, Layer, Outcome, Report, RestoreOptions,
    ScanItem,
};
use crate::device::BlockDevice;
use crate::diff::BlockHasher;
use crate::error::{Error, Result};
use crate::id::ContainerName;
use crate::job::JobContext;
use crate::orphan::Orphan;
use crate::pipeline::ZeroStreams;
use crate::repository::{BoxStream, Repository};

/// Backups as objects of a [`Repository`]: what Cinder's posix, nfs, swift and s3 drivers write and read.
#[derive(Debug, Clone)]
pub struct ChunkedBackup {
    repository: Arc<dyn Repository>,
    config: Arc<ChunkedConfig>,
    hasher: BlockHasher,
    zeroes: Arc<ZeroStreams>,
}

impl ChunkedBackup {
    /// Backups in `repository`, written as `config` says. Reading goes by what is stored, not by `config`.
    ///
    /// # Errors
    /// [`InvalidInput`](crate::ErrorKind::InvalidInput) where the configuration does not fit together.
    pub fn new(repository: Arc<dyn Repository>, config: ChunkedConfig) -> Result<Self> {
        config.check()?;
        let block = usize::try_from(config.block_size)
            .map_err(|_| Error::invalid("configure", "hash_block_size is too large"))?;
        Ok(Self {
            repository,
            config: Arc::new(config),
            hasher: BlockHasher::new(block),
            zeroes: Arc::new(ZeroStreams::new()?),
        })
    }

    /// Where the backups lie.
    pub fn repository(&self) -> &Arc<dyn Repository> {
        &self.repository
    }
}

#[async_trait]
impl Backup for ChunkedBackup {
    fn plan(&self, request: &BackupRequest) -> Result<BackupPlan> {
        let location = self.repository.layout().location(
            request.id,
            request.volume_id,
            request.created_at,
            request.container.clone(),
        )?;
        Ok(BackupPlan::at(request, location))
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
        reader::open(self, chain, cx).await
    }

    async fn length(&self, chain: &Chain, cx: &JobContext) -> Result<u64> {
        Ok(check::OpenChain::load(self, chain, cx).await?.length)
    }

    async fn restore(
        &self,
        chain: &Chain,
        target: &Arc<dyn BlockDevice>,
        options: &RestoreOptions,
        cx: &JobContext,
    ) -> Result<Report> {
        restore::restore(self, chain, target, options, cx).await
    }

    async fn committed(&self, layer: &Layer, cx: &JobContext) -> Result<Option<Outcome>> {
        committed::committed(&self.repository, layer, cx).await
    }

    async fn delete(&self, layer: &Layer, cx: &JobContext) -> Result<()> {
        delete::delete(&self.repository, &layer.location, cx).await
    }

    async fn account(&self) -> Result<Option<String>> {
        self.repository.account().await
    }

    async fn verify(&self, chain: &Chain, cx: &JobContext) -> Result<Report> {
        verify::verify(self, chain, cx).await
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
