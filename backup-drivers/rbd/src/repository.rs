//! A pool as a repository of backups, in the layout of Cinder's ceph driver.

mod image;

use std::collections::HashMap;
use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use backup_core::error::{Error, ErrorKind, Result};
use backup_core::format::ceph;
use backup_core::id::{ContainerName, ObjectKey};
use backup_core::image::{Image as AnyImage, ImageKey, ImageLayout, ImageRepository, MAX_RECORD};
use bytes::Bytes;
use serde::{Deserialize, Serialize};
use tokio::sync::Mutex;

pub(crate) use self::image::timestamp;
use self::image::{Access, BaseImage};
use crate::cluster::{Cluster, ClusterConfig};
use crate::image::Features;
use crate::pool::{CreateOptions, Pool};

/// The table `[repository.NAME]` with `type = "ceph"`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
#[non_exhaustive]
pub struct CephConfig {
    /// The pool of the backups (`backup_ceph_pool`): `pool` or `pool/namespace`.
    pub pool: String,
    /// Ceph's configuration file (`backup_ceph_conf`).
    pub conf: PathBuf,
    /// The user, without `client.` (`backup_ceph_user`).
    pub user: String,
    /// The user's keyring, where Ceph's configuration does not name it.
    pub keyring: Option<PathBuf>,
    /// Seconds that connecting may take.
    pub connect_timeout: u64,
    /// Seconds that a call may take; long ones may take more.
    pub timeout: u64,
    /// Bytes of a stripe's part in one object (`backup_ceph_stripe_unit`); 0: no stripes of its own.
    pub stripe_unit: u64,
    /// Objects that are striped over (`backup_ceph_stripe_count`); 0: no stripes of its own.
    pub stripe_count: u64,
    /// Whether new base images have a journal, for mirroring them (`backup_ceph_image_journals`).
    pub image_journals: bool,
    /// The pool for the data of new base images, where it is another one (erasure-coded pools).
    pub data_pool: Option<String>,
}

impl Default for CephConfig {
    fn default() -> Self {
        Self {
            pool: "backups".into(),
            conf: "/etc/ceph/ceph.conf".into(),
            user: "cinder".into(),
            keyring: None,
            connect_timeout: 30,
            timeout: 120,
            stripe_unit: 0,
            stripe_count: 0,
            image_journals: false,
            data_pool: None,
        }
    }
}

impl CephConfig {
    /// The defaults, for `pool`.
    pub fn new(pool: impl Into<String>) -> Self {
        Self {
            pool: pool.into(),
            ..Self::default()
        }
    }

    /// How the cluster is reached.
    pub fn cluster(&self) -> ClusterConfig {
        ClusterConfig {
            keyring: self.keyring.clone(),
            connect_timeout: Duration::from_secs(self.connect_timeout.max(1)),
            timeout: Duration::from_secs(self.timeout.max(1)),
            ..ClusterConfig::new(&self.conf, &self.user)
        }
    }

    /// Shape of a new base image: Cinder's.
    fn shape(&self) -> CreateOptions {
        let mut features = Features::LAYERING
            | Features::EXCLUSIVE_LOCK
            | Features::OBJECT_MAP
            | Features::FAST_DIFF;
        if self.image_journals {
            features |= Features::JOURNALING;
        }
        let mut options = CreateOptions::default();
        if self.stripe_unit > 0 {
            features |= Features::STRIPING;
            options.stripe_unit = Some(self.stripe_unit);
            options.stripe_count = Some(self.stripe_count);
        }
        options.features = Some(features);
        options.data_pool.clone_from(&self.data_pool);
        options
    }
}

/// Backups as images in pools of a Ceph cluster, which is connected to when it is first needed.
pub struct CephRepository {
    config: CephConfig,
    container: ContainerName,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    cluster: Option<Cluster>,
    pools: HashMap<ContainerName, Pool>,
}

impl CephRepository {
    /// Over the pool that `config` names. Nothing is connected to yet.
    ///
    /// # Errors
    /// [`InvalidInput`](ErrorKind::InvalidInput) where the configuration does not fit together.
    pub fn new(config: &CephConfig) -> Result<Self> {
        const OPERATION: &str = "configure the Ceph repository";
        if (config.stripe_unit == 0) != (config.stripe_count == 0) {
            return Err(Error::invalid(
                OPERATION,
                "stripe_unit and stripe_count go together: set both, or none",
            ));
        }
        Ok(Self {
            container: ContainerName::new(config.pool.clone())
                .map_err(|e| e.on("(the setting pool)"))?,
            config: config.clone(),
            state: Mutex::default(),
        })
    }

    async fn pool(&self, container: &ContainerName) -> Result<Pool> {
        let mut state = self.state.lock().await;
        if let Some(pool) = state.pools.get(container) {
            return Ok(pool.clone());
        }
        let cluster = if let Some(cluster) = &state.cluster {
            cluster.clone()
        } else {
            let cluster = Cluster::connect(&self.config.cluster()).await?;
            state.cluster.insert(cluster).clone()
        };
        let pool = cluster.pool(container.as_str()).await?;
        state.pools.insert(container.clone(), pool.clone());
        Ok(pool)
    }
}

impl fmt::Debug for CephRepository {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CephRepository")
            .field("config", &self.config)
            .finish_non_exhaustive()
    }
}

#[async_trait]
impl ImageRepository for CephRepository {
    fn describe(&self) -> String {
        format!(
            "the Ceph pool {} (client.{}, {})",
            self.config.pool,
            self.config.user,
            self.config.conf.display()
        )
    }

    fn layout(&self) -> ImageLayout {
        ImageLayout {
            service: ceph::SERVICE.to_owned(),
            container: self.container.clone(),
        }
    }

    /// The configured pool alone: the others of a cluster are mostly not for backups.
    async fn containers(&self) -> Result<Vec<ContainerName>> {
        Ok(vec![self.container.clone()])
    }

    async fn create(&self, key: &ImageKey, size: u64) -> Result<Arc<dyn AnyImage>> {
        let pool = self.pool(key.container()).await?;
        pool.create(key.name(), size, &self.config.shape()).await?;
        let image = pool.open_image(key.name()).await?;
        Ok(Arc::new(BaseImage::new(image, Access::Fresh)))
    }

    async fn open(&self, key: &ImageKey, snapshot: Option<&str>) -> Result<Arc<dyn AnyImage>> {
        let pool = self.pool(key.container()).await?;
        let image = pool.open_read_only(key.name(), snapshot).await?;
        Ok(Arc::new(BaseImage::new(image, Access::Look)))
    }

    async fn open_to_write(&self, key: &ImageKey) -> Result<Arc<dyn AnyImage>> {
        let pool = self.pool(key.container()).await?;
        let image = pool.open_image(key.name()).await?;
        Ok(Arc::new(BaseImage::new(image, Access::Write)))
    }

    async fn remove(&self, key: &ImageKey) -> Result<()> {
        let pool = self.pool(key.container()).await?;
        match pool.remove(key.name()).await {
            Err(e) if e.is(ErrorKind::NotFound) => Ok(()),
            removed => removed,
        }
    }

    async fn list(&self, container: &ContainerName, prefix: &str) -> Result<Vec<String>> {
        match self.pool(container).await {
            Ok(pool) => pool.images(prefix).await,
            Err(e) if e.is(ErrorKind::NotFound) => Ok(Vec::new()),
            Err(e) => Err(e),
        }
    }

    async fn put_record(&self, key: &ObjectKey, data: Bytes) -> Result<()> {
        if data.len() > MAX_RECORD {
            return Err(Error::invalid(
                "store record",
                format!("{} bytes are more than {MAX_RECORD}", data.len()),
            )
            .on(key));
        }
        let pool = self.pool(key.container()).await?;
        pool.put_object(key.name(), data, true).await
    }

    async fn get_record(&self, key: &ObjectKey) -> Result<Option<Bytes>> {
        let pool = self.pool(key.container()).await?;
        pool.get_object(key.name(), MAX_RECORD).await
    }

    async fn remove_record(&self, key: &ObjectKey) -> Result<()> {
        let pool = self.pool(key.container()).await?;
        pool.remove_object(key.name()).await
    }
}
