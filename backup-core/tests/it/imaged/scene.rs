//! A small history in a store of images, the operations on it, and what holds after each, whatever went wrong.

use std::sync::Arc;
use std::time::Duration;

use backup_core::format::ceph;
use backup_core::format::volume::VolumeMetadata;
use backup_core::testing::{FaultImages, MemoryDevice, MemoryImages, SnapshotChanges};
use backup_core::{Attachment, BackupRequest, Timestamp, VolumeId};
use backup_core::{
    Backup, BackupPlan, BlockDevice, Buf, ByteRange, CancelToken, Chain, Error, ErrorKind,
    ImageBackup, ImageKey, ImageRepository, ImagedConfig, JobContext, Layer, Orphan, Outcome,
    Report, RestoreOptions, Result, ScanItem,
};
use futures::TryStreamExt;

use super::volume::{Life, Way, pool, read_all};
use crate::history::noise;

/// Nothing takes longer than this here, but for what hangs.
const HANGING: Duration = Duration::from_mins(1);

const LENGTH: u64 = 200_192;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Op {
    Full,
    Tracked,
    Compared,
    Restore,
    Read,
    Verify,
    Delete,
    Scan,
    Orphans,
    Committed,
}

impl Op {
    pub const ALL: [Self; 10] = [
        Self::Full,
        Self::Tracked,
        Self::Compared,
        Self::Restore,
        Self::Read,
        Self::Verify,
        Self::Delete,
        Self::Scan,
        Self::Orphans,
        Self::Committed,
    ];

    pub fn makes(self) -> bool {
        matches!(self, Self::Full | Self::Tracked | Self::Compared)
    }
}

pub enum Done {
    Made,
    Restored(MemoryDevice),
    Read(Vec<u8>),
    Verified(Report),
    Deleted,
    Scanned(Vec<ScanItem>),
    Orphans(Vec<Orphan>),
    Committed(Option<Outcome>),
}

/// A full backup and two incrementals on it, and a volume that changed since.
pub struct Scene {
    backups: MemoryImages,
    volumes: MemoryImages,
    key: ImageKey,
    volume_id: VolumeId,
    pub layers: Vec<Layer>,
    contents: Vec<Vec<u8>>,
    volume: Vec<u8>,
    pub cx: JobContext,
}

/// One try in copies of the scene's stores, of which either may fail.
pub struct Stage<'a> {
    scene: &'a Scene,
    pub backups: MemoryImages,
    pub faulty: FaultImages,
    pub source: FaultImages,
    engine: ImageBackup,
}

impl Scene {
    pub async fn new() -> Self {
        let volumes = MemoryImages::new(pool("volumes"));
        let mut l = Life::new(LENGTH, ImagedConfig::new()).await;
        l.volumes = Arc::new(volumes.clone());
        l.image = volumes.create(&l.key, LENGTH).await.unwrap();
        l.image.write(0, noise(1, 150_000).into()).await.unwrap();
        l.full(Way::Tracked).await;
        l.image.write(70_000, noise(2, 5000).into()).await.unwrap();
        l.incremental(Way::Tracked).await;
        l.image
            .write_zeroes(ByteRange::new(10_000, 90_000).unwrap())
            .await
            .unwrap();
        l.image.resize(LENGTH + 40_000).await.unwrap();
        l.image.write(LENGTH, noise(3, 5000).into()).await.unwrap();
        l.incremental(Way::Tracked).await;
        l.image.write(0, noise(4, 100).into()).await.unwrap();
        l.image
            .write(150_000, noise(5, 40_000).into())
            .await
            .unwrap();
        l.image
            .write_zeroes(ByteRange::new(100_000, 140_000).unwrap())
            .await
            .unwrap();
        Self {
            volume: read_all(&l.image).await,
            backups: l.backups,
            volumes,
            key: l.key,
            volume_id: l.volume_id,
            layers: l.versions.iter().map(|v| v.layer.clone()).collect(),
            contents: l.versions.into_iter().map(|v| v.content).collect(),
            cx: l.cx,
        }
    }

    pub fn stage(&self) -> Stage<'_> {
        let backups = self.backups.duplicate();
        let faulty = FaultImages::new(Arc::new(backups.clone()));
        let source = FaultImages::new(Arc::new(self.volumes.duplicate()));
        let config = ImagedConfig::new().with_audit(1_000_000);
        Stage {
            scene: self,
            engine: ImageBackup::new(Arc::new(faulty.clone()), config).unwrap(),
            backups,
            faulty,
            source,
        }
    }
}

/// Fails where it takes so long that it hangs.
pub async fn bounded<T>(work: impl Future<Output = T>) -> T {
    tokio::time::timeout(HANGING, work).await.expect("it hangs")
}

impl Stage<'_> {
    pub fn plan(&self, op: Op) -> BackupPlan {
        let mut request = BackupRequest::new(self.scene.volume_id, Timestamp::now());
        request.volume_metadata = Some(VolumeMetadata::default());
        if op != Op::Full {
            request.parent = Some(self.scene.layers[2].clone());
        }
        self.engine.plan(&request).unwrap()
    }

    /// The volume as `op` is given it.
    pub async fn attach(&self, op: Op, plan: &BackupPlan) -> Attachment {
        let volumes: Arc<dyn ImageRepository> = Arc::new(self.source.clone());
        let image = volumes.open_to_write(&self.scene.key).await.unwrap();
        let name = ceph::snapshot_name(plan.id, Timestamp::now());
        image.snapshot(&name).await.unwrap();
        let shown = volumes.open(&self.scene.key, Some(&name)).await.unwrap();
        let attachment = Attachment::new(Arc::<dyn backup_core::Image>::clone(&shown));
        match op {
            Op::Compared => attachment,
            _ => attachment.with_changes(Arc::new(SnapshotChanges::new(image, shown, name))),
        }
    }

    fn chain(&self, upto: usize) -> Chain {
        Chain::new(self.scene.layers[..=upto].to_vec()).unwrap()
    }

    pub async fn run(
        &self,
        op: Op,
        plan: &BackupPlan,
        source: &Attachment,
        cx: &JobContext,
    ) -> Result<Done> {
        let newest = &self.scene.layers[2];
        let chain = self.chain(2);
        Ok(match op {
            Op::Full => {
                self.engine.create(plan, None, source, cx).await?;
                Done::Made
            }
            Op::Tracked | Op::Compared => {
                self.engine.create(plan, Some(newest), source, cx).await?;
                Done::Made
            }
            Op::Restore => Done::Restored(self.restored(&chain, 2, cx).await?),
            Op::Read => {
                let reader = self.engine.open(&chain, cx).await?;
                let mut all = Vec::new();
                for piece in ByteRange::up_to(reader.length()).pieces(70_000) {
                    let buf = Buf::zeroed(usize::try_from(piece.len()).unwrap());
                    let (buf, read) = reader.read(piece.start(), buf).await;
                    read?;
                    all.extend_from_slice(&buf);
                }
                Done::Read(all)
            }
            Op::Verify => Done::Verified(self.engine.verify(&chain, cx).await?),
            Op::Delete => {
                self.engine.delete(newest, cx).await?;
                Done::Deleted
            }
            Op::Scan => Done::Scanned(self.engine.scan(None, cx).await?.try_collect().await?),
            Op::Orphans => Done::Orphans(self.engine.orphans(None, cx).await?.try_collect().await?),
            Op::Committed => Done::Committed(self.engine.committed(newest, cx).await?),
        })
    }

    async fn restored(
        &self,
        chain: &Chain,
        version: usize,
        cx: &JobContext,
    ) -> Result<MemoryDevice> {
        let length = self
            .scene
            .contents
            .get(version)
            .map_or(self.scene.volume.len(), Vec::len);
        let target = MemoryDevice::from_bytes(&noise(99, length)).without_holes();
        let device: Arc<dyn BlockDevice> = Arc::new(target.clone());
        let options = RestoreOptions::default();
        self.engine.restore(chain, &device, &options, cx).await?;
        Ok(target)
    }

    async fn assert_restores(&self, chain: &Chain, content: &[u8], label: &str) {
        let version = chain.layers().len() - 1;
        let target = bounded(self.restored(chain, version, &self.calm()))
            .await
            .unwrap_or_else(|e| panic!("{label}: {e:?}"));
        assert!(
            target.peek(0, content.len()) == content,
            "{label}: wrong bytes and no error"
        );
    }

    /// A context that nobody cancelled.
    fn calm(&self) -> JobContext {
        self.scene.cx.clone().with_cancel(CancelToken::new())
    }

    fn heal(&self) {
        self.faulty.heal();
        self.source.heal();
    }

    /// The backups that were there before restore; the newest one where it was not to be deleted.
    pub async fn assert_older(&self, op: Op, label: &str) {
        self.heal();
        let newest = if op == Op::Delete { 1 } else { 2 };
        for version in 0..=newest {
            self.assert_restores(&self.chain(version), &self.scene.contents[version], label)
                .await;
        }
    }

    /// What is there besides the bytes of images is what was there before.
    pub fn assert_clean(&self, label: &str) {
        assert_eq!(
            self.backups.inventory(),
            self.scene.backups.inventory(),
            "{label}: something stays behind"
        );
    }

    /// Deletes what an operation made or left, however long its last tasks hold the image.
    pub async fn clear(&self, layer: &Layer, label: &str) {
        self.heal();
        for _ in 0..1000 {
            match bounded(self.engine.delete(layer, &self.calm())).await {
                Err(e) if e.is(ErrorKind::Conflict) => {
                    tokio::time::sleep(Duration::from_millis(1)).await;
                }
                deleted => return deleted.unwrap_or_else(|e| panic!("{label}: {e:?}")),
            }
        }
        panic!("{label}: the image stays locked");
    }

    /// What an operation gave that did not fail.
    pub async fn assert_right(&self, op: Op, plan: &BackupPlan, done: Done, label: &str) {
        self.heal();
        let scene = self.scene;
        match done {
            Done::Made => {
                let mut layers = match op {
                    Op::Full => Vec::new(),
                    _ => scene.layers.clone(),
                };
                layers.push(plan.layer());
                let chain = Chain::new(layers).unwrap();
                let length = scene.volume.len();
                let target = MemoryDevice::from_bytes(&noise(98, length)).without_holes();
                let device: Arc<dyn BlockDevice> = Arc::new(target.clone());
                self.engine
                    .restore(&chain, &device, &RestoreOptions::default(), &self.calm())
                    .await
                    .unwrap_or_else(|e| panic!("{label}: {e:?}"));
                assert!(
                    target.peek(0, length) == scene.volume,
                    "{label}: wrong bytes and no error"
                );
                let report = self.engine.verify(&chain, &self.calm()).await.unwrap();
                assert_eq!(report.problems, [], "{label}");
                let done = self.engine.committed(&plan.layer(), &self.calm()).await;
                assert!(done.unwrap().is_some(), "{label}");
                self.clear(&plan.layer(), label).await;
                self.assert_clean(label);
            }
            Done::Restored(target) => assert!(
                target.peek(0, scene.contents[2].len()) == scene.contents[2],
                "{label}: wrong bytes and no error"
            ),
            Done::Read(bytes) => assert!(bytes == scene.contents[2], "{label}: wrong bytes"),
            Done::Verified(report) => assert_eq!(report.problems, [], "{label}"),
            Done::Deleted => self.assert_gone(label),
            Done::Scanned(items) => {
                assert_eq!(items.len(), 3, "{label}: {items:?}");
                for (item, layer) in items.iter().zip(&scene.layers) {
                    assert!(
                        matches!(item, ScanItem::Found(f) if f.record.id == layer.id),
                        "{label}: {item:?}"
                    );
                }
            }
            Done::Orphans(orphans) => assert!(orphans.is_empty(), "{label}: {orphans:?}"),
            Done::Committed(outcome) => {
                let length = outcome.map(|o| o.volume_length);
                assert_eq!(length, Some(scene.contents[2].len() as u64), "{label}");
            }
        }
    }

    fn assert_gone(&self, label: &str) {
        let id = self.scene.layers[2].id.to_string();
        let left = self.backups.inventory();
        assert!(
            left.iter().all(|line| !line.contains(&id)),
            "{label}: the delete left {left:?}"
        );
    }

    /// A delete that was cut left a whole backup or none, and is done by the next one.
    pub async fn check_deleted(&self, label: &str) {
        self.heal();
        let newest = &self.scene.layers[2];
        let there = self.engine.committed(newest, &self.calm()).await.unwrap();
        if there.is_some() {
            self.assert_restores(&self.chain(2), &self.scene.contents[2], label)
                .await;
        }
        self.clear(newest, label).await;
        self.assert_gone(label);
    }

    /// With nothing going wrong any more, the same operation succeeds.
    pub async fn assert_next_run(&self, op: Op, label: &str) {
        if op == Op::Delete {
            return;
        }
        self.heal();
        let plan = self.plan(op);
        let source = self.attach(op, &plan).await;
        let done = bounded(self.run(op, &plan, &source, &self.calm()))
            .await
            .unwrap_or_else(|e| panic!("{label}: the next run fails: {e:?}"));
        drop(source);
        self.assert_right(op, &plan, done, label).await;
    }
}

/// It says what was tried, on what and why, and is no fault of ours.
pub fn assert_told(e: &Error, label: &str) {
    assert!(
        !matches!(e.kind(), ErrorKind::Internal | ErrorKind::Cancelled),
        "{label}: {e:?}"
    );
    assert!(
        !e.operation().is_empty() && e.target().is_some(),
        "{label}: it does not say on what: {e:?}"
    );
}
