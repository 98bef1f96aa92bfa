//! Chains in the pool: of RBD volumes by differences, of anything else by comparing.

use std::sync::Arc;

use backup_core::format::ceph;
use backup_core::testing::MemoryDevice;
use backup_core::volume::{SnapshotRef, VolumeRef};
use backup_core::{
    AttachSource, Attachment, Backup, BackupId, BackupRequest, BlockDevice, Buf, ByteRange, Chain,
    DeviceAttacher, ErrorKind, ImageBackup, ImageKey, ImagedConfig, JobContext, Layer, NoObserver,
    Orphan, Outcome, RestoreOptions, ScanItem, SnapshotId, Timestamp, VolumeId, VolumeProvider,
};
use backup_rbd::{CephRepository, Features, HOLES_IN_OBJECTS, Image, RbdVolumes};
use bytes::Bytes;
use futures::TryStreamExt;

use super::{backups, engine};
use crate::ceph::{Random, conf, noise, volumes_config};

const MIB: u64 = 1 << 20;

/// A volume with a chain of backups, and what each must restore to.
struct Chained {
    volumes: RbdVolumes,
    volume: VolumeRef,
    engine: ImageBackup,
    layers: Vec<Layer>,
    contents: Vec<Vec<u8>>,
    cx: JobContext,
}

impl Chained {
    async fn new(length: u64, audit: u32) -> Option<Self> {
        let conf = conf()?;
        let volumes = RbdVolumes::new(volumes_config(&conf)).unwrap();
        let id = VolumeId::generate();
        let location = volumes.create_volume(id, length).await.unwrap();
        Some(Self {
            volumes,
            volume: VolumeRef {
                id,
                provider_location: Some(location),
            },
            engine: engine(&conf, audit),
            layers: Vec::new(),
            contents: Vec::new(),
            cx: JobContext::new(128 << 20).unwrap(),
        })
    }

    async fn image(&self) -> Image {
        let pool = self.volumes.pool().await.unwrap();
        let name = format!("volume-{}", self.volume.id);
        pool.open_image(&name).await.unwrap()
    }

    fn request(&self) -> BackupRequest {
        let mut request = BackupRequest::new(self.volume.id, Timestamp::now());
        request.parent = self.layers.last().cloned();
        request
    }

    async fn back_up(&mut self) -> Outcome {
        let source = AttachSource::Volume(self.volume.clone());
        self.back_up_from(source).await
    }

    async fn back_up_from(&mut self, source: AttachSource) -> Outcome {
        let plan = self.engine.plan(&self.request()).unwrap();
        let attach = self.volumes.plan(&source, plan.id).await.unwrap();
        let attachment = self.volumes.execute(&attach).await.unwrap();
        let outcome = self.store(&plan, &attachment).await;
        drop(attachment);
        self.volumes.keep(&attach).await.unwrap();
        outcome
    }

    async fn store(&mut self, plan: &backup_core::BackupPlan, attachment: &Attachment) -> Outcome {
        let length = usize::try_from(attachment.device.geometry().length).unwrap();
        let (content, read) = attachment.device.read(0, Buf::zeroed(length)).await;
        read.unwrap();
        self.contents.push(content.to_vec());
        let outcome = self
            .engine
            .create(plan, self.layers.last(), attachment, &self.cx)
            .await
            .unwrap();
        self.layers.push(plan.layer());
        outcome
    }

    /// Restores every version onto one volume after the other, dirty from the second on, and into a device that is not of
    /// this cluster, and compares.
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
            let id = self.layers[version].id;
            let plan = self.volumes.plan(&source, id).await.unwrap();
            let attachment = self.volumes.execute(&plan).await.unwrap();
            let device = MemoryDevice::from_bytes(&noise(5, content.len())).without_holes();
            let other: Arc<dyn BlockDevice> = Arc::new(device.clone());
            for target in [&attachment.device, &other] {
                self.engine
                    .restore(&chain, target, &RestoreOptions::default(), &self.cx)
                    .await
                    .unwrap();
                let (restored, read) = target.read(0, Buf::zeroed(content.len())).await;
                read.unwrap();
                assert!(restored[..] == content[..], "version {version}");
            }
            drop(attachment);
            self.volumes.undo(&plan).await.unwrap();
            let report = self.engine.verify(&chain, &self.cx).await.unwrap();
            assert_eq!(report.problems, [], "version {version}");
        }
        self.volumes.delete_volume(&target).await.unwrap();
    }

    /// Deletes all, newest first, and sees that nothing of it is left.
    async fn delete_all(self) {
        for layer in self.layers.iter().rev() {
            self.engine.delete(layer, &self.cx).await.unwrap();
        }
        let prefix = format!("volume-{}", self.volume.id);
        let left = self.engine.repository().list(&backups(), &prefix).await;
        assert_eq!(left.unwrap(), Vec::<String>::new());
        self.volumes.delete_volume(&self.volume).await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_incremental_in_the_pool_moves_what_changed_and_nothing_else() {
    let Some(mut c) = Chained::new(256 * MIB, 0).await else {
        return;
    };
    let image = c.image().await;
    image
        .write(0, Bytes::from(noise(1, 40 << 20)))
        .await
        .unwrap();
    let full = c.back_up().await;
    assert!(full.read_bytes <= 44 * MIB, "holes are not read: {full:?}");
    let mut random = Random(7);
    for i in 0..50 {
        let at = random.below(40 * MIB / 4096) * 4096;
        image.write(at, Bytes::from(noise(i, 4096))).await.unwrap();
    }
    image
        .write_zeroes(ByteRange::new(4 * MIB, 8 * MIB).unwrap())
        .await
        .unwrap();
    let inc = c.back_up().await;
    assert!(inc.read_bytes <= 50 * 4096, "{inc:?}");
    assert!(inc.stored_bytes <= 50 * 4096, "{inc:?}");
    // Of an object that was not there before, librbd tells all up to what was written; the object knows better.
    image
        .write(201 * MIB, Bytes::from(noise(3, 4096)))
        .await
        .unwrap();
    let grown = c.back_up().await;
    let most = if HOLES_IN_OBJECTS { 0 } else { MIB };
    assert!(grown.read_bytes <= most + 4096, "{grown:?}");
    assert!(grown.stored_bytes <= 32 << 10, "{grown:?}");
    let nothing = c.back_up().await;
    assert_eq!((nothing.read_bytes, nothing.stored_bytes), (0, 0));
    image.close().await.unwrap();
    c.check_all().await;
    c.delete_all().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn stripes_and_journals_are_as_configured() {
    let Some(mut c) = Chained::new(32 * MIB, 1_000_000).await else {
        return;
    };
    let mut config = super::config(&conf().unwrap());
    config.stripe_unit = 65_536;
    config.stripe_count = 4;
    config.image_journals = true;
    let striped = CephRepository::new(&config).unwrap();
    c.engine = ImageBackup::new(Arc::new(striped), ImagedConfig::new()).unwrap();
    for n in 0..3 {
        let image = c.image().await;
        image
            .write(n * 5 * MIB, Bytes::from(noise(n, 7 << 20)))
            .await
            .unwrap();
        image
            .write_zeroes(ByteRange::at(n * MIB, 100_000).unwrap())
            .await
            .unwrap();
        image.close().await.unwrap();
        c.back_up().await;
    }
    let pool = c.image().await.pool().cluster().pool("backups").await;
    let base = ceph::base_of(&c.layers[0].location.prefix).unwrap();
    let base = pool.unwrap().open_read_only(&base, None).await.unwrap();
    let info = base.info().clone();
    assert_eq!((info.stripe_unit, info.stripe_count), (65_536, 4));
    let bits = Features::STRIPING | Features::JOURNALING | Features::EXCLUSIVE_LOCK;
    assert!(info.features.has(bits), "{info:?}");
    drop(base);
    c.check_all().await;
    c.delete_all().await;
    config.stripe_count = 0;
    assert!(CephRepository::new(&config).is_err());
}

/// Writes, zeroes and discards at the alignments of guests, resizes, and a backup now and then.
#[tokio::test(flavor = "multi_thread")]
async fn a_volume_with_a_life_restores_at_every_point() {
    let Some(mut c) = Chained::new(24 * MIB + 512, 1_000_000).await else {
        return;
    };
    let seed = std::env::var("ASHLAR_SEED")
        .ok()
        .and_then(|s| s.parse().ok())
        .unwrap_or(11);
    let mut random = Random(seed);
    for backup in 0..8 {
        let mut image = c.image().await;
        for _ in 0..12 {
            let end = image.info().size;
            let align = [512, 4096, 32 << 10, 64 << 10][usize::try_from(random.below(4)).unwrap()];
            let at = random.below(end / align) * align;
            let length = (1 + random.below(40)) * align;
            let range = ByteRange::new(at, (at + length).min(end)).unwrap();
            match random.below(7) {
                0..3 => {
                    let data = noise(random.next(), usize::try_from(range.len()).unwrap());
                    image.write(at, Bytes::from(data)).await.unwrap();
                }
                3 | 4 => image.write_zeroes(range).await.unwrap(),
                5 => image.discard(range).await.unwrap(),
                _ => {
                    let size = 16 * MIB + random.below(16 * MIB / 512) * 512;
                    image.resize(size).await.unwrap();
                    image.close().await.unwrap();
                    image = c.image().await;
                }
            }
        }
        image.close().await.unwrap();
        if backup % 3 == 2 {
            // As a device of which nothing is known.
            let plan = c.engine.plan(&c.request()).unwrap();
            let image = c.image().await;
            let length = usize::try_from(image.info().size).unwrap();
            let (content, read) = image.read(0, Buf::zeroed(length)).await;
            read.unwrap();
            let device = MemoryDevice::from_bytes(&content).without_holes();
            c.store(&plan, &Attachment::new(Arc::new(device))).await;
        } else {
            c.back_up().await;
        }
    }
    println!("seed {seed}");
    c.check_all().await;
    c.delete_all().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn snapshots_of_a_volume_are_backed_up_and_incrementals_of_them_too() {
    let Some(mut c) = Chained::new(16 * MIB, 1_000_000).await else {
        return;
    };
    let image = c.image().await;
    image
        .write(0, Bytes::from(noise(1, 6 << 20)))
        .await
        .unwrap();
    let mut snapshots = Vec::new();
    for n in 0..3 {
        let id = SnapshotId::generate();
        let location = c
            .volumes
            .create_snapshot(&c.volume, id, false)
            .await
            .unwrap();
        snapshots.push(SnapshotRef {
            id,
            volume: c.volume.clone(),
            provider_location: Some(location),
        });
        image
            .write(n * MIB + 512, Bytes::from(noise(n + 9, 70_000)))
            .await
            .unwrap();
    }
    image.close().await.unwrap();
    for snapshot in &snapshots {
        c.back_up_from(AttachSource::Snapshot(snapshot.clone()))
            .await;
    }
    c.back_up().await;
    c.check_all().await;
    for snapshot in &snapshots {
        c.volumes.delete_snapshot(snapshot).await.unwrap();
    }
    c.delete_all().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cancelled_backup_leaves_nothing_and_the_next_one_is_right() {
    let Some(mut c) = Chained::new(128 * MIB, 0).await else {
        return;
    };
    let image = c.image().await;
    image
        .write(0, Bytes::from(noise(1, 64 << 20)))
        .await
        .unwrap();
    c.back_up().await;
    image
        .write(0, Bytes::from(noise(2, 64 << 20)))
        .await
        .unwrap();
    image.close().await.unwrap();
    let plan = c.engine.plan(&c.request()).unwrap();
    let source = AttachSource::Volume(c.volume.clone());
    let attach = c.volumes.plan(&source, plan.id).await.unwrap();
    let attachment = c.volumes.execute(&attach).await.unwrap();
    let cx = c.cx.for_job(Arc::new(NoObserver));
    let cancel = cx.cancel().clone();
    let stop = async {
        tokio::time::sleep(std::time::Duration::from_millis(40)).await;
        cancel.cancel();
    };
    let create = c.engine.create(&plan, c.layers.last(), &attachment, &cx);
    let (created, ()) = tokio::join!(create, stop);
    drop(attachment);
    // On a quick machine it may have been done before.
    if let Err(e) = created {
        assert!(e.is(ErrorKind::Cancelled), "{e:?}");
        c.volumes.undo(&attach).await.unwrap();
        let done = c.engine.committed(&plan.layer(), &c.cx).await.unwrap();
        assert_eq!(done, None);
        let orphans: Vec<_> = c
            .engine
            .orphans(Some(&backups()), &c.cx)
            .await
            .unwrap()
            .try_collect()
            .await
            .unwrap();
        let id = plan.id.to_string();
        assert!(
            orphans.iter().all(|o| !format!("{o:?}").contains(&id)),
            "{orphans:?}"
        );
    } else {
        c.engine.delete(&plan.layer(), &c.cx).await.unwrap();
        c.volumes.undo(&attach).await.unwrap();
    }
    c.back_up().await;
    c.check_all().await;
    c.delete_all().await;
}

async fn scanned(c: &Chained) -> Vec<ScanItem> {
    let items = c.engine.scan(Some(&backups()), &c.cx).await.unwrap();
    items.try_collect().await.unwrap()
}

/// The orphans that name a backup.
async fn orphans_of(c: &Chained, id: BackupId) -> Vec<Orphan> {
    let found = c.engine.orphans(Some(&backups()), &c.cx).await.unwrap();
    let mut found: Vec<_> = found.try_collect().await.unwrap();
    let id = id.to_string();
    found.retain(|orphan| format!("{orphan:?}").contains(&id));
    found
}

#[tokio::test(flavor = "multi_thread")]
async fn a_scan_of_the_pool_finds_the_chain_and_an_orphan_is_removed() {
    let Some(mut c) = Chained::new(4 * MIB, 0).await else {
        return;
    };
    c.back_up().await;
    c.back_up().await;
    let items = scanned(&c).await;
    for (n, layer) in c.layers.iter().enumerate() {
        let found = items.iter().find_map(|item| match item {
            ScanItem::Found(found) if found.record.id == layer.id => Some(&found.record),
            _ => None,
        });
        let record = found.unwrap_or_else(|| panic!("backup {n} is not found: {items:?}"));
        assert_eq!(record.location.as_ref(), Some(&layer.location));
        assert_eq!(record.volume_id, c.volume.id);
        assert_eq!(record.volume_length, Some(4 * MIB));
        let parent = n.checked_sub(1).map(|p| c.layers[p].id);
        assert_eq!(record.parent_id, parent);
    }
    // A full backup whose job was killed before it wrote anything.
    let mut request = c.request();
    request.parent = None;
    let killed = c.engine.plan(&request).unwrap();
    let base = format!("volume-{}.backup.{}", c.volume.id, killed.id);
    let key = ImageKey::new(&backups(), base).unwrap();
    drop(c.engine.repository().create(&key, MIB).await.unwrap());
    let mine = orphans_of(&c, killed.id).await;
    assert_eq!(mine.len(), 1, "{mine:?}");
    assert!(mine[0].modified.is_some(), "{mine:?}");
    assert!(c.engine.remove_orphan(&mine[0], &c.cx).await.unwrap());
    let opened = c.engine.repository().open(&key, None).await;
    assert!(opened.unwrap_err().is(ErrorKind::NotFound));
    c.delete_all().await;
}

/// A process that is killed while it makes a snapshot may leave one that is listed and has no object map.
#[tokio::test(flavor = "multi_thread")]
async fn a_snapshot_that_cannot_be_opened_makes_no_backup() {
    let Some(mut c) = Chained::new(4 * MIB, 0).await else {
        return;
    };
    c.back_up().await;
    c.back_up().await;
    let layer = c.layers[1].clone();
    let done = c.engine.committed(&layer, &c.cx).await.unwrap();
    assert!(done.is_some());

    let pool = c
        .image()
        .await
        .pool()
        .cluster()
        .pool("backups")
        .await
        .unwrap();
    let base = ceph::base_of(&layer.location.prefix).unwrap();
    let image = pool.open_read_only(&base, None).await.unwrap();
    let snapshots = image.snapshots().await.unwrap();
    let map = format!(
        "rbd_object_map.{}.{:016x}",
        image.info().id,
        snapshots[1].id
    );
    image.close().await.unwrap();
    assert!(pool.get_object(&map, 1 << 20).await.unwrap().is_some());
    pool.remove_object(&map).await.unwrap();

    let opened = pool.open_read_only(&base, Some(&snapshots[1].name)).await;
    let done = c.engine.committed(&layer, &c.cx).await.unwrap();
    assert_eq!(done.is_some(), opened.is_ok(), "{opened:?}");
    let whole = opened.is_ok();
    println!("a snapshot without its object map opens: {whole}");
    drop(opened);
    // With the catalogue lost it is told as what it is. It may be mended yet, so it is no orphan.
    let id = layer.id.to_string();
    let told = scanned(&c).await;
    let is_found = told
        .iter()
        .any(|item| matches!(item, ScanItem::Found(found) if found.record.id == layer.id));
    let is_broken = told.iter().any(
        |item| matches!(item, ScanItem::Broken(problem) if format!("{problem:?}").contains(&id)),
    );
    assert_eq!((is_found, is_broken), (whole, !whole), "{told:?}");
    let orphans = orphans_of(&c, layer.id).await;
    assert!(orphans.is_empty(), "{orphans:?}");
    // It is removed as any other, and the next backup is right.
    c.engine.delete(&layer, &c.cx).await.unwrap();
    c.layers.pop();
    c.contents.pop();
    c.back_up().await;
    c.check_all().await;
    c.delete_all().await;
}
