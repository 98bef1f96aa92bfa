//! A source's snapshot that is removed while it is read. Ceph tells nobody who only reads, and what is read then is zeroes
//! without an error: no backup may be made of it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use backup_core::testing::MemoryRepository;
use backup_core::volume::VolumeRef;
use backup_core::{
    AttachSource, Attachment, Backup, BackupId, BackupRequest, BlockDevice, Buf, ByteRange,
    ChunkedBackup, ChunkedConfig, DeviceAttacher, ErrorKind, Extent, Geometry, JobContext, Layer,
    Result, Timestamp, VolumeId, VolumeProvider,
};
use backup_rbd::{Image, RbdVolumes};
use bytes::Bytes;

use crate::ceph::{conf, noise, volumes_config};
use crate::repository::engine;

const MIB: u64 = 1 << 20;
const LENGTH: u64 = 48 * MIB;

/// The device of a snapshot, which is removed at the second read.
#[derive(Debug)]
struct Vanishing {
    inner: Arc<dyn BlockDevice>,
    image: Image,
    snapshot: String,
    reads: AtomicUsize,
    /// Whether something was read as zeroes that holds none.
    lied: AtomicBool,
}

#[async_trait]
impl BlockDevice for Vanishing {
    fn geometry(&self) -> Geometry {
        self.inner.geometry()
    }

    fn describe(&self) -> String {
        self.inner.describe()
    }

    async fn read(&self, at: u64, buf: Buf) -> (Buf, Result<()>) {
        if self.reads.fetch_add(1, Ordering::SeqCst) == 1 {
            self.image.remove_snapshot(&self.snapshot).await.unwrap();
            // The cluster takes what only the snapshot held away when it has time.
            for _ in 0..600 {
                let (buf, read) = self.inner.read(LENGTH - 4096, Buf::zeroed(4096)).await;
                if read.is_err() || buf.iter().all(|byte| *byte == 0) {
                    break;
                }
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        }
        let (buf, read) = self.inner.read(at, buf).await;
        if read.is_ok() && buf.iter().all(|byte| *byte == 0) {
            self.lied.store(true, Ordering::SeqCst);
        }
        (buf, read)
    }

    async fn write(&self, at: u64, data: Bytes) -> Result<()> {
        self.inner.write(at, data).await
    }

    async fn write_zeroes(&self, range: ByteRange) -> Result<()> {
        self.inner.write_zeroes(range).await
    }

    async fn discard(&self, range: ByteRange) -> Result<()> {
        self.inner.discard(range).await
    }

    async fn flush(&self) -> Result<()> {
        self.inner.flush().await
    }

    async fn allocated(&self, range: ByteRange) -> Result<Vec<Extent>> {
        self.inner.allocated(range).await
    }

    async fn still_there(&self) -> Result<()> {
        self.inner.still_there().await
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_snapshot_that_is_removed_while_it_is_backed_up_makes_no_backup() {
    let Some(conf) = conf() else {
        return;
    };
    let volumes = RbdVolumes::new(volumes_config(&conf)).unwrap();
    let id = VolumeId::generate();
    let location = volumes.create_volume(id, LENGTH).await.unwrap();
    let volume = VolumeRef {
        id,
        provider_location: Some(location),
    };
    let pool = volumes.pool().await.unwrap();
    let image = pool.open_image(&format!("volume-{id}")).await.unwrap();
    let write = async |seed| {
        let data = Bytes::from(noise(seed, usize::try_from(LENGTH).unwrap()));
        image.write(0, data).await.unwrap();
    };
    write(1).await;

    let objects = MemoryRepository::new();
    let config = ChunkedConfig::zlib().unwrap().with_chunk_size(4 * MIB);
    let chunked = ChunkedBackup::new(Arc::new(objects.clone()), config).unwrap();
    let engines: [Arc<dyn Backup>; 2] = [Arc::new(chunked), Arc::new(engine(&conf, 10_000))];
    let cx = JobContext::new(128 << 20).unwrap();
    for engine in engines {
        let plan = engine
            .plan(&BackupRequest::new(id, Timestamp::now()))
            .unwrap();
        let source = AttachSource::VolumeInUse(volume.clone());
        let attach = volumes.plan(&source, plan.id).await.unwrap();
        let attached = volumes.execute(&attach).await.unwrap();
        attached.device.still_there().await.unwrap();
        // From now on only the snapshot holds what it shows.
        write(2).await;
        let device = Arc::new(Vanishing {
            inner: Arc::clone(&attached.device),
            image: image.clone(),
            snapshot: attach.temporary_snapshot.clone().unwrap(),
            reads: AtomicUsize::new(0),
            lied: AtomicBool::new(false),
        });
        let attachment = Attachment::new(Arc::<Vanishing>::clone(&device));
        let e = engine
            .create(&plan, None, &attachment, &cx)
            .await
            .unwrap_err();
        assert!(e.is(ErrorKind::Conflict), "{e:?}");
        assert!(e.to_string().contains("the snapshot was removed"), "{e}");
        assert!(
            device.lied.load(Ordering::SeqCst),
            "if librbd told it, there would be no need to look"
        );
        let layer = Layer {
            id: plan.id,
            location: plan.location,
        };
        assert!(engine.committed(&layer, &cx).await.unwrap().is_none());
        drop((attachment, device, attached));
        volumes.undo(&attach).await.unwrap();
    }
    assert_eq!(objects.objects(), []);
    image.close().await.unwrap();
    volumes.delete_volume(&volume).await.unwrap();
}

/// Who looks is not misled by a snapshot of the same name, or an image of the same name.
#[tokio::test(flavor = "multi_thread")]
async fn a_snapshot_that_was_made_again_is_another_one() {
    let Some(conf) = conf() else {
        return;
    };
    let volumes = RbdVolumes::new(volumes_config(&conf)).unwrap();
    let pool = volumes.pool().await.unwrap();
    let name = format!("volume-{}", BackupId::generate());
    let make = async || {
        pool.create(&name, MIB, &backup_rbd::CreateOptions::default())
            .await
            .unwrap();
        let image = pool.open_image(&name).await.unwrap();
        image.create_snapshot("s").await.unwrap();
        image
    };
    let image = make().await;
    let shown = pool.open_read_only(&name, Some("s")).await.unwrap();
    shown.still_there().await.unwrap();
    image.still_there().await.unwrap();
    image.remove_snapshot("s").await.unwrap();
    image.create_snapshot("s").await.unwrap();
    let again = shown.still_there().await.unwrap_err();
    assert!(again.is(ErrorKind::Conflict), "{again}");

    let shown = pool.open_read_only(&name, Some("s")).await.unwrap();
    image.remove_snapshot("s").await.unwrap();
    image.close().await.unwrap();
    pool.remove(&name).await.unwrap();
    let gone = shown.still_there().await.unwrap_err();
    assert!(gone.is(ErrorKind::Conflict), "{gone}");
    let image = make().await;
    let replaced = shown.still_there().await.unwrap_err();
    assert!(replaced.is(ErrorKind::Conflict), "{replaced}");
    assert!(replaced.to_string().contains("another"), "{replaced}");
    image.remove_snapshot("s").await.unwrap();
    image.close().await.unwrap();
    pool.remove(&name).await.unwrap();
}
