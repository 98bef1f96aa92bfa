//! Images of a pool as volumes.

mod attach;
mod target;

use std::fmt;
use std::time::Duration;

use async_trait::async_trait;
use backup_core::error::{Error, ErrorKind, Result};
use backup_core::id::{SnapshotId, VolumeId};
use backup_core::volume::{BackupSnapshot, SnapshotRef, VolumeProvider, VolumeRef};
use tokio::sync::OnceCell;

use crate::cluster::Cluster;
use crate::config::RbdVolumesConfig;
use crate::image::Image;
use crate::names;
use crate::pool::{CreateOptions, Pool};
use crate::repository::timestamp;

/// Volumes as images of one pool, named as Cinder names them, and adopted images of any pool of the cluster.
///
/// * A volume made here is `volume-ID`; its provider location is `pool/volume-ID`, an adopted image's likewise.
/// * A volume's snapshot is `snapshot-ID`, Cinder's name too.
/// * A backup reads a snapshot, `backup.ID.snap.TIME`, which is named in the plan before it is made, whether the volume
///   is in use or not: it is the backup's point in time and what a later incremental compares with. Of those made here
///   the newest stay (`max_snapshots`), those that Cinder made are left alone.
/// * A volume is restored onto under its exclusive lock, and only where nobody else has it open.
///
/// The connection is made when it is first needed.
pub struct RbdVolumes {
    config: RbdVolumesConfig,
    patience: Duration,
    pool: OnceCell<Pool>,
}

/// How long is waited for somebody who has the volume open: a client that died counts for half a minute.
const PATIENCE: Duration = Duration::from_secs(45);

/// Where a volume is: a pool and an image's name in it.
#[derive(Debug, Clone)]
struct Place {
    pool: Pool,
    image: String,
}

impl Place {
    fn target(&self) -> String {
        self.pool.target(&self.image)
    }

    async fn open(&self) -> Result<Image> {
        self.pool.open_image(&self.image).await
    }
}

impl RbdVolumes {
    /// By these settings. Nothing is connected to yet.
    ///
    /// # Errors
    /// [`InvalidInput`](ErrorKind::InvalidInput) for a pool without a name.
    pub fn new(config: RbdVolumesConfig) -> Result<Self> {
        if config.pool.is_empty() {
            return Err(Error::invalid("open the volumes", "`pool` is empty"));
        }
        Ok(Self {
            config,
            patience: PATIENCE,
            pool: OnceCell::new(),
        })
    }

    /// Waits so long, instead of 45 seconds, for others who have a volume open that is to be restored onto or removed. A
    /// client that died counts for half a minute.
    pub fn with_patience(mut self, patience: Duration) -> Self {
        self.patience = patience;
        self
    }

    /// The pool of the volumes; connects where that was not yet done.
    ///
    /// # Errors
    /// Those of [`Cluster::connect`] and [`Cluster::pool`]; the next call tries again.
    pub async fn pool(&self) -> Result<&Pool> {
        self.pool
            .get_or_try_init(|| async {
                let cluster = Cluster::connect(&self.config.cluster()).await?;
                cluster.pool(&self.config.pool).await
            })
            .await
    }

    /// The pool of a location, and the image's name.
    async fn place_at(&self, location: &str) -> Result<Place> {
        let (pool, image) = match location.rsplit_once('/') {
            Some((pool, image)) => (pool, image),
            None => (self.config.pool.as_str(), location),
        };
        if image.is_empty() || pool.is_empty() || image.contains('@') {
            return Err(Error::invalid(
                "find volume",
                format!("{location:?} is no IMAGE or POOL/IMAGE"),
            ));
        }
        let own = self.pool().await?;
        let pool = if pool == own.name() {
            own.clone()
        } else {
            own.cluster().pool(pool).await?
        };
        Ok(Place {
            pool,
            image: image.to_owned(),
        })
    }

    async fn place(&self, volume: &VolumeRef) -> Result<Place> {
        match &volume.provider_location {
            Some(location) => self.place_at(location).await,
            None => Ok(Place {
                pool: self.pool().await?.clone(),
                image: names::volume(volume.id),
            }),
        }
    }
}

impl fmt::Debug for RbdVolumes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RbdVolumes")
            .field("config", &self.config)
            .finish_non_exhaustive()
    }
}

/// Missing is success.
fn missing_is_fine(done: Result<()>) -> Result<()> {
    match done {
        Err(e) if e.is(ErrorKind::NotFound) => Ok(()),
        done => done,
    }
}

/// What to remove of a snapshot that may be protected.
async fn remove_snapshot(image: &Image, name: &str) -> Result<()> {
    match image.remove_snapshot(name).await {
        Err(e) if e.is(ErrorKind::Conflict) && image.is_protected(name).await? => {
            image.unprotect_snapshot(name).await?;
            missing_is_fine(image.remove_snapshot(name).await)
        }
        done => missing_is_fine(done),
    }
}

#[async_trait]
impl VolumeProvider for RbdVolumes {
    fn describe(&self) -> String {
        format!(
            "RBD images in the pool {} (client.{}, {})",
            self.config.pool,
            self.config.user,
            self.config.conf.display()
        )
    }

    /// Makes `volume-ID` with the cluster's default features.
    async fn create_volume(&self, id: VolumeId, length: u64) -> Result<String> {
        const OPERATION: &str = "create volume";
        let pool = self.pool().await?;
        let name = names::volume(id);
        if length == 0 {
            return Err(
                Error::invalid(OPERATION, "a length of 0 bytes makes no volume")
                    .on(pool.target(&name)),
            );
        }
        pool.create(&name, length, &CreateOptions::default())
            .await?;
        Ok(pool.target(&name))
    }

    /// Takes an image where it is: `IMAGE` of the volumes' pool, or `POOL/IMAGE`.
    async fn adopt(&self, _id: VolumeId, existing: &str) -> Result<(String, u64)> {
        const OPERATION: &str = "adopt volume";
        let place = self.place_at(existing).await?;
        let image = place.pool.open_read_only(&place.image, None).await?;
        let length = image.info().size;
        if length == 0 {
            return Err(Error::invalid(OPERATION, "it is empty").on(place.target()));
        }
        Ok((place.target(), length))
    }

    /// Of an image that Cinder named, the volume's ID there.
    fn id_in(&self, existing: &str) -> Option<VolumeId> {
        let image = existing.rsplit('/').next()?;
        names::volume_id(image)
    }

    /// Removes `volume-ID` of the volumes' pool with the snapshots of its backups; anything else is refused, since it
    /// was not made here.
    async fn delete_volume(&self, volume: &VolumeRef) -> Result<()> {
        const OPERATION: &str = "delete volume";
        let place = self.place(volume).await?;
        let own = self.pool().await?;
        if place.pool.name() != own.name() || place.image != names::volume(volume.id) {
            return Err(Error::invalid(
                OPERATION,
                format!("it was not made in the pool {}, and stays", own.name()),
            )
            .on(place.target()));
        }
        let image = match place.open().await {
            Ok(image) => image,
            // It is gone, or a process that was killed while it made the image left a name that cannot be opened.
            Err(e) if e.is(ErrorKind::NotFound) => {
                return missing_is_fine(place.pool.remove(&place.image).await);
            }
            Err(e) => return Err(e),
        };
        for snapshot in image.snapshots().await? {
            if names::is_backup_snapshot(&snapshot.name) {
                remove_snapshot(&image, &snapshot.name).await?;
            }
        }
        image.close().await?;
        match place.pool.remove(&place.image).await {
            // Somebody has it open: perhaps a process that was killed a moment ago.
            Err(e) if e.is(ErrorKind::Conflict) => {
                let hint = "detach it there first; a client that is dead and still listed is shut out by `ceph osd \
                            blocklist add ADDRESS`";
                match target::wait_until_free(&place, OPERATION, hint, self.patience).await {
                    Err(e) if e.is(ErrorKind::NotFound) => return Ok(()),
                    free => free?,
                }
                missing_is_fine(place.pool.remove(&place.image).await)
            }
            removed => missing_is_fine(removed),
        }
    }

    async fn length(&self, volume: &VolumeRef) -> Result<u64> {
        let place = self.place(volume).await?;
        let image = place.pool.open_read_only(&place.image, None).await?;
        Ok(image.info().size)
    }

    /// Makes `snapshot-ID`. One that is there already is taken: it was made by an earlier attempt.
    async fn create_snapshot(
        &self,
        volume: &VolumeRef,
        snapshot: SnapshotId,
        _in_use: bool,
    ) -> Result<String> {
        let place = self.place(volume).await?;
        let name = names::snapshot(snapshot);
        let image = place.open().await?;
        match image.create_snapshot(&name).await {
            Err(e) if !e.is(ErrorKind::AlreadyExists) => return Err(e),
            _ => {}
        }
        Ok(format!("{}@{name}", place.target()))
    }

    async fn delete_snapshot(&self, snapshot: &SnapshotRef) -> Result<()> {
        let place = self.place(&snapshot.volume).await?;
        let name = names::snapshot(snapshot.id);
        match place.open().await {
            Ok(image) => remove_snapshot(&image, &name).await,
            Err(e) if e.is(ErrorKind::NotFound) => Ok(()),
            Err(e) => Err(e),
        }
    }

    /// Those that are named as ours; Cinder's are not.
    async fn backup_snapshots(&self, volume: &VolumeRef) -> Result<Vec<BackupSnapshot>> {
        let place = self.place(volume).await?;
        let image = place.pool.open_read_only(&place.image, None).await?;
        let snapshots = image.snapshots().await?;
        let of_backups = snapshots.into_iter().filter_map(|s| {
            let backup = names::own_backup(&s.name)?;
            let created_at = s.created_at.and_then(timestamp);
            Some(BackupSnapshot::new(s.name, backup, created_at))
        });
        Ok(of_backups.collect())
    }

    async fn delete_backup_snapshot(
        &self,
        volume: &VolumeRef,
        snapshot: &BackupSnapshot,
    ) -> Result<()> {
        if names::own_backup(&snapshot.name) != Some(snapshot.backup) {
            return Err(
                Error::invalid("remove snapshot", "that is no snapshot of this backup")
                    .on(&snapshot.name),
            );
        }
        let place = self.place(volume).await?;
        remove_snapshot(&place.open().await?, &snapshot.name).await
    }
}
