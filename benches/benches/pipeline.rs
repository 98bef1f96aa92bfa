//! Whole jobs from memory to memory: what the engine reaches where neither disk nor network is in its way.
#![allow(
    missing_docs,
    clippy::expect_used,
    reason = "criterion's macros make public functions; a bench that fails has nothing to measure"
)]

mod content;

use std::sync::Arc;
use std::time::Duration;

use backup_core::compress::{Algorithm, compressor};
use backup_core::testing::{MemoryDevice, MemoryRepository};
use backup_core::{
    Attachment, Backup, BackupRequest, BlockDevice, Chain, Check, ChunkedBackup, ChunkedConfig,
    JobContext, Layer, RestoreOptions, Timestamp, VolumeId,
};
use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use tokio::runtime::Runtime;

const LENGTH: usize = 128 << 20; // bytes
const MEMORY: u64 = 256 << 20; // bytes: the budget

/// Backups of one volume, each time into an empty repository.
struct Jobs {
    runtime: Runtime,
    cx: JobContext,
    volume: MemoryDevice,
    algorithm: Algorithm,
}

impl Jobs {
    fn engine(&self) -> ChunkedBackup {
        let codec = compressor(self.algorithm, None).expect("the codec is built in");
        let repository = Arc::new(MemoryRepository::new());
        ChunkedBackup::new(repository, ChunkedConfig::new(codec)).expect("the defaults fit")
    }

    fn create(&self, engine: &ChunkedBackup, parent: Option<&Layer>) -> Layer {
        let at = Timestamp::now();
        let request = BackupRequest::new(VolumeId::from_bytes([1; 16]), at);
        let plan = engine.plan(&request).expect("a plan");
        let source = Attachment::new(Arc::new(self.volume.clone()));
        self.runtime
            .block_on(engine.create(&plan, parent, &source, &self.cx))
            .expect("a backup");
        Layer {
            id: plan.id,
            location: plan.location,
        }
    }

    fn restore(&self, engine: &ChunkedBackup, chain: &Chain, check: Check) {
        let target: Arc<dyn BlockDevice> =
            Arc::new(MemoryDevice::new(LENGTH as u64).with_known_zero(true));
        let options = RestoreOptions::default().with_check(check);
        self.runtime
            .block_on(engine.restore(chain, &target, &options, &self.cx))
            .expect("a restore");
    }
}

fn pipeline(c: &mut Criterion) {
    // Without holes, so that every byte is read.
    let volume = MemoryDevice::from_bytes(&content::image(LENGTH)).without_holes();
    for algorithm in [Algorithm::None, Algorithm::Zlib, Algorithm::Zstd] {
        let jobs = Jobs {
            runtime: Runtime::new().expect("a runtime"),
            cx: JobContext::new(MEMORY).expect("a context"),
            volume: volume.clone(),
            algorithm,
        };
        let mut group = c.benchmark_group("pipeline");
        group
            .sample_size(10)
            .warm_up_time(Duration::from_millis(500))
            .measurement_time(Duration::from_secs(3))
            .throughput(Throughput::Bytes(LENGTH as u64));

        group.bench_function(BenchmarkId::new("full", algorithm), |b| {
            b.iter_batched(
                || jobs.engine(),
                |engine| {
                    jobs.create(&engine, None);
                    engine // dropped outside the measurement
                },
                criterion::BatchSize::PerIteration,
            );
        });

        let engine = jobs.engine();
        let full = jobs.create(&engine, None);
        // The codec has nothing to do where nothing changed.
        if algorithm == Algorithm::None {
            group.bench_function("incremental, nothing changed", |b| {
                b.iter(|| jobs.create(&engine, Some(&full)));
            });
        }

        let chain = Chain::new(vec![full]).expect("one layer");
        for (name, check) in [("restore", Check::Hashes), ("restore, md5 too", Check::Md5)] {
            group.bench_function(BenchmarkId::new(name, algorithm), |b| {
                b.iter(|| jobs.restore(&engine, &chain, check));
            });
        }
        group.finish();
    }
}

criterion_group!(benches, pipeline);
criterion_main!(benches);
