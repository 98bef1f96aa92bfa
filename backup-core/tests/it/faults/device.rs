//! Faults of the device that is read or written.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use async_trait::async_trait;
use backup_core::testing::{FaultPlan, MemoryDevice};
use backup_core::{
    Algorithm, Attachment, Backup, BlockDevice, Buf, ByteRange, Error, ErrorKind, Extent, Geometry,
    Layer, RestoreOptions, Result,
};
use bytes::Bytes;

use super::scene::{LENGTH, Op, Scene, Way, assert_told, bounded, dirty};

/// A device one of whose calls fails, before it is done or after.
#[derive(Debug)]
struct Failing {
    inner: MemoryDevice,
    calls: AtomicU64,
    at: u64,    // index of the call that fails
    done: bool, // whether it is done all the same
    /// It turns out to end here, before its length.
    end: u64,
}

impl Failing {
    fn new(inner: &MemoryDevice, failing: u64, done: bool) -> Self {
        Self {
            inner: inner.clone(),
            calls: AtomicU64::new(0),
            at: failing,
            done,
            end: u64::MAX,
        }
    }

    fn short(inner: &MemoryDevice, end: u64) -> Self {
        Self {
            end,
            ..Self::new(inner, u64::MAX, false)
        }
    }

    /// Counts a call. `Some`: it fails, after it is done where that is asked for.
    fn count(&self, operation: &'static str, range: ByteRange) -> Option<Error> {
        let failed = |why: &str| {
            Some(
                Error::new(ErrorKind::Io, operation)
                    .on("the failing device")
                    .because(why),
            )
        };
        if range.end() > self.end {
            return failed("it ends before its length");
        }
        if self.calls.fetch_add(1, Ordering::SeqCst) != self.at {
            return None;
        }
        failed("failed as the test asked")
    }

    async fn call<T>(
        &self,
        operation: &'static str,
        range: ByteRange,
        work: impl Future<Output = Result<T>>,
    ) -> Result<T> {
        match self.count(operation, range) {
            None => work.await,
            Some(e) => {
                if self.done && range.end() <= self.end {
                    work.await?;
                }
                Err(e)
            }
        }
    }
}

#[async_trait]
impl BlockDevice for Failing {
    fn geometry(&self) -> Geometry {
        self.inner.geometry()
    }

    fn describe(&self) -> String {
        "the failing device".into()
    }

    async fn read(&self, at: u64, buf: Buf) -> (Buf, Result<()>) {
        let range = ByteRange::at(at, buf.len() as u64).unwrap();
        let mut back = None;
        let read = async {
            let (buf, read) = self.inner.read(at, buf).await;
            back = Some(buf);
            read
        };
        let result = self.call("read", range, read).await;
        let buf = back.unwrap_or_else(|| Buf::zeroed(usize::try_from(range.len()).unwrap()));
        (buf, result)
    }

    fn read_cached(&self, at: u64, buf: &mut [u8]) -> Option<Result<()>> {
        let range = ByteRange::at(at, buf.len() as u64).unwrap();
        let read = self.inner.read_cached(at, buf)?;
        Some(self.count("read", range).map_or(read, Err))
    }

    async fn write(&self, at: u64, data: Bytes) -> Result<()> {
        let range = ByteRange::at(at, data.len() as u64).unwrap();
        self.call("write", range, self.inner.write(at, data)).await
    }

    async fn write_zeroes(&self, range: ByteRange) -> Result<()> {
        let work = self.inner.write_zeroes(range);
        self.call("write zeroes", range, work).await
    }

    async fn discard(&self, range: ByteRange) -> Result<()> {
        self.call("discard", range, self.inner.discard(range)).await
    }

    async fn flush(&self) -> Result<()> {
        let nothing = ByteRange::up_to(0);
        self.call("flush", nothing, self.inner.flush()).await
    }

    async fn allocated(&self, range: ByteRange) -> Result<Vec<Extent>> {
        let nothing = ByteRange::up_to(0);
        self.call("ask for holes", nothing, self.inner.allocated(range))
            .await
    }
}

/// Backs the scene's volume up from `device`; `Ok` only where the backup is right.
async fn back_up(
    scene: &Scene,
    parent: Option<&Layer>,
    device: Failing,
    label: &str,
) -> Result<u64> {
    let stage = scene.stage(Way::Plain, FaultPlan::new());
    let plan = scene.plan(&stage.engine);
    let device = Arc::new(device);
    let source = Attachment::new(Arc::<Failing>::clone(&device) as Arc<dyn BlockDevice>);
    let made = bounded(stage.engine.create(&plan, parent, &source, &scene.cx)).await;
    let op = if parent.is_some() {
        Op::Incremental
    } else {
        Op::Full
    };
    let result = match made {
        Ok(_) => {
            let layer = Layer {
                id: plan.id,
                location: plan.location.clone(),
            };
            let chain = stage.made(op, &layer);
            stage
                .restores(&chain, &scene.volume, label)
                .await
                .unwrap_or_else(|e| panic!("{label}: {e:?}"));
            Ok(device.calls.load(Ordering::SeqCst))
        }
        Err(e) => {
            stage.assert_clean(label);
            Err(e)
        }
    };
    stage.assert_older_untouched(false, label);
    stage.assert_next_run(op, label).await;
    result
}

async fn restore(scene: &Scene, device: Failing, label: &str) -> Result<u64> {
    let stage = scene.stage(Way::Plain, FaultPlan::new());
    let target = device.inner.clone();
    let device = Arc::new(device);
    let shared: Arc<dyn BlockDevice> = Arc::<Failing>::clone(&device) as Arc<dyn BlockDevice>;
    let restored = bounded(stage.engine.restore(
        &stage.chain(),
        &shared,
        &RestoreOptions::default(),
        &scene.cx,
    ))
    .await;
    let calls = device.calls.load(Ordering::SeqCst);
    stage.assert_clean(label);
    if restored.is_ok() {
        assert_eq!(target.first_difference(&scene.contents[2]), None, "{label}");
    }
    // The same target, once it works again.
    stage
        .restores(&stage.chain(), &scene.contents[2], label)
        .await
        .unwrap();
    stage.restore(&stage.chain(), &target).await.unwrap();
    assert_eq!(target.first_difference(&scene.contents[2]), None, "{label}");
    restored.map(|_| calls)
}

#[tokio::test]
async fn a_device_that_fails_at_any_call_fails_the_job_and_leaves_nothing() {
    let scene = Scene::new(Algorithm::Zlib, false).await;
    let newest = &scene.layers[2];
    let mut cases = 0;
    let cached = scene.volume.clone().with_cached_stretches(u64::MAX);
    for (parent, volume) in [
        (None, &scene.volume),
        (None, &cached),
        (Some(newest), &scene.volume),
        (Some(newest), &cached),
    ] {
        let sound = Failing::new(volume, u64::MAX, false);
        let calls = back_up(&scene, parent, sound, "no fault").await.unwrap();
        assert!(calls >= 4, "{calls} calls");
        for failing in 0..calls {
            for done in [false, true] {
                let label = format!(
                    "backup {}, call {failing}, done: {done}",
                    parent.map_or("full", |_| "incremental")
                );
                let device = Failing::new(volume, failing, done);
                let e = back_up(&scene, parent, device, &label).await.unwrap_err();
                assert_told(&e, &label);
                assert!(e.to_string().contains("the failing device"), "{label}: {e}");
                cases += 1;
            }
        }
    }
    let sound = Failing::new(&dirty(), u64::MAX, false);
    let calls = restore(&scene, sound, "no fault").await.unwrap();
    for failing in 0..calls {
        for done in [false, true] {
            let label = format!("restore, call {failing}, done: {done}");
            let device = Failing::new(&dirty(), failing, done);
            let e = restore(&scene, device, &label).await.unwrap_err();
            assert_told(&e, &label);
            assert!(e.to_string().contains("the failing device"), "{label}: {e}");
            cases += 1;
        }
    }
    println!("{cases} faults of a device");
}

#[tokio::test]
async fn a_device_that_ends_before_its_length_is_an_error() {
    let scene = Scene::new(Algorithm::Zstd, false).await;
    for end in [0, 1, 511, 512, 3000, 9999, LENGTH - 1] {
        let label = format!("ends at {end}");
        for parent in [None, Some(&scene.layers[2])] {
            for cached in [1, u64::MAX] {
                let volume = scene.volume.clone().without_holes();
                let device = Failing::short(&volume.with_cached_stretches(cached), end);
                let e = back_up(&scene, parent, device, &label).await.unwrap_err();
                assert!(e.to_string().contains("the failing device"), "{label}: {e}");
            }
        }
        let e = restore(&scene, Failing::short(&dirty(), end), &label)
            .await
            .unwrap_err();
        assert!(e.to_string().contains("the failing device"), "{label}: {e}");
    }
}
