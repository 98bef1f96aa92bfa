//! Backups of RBD volumes to a repository of objects: from snapshot to snapshot, and back.

use std::sync::Arc;

use backup_core::testing::MemoryRepository;
use backup_core::volume::{SnapshotRef, VolumeRef};
use backup_core::{
    AttachSource, Backup, BackupRequest, Buf, Chain, ChunkedBackup, ChunkedConfig, DeviceAttacher,
    JobContext, Layer, Outcome, RestoreOptions, SnapshotId, Timestamp, VolumeId, VolumeProvider,
};
use backup_rbd::{CloneOptions, HOLES_IN_OBJECTS, Image, RbdVolumes};
use bytes::Bytes;

use crate::ceph::{Ceph, Random, conf, noise, volumes_config};
use crate::subject::delete_once_closed;

const MIB: u64 = 1 << 20;
const BLOCK: u64 = 32 << 10;

/// A volume with a chain of backups, and what each must restore to.
struct Chained {
    volumes: RbdVolumes,
    volume: VolumeRef,
    engine: ChunkedBackup,
    layers: Vec<Layer>,
    contents: Vec<Vec<u8>>,
    cx: JobContext,
}

impl Chained {
    async fn new(length: u64, config: ChunkedConfig) -> Option<Self> {
        let volumes = RbdVolumes::new(volumes_config(&conf()?)).unwrap();
        let id = VolumeId::generate();
        let location = volumes.create_volume(id, length).await.unwrap();
        Some(Self::of(volumes, id, location, config))
    }

    /// Of a clone of an image of `length` bytes, which begins with `data` bytes that are not zeroes. Nothing is sampled.
    async fn of_clone(length: u64, data: usize) -> Option<Self> {
        let ceph = Ceph::connect().await?;
        let parent = ceph.image(length).await;
        let written = parent.write(0, Bytes::from(noise(1, data))).await;
        written.unwrap();
        parent.create_snapshot("s").await.unwrap();
        let id = VolumeId::generate();
        let name = format!("volume-{id}");
        let options = CloneOptions::default();
        let cloned = ceph
            .pool
            .clone_image(&ceph.pool, parent.name(), "s", &name, &options);
        cloned.await.unwrap();
        let volumes = RbdVolumes::new(volumes_config(&conf()?)).unwrap();
        Some(Self::of(
            volumes,
            id,
            format!("volumes/{name}"),
            unaudited(),
        ))
    }

    fn of(volumes: RbdVolumes, id: VolumeId, location: String, config: ChunkedConfig) -> Self {
        let repository = Arc::new(MemoryRepository::new());
        Self {
            volumes,
            volume: VolumeRef {
                id,
                provider_location: Some(location),
            },
            engine: ChunkedBackup::new(repository, config).unwrap(),
            layers: Vec::new(),
            contents: Vec::new(),
            cx: JobContext::new(128 << 20).unwrap(),
        }
    }

    async fn image(&self) -> Image {
        let pool = self.volumes.pool().await.unwrap();
        let location = self.volume.provider_location.clone().unwrap();
        let (_, name) = location.rsplit_once('/').unwrap();
        pool.open_image(name).await.unwrap()
    }

    async fn back_up(&mut self) -> Outcome {
        let source = AttachSource::Volume(self.volume.clone());
        self.back_up_from(source).await
    }

    async fn back_up_from(&mut self, source: AttachSource) -> Outcome {
        let request = BackupRequest::new(self.volume.id, Timestamp::now());
        let plan = self.engine.plan(&request).unwrap();
        let attach = self.volumes.plan(&source, plan.id).await.unwrap();
        let attachment = self.volumes.execute(&attach).await.unwrap();
        let length = usize::try_from(attachment.device.geometry().length).unwrap();
        let (content, read) = attachment.device.read(0, Buf::zeroed(length)).await;
        read.unwrap();
        self.contents.push(content.to_vec());
        let outcome = self
            .engine
            .create(&plan, self.layers.last(), &attachment, &self.cx)
            .await
            .unwrap();
        drop(attachment);
        self.volumes.keep(&attach).await.unwrap();
        self.layers.push(Layer {
            id: plan.id,
            location: plan.location,
        });
        outcome
    }

    /// Restores every version onto one volume after the other, dirty from the second on, and compares.
    async fn check_all(&self) {
        let longest = self.contents.iter().map(Vec::len).max().unwrap();
        let id = VolumeId::generate();
        let location = self
            .volumes
            .create_volume(id, longest as u64)
            .await
            .unwrap();
        let target = VolumeRef {
            id,
            provider_location: Some(location),
        };
        for (version, content) in self.contents.iter().enumerate() {
            let chain = Chain::new(self.layers[..=version].to_vec()).unwrap();
            let source = AttachSource::Target(target.clone());
            let plan = self
                .volumes
                .plan(&source, self.layers[version].id)
                .await
                .unwrap();
            let attachment = self.volumes.execute(&plan).await.unwrap();
            self.engine
                .restore(
                    &chain,
                    &attachment.device,
                    &RestoreOptions::default(),
                    &self.cx,
                )
                .await
                .unwrap();
            let (restored, read) = attachment.device.read(0, Buf::zeroed(content.len())).await;
            read.unwrap();
            assert!(restored[..] == content[..], "version {version}");
            drop(attachment);
            self.volumes.undo(&plan).await.unwrap();
        }
        self.volumes.delete_volume(&target).await.unwrap();
    }
}

fn unaudited() -> ChunkedConfig {
    ChunkedConfig::zlib().unwrap().with_audit(0)
}

#[tokio::test(flavor = "multi_thread")]
async fn an_incremental_reads_the_blocks_that_were_touched_and_no_others() {
    let Some(mut c) = Chained::new(256 * MIB, unaudited()).await else {
        return;
    };
    let image = c.image().await;
    image
        .write(0, Bytes::from(noise(1, 40 << 20)))
        .await
        .unwrap();
    let full = c.back_up().await;
    assert!(
        full.read_bytes <= 40 * MIB + 4 * MIB,
        "holes are not read: {full:?}"
    );
    let mut random = Random(7);
    let mut touched = std::collections::BTreeSet::new();
    for i in 0..50 {
        let at = random.below(40 * MIB / 4096) * 4096;
        image.write(at, Bytes::from(noise(i, 4096))).await.unwrap();
        touched.insert(at / BLOCK);
    }
    let incremental = c.back_up().await;
    let touched = touched.len() as u64 * BLOCK;
    println!(
        "read {} bytes of {touched} in touched blocks",
        incremental.read_bytes
    );
    assert!(incremental.read_bytes <= touched, "{incremental:?}");
    assert!(incremental.read_bytes > 0);
    // Of an object that was not there before, librbd tells all up to what was written; the object knows better.
    image
        .write(201 * MIB, Bytes::from(noise(3, 4096)))
        .await
        .unwrap();
    let grown = c.back_up().await;
    let most = if HOLES_IN_OBJECTS { 0 } else { MIB };
    assert!(grown.read_bytes <= most + BLOCK, "{grown:?}");
    assert_eq!(grown.object_count, 1, "what is zero in it is the parent's");
    // Nothing at all.
    let nothing = c.back_up().await;
    assert_eq!((nothing.read_bytes, nothing.object_count), (0, 0));
    c.check_all().await;
    drop(image);
    c.volumes.delete_volume(&c.volume).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_chain_over_writes_zeroes_and_resizes_restores_link_by_link() {
    let config = ChunkedConfig::zlib().unwrap().with_audit(50_000);
    let Some(mut c) = Chained::new(24 * MIB, config).await else {
        return;
    };
    let image = c.image().await;
    image
        .write(MIB, Bytes::from(noise(1, 9 << 20)))
        .await
        .unwrap();
    c.back_up().await;
    image
        .write_zeroes(backup_core::ByteRange::new(2 * MIB + 512, 7 * MIB).unwrap())
        .await
        .unwrap();
    image
        .write(20 * MIB - 7, Bytes::from(noise(2, 777)))
        .await
        .unwrap();
    c.back_up().await;
    image.resize(30 * MIB + 5).await.unwrap();
    drop(image);
    let image = c.image().await;
    image
        .write(30 * MIB, Bytes::from_static(b"grown"))
        .await
        .unwrap();
    c.back_up().await;
    image.resize(9 * MIB + 12_345).await.unwrap();
    drop(image);
    c.back_up().await;
    let image = c.image().await;
    image.resize(12 * MIB).await.unwrap();
    drop(image);
    c.back_up().await;
    c.check_all().await;
    c.volumes.delete_volume(&c.volume).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_clone_is_backed_up_with_what_it_takes_from_its_parent_and_after_it_was_flattened() {
    let Some(mut c) = Chained::of_clone(16 * MIB, 6 << 20).await else {
        return;
    };
    let full = c.back_up().await;
    assert!(
        full.read_bytes >= 6 * MIB,
        "the parent's data is the clone's"
    );
    let image = c.image().await;
    image
        .write(5 * MIB, Bytes::from(noise(2, 100)))
        .await
        .unwrap();
    image
        .write_zeroes(backup_core::ByteRange::new(MIB, 2 * MIB).unwrap())
        .await
        .unwrap();
    let incremental = c.back_up().await;
    assert!(incremental.read_bytes < 6 * MIB, "{incremental:?}");
    image.flatten().await.unwrap();
    image
        .write(15 * MIB, Bytes::from(noise(3, 100)))
        .await
        .unwrap();
    c.back_up().await;
    c.check_all().await;
    drop(image);
    c.volumes.delete_volume(&c.volume).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_clone_no_longer_shows_of_its_parent_is_told_though_no_object_of_its_own_changed() {
    let Some(mut c) = Chained::of_clone(16 * MIB, 16 << 20).await else {
        return;
    };
    c.back_up().await;
    // Behind 5 MiB and a bit it shows zeroes from now on.
    for length in [5 * MIB + 12_345, 16 * MIB] {
        let image = c.image().await;
        image.resize(length).await.unwrap();
    }
    c.back_up().await;
    c.check_all().await;
    c.volumes.delete_volume(&c.volume).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_snapshot_is_backed_up_incrementally_on_an_older_backup() {
    let Some(mut c) = Chained::new(64 * MIB, unaudited()).await else {
        return;
    };
    let image = c.image().await;
    image
        .write(0, Bytes::from(noise(1, 10 << 20)))
        .await
        .unwrap();
    c.back_up().await;
    image
        .write(3 * MIB, Bytes::from(noise(2, 100)))
        .await
        .unwrap();
    let id = SnapshotId::generate();
    let location = c
        .volumes
        .create_snapshot(&c.volume, id, true)
        .await
        .unwrap();
    image
        .write(0, Bytes::from(noise(3, 10 << 20)))
        .await
        .unwrap();
    let snapshot = SnapshotRef {
        id,
        volume: c.volume.clone(),
        provider_location: Some(location),
    };
    let outcome = c
        .back_up_from(AttachSource::Snapshot(snapshot.clone()))
        .await;
    assert_eq!(outcome.read_bytes, BLOCK);
    // And the volume on the snapshot's backup.
    image
        .write(48 * MIB, Bytes::from(noise(4, 100)))
        .await
        .unwrap();
    let outcome = c.back_up().await;
    assert!(outcome.read_bytes <= 10 * MIB + BLOCK, "{outcome:?}");
    c.check_all().await;
    c.volumes.delete_snapshot(&snapshot).await.unwrap();
    drop(image);
    c.volumes.delete_volume(&c.volume).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn where_the_parents_snapshot_is_gone_everything_is_read_and_the_backup_is_right() {
    let Some(mut c) = Chained::new(32 * MIB, unaudited()).await else {
        return;
    };
    let image = c.image().await;
    image
        .write(0, Bytes::from(noise(1, 20 << 20)))
        .await
        .unwrap();
    c.back_up().await;
    for snapshot in image.snapshots().await.unwrap() {
        image.remove_snapshot(&snapshot.name).await.unwrap();
    }
    image.write(MIB, Bytes::from(noise(2, 100))).await.unwrap();
    let outcome = c.back_up().await;
    assert!(outcome.read_bytes >= 20 * MIB, "{outcome:?}");
    assert_eq!(outcome.object_count, 1, "only what changed is stored");
    c.check_all().await;
    drop(image);
    c.volumes.delete_volume(&c.volume).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_volume_that_is_written_all_the_time_is_backed_up_at_its_points_in_time() {
    let Some(mut c) = Chained::new(32 * MIB, unaudited()).await else {
        return;
    };
    // Another client.
    let other = Ceph::connect().await.unwrap();
    let name = format!("volume-{}", c.volume.id);
    let writer = other.pool.open_image(&name).await.unwrap();
    let writing = tokio::spawn(async move {
        let mut random = Random(3);
        loop {
            let at = random.below(8 * 1024) * 4096;
            let data = noise(random.next(), 4096);
            writer.write(at, Bytes::from(data)).await.unwrap();
            tokio::time::sleep(std::time::Duration::from_millis(2)).await;
        }
    });
    for _ in 0..6 {
        c.back_up().await;
        assert!(
            !writing.is_finished(),
            "the writer keeps its lock and goes on"
        );
    }
    writing.abort();
    assert!(writing.await.unwrap_err().is_cancelled());
    assert!(
        c.contents.windows(2).all(|w| w[0] != w[1]),
        "it was written"
    );
    c.check_all().await;
    delete_once_closed(&c.volumes, &c.volume).await;
}
