//! A small history, the operations on it, and what holds after each, whatever went wrong.

use std::sync::Arc;
use std::time::Duration;

use backup_core::compress::compressor;
use backup_core::decorate::{RetryPolicy, Retrying};
use backup_core::diff::JoinRules;
use backup_core::testing::{FaultPlan, FaultRepository, MemoryDevice, MemoryRepository};
use backup_core::{
    Algorithm, Attachment, Backup, BackupPlan, BackupRequest, BlockDevice, Buf, ByteRange, Chain,
    ChunkedBackup, ChunkedConfig, Error, ErrorKind, JobContext, Layer, Limits, Report, Repository,
    RestoreOptions, Result, ScanItem, Timestamp, VolumeId,
};
use futures::StreamExt;

use crate::history::{context, noise, text};

pub const LENGTH: u64 = 10_307;
const BLOCK: u64 = 512;

/// Nothing takes longer than this here, but for what hangs.
const HANGING: Duration = Duration::from_mins(1);

/// What is done with the history.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Op {
    Full,
    Incremental,
    Restore,
    Read,
    Verify,
    Delete,
    Scan,
}

impl Op {
    pub const ALL: [Self; 7] = [
        Self::Full,
        Self::Incremental,
        Self::Restore,
        Self::Read,
        Self::Verify,
        Self::Delete,
        Self::Scan,
    ];
}

/// How the engine reaches the repository.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Way {
    Plain,
    Retrying,
}

/// What an operation gave.
pub enum Done {
    Made(Layer),
    Restored(MemoryDevice),
    Read(Vec<u8>),
    Verified(Report),
    Deleted,
    Scanned(Vec<ScanItem>),
}

/// A full backup and two incrementals on it, and a volume that changed since.
pub struct Scene {
    pub sound: MemoryRepository,
    pub layers: Vec<Layer>,
    pub contents: Vec<MemoryDevice>,
    pub volume: MemoryDevice,
    pub volume_id: VolumeId,
    pub algorithm: Algorithm,
    pub cx: JobContext,
}

/// One try in a copy of the scene's repository.
pub struct Stage<'a> {
    pub scene: &'a Scene,
    pub memory: MemoryRepository,
    pub faulty: Arc<FaultRepository>,
    pub engine: ChunkedBackup,
}

fn config(algorithm: Algorithm) -> ChunkedConfig {
    ChunkedConfig::new(compressor(algorithm, None).unwrap())
        .with_block_size(BLOCK)
        .with_chunk_size(4 * BLOCK)
        .with_join(JoinRules {
            join_gap: 0,
            zero_run: 2 * BLOCK,
        })
}

impl Scene {
    /// `in_parts`: objects of more than 1500 bytes go in parts, as large ones do.
    pub async fn new(algorithm: Algorithm, in_parts: bool) -> Self {
        let mut sound = MemoryRepository::new().with_piece(700);
        if in_parts {
            sound = sound.with_limits(Limits::new(1 << 40).with_max_put(1500));
        }
        let mut scene = Self {
            sound: sound.clone(),
            layers: Vec::new(),
            contents: Vec::new(),
            volume: MemoryDevice::new(LENGTH),
            volume_id: VolumeId::generate(),
            algorithm,
            cx: context(),
        };
        scene.volume.poke(0, &text(1, 3000));
        scene.volume.poke(3000, &noise(2, 2500));
        scene.volume.poke(9000, &text(3, 1307));
        let engine = ChunkedBackup::new(Arc::new(sound), config(algorithm)).unwrap();
        for version in 0..3 {
            match version {
                0 => {}
                1 => scene.volume.poke(4000, b"a newer layer"),
                _ => {
                    scene.volume.poke_zeroes(ByteRange::new(500, 1600).unwrap());
                    scene.volume.poke(6200, &text(5, 900));
                }
            }
            let plan = scene.plan(&engine);
            let source = Attachment::new(Arc::new(scene.volume.copy()));
            engine
                .create(&plan, scene.layers.last(), &source, &scene.cx)
                .await
                .unwrap();
            scene.layers.push(Layer {
                id: plan.id,
                location: plan.location,
            });
            scene.contents.push(scene.volume.copy());
        }
        scene.volume.poke(0, b"changed since");
        scene.volume.poke(8000, &noise(7, 1500));
        scene
    }

    pub fn plan(&self, engine: &ChunkedBackup) -> BackupPlan {
        let mut request = BackupRequest::new(self.volume_id, Timestamp::now());
        request.name = Some("a name".into());
        request.project_id = "project".into();
        engine.plan(&request).unwrap()
    }

    pub fn stage(&self, way: Way, plan: FaultPlan) -> Stage<'_> {
        let memory = self.sound.duplicate();
        let faulty = Arc::new(FaultRepository::new(Arc::new(memory.clone()), plan));
        let repository: Arc<dyn Repository> = match way {
            Way::Plain => Arc::<FaultRepository>::clone(&faulty),
            Way::Retrying => {
                let policy = RetryPolicy::default()
                    .with_waits(Duration::from_micros(1), Duration::from_micros(10));
                let inner: Arc<dyn Repository> = Arc::<FaultRepository>::clone(&faulty);
                Arc::new(Retrying::new(inner, policy))
            }
        };
        Stage {
            scene: self,
            memory,
            faulty,
            engine: ChunkedBackup::new(repository, config(self.algorithm)).unwrap(),
        }
    }
}

pub fn objects(memory: &MemoryRepository) -> Vec<(String, bytes::Bytes)> {
    memory
        .objects()
        .into_iter()
        .map(|(name, _)| {
            let content = memory.object(&name).unwrap();
            (name, content)
        })
        .collect()
}

/// Full of other bytes.
pub fn dirty() -> MemoryDevice {
    MemoryDevice::from_bytes(&vec![0xA5; usize::try_from(LENGTH).unwrap()])
}

/// Fails where it takes so long that it hangs.
pub async fn bounded<T>(work: impl Future<Output = T>) -> T {
    tokio::time::timeout(HANGING, work).await.expect("it hangs")
}

impl Stage<'_> {
    pub fn chain(&self) -> Chain {
        Chain::new(self.scene.layers.clone()).unwrap()
    }

    pub async fn restore(&self, chain: &Chain, target: &MemoryDevice) -> Result<Report> {
        let target: Arc<dyn BlockDevice> = Arc::new(target.clone());
        let options = RestoreOptions::default();
        bounded(
            self.engine
                .restore(chain, &target, &options, &self.scene.cx),
        )
        .await
    }

    pub async fn create(&self, plan: &BackupPlan, parent: Option<&Layer>) -> Result<Layer> {
        let source = Attachment::new(Arc::new(self.scene.volume.clone()));
        self.engine
            .create(plan, parent, &source, &self.scene.cx)
            .await?;
        Ok(Layer {
            id: plan.id,
            location: plan.location.clone(),
        })
    }

    /// Does `op`; a backup that it makes goes where `plan` says.
    pub async fn run(&self, op: Op, plan: &BackupPlan) -> Result<Done> {
        let (scene, cx) = (self.scene, &self.scene.cx);
        let newest = &scene.layers[2];
        Ok(match op {
            Op::Full => Done::Made(self.create(plan, None).await?),
            Op::Incremental => Done::Made(self.create(plan, Some(newest)).await?),
            Op::Restore => {
                let target = dirty();
                self.restore(&self.chain(), &target).await?;
                Done::Restored(target)
            }
            Op::Read => {
                let reader = self.engine.open(&self.chain(), cx).await?;
                let mut all = Vec::new();
                for piece in ByteRange::up_to(LENGTH).pieces(3000) {
                    let buf = Buf::zeroed(usize::try_from(piece.len()).unwrap());
                    let (buf, read) = reader.read(piece.start(), buf).await;
                    read?;
                    all.extend_from_slice(&buf);
                }
                Done::Read(all)
            }
            Op::Verify => Done::Verified(self.engine.verify(&self.chain(), cx).await?),
            Op::Delete => {
                self.engine.delete(newest, cx).await?;
                Done::Deleted
            }
            Op::Scan => {
                let items: Vec<_> = self.engine.scan(None, cx).await?.collect().await;
                Done::Scanned(items.into_iter().collect::<Result<_>>()?)
            }
        })
    }

    /// The chain of the backup that `op` made.
    pub fn made(&self, op: Op, layer: &Layer) -> Chain {
        let mut layers = match op {
            Op::Incremental => self.scene.layers.clone(),
            _ => Vec::new(),
        };
        layers.push(layer.clone());
        Chain::new(layers).unwrap()
    }

    /// Whether a chain restores to `content`, bit for bit; an error is told, wrong bytes are none.
    pub async fn restores(&self, chain: &Chain, content: &MemoryDevice, label: &str) -> Result<()> {
        let target = dirty();
        self.restore(chain, &target).await?;
        assert_eq!(
            target.first_difference(content),
            None,
            "{label}: wrong bytes and no error"
        );
        Ok(())
    }

    /// The backups that were there before, but the newest where `without_newest`, have every object as it was.
    pub fn assert_older_untouched(&self, without_newest: bool, label: &str) {
        let newest = self.scene.layers[2].id.to_string();
        for (name, content) in objects(&self.scene.sound) {
            if without_newest && name.contains(&newest) {
                continue;
            }
            assert_eq!(
                self.memory.object(&name),
                Some(content),
                "{label}: {name} of another backup changed"
            );
        }
    }

    /// Exactly what was there before is there.
    pub fn assert_clean(&self, label: &str) {
        assert_eq!(
            objects(&self.memory),
            objects(&self.scene.sound),
            "{label}: something stays behind"
        );
        assert_eq!(self.memory.open_uploads(), 0, "{label}: an open upload");
    }

    /// With nothing going wrong any more, the same operation succeeds, and older backups restore.
    pub async fn assert_next_run(&self, op: Op, label: &str) {
        self.faulty.set_plan(FaultPlan::new());
        let plan = self.scene.plan(&self.engine);
        let done = bounded(self.run(op, &plan))
            .await
            .unwrap_or_else(|e| panic!("{label}: the next run fails: {e:?}"));
        self.assert_right(op, done, label).await;
        let cx = &self.scene.cx;
        if matches!(op, Op::Full | Op::Incremental) {
            self.engine.delete(&plan.layer(), cx).await.unwrap();
        }
        let older = Chain::new(self.scene.layers[..2].to_vec()).unwrap();
        self.restores(&older, &self.scene.contents[1], label)
            .await
            .unwrap();
    }

    /// What an operation gave in a sound repository.
    pub async fn assert_right(&self, op: Op, done: Done, label: &str) {
        let scene = self.scene;
        match done {
            Done::Made(layer) => {
                let chain = self.made(op, &layer);
                self.restores(&chain, &scene.volume, label)
                    .await
                    .unwrap_or_else(|e| panic!("{label}: {e:?}"));
                let report = self.engine.verify(&chain, &scene.cx).await.unwrap();
                assert_eq!(report.problems, [], "{label}");
            }
            Done::Restored(target) => {
                assert_eq!(target.first_difference(&scene.contents[2]), None, "{label}");
            }
            Done::Read(bytes) => assert!(
                bytes == scene.contents[2].peek(0, bytes.len()) && bytes.len() as u64 == LENGTH,
                "{label}: wrong bytes were read"
            ),
            Done::Verified(report) => assert_eq!(report.problems, [], "{label}"),
            Done::Deleted => self.assert_gone(label),
            Done::Scanned(items) => {
                assert_eq!(items.len(), 3, "{label}");
                self.assert_records(&items, label);
            }
        }
    }

    pub fn assert_gone(&self, label: &str) {
        let newest = self.scene.layers[2].id.to_string();
        let left: Vec<_> = self.memory.objects();
        assert!(
            left.iter().all(|(name, _)| !name.contains(&newest)),
            "{label}: the delete left {left:?}"
        );
    }

    /// What a scan found is as it was made.
    pub fn assert_records(&self, items: &[ScanItem], label: &str) {
        for item in items {
            let ScanItem::Found(found) = item else {
                panic!("{label}: {item:?}")
            };
            let at = self
                .scene
                .layers
                .iter()
                .position(|l| l.id == found.record.id)
                .unwrap_or_else(|| panic!("{label}: {found:?}"));
            let parent = at.checked_sub(1).map(|p| self.scene.layers[p].id);
            assert_eq!(found.record.parent_id, parent, "{label}");
            assert_eq!(found.record.volume_length, Some(LENGTH), "{label}");
        }
    }

    /// All memory of the budget was given back, also by what still ran when its future was dropped.
    pub async fn assert_memory_back(&self, label: &str) {
        let budget = self.scene.cx.memory();
        for _ in 0..10_000 {
            if budget.free() == budget.total() {
                return;
            }
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        panic!(
            "{label}: {} of {} bytes are free",
            budget.free(),
            budget.total()
        );
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
