//! Following a job and stopping it: `cargo run -p ashlar-examples --example progress_cancel`.
//!
//! A backup runs through an observer that prints how far it is; a second one is cancelled from another task at a third
//! of its way, and leaves nothing behind.
#![allow(clippy::print_stdout)]

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use backup_core::testing::{MemoryDevice, MemoryRepository};
use backup_core::{
    Attachment, Backup, BackupRequest, BlockDevice, Buf, ByteRange, ChunkedBackup, ChunkedConfig,
    ErrorKind, Extent, Geometry, JobContext, Observer, Progress, Result, Timestamp, VolumeId,
};
use bytes::Bytes;
use tokio::sync::Notify;

/// Prints every tenth, and wakes whoever waits for the job to have done a part.
#[derive(Debug, Default)]
struct Watch {
    tenths: AtomicU64,
    wake_at: u64, // percent; 0: never
    woken: Notify,
}

impl Observer for Watch {
    // Comes often and from any thread, so it returns at once.
    fn progress(&self, progress: &Progress) {
        if progress.total == 0 {
            // Nobody knows how much there is: cleaning up after a cancel, for one.
            println!("  {}", progress.phase.describe());
            return;
        }
        let percent = progress.done * 100 / progress.total;
        if self.tenths.fetch_max(percent / 10, Ordering::Relaxed) < percent / 10 {
            println!(
                "  {} {percent} %, {} objects",
                progress.phase.describe(),
                progress.objects
            );
        }
        if self.wake_at > 0 && percent >= self.wake_at {
            self.woken.notify_one();
        }
    }

    fn warning(&self, message: &str) {
        println!("  warning: {message}");
    }
}

/// A device as slow as a disk, so that there is something to watch.
#[derive(Debug)]
struct Slow(MemoryDevice);

#[async_trait]
impl BlockDevice for Slow {
    fn geometry(&self) -> Geometry {
        self.0.geometry()
    }

    fn describe(&self) -> String {
        format!("slow {}", self.0.describe())
    }

    async fn read(&self, at: u64, buf: Buf) -> (Buf, Result<()>) {
        tokio::time::sleep(Duration::from_millis(20)).await;
        self.0.read(at, buf).await
    }

    async fn write(&self, at: u64, data: Bytes) -> Result<()> {
        self.0.write(at, data).await
    }

    async fn write_zeroes(&self, range: ByteRange) -> Result<()> {
        self.0.write_zeroes(range).await
    }

    async fn discard(&self, range: ByteRange) -> Result<()> {
        self.0.discard(range).await
    }

    async fn flush(&self) -> Result<()> {
        self.0.flush().await
    }

    async fn allocated(&self, range: ByteRange) -> Result<Vec<Extent>> {
        self.0.allocated(range).await
    }
}

#[tokio::main]
async fn main() -> Result<()> {
    let volume = MemoryDevice::from_bytes(&b"watch me being backed up. ".repeat(1_300_000));
    let source = Attachment::new(Arc::new(Slow(volume)));
    let repository = MemoryRepository::new();
    let config = ChunkedConfig::zlib()?.with_chunk_size(256 << 10);
    let engine = ChunkedBackup::new(Arc::new(repository.clone()), config)?;
    let process = JobContext::new(64 << 20)?;
    let request = || BackupRequest::new(VolumeId::generate(), Timestamp::now());

    println!("a backup that is let alone:");
    let cx = process.for_job(Arc::new(Watch::default()));
    let plan = engine.plan(&request())?;
    let outcome = engine.create(&plan, None, &source, &cx).await?;
    println!("  done: {} objects", outcome.object_count);
    let objects = repository.objects();

    println!("a backup that is cancelled:");
    let watch = Arc::new(Watch {
        wake_at: 33,
        ..Watch::default()
    });
    let cx = process.for_job(Arc::<Watch>::clone(&watch));
    let cancel = cx.cancel().clone();
    let stopper = tokio::spawn(async move {
        watch.woken.notified().await;
        println!("  cancel!");
        cancel.cancel();
        Instant::now()
    });
    let plan = engine.plan(&request())?;
    let stopped = engine.create(&plan, None, &source, &cx).await;
    if let Ok(asked) = stopper.await {
        println!("  answered after {} ms", asked.elapsed().as_millis());
        assert!(asked.elapsed() < Duration::from_secs(2));
    }
    assert!(stopped.is_err_and(|e| e.is(ErrorKind::Cancelled)));
    assert_eq!(repository.objects(), objects, "nothing was left behind");
    println!("  nothing was left behind");

    // A process that is killed cannot clean up. Whoever stored the plan clears what it left, at any time, also where
    // there is nothing.
    engine.delete(&plan.layer(), &process).await
}
