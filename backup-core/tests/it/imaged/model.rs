//! Random histories against a model: every version restores to what the volume held.

use backup_core::{ByteRange, ErrorKind, ImagedConfig};
use proptest::prelude::*;
use proptest::test_runner::{
    Config, FileFailurePersistence, RngAlgorithm, TestCaseError, TestRng, TestRunner,
};

use super::volume::{Life, Way};
use crate::history::noise;

#[derive(Debug, Clone)]
enum Step {
    Write {
        at: u64,
        length: u64,
        seed: u64,
    },
    Zero {
        at: u64,
        length: u64,
    },
    Discard {
        at: u64,
        length: u64,
    },
    Resize {
        length: u64,
    },
    Full {
        way: Way,
    },
    /// An incremental on any version that is there; on one that is not the newest in its image it is refused.
    Incremental {
        parent: usize,
        way: Way,
    },
    /// An incremental on the newest version.
    Next {
        way: Way,
    },
    /// The source loses a snapshot.
    Forget {
        which: usize,
    },
    /// Deletes any version that nothing stands on.
    Delete {
        leaf: usize,
    },
    /// What an attempt leaves that is killed on its way.
    Killed {
        at: u64,
        length: u64,
        resize: Option<u64>,
    },
}

const MAX: u64 = 700_000;

fn way() -> impl Strategy<Value = Way> {
    prop_oneof![4 => Just(Way::Tracked), 1 => Just(Way::Untracked), 1 => Just(Way::Plain)]
}

/// Offsets and lengths at the alignments of guests and stores, and at none.
fn place() -> impl Strategy<Value = (u64, u64)> {
    let at = prop_oneof![
        0..MAX,
        (0..MAX / 512).prop_map(|s| s * 512),
        (0..MAX / 32_768).prop_map(|s| s * 32_768),
        (0..MAX / 65_536).prop_map(|s| s * 65_536),
        // The last bytes, whatever the length.
        Just(MAX)
    ];
    let length = prop_oneof![
        1..200u64,
        Just(512),
        Just(4096),
        Just(32_768),
        Just(65_536),
        1..300_000u64
    ];
    (at, length)
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        6 => (place(), any::<u64>()).prop_map(|((at, length), seed)| Step::Write { at, length, seed }),
        4 => place().prop_map(|(at, length)| Step::Zero { at, length }),
        2 => place().prop_map(|(at, length)| Step::Discard { at, length }),
        2 => (1..MAX).prop_map(|length| Step::Resize { length }),
        1 => way().prop_map(|way| Step::Full { way }),
        2 => (any::<usize>(), way()).prop_map(|(parent, way)| Step::Incremental { parent, way }),
        6 => way().prop_map(|way| Step::Next { way }),
        1 => any::<usize>().prop_map(|which| Step::Forget { which }),
        1 => any::<usize>().prop_map(|leaf| Step::Delete { leaf }),
        1 => (place(), proptest::option::of(1..MAX))
            .prop_map(|((at, length), resize)| Step::Killed { at, length, resize }),
    ]
}

/// Into what a device of `end` bytes has: what would lie behind the end lies before it.
fn clip(end: u64, at: u64, length: u64) -> ByteRange {
    let at = if at >= end {
        end.saturating_sub(length)
    } else {
        at
    };
    ByteRange::new(at, (at + length).min(end)).unwrap()
}

fn bytes(range: ByteRange, seed: u64) -> bytes::Bytes {
    noise(seed, usize::try_from(range.len()).unwrap()).into()
}

impl Life {
    async fn step(&mut self, step: Step) {
        let end = self.image.geometry().length;
        match step {
            Step::Write { at, length, seed } => {
                let r = clip(end, at, length);
                self.image.write(r.start(), bytes(r, seed)).await.unwrap();
            }
            Step::Zero { at, length } => {
                let r = clip(end, at, length);
                self.image.write_zeroes(r).await.unwrap();
            }
            Step::Discard { at, length } => {
                self.image.discard(clip(end, at, length)).await.unwrap();
            }
            Step::Resize { length } => self.image.resize(length).await.unwrap(),
            Step::Full { way } => {
                self.full(way).await;
            }
            Step::Incremental { parent, way } => {
                let (alive, _) = self.alive_and_leaves();
                let Some(&parent) = alive.get(parent % alive.len().max(1)) else {
                    return;
                };
                let newest = self.newest_beside(parent) == Some(parent);
                let before = self.backups.inventory();
                match self.try_back_up(Some(parent), way).await {
                    Ok(_) => assert!(newest, "a parent that is not the newest was taken"),
                    Err(e) => {
                        assert!(!newest && e.is(ErrorKind::Conflict), "{e:?}");
                        assert_eq!(self.backups.inventory(), before);
                    }
                }
            }
            Step::Next { way } => {
                let (alive, _) = self.alive_and_leaves();
                match alive.last() {
                    Some(&newest) if self.newest_beside(newest) == Some(newest) => {
                        self.try_back_up(Some(newest), way).await.unwrap();
                    }
                    _ => {
                        self.full(way).await;
                    }
                }
            }
            Step::Forget { which } => {
                let snapshots = self.image.snapshots().await.unwrap();
                if let Some(snapshot) = snapshots.get(which % snapshots.len().max(1)) {
                    self.image.remove_snapshot(&snapshot.name).await.unwrap();
                }
            }
            Step::Delete { leaf } => {
                let (_, leaves) = self.alive_and_leaves();
                if let Some(&leaf) = leaves.get(leaf % leaves.len().max(1)) {
                    self.delete(leaf).await;
                }
            }
            Step::Killed { at, length, resize } => {
                let (alive, _) = self.alive_and_leaves();
                let Some(&version) = alive.last() else { return };
                let base = self.base(version);
                let image = self.open_base(&base).await;
                if let Some(length) = resize {
                    image.resize(length).await.unwrap();
                }
                let r = clip(image.geometry().length, at, length);
                image.write(r.start(), bytes(r, at)).await.unwrap();
            }
        }
    }

    async fn open_base(
        &self,
        base: &backup_core::ImageKey,
    ) -> std::sync::Arc<dyn backup_core::Image> {
        backup_core::ImageRepository::open_to_write(&self.backups, base)
            .await
            .unwrap()
    }
}

async fn live(audit: u32, length: u64, steps: Vec<Step>) {
    let mut life = Life::new(length, ImagedConfig::new().with_audit(audit)).await;
    life.full(Way::Tracked).await;
    for step in steps {
        life.step(step).await;
    }
    life.check_all().await;
}

fn number_in(variable: &str) -> Option<u64> {
    std::env::var(variable).ok()?.parse().ok()
}

/// `ASHLAR_MODEL_CASES` says how many histories; `ASHLAR_SEED` makes a run repeat. Histories that failed once come
/// first; their seeds stay in proptest-regressions.
#[test]
fn image_model_every_version_restores_to_what_the_volume_held() {
    let seeds = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/proptest-regressions/image_model.txt"
    );
    let config = Config {
        cases: number_in("ASHLAR_MODEL_CASES")
            .and_then(|n| n.try_into().ok())
            .unwrap_or(24),
        max_shrink_iters: 200,
        failure_persistence: Some(Box::new(FileFailurePersistence::Direct(seeds))),
        source_file: Some(file!()),
        ..Config::default()
    };
    let mut runner = match number_in("ASHLAR_SEED") {
        Some(seed) => {
            let mut bytes = [0; 32];
            bytes[..8].copy_from_slice(&seed.to_le_bytes());
            let rng = TestRng::from_seed(RngAlgorithm::ChaCha, &bytes);
            TestRunner::new_with_rng(config, rng)
        }
        None => TestRunner::new(config),
    };
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_time()
        .build()
        .unwrap();
    let audit = prop_oneof![Just(0), Just(10_000), Just(1_000_000)];
    let strategy = (audit, 1..MAX, prop::collection::vec(step(), 1..28));
    runner
        .run(&strategy, |(audit, length, steps)| {
            runtime.block_on(live(audit, length, steps));
            Ok::<(), TestCaseError>(())
        })
        .unwrap();
}
