//! Random histories of a volume against a model: every version of every chain restores to what the volume held.

use backup_core::compress::compressor;
use backup_core::diff::JoinRules;
use backup_core::testing::MemoryDevice;
use backup_core::{
    Algorithm, Backup, BlockDevice, Buf, ByteRange, ChunkedConfig, ErrorKind, ExtentKind,
};
use proptest::prelude::*;
use proptest::test_runner::{
    Config, FileFailurePersistence, RngAlgorithm, TestCaseError, TestRng, TestRunner,
};

use crate::history::{History, noise, text};

#[derive(Debug, Clone)]
enum Step {
    Noise {
        at: u64,
        length: u64,
        seed: u64,
    },
    Text {
        at: u64,
        length: u64,
        seed: u64,
    },
    Zero {
        at: u64,
        length: u64,
    },
    /// What lies there afterwards is what the device makes of it: here zeroes, and a hole.
    Discard {
        at: u64,
        length: u64,
    },
    Resize {
        length: u64,
    },
    Configure(Setting),
    Full,
    /// An incremental on any version that is there.
    Incremental {
        parent: usize,
    },
    /// Deletes any version that nothing stands on.
    Delete {
        leaf: usize,
    },
}

#[derive(Debug, Clone)]
struct Setting {
    algorithm: usize,
    level: Option<i32>,
    block: u64,
    chunk_blocks: u64,
    join_gap: u64,
    zero_run: u64,
    zero_object: u64,
    /// Whether the volume tells its holes.
    holes: bool,
}

impl Setting {
    /// The volume as this setting has it. What of it lies in a cache follows from numbers that are there already, so that
    /// the seeds of old histories still mean them.
    fn applied_to(&self, volume: &MemoryDevice) -> MemoryDevice {
        let volume = volume.clone().with_holes(self.holes);
        match self.chunk_blocks % 3 {
            0 => volume,
            1 => volume.with_cached_stretches(u64::MAX),
            _ => volume.with_cached_stretches(self.zero_run + 7 * self.block),
        }
    }
}

const MAX: u64 = 700_000;
const BLOCKS: [u64; 3] = [512, 4096, 32_768];
const ALGORITHMS: [Algorithm; 4] = [
    Algorithm::None,
    Algorithm::Zlib,
    Algorithm::Bzip2,
    Algorithm::Zstd,
];

fn setting() -> impl Strategy<Value = Setting> {
    let level = prop_oneof![1 => Just(None), 2 => (-7..=9i32).prop_map(Some)];
    (
        0..ALGORITHMS.len(),
        level,
        // Mostly the same one, since another one asks for a full backup.
        prop_oneof![6 => Just(BLOCKS[1]), 1 => Just(BLOCKS[0]), 1 => Just(BLOCKS[2])],
        1..20u64,
        prop_oneof![Just(0), 0..60_000u64],
        prop_oneof![Just(0), 0..100_000u64],
        prop_oneof![Just(64 << 20), 1..20u64],
        any::<bool>(),
    )
        .prop_map(
            |(algorithm, level, block, chunk_blocks, join_gap, zero_run, zero_object, holes)| {
                Setting {
                    algorithm,
                    level,
                    block,
                    chunk_blocks,
                    join_gap,
                    zero_run,
                    zero_object: if zero_object < 20 {
                        zero_object * block
                    } else {
                        zero_object
                    },
                    holes,
                }
            },
        )
}

fn step() -> impl Strategy<Value = Step> {
    // Offsets and lengths that like block and sector borders.
    let at = prop_oneof![
        0..MAX,
        (0..MAX / 512).prop_map(|s| s * 512),
        (0..MAX / 4096).prop_map(|s| s * 4096),
        // The last bytes, whatever the length.
        Just(MAX)
    ];
    let length = prop_oneof![
        1..200u64,
        Just(512),
        Just(4096),
        Just(32768),
        Just(65536),
        1..150_000u64
    ];
    prop_oneof![
        4 => (at.clone(), length.clone(), any::<u64>()).prop_map(|(at, length, seed)| Step::Noise { at, length, seed }),
        4 => (at.clone(), length.clone(), any::<u64>()).prop_map(|(at, length, seed)| Step::Text { at, length, seed }),
        3 => (at.clone(), length.clone()).prop_map(|(at, length)| Step::Zero { at, length }),
        2 => (at, length).prop_map(|(at, length)| Step::Discard { at, length }),
        2 => (1..MAX).prop_map(|length| Step::Resize { length }),
        2 => setting().prop_map(Step::Configure),
        2 => Just(Step::Full),
        7 => any::<usize>().prop_map(|parent| Step::Incremental { parent }),
        1 => any::<usize>().prop_map(|leaf| Step::Delete { leaf }),
    ]
}

fn config(setting: &Setting) -> ChunkedConfig {
    let algorithm = ALGORITHMS[setting.algorithm];
    let level = setting.level.and_then(|level| match algorithm {
        Algorithm::None => None,
        Algorithm::Zstd => Some(level),
        // Levels below 1 are zstd's alone.
        Algorithm::Zlib | Algorithm::Bzip2 => Some(level.rem_euclid(9) + 1),
    });
    let mut config = ChunkedConfig::new(compressor(algorithm, level).unwrap())
        .with_block_size(setting.block)
        .with_chunk_size(setting.block * setting.chunk_blocks)
        .with_join(JoinRules {
            join_gap: setting.join_gap,
            zero_run: setting.zero_run,
        });
    config.zero_object = setting.zero_object;
    config
}

/// A volume, its backups, and the block size of each.
struct Life {
    h: History,
    setting: Setting,
    blocks: Vec<u64>,
}

impl Life {
    async fn full(&mut self) {
        self.h.full().await;
        self.blocks.push(self.setting.block);
    }

    async fn incremental(&mut self, parent: usize) {
        let made = self.h.try_back_up(Some(parent)).await;
        if self.blocks[parent] == self.setting.block {
            made.unwrap();
            self.blocks.push(self.setting.block);
        } else {
            let refused = made.map(|_| ()).unwrap_err();
            assert_eq!(refused.kind(), ErrorKind::Conflict, "{refused}");
            self.full().await;
        }
    }

    async fn step(&mut self, step: Step) {
        let h = &mut self.h;
        let end = h.volume.geometry().length;
        // What would lie behind the end lies before it.
        let clip = |at: u64, length: u64| {
            let at = if at >= end {
                end.saturating_sub(length)
            } else {
                at
            };
            ByteRange::new(at, (at + length).min(end)).unwrap()
        };
        let bytes = |range: ByteRange| usize::try_from(range.len()).unwrap();
        match step {
            Step::Noise { at, length, seed } => {
                let r = clip(at, length);
                h.volume.poke(r.start(), &noise(seed, bytes(r)));
            }
            Step::Text { at, length, seed } => {
                let r = clip(at, length);
                h.volume.poke(r.start(), &text(seed, bytes(r)));
            }
            Step::Zero { at, length } => {
                let r = clip(at, length);
                h.volume.poke(r.start(), &vec![0; bytes(r)]);
            }
            Step::Discard { at, length } => h.volume.poke_zeroes(clip(at, length)),
            Step::Resize { length } => h.volume = h.volume.resized(length),
            Step::Configure(setting) => {
                h.configure(config(&setting));
                h.volume = setting.applied_to(&h.volume);
                self.setting = setting;
            }
            Step::Full => self.full().await,
            Step::Incremental { parent } => {
                let (alive, _) = h.alive_and_leaves();
                match alive.get(parent % alive.len().max(1)) {
                    Some(&parent) => self.incremental(parent).await,
                    None => self.full().await,
                }
            }
            Step::Delete { leaf } => {
                let (_, leaves) = h.alive_and_leaves();
                if let Some(&leaf) = leaves.get(leaf % leaves.len().max(1)) {
                    h.delete(leaf).await;
                }
            }
        }
    }
}

async fn live(setting: Setting, length: u64, steps: Vec<Step>) {
    let mut h = History::new(length, config(&setting));
    h.volume = setting.applied_to(&h.volume);
    let mut life = Life {
        h,
        setting,
        blocks: Vec::new(),
    };
    life.full().await;
    for step in steps {
        life.step(step).await;
    }
    life.h.check_all().await;
    for version in life.h.alive_and_leaves().0 {
        read_here_and_there(&life.h, version).await;
    }
}

/// Reads a version without restoring it, at offsets of any kind, and what it tells of its extents.
async fn read_here_and_there(h: &History, version: usize) {
    let content = &h.versions[version].content;
    let end = content.geometry().length;
    let reader = h.engine.open(&h.chain(version), &h.cx).await.unwrap();
    assert_eq!(reader.length(), end);
    let number = |seed: u64| {
        noise(seed, 8)
            .iter()
            .fold(0u64, |a, b| a << 8 | u64::from(*b))
    };
    for i in 0..6u64 {
        let at = number(end * 31 + i) % end;
        let length = (end - at).min(1 + number(at) % (1 + i * 30_000));
        let length = usize::try_from(length).unwrap();
        let (read, result) = reader.read(at, Buf::zeroed(length)).await;
        result.unwrap();
        assert!(
            read[..] == content.peek(at, length)[..],
            "{length} bytes at {at} of version {version}"
        );
    }
    let mut at = 0;
    for extent in reader.extents(ByteRange::up_to(end)).await.unwrap() {
        assert_eq!(extent.range.start(), at, "extents have no gaps");
        at = extent.range.end();
        let held = content.peek(
            extent.range.start(),
            usize::try_from(extent.range.len()).unwrap(),
        );
        if extent.kind == ExtentKind::Zero {
            assert!(held.iter().all(|&b| b == 0), "{extent:?} holds data");
        }
    }
    assert_eq!(at, end, "extents cover the volume");
}

fn number_in(variable: &str) -> Option<u64> {
    std::env::var(variable).ok()?.parse().ok()
}

/// `ASHLAR_MODEL_CASES` says how many histories; `ASHLAR_SEED` makes a run repeat. Histories that failed once come first;
/// their seeds stay in proptest-regressions.
#[test]
fn model_every_version_restores_to_what_the_volume_held() {
    let seeds = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/proptest-regressions/model.txt"
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
        .build()
        .unwrap();
    let strategy = (setting(), 1..MAX, prop::collection::vec(step(), 1..28));
    runner
        .run(&strategy, |(setting, length, steps)| {
            runtime.block_on(live(setting, length, steps));
            Ok::<(), TestCaseError>(())
        })
        .unwrap();
}
