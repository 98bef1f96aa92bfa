//! What an incremental does with a source that knows what changed, and with one that is wrong.

use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use backup_core::compress::compressor;
use backup_core::testing::{MemoryChangeSource, MemoryDevice, MemoryRepository};
use backup_core::{
    Algorithm, Attachment, Backup, BackupId, BackupRequest, BlockDevice, ByteRange, Chain,
    ChangePoint, ChangeSource, ChunkedBackup, ChunkedConfig, Extent, ExtentKind, JobContext, Layer,
    Observer, Outcome, Progress, RestoreOptions, Result, Timestamp, VolumeId,
};

use crate::history::{context, noise, small};

const BLOCK: u64 = 4 << 10;

/// Keeps what it is warned of.
#[derive(Debug, Default)]
struct Warnings(Mutex<Vec<String>>);

impl Observer for Warnings {
    fn progress(&self, _: &Progress) {}

    fn warning(&self, message: &str) {
        self.0.lock().unwrap().push(message.to_owned());
    }
}

/// Calls everything unchanged, whatever happened.
#[derive(Debug)]
struct Liar(Arc<MemoryChangeSource>);

#[async_trait]
impl ChangeSource for Liar {
    async fn mark(&self, id: BackupId) -> Result<ChangePoint> {
        self.0.mark(id).await
    }

    async fn changed(&self, _: &ChangePoint, range: ByteRange) -> Result<Vec<Extent>> {
        Ok(vec![Extent::new(range, ExtentKind::Unchanged)])
    }

    async fn release(&self, point: &ChangePoint) -> Result<()> {
        self.0.release(point).await
    }
}

struct Tracked {
    repository: MemoryRepository,
    engine: ChunkedBackup,
    volume: MemoryDevice,
    layers: Vec<Layer>,
    warnings: Arc<Warnings>,
    cx: JobContext,
}

impl Tracked {
    fn new(length: u64, audit_per_million: u32) -> Self {
        let repository = MemoryRepository::new();
        let config = ChunkedConfig::new(compressor(Algorithm::None, None).unwrap());
        let config = small(config).with_audit(audit_per_million);
        let warnings = Arc::new(Warnings::default());
        let volume = MemoryDevice::new(length).without_holes();
        volume.poke(0, &noise(1, usize::try_from(length).unwrap()));
        Self {
            engine: ChunkedBackup::new(Arc::new(repository.clone()), config).unwrap(),
            repository,
            volume,
            layers: Vec::new(),
            cx: context().for_job(Arc::<Warnings>::clone(&warnings)),
            warnings,
        }
    }

    fn source(&self) -> Arc<MemoryChangeSource> {
        Arc::new(MemoryChangeSource::new(self.volume.clone()))
    }

    async fn back_up(&mut self, changes: Arc<dyn ChangeSource>) -> Outcome {
        let request = BackupRequest::new(VolumeId::generate(), Timestamp::now());
        let plan = self.engine.plan(&request).unwrap();
        let source = Attachment::new(Arc::new(self.volume.clone())).with_changes(changes);
        let outcome = self
            .engine
            .create(&plan, self.layers.last(), &source, &self.cx)
            .await
            .unwrap();
        self.layers.push(Layer {
            id: plan.id,
            location: plan.location,
        });
        outcome
    }

    async fn check(&self) {
        let target: Arc<MemoryDevice> = Arc::new(MemoryDevice::new(self.volume.geometry().length));
        let device: Arc<dyn BlockDevice> = Arc::<MemoryDevice>::clone(&target);
        let chain = Chain::new(self.layers.clone()).unwrap();
        self.engine
            .restore(&chain, &device, &RestoreOptions::default(), &self.cx)
            .await
            .unwrap();
        assert_eq!(target.first_difference(&self.volume), None);
    }

    fn warned(&self) -> Vec<String> {
        std::mem::take(&mut *self.warnings.0.lock().unwrap())
    }
}

#[tokio::test]
async fn an_incremental_reads_what_changed_and_of_the_rest_only_the_audit() {
    let mut t = Tracked::new(1000 * BLOCK, 50_000);
    let source = t.source();
    let full = t.back_up(Arc::<MemoryChangeSource>::clone(&source)).await;
    assert_eq!(full.audited_bytes, 0, "nothing is told as unchanged");
    t.volume.poke(10 * BLOCK + 5, b"one");
    t.volume.poke(500 * BLOCK, b"two");
    let incremental = t.back_up(source).await;
    assert_eq!(incremental.read_bytes, 2 * BLOCK);
    let audited = incremental.audited_bytes / BLOCK;
    assert!((20..90).contains(&audited), "5 % of 1000 blocks: {audited}");
    assert_eq!(incremental.object_count, 2);
    assert_eq!(t.warned(), [""; 0]);
    t.check().await;
}

#[tokio::test]
async fn without_an_audit_nothing_that_did_not_change_is_read() {
    let mut t = Tracked::new(100 * BLOCK, 0);
    let source = t.source();
    t.back_up(Arc::<MemoryChangeSource>::clone(&source)).await;
    let incremental = t.back_up(source).await;
    assert_eq!((incremental.read_bytes, incremental.audited_bytes), (0, 0));
    t.check().await;
}

#[tokio::test]
async fn a_source_that_is_caught_is_not_believed_and_it_is_said() {
    let mut t = Tracked::new(1000 * BLOCK, 20_000);
    let source = t.source();
    t.back_up(Arc::<MemoryChangeSource>::clone(&source)).await;
    // Much changed, so that a sample of 2 % meets some of it.
    t.volume.poke(100 * BLOCK, &noise(2, 800 << 12));
    let incremental = t.back_up(Arc::new(Liar(source))).await;
    assert_eq!(incremental.read_bytes, 1000 * BLOCK, "a full scan");
    let warned = t.warned();
    assert_eq!(warned.len(), 1, "{warned:?}");
    assert!(warned[0].contains("CHANGE TRACKING"), "{warned:?}");
    t.check().await;
    let prefixes: Vec<_> = t.layers.iter().map(|l| &l.location.prefix).collect();
    for (path, _) in t.repository.objects() {
        let known = prefixes.iter().any(|p| path.contains(p.as_str()));
        assert!(known, "{path} is left of the first try");
    }
    let report = t
        .engine
        .verify(&Chain::new(t.layers.clone()).unwrap(), &t.cx)
        .await
        .unwrap();
    assert_eq!(report.problems, [], "nothing of the first try is left");
}

#[tokio::test]
async fn a_change_point_that_is_gone_makes_a_full_scan_and_the_incremental_is_right() {
    let mut t = Tracked::new(100 * BLOCK, 0);
    let source = t.source();
    let full = t.back_up(Arc::<MemoryChangeSource>::clone(&source)).await;
    source.release(&full.change_point.unwrap()).await.unwrap();
    t.volume.poke(0, b"changed");
    let incremental = t.back_up(source).await;
    assert_eq!(incremental.read_bytes, 100 * BLOCK);
    assert_eq!(incremental.object_count, 1);
    let warned = t.warned();
    assert!(warned[0].contains("is read"), "{warned:?}");
    t.check().await;
}

#[tokio::test]
async fn a_volume_that_was_cut_within_an_unchanged_block_restores_with_every_block_checked() {
    let mut t = Tracked::new(10 * BLOCK, 0);
    let source = t.source();
    t.back_up(Arc::<MemoryChangeSource>::clone(&source)).await;
    t.volume = t.volume.resized(5 * BLOCK + 100);
    let source = Arc::into_inner(source).unwrap();
    let source = Arc::new(source.moved_to(t.volume.clone()));
    let incremental = t.back_up(source).await;
    assert_eq!(incremental.read_bytes, 100, "the short last block");
    t.check().await;
}
