//! Random histories of a volume against a model: every version of every chain restores to what the volume held.

use backup_core::compress::compressor;
use backup_core::diff::JoinRules;
use backup_core::{Algorithm, ByteRange, ChunkedConfig};
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};

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
    Resize {
        length: u64,
    },
    Configure {
        algorithm: u8,
        chunk_blocks: u64,
        join_gap: u64,
        zero_run: u64,
    },
    Full,
    Incremental {
        back: u64,
    },
}

const MAX: u64 = 700_000;

fn step() -> impl Strategy<Value = Step> {
    // Offsets and lengths that like block and sector borders.
    let at = prop_oneof![
        0..MAX,
        (0..MAX / 512).prop_map(|s| s * 512),
        (0..MAX / 4096).prop_map(|s| s * 4096)
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
        4 => (at, length).prop_map(|(at, length)| Step::Zero { at, length }),
        1 => (1..MAX).prop_map(|length| Step::Resize { length }),
        1 => (0..4u8, 1..20u64, prop_oneof![Just(0), 0..60_000u64], prop_oneof![Just(0), 0..100_000u64])
            .prop_map(|(algorithm, chunk_blocks, join_gap, zero_run)|
                Step::Configure { algorithm, chunk_blocks, join_gap, zero_run }),
        2 => Just(Step::Full),
        5 => (0..4u64).prop_map(|back| Step::Incremental { back }),
    ]
}

fn config(
    block_size: u64,
    algorithm: u8,
    chunk_blocks: u64,
    join_gap: u64,
    zero_run: u64,
) -> ChunkedConfig {
    let algorithm = [
        Algorithm::None,
        Algorithm::Zlib,
        Algorithm::Bzip2,
        Algorithm::Zstd,
    ][usize::from(algorithm)];
    ChunkedConfig::new(compressor(algorithm, None).unwrap())
        .with_block_size(block_size)
        .with_chunk_size(block_size * chunk_blocks)
        .with_join(JoinRules { join_gap, zero_run })
}

async fn live(block_size: u64, length: u64, steps: Vec<Step>) {
    let mut h = History::new(length, config(block_size, 1, 8, 0, 4 * block_size));
    h.full().await;
    for step in steps {
        let end = backup_core::BlockDevice::geometry(&h.volume).length;
        let clip =
            |at: u64, length: u64| ByteRange::new(at.min(end), (at + length).min(end)).unwrap();
        match step {
            Step::Noise { at, length, seed } => {
                let r = clip(at, length);
                h.volume
                    .poke(r.start(), &noise(seed, usize::try_from(r.len()).unwrap()));
            }
            Step::Text { at, length, seed } => {
                let r = clip(at, length);
                h.volume
                    .poke(r.start(), &text(seed, usize::try_from(r.len()).unwrap()));
            }
            Step::Zero { at, length } => h.volume.poke_zeroes(clip(at, length)),
            Step::Resize { length } => h.volume = h.volume.resized(length),
            Step::Configure {
                algorithm,
                chunk_blocks,
                join_gap,
                zero_run,
            } => h.configure(config(
                block_size,
                algorithm,
                chunk_blocks,
                join_gap,
                zero_run,
            )),
            Step::Full => {
                h.full().await;
            }
            Step::Incremental { back } => {
                let last = h.versions.len() - 1;
                let parent = last.saturating_sub(usize::try_from(back).unwrap());
                h.try_back_up(Some(parent)).await.unwrap();
            }
        }
    }
    h.check_all().await;
    for version in 0..h.versions.len() {
        let content = h.versions[version].content.clone();
        let end = backup_core::BlockDevice::geometry(&content).length;
        for i in 0..4u64 {
            let at = noise(end + i, 8)
                .iter()
                .fold(0u64, |a, b| a << 8 | u64::from(*b))
                % end;
            let length = usize::try_from((end - at).min(1 + i * 40_000)).unwrap();
            assert_eq!(h.read(version, at, length).await, content.peek(at, length));
        }
    }
}

/// `ASHLAR_MODEL_CASES` says how many histories; `ASHLAR_SEED` makes a run repeat.
#[test]
fn model_every_version_restores_to_what_the_volume_held() {
    let cases = std::env::var("ASHLAR_MODEL_CASES")
        .ok()
        .and_then(|n| n.parse().ok())
        .unwrap_or(24);
    let config = Config {
        cases,
        max_shrink_iters: 200,
        failure_persistence: Some(Box::new(
            proptest::test_runner::FileFailurePersistence::WithSource("regressions"),
        )),
        source_file: Some(file!()),
        ..Config::default()
    };
    let mut runner = match std::env::var("ASHLAR_SEED")
        .ok()
        .and_then(|s| s.parse::<u64>().ok())
    {
        Some(seed) => {
            let mut bytes = [0; 32];
            bytes[..8].copy_from_slice(&seed.to_le_bytes());
            let rng = proptest::test_runner::TestRng::from_seed(
                proptest::test_runner::RngAlgorithm::ChaCha,
                &bytes,
            );
            TestRunner::new_with_rng(config, rng)
        }
        None => TestRunner::new(config),
    };
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .build()
        .unwrap();
    let strategy = (
        prop_oneof![Just(512u64), Just(4096), Just(32768)],
        1..MAX,
        prop::collection::vec(step(), 1..24),
    );
    runner
        .run(&strategy, |(block_size, length, steps)| {
            runtime.block_on(live(block_size, length, steps));
            Ok(())
        })
        .unwrap();
}
