//! A restore that is cancelled waits for no more than what it must: the pieces being written.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use backup_core::compress::compressor;
use backup_core::testing::{
    Call, Fault, FaultPlan, FaultRepository, MemoryDevice, MemoryRepository, When,
};
use backup_core::{
    Algorithm, Backup, BlockDevice, Buf, ByteRange, CancelToken, ChunkedConfig, ErrorKind, Extent,
    Geometry, RestoreOptions, Result,
};
use bytes::Bytes;

use crate::history::{History, noise};

const LENGTH: usize = 8 << 20;

/// Where the token of a job is cancelled by what the job does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum At {
    FirstWrite,
    Flush,
}

/// A device that cancels a token at a moment of its own, and then does what it was asked for.
#[derive(Debug)]
struct Cancelling {
    inner: MemoryDevice,
    token: CancelToken,
    at: At,
}

#[async_trait]
impl BlockDevice for Cancelling {
    fn geometry(&self) -> Geometry {
        self.inner.geometry()
    }

    fn describe(&self) -> String {
        self.inner.describe()
    }

    async fn read(&self, at: u64, buf: Buf) -> (Buf, Result<()>) {
        self.inner.read(at, buf).await
    }

    async fn write(&self, at: u64, data: Bytes) -> Result<()> {
        if self.at == At::FirstWrite {
            self.token.cancel();
        }
        self.inner.write(at, data).await
    }

    async fn write_zeroes(&self, range: ByteRange) -> Result<()> {
        self.inner.write_zeroes(range).await
    }

    async fn discard(&self, range: ByteRange) -> Result<()> {
        self.inner.discard(range).await
    }

    async fn flush(&self) -> Result<()> {
        if self.at == At::Flush {
            self.token.cancel();
        }
        self.inner.flush().await
    }

    async fn allocated(&self, range: ByteRange) -> Result<Vec<Extent>> {
        self.inner.allocated(range).await
    }
}

/// One object of 8 MiB.
async fn history(algorithm: Algorithm) -> History {
    let config = ChunkedConfig::new(compressor(algorithm, None).unwrap());
    let mut h = History::new(LENGTH as u64, config);
    h.volume.poke(0, &noise(1, LENGTH));
    h.full().await;
    assert_eq!(h.versions[0].outcome.object_count, 1);
    h
}

async fn restored(h: &History, at: At) -> (MemoryDevice, Result<backup_core::Report>) {
    let token = CancelToken::new();
    let target = MemoryDevice::new(LENGTH as u64);
    let device: Arc<dyn BlockDevice> = Arc::new(Cancelling {
        inner: target.clone(),
        token: token.clone(),
        at,
    });
    let cx = h.cx.clone().with_cancel(token);
    let done = h
        .engine
        .restore(&h.chain(0), &device, &RestoreOptions::default(), &cx)
        .await;
    (target, done)
}

#[tokio::test]
async fn a_cancelled_restore_writes_no_further_piece_and_does_not_flush() {
    for algorithm in [
        Algorithm::None,
        Algorithm::Zlib,
        Algorithm::Bzip2,
        Algorithm::Zstd,
    ] {
        let h = history(algorithm).await;
        let (target, done) = restored(&h, At::FirstWrite).await;
        assert_eq!(done.unwrap_err().kind(), ErrorKind::Cancelled);
        let counters = target.counters();
        assert_eq!(counters.bytes_written, 1 << 20, "{algorithm}");
        assert_eq!(counters.flushes, 0);
    }
}

/// All is written then, and soon durable: to call it cancelled would throw it away for nothing.
#[tokio::test]
async fn a_restore_that_is_cancelled_while_it_flushes_is_complete() {
    let h = history(Algorithm::None).await;
    let (target, done) = restored(&h, At::Flush).await;
    done.unwrap();
    assert_eq!(target.first_difference(&h.volume), None);
}

/// A full backup in a repository that can be made not to answer.
async fn over_a_faulty_repository() -> (History, Arc<FaultRepository>) {
    let memory = MemoryRepository::new();
    let faulty = Arc::new(FaultRepository::new(
        Arc::new(memory.clone()),
        FaultPlan::new(),
    ));
    let config = ChunkedConfig::new(compressor(Algorithm::None, None).unwrap());
    let mut h = History::over(faulty.clone(), memory, LENGTH as u64, config);
    h.volume.poke(0, &noise(1, LENGTH));
    h.full().await;
    (h, faulty)
}

#[tokio::test]
async fn a_cancelled_restore_or_verify_does_not_wait_for_a_repository_that_does_not_answer() {
    let (h, faulty) = over_a_faulty_repository().await;
    for verify in [false, true] {
        // Far longer than a test may take; with it ending, what waits would end well.
        faulty.set_plan(FaultPlan::new().rule(
            When::call(Call::Get).named("-00001"),
            Fault::Delay(Duration::from_mins(10)),
        ));
        let token = CancelToken::new();
        let cx = h.cx.clone().with_cancel(token.clone());
        let chain = h.chain(0);
        let target: Arc<dyn BlockDevice> = Arc::new(MemoryDevice::new(LENGTH as u64));
        let job = async {
            if verify {
                h.engine.verify(&chain, &cx).await
            } else {
                let options = RestoreOptions::default();
                h.engine.restore(&chain, &target, &options, &cx).await
            }
        };
        let cancel = async {
            while faulty.faults() == 0 {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
            token.cancel();
        };
        let (done, ()) = tokio::join!(job, cancel);
        assert_eq!(done.unwrap_err().kind(), ErrorKind::Cancelled);
    }
}

#[tokio::test]
async fn a_cancelled_delete_does_not_wait_for_what_killed_uploads_left() {
    let (h, faulty) = over_a_faulty_repository().await;
    // Far longer than a test may take; with it ending, what waits would end well.
    faulty.set_plan(FaultPlan::new().rule(
        When::call(Call::ClearLeftovers),
        Fault::Delay(Duration::from_mins(10)),
    ));
    let token = CancelToken::new();
    let cx = h.cx.clone().with_cancel(token.clone());
    let chain = h.chain(0);
    let delete = h.engine.delete(chain.newest(), &cx);
    let cancel = async {
        while faulty.faults() == 0 {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        token.cancel();
    };
    let (done, ()) = tokio::join!(delete, cancel);
    assert_eq!(done.unwrap_err().kind(), ErrorKind::Cancelled);
    // Nothing is in the way of the next one.
    faulty.set_plan(FaultPlan::new());
    h.engine.delete(chain.newest(), &h.cx).await.unwrap();
}
