//! Volumes that lie in memory wholly, in part or not at all.

use backup_core::compress::compressor;
use backup_core::diff::JoinRules;
use backup_core::testing::{DeviceCounters, MemoryDevice};
use backup_core::{Algorithm, ChunkedConfig, RestoreOptions};

use crate::history::{History, noise, small};

const LENGTH: usize = 4_000_000;
const CHUNK: usize = 64 << 10; // of `small`

/// A full backup and an incremental of a volume of which every second stretch of `cached` bytes is in memory.
async fn history(cached: Option<u64>) -> (History, DeviceCounters) {
    let config = ChunkedConfig::new(compressor(Algorithm::Zstd, None).unwrap());
    let mut h = History::new(LENGTH as u64, small(config));
    h.volume = h.volume.clone().without_holes();
    if let Some(bytes) = cached {
        h.volume = h.volume.clone().with_cached_stretches(bytes);
    }
    h.volume.poke(0, &noise(1, LENGTH));
    h.volume.poke(100_000, &vec![0; 700_000]);
    h.full().await;
    h.volume.poke(1_500_000, &noise(2, 90_000));
    h.volume.poke(3_999_999, &[7]);
    h.incremental().await;
    let counters = h.volume.counters();
    (h, counters)
}

#[tokio::test]
async fn what_lies_in_memory_and_what_does_not_gives_the_same_backups() {
    let (plain, counters) = history(None).await;
    let chunks = 2 * LENGTH.div_ceil(CHUNK) as u64;
    assert_eq!((counters.reads, counters.cached_reads), (chunks, 0));
    for cached in [
        u64::MAX,
        1,
        1000,
        CHUNK as u64,
        300_000,
        1_000_000,
        2_500_000,
    ] {
        let (h, counters) = history(Some(cached)).await;
        h.check_all().await;
        assert_eq!(counters.reads, chunks, "each chunk is read once, {cached}");
        match cached {
            u64::MAX => assert_eq!(counters.cached_reads, chunks),
            1 | 1000 => assert_eq!(
                counters.cached_reads, 0,
                "{cached}: each chunk is cold in part"
            ),
            _ => assert!(
                (1..chunks).contains(&counters.cached_reads),
                "{cached}: {counters:?}"
            ),
        }
        assert_eq!(counters.bytes_read, 2 * LENGTH as u64, "{cached}");
        for (a, b) in plain.versions.iter().zip(&h.versions) {
            assert_eq!(a.outcome.read_bytes, b.outcome.read_bytes, "{cached}");
            assert_eq!(a.outcome.stored_bytes, b.outcome.stored_bytes, "{cached}");
            assert_eq!(a.outcome.object_count, b.outcome.object_count, "{cached}");
        }
    }
}

/// Every second block comes from another layer, and each of these is an object of its own.
#[tokio::test]
async fn short_objects_that_touch_are_written_together() {
    const BLOCK: u64 = 4 << 10; // of `small`
    let config =
        ChunkedConfig::new(compressor(Algorithm::None, None).unwrap()).with_join(JoinRules {
            join_gap: 0,
            zero_run: 0,
        });
    let mut h = History::new(LENGTH as u64, small(config));
    h.volume.poke(0, &noise(1, LENGTH));
    h.full().await;
    for block in (0..LENGTH as u64 / BLOCK).step_by(2) {
        h.volume.poke(block * BLOCK, &noise(block, 4096));
    }
    let newest = h.incremental().await;
    let target = MemoryDevice::new(LENGTH as u64);
    let report = h
        .restore_onto(newest, &target, &RestoreOptions::default())
        .await
        .unwrap();
    assert_eq!(target.first_difference(&h.volume), None);
    let counters = target.counters();
    assert_eq!(counters.bytes_written, LENGTH as u64, "each byte once");
    assert_eq!(report.written_bytes, LENGTH as u64);
    assert!(report.objects > 400, "{report:?}");
    // Four windows of a mebibyte; as much again where one had to go before it was whole.
    assert!(counters.writes <= 8, "{counters:?}");
}
