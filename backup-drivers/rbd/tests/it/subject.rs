//! A volume in the test cluster with a chain of backups, by any engine.

use std::sync::Arc;
use std::time::Duration;

use backup_core::testing::MemoryDevice;
use backup_core::volume::VolumeRef;
use backup_core::{
    AttachSource, Backup, BackupRequest, BlockDevice, Buf, Chain, DeviceAttacher, JobContext,
    Layer, Outcome, RestoreOptions, Timestamp, VolumeId, VolumeProvider,
};
use backup_rbd::{Image, RbdVolumes, RbdVolumesConfig};

use crate::ceph::noise;

pub(crate) struct Subject {
    pub(crate) volumes: RbdVolumes,
    pub(crate) volume: VolumeRef,
    pub(crate) engine: Arc<dyn Backup>,
    pub(crate) layers: Vec<Layer>,
    /// The snapshot of the volume that each backup is of.
    pub(crate) snapshots: Vec<String>,
    pub(crate) cx: JobContext,
}

impl Subject {
    /// A new volume of `length` bytes.
    pub(crate) async fn new(
        config: RbdVolumesConfig,
        engine: Arc<dyn Backup>,
        length: u64,
    ) -> Self {
        let volumes = RbdVolumes::new(config).unwrap();
        let id = VolumeId::generate();
        let location = volumes.create_volume(id, length).await.unwrap();
        Self::of(volumes, id, location, engine)
    }

    /// One that is there.
    pub(crate) fn of(
        volumes: RbdVolumes,
        id: VolumeId,
        location: String,
        engine: Arc<dyn Backup>,
    ) -> Self {
        Self {
            volumes,
            volume: VolumeRef {
                id,
                provider_location: Some(location),
            },
            engine,
            layers: Vec::new(),
            snapshots: Vec::new(),
            cx: JobContext::new(128 << 20).unwrap(),
        }
    }

    pub(crate) fn name(&self) -> String {
        format!("volume-{}", self.volume.id)
    }

    pub(crate) async fn image(&self) -> Image {
        let pool = self.volumes.pool().await.unwrap();
        pool.open_image(&self.name()).await.unwrap()
    }

    /// Full the first time, then incremental on the newest.
    pub(crate) async fn back_up(&mut self) -> Outcome {
        let (layer, snapshot, outcome) = back_up(
            &self.volumes,
            &self.volume,
            &*self.engine,
            self.layers.last(),
            &self.cx,
        )
        .await;
        self.layers.push(layer);
        self.snapshots.push(snapshot);
        outcome
    }

    /// What a backup restores to, onto a device full of something else.
    pub(crate) async fn restored(&self, number: usize) -> Vec<u8> {
        let chain = Chain::new(self.layers[..=number].to_vec()).unwrap();
        let length = self.engine.length(&chain, &self.cx).await.unwrap();
        let length = usize::try_from(length).unwrap();
        let device = MemoryDevice::from_bytes(&noise(99, length)).without_holes();
        let target: Arc<dyn BlockDevice> = Arc::new(device);
        self.engine
            .restore(&chain, &target, &RestoreOptions::default(), &self.cx)
            .await
            .unwrap();
        let (buf, read) = target.read(0, Buf::zeroed(length)).await;
        read.unwrap();
        buf.to_vec()
    }

    /// Deletes all backups, newest first, and the volume.
    pub(crate) async fn end(self) {
        for layer in self.layers.iter().rev() {
            self.engine.delete(layer, &self.cx).await.unwrap();
        }
        delete_once_closed(&self.volumes, &self.volume).await;
    }
}

/// Backs up a volume, incrementally where there is a parent. The backup, and the snapshot of the volume that it is of.
pub(crate) async fn back_up(
    volumes: &RbdVolumes,
    volume: &VolumeRef,
    engine: &dyn Backup,
    parent: Option<&Layer>,
    cx: &JobContext,
) -> (Layer, String, Outcome) {
    let mut request = BackupRequest::new(volume.id, Timestamp::now());
    request.parent = parent.cloned();
    let plan = engine.plan(&request).unwrap();
    let source = AttachSource::Volume(volume.clone());
    let attach = volumes.plan(&source, plan.id).await.unwrap();
    let attachment = volumes.execute(&attach).await.unwrap();
    let made = engine.create(&plan, parent, &attachment, cx).await;
    let outcome = made.unwrap();
    drop(attachment);
    volumes.keep(&attach).await.unwrap();
    (plan.layer(), attach.temporary_snapshot.unwrap(), outcome)
}

/// Deletes a volume. A handle that was dropped a moment ago is closed on a thread of its own, and is waited for.
pub(crate) async fn delete_once_closed(volumes: &RbdVolumes, volume: &VolumeRef) {
    let mut removed = volumes.delete_volume(volume).await;
    for _ in 0..200 {
        if removed.is_ok() {
            break;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
        removed = volumes.delete_volume(volume).await;
    }
    removed.unwrap();
}
