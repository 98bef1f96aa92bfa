//! The stages of the chunk pipeline, each alone on one core, but for the codecs (bench `compress`).
#![allow(
    missing_docs,
    clippy::expect_used,
    reason = "criterion's macros make public functions; a bench that fails has nothing to measure"
)]

mod content;

use std::hint::black_box;
use std::io::Write;
use std::time::Duration;

use backup_core::compress::Algorithm;
use backup_core::diff::{
    BlockHash, BlockHasher, BlockState, Coverage, JoinRules, is_zero, merge_newest_wins, pieces,
};
use backup_core::format::hash_list::{self, HashListHead};
use backup_core::format::metadata::{self, Metadata, ObjectEntry};
use backup_core::{
    BackupId, BlockDevice, BufferPool, ByteRange, CancelToken, Result, Timestamp, VolumeId,
};
use backup_file::{DeviceOptions, DirectReads, FileDevice};
use criterion::measurement::WallTime;
use criterion::{
    BenchmarkGroup, BenchmarkId, Criterion, Throughput, criterion_group, criterion_main,
};
use md5_lanes::{md5, md5_many};

const CHUNK: usize = 8 << 20; // bytes
const BLOCK: usize = 32 << 10; // bytes

fn group<'a>(c: &'a mut Criterion, name: &str) -> BenchmarkGroup<'a, WallTime> {
    let mut group = c.benchmark_group(name);
    group
        .sample_size(10)
        .warm_up_time(Duration::from_millis(300))
        .measurement_time(Duration::from_secs(1));
    group
}

/// Chunks of a file that is in the page cache, or on the disk (read past the cache, where the filesystem can).
fn read(c: &mut Criterion) {
    const CHUNKS: u64 = 8;
    let mut group = group(c, "read");
    group.throughput(Throughput::Bytes(CHUNKS * CHUNK as u64));
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    let own = std::env::current_exe().expect("a program knows its path");
    // Beside this program: /tmp may be memory.
    let mut file = tempfile::NamedTempFile::new_in(own.parent().expect("it lies in a folder"))
        .expect("a file beside the program");
    for seed in 0..CHUNKS {
        file.write_all(&content::noise(CHUNK, seed)).expect("room");
    }
    file.as_file().sync_all().expect("room");
    let pool = BufferPool::new(64 << 20);
    for (name, how) in [
        ("cached", DirectReads::Never),
        ("past the cache", DirectReads::Always),
    ] {
        let options = DeviceOptions::read_only().with_direct_reads(how);
        let device = runtime
            .block_on(FileDevice::open(file.path(), options))
            .expect("it is there");
        group.bench_function(name, |b| {
            b.iter(|| {
                for chunk in 0..CHUNKS {
                    let read = device.read(chunk * CHUNK as u64, pool.take(CHUNK));
                    runtime.block_on(read).1.expect("it is as long");
                }
            });
        });
    }
    group.finish();
}

fn zero_test(c: &mut Criterion) {
    let mut group = group(c, "zero test");
    group.throughput(Throughput::Bytes(CHUNK as u64));
    let mut late = vec![0; CHUNK];
    late[CHUNK - 1] = 1;
    for (name, data) in [("zeroes", vec![0; CHUNK]), ("one at the end", late)] {
        group.bench_function(name, |b| b.iter(|| is_zero(black_box(&data))));
    }
    group.finish();
}

fn block_hashing(c: &mut Criterion) {
    let mut group = group(c, "block hashing");
    group.throughput(Throughput::Bytes(CHUNK as u64));
    let go = CancelToken::new();
    let hasher = BlockHasher::new(BLOCK);
    for (name, data) in [
        ("noise", content::noise(CHUNK, 1)),
        ("zeroes", vec![0; CHUNK]),
    ] {
        group.bench_function(name, |b| {
            b.iter(|| hasher.blocks(black_box(&data), &go).expect("no cancel"));
        });
    }
    group.finish();
}

fn md5_of_chunks(c: &mut Criterion) {
    let mut group = group(c, "md5");
    let part = 1 << 20; // bytes
    let data = content::noise(16 * part, 1);
    for count in [1, 2, 4, 8, 16] {
        let messages: Vec<&[u8]> = data.chunks(part).take(count).collect();
        group.throughput(Throughput::Bytes((count * part) as u64));
        group.bench_function(BenchmarkId::new("side by side", count), |b| {
            b.iter(|| md5_many(black_box(&messages)));
        });
    }
    group.throughput(Throughput::Bytes(part as u64));
    group.bench_function("alone", |b| b.iter(|| md5(black_box(&data[..part]))));
    group.finish();
}

/// A TiB's worth of blocks would be 33 million; a GiB's shows the same.
fn diff_pieces(c: &mut Criterion) {
    let mut group = group(c, "diff pieces");
    let states: Vec<BlockState> = content::noise(32768, 3)
        .into_iter()
        .map(|b| match b {
            0..3 => BlockState::Data, // about 1 %
            3 => BlockState::Zero,
            _ => BlockState::Same,
        })
        .collect();
    let range = ByteRange::up_to((states.len() * BLOCK) as u64);
    let rules = JoinRules {
        join_gap: BLOCK as u64,
        zero_run: 256 << 10,
    };
    group.throughput(Throughput::Elements(states.len() as u64));
    group.bench_function("1 % of a GiB's blocks changed", |b| {
        b.iter(|| pieces(range, BLOCK as u64, black_box(&states), rules));
    });
    group.finish();
}

fn hash_lists(c: &mut Criterion) {
    let mut group = group(c, "hash list");
    let hashes: Vec<BlockHash> = content::noise(32768 * 32, 5).as_chunks::<32>().0.to_vec();
    let head = HashListHead {
        backup_id: BackupId::from_bytes([1; 16]),
        backup_name: None,
        backup_description: None,
        created_at: Timestamp::from_micros(0).ok(),
        volume_id: VolumeId::from_bytes([2; 16]),
        block_size: BLOCK as u64,
    };
    let write = || {
        let mut out = Vec::with_capacity(hashes.len() * hash_list::ENTRY_STRIDE + 1024);
        hash_list::write_head(&mut out, &head);
        hash_list::write_hashes(&mut out, true, &hashes);
        hash_list::write_tail(&mut out, &head, true);
        out
    };
    let stored = write();
    group.throughput(Throughput::Bytes(stored.len() as u64));
    group.bench_function("write a GiB's", |b| b.iter(write));
    group.bench_function("read a GiB's", |b| {
        b.iter(|| {
            let mut count = 0;
            hash_list::read_hash_list(black_box(&stored[..]), &mut |batch| {
                count += batch.len();
                Ok(())
            })
            .expect("sound");
            assert_eq!(count, hashes.len());
        });
    });
    group.finish();
}

fn metadata_objects(c: &mut Criterion) {
    let mut group = group(c, "metadata");
    let count = 10_000;
    let about = Metadata::new(
        BackupId::from_bytes([1; 16]),
        VolumeId::from_bytes([2; 16]),
        Timestamp::from_micros(0).expect("the epoch is a time"),
    );
    let entries: Vec<ObjectEntry> = (0..count)
        .map(|i| ObjectEntry {
            name: format!(
                "volume_{}_20260101000000_backup_{}-{:05}",
                about.volume_id,
                about.backup_id,
                i + 1
            ),
            offset: i * CHUNK as u64,
            length: CHUNK as u64,
            md5: Some([7; 16]),
            compression: Algorithm::Zstd,
            stored_length: Some(1234),
            zero: false,
        })
        .collect();
    let write = || {
        let mut out = Vec::new();
        metadata::write_head(&mut out, &about);
        for (i, entry) in entries.iter().enumerate() {
            metadata::write_entry(&mut out, i == 0, entry);
        }
        metadata::write_tail(&mut out, &about, true);
        out
    };
    let stored = write();
    group.throughput(Throughput::Elements(count));
    group.bench_function("write 10 000 objects", |b| b.iter(write));
    group.bench_function("read 10 000 objects", |b| {
        b.iter(|| {
            let mut count = 0;
            metadata::read_metadata(black_box(&stored[..]), &mut |_| {
                count += 1;
                Ok(())
            })
            .expect("sound");
            assert_eq!(count, entries.len());
        });
    });
    group.finish();
}

struct Objects(Vec<ByteRange>);

impl Coverage for Objects {
    fn count(&self) -> u64 {
        self.0.len() as u64
    }

    fn range(&self, index: u64) -> Result<ByteRange> {
        Ok(usize::try_from(index).map_or(ByteRange::up_to(0), |i| self.0[i]))
    }
}

/// A full backup of 64 GiB and incrementals on it with 2000 scattered changes each.
fn merge_of_layers(c: &mut Criterion) {
    let mut group = group(c, "merge of layers");
    let objects: u64 = 8192;
    let full: Vec<ByteRange> = (0..objects)
        .filter_map(|i| ByteRange::at(i * CHUNK as u64, CHUNK as u64))
        .collect();
    for increments in [1u64, 8, 32] {
        let layers = || {
            let mut layers = vec![Objects(full.clone())];
            for layer in 1..=increments {
                let changes = (0..2000u64)
                    .filter_map(|i| {
                        let block = i * 1048 + layer * 37 % 1000;
                        ByteRange::at(block * BLOCK as u64, BLOCK as u64)
                    })
                    .collect();
                layers.push(Objects(changes));
            }
            layers
        };
        group.throughput(Throughput::Elements(objects + 2000 * increments));
        group.bench_function(BenchmarkId::new("incrementals", increments), |b| {
            b.iter_batched(
                layers,
                |layers| merge_newest_wins(layers, objects * CHUNK as u64).count(),
                criterion::BatchSize::LargeInput,
            );
        });
    }
    group.finish();
}

criterion_group!(
    benches,
    read,
    zero_test,
    block_hashing,
    md5_of_chunks,
    diff_pieces,
    hash_lists,
    metadata_objects,
    merge_of_layers
);
criterion_main!(benches);
