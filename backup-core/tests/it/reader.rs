//! Any byte of a backup: what reading it costs the repository.

use std::sync::Arc;

use backup_core::compress::compressor;
use backup_core::testing::{MemoryDevice, MemoryRepository};
use backup_core::{
    Algorithm, Attachment, Backup, BackupReader, BackupRequest, Buf, ByteRange, Chain,
    ChunkedBackup, ChunkedConfig, JobContext, Layer, Timestamp, VolumeId,
};
use futures::{StreamExt, stream};

const MIB: u64 = 1 << 20;

/// A backup of a volume of `length` bytes in chunks of `chunk`.
struct Stored {
    repository: MemoryRepository,
    layer: Layer,
    device: MemoryDevice,
    reader: Arc<dyn BackupReader>,
}

async fn stored(length: u64, chunk: u64) -> Stored {
    let repository = MemoryRepository::new();
    let zstd = compressor(Algorithm::Zstd, None).unwrap();
    let config = ChunkedConfig::new(zstd).with_chunk_size(chunk);
    let engine = ChunkedBackup::new(Arc::new(repository.clone()), config).unwrap();
    let device = MemoryDevice::new(length);
    for n in 0..length / MIB {
        let bytes: Vec<u8> = (0..MIB)
            .map(|i| u8::try_from((i % 251 + n % 5) % 256).unwrap())
            .collect();
        device.poke(n * MIB, &bytes);
    }
    let cx = JobContext::new(512 * MIB).unwrap();
    let request = BackupRequest::new(VolumeId::generate(), Timestamp::now());
    let plan = engine.plan(&request).unwrap();
    let source = Attachment::new(Arc::new(device.clone()));
    engine.create(&plan, None, &source, &cx).await.unwrap();
    let layer = Layer {
        id: plan.id,
        location: plan.location,
    };
    let chain = Chain::new(vec![layer.clone()]).unwrap();
    let reader = engine.open(&chain, &cx).await.unwrap();
    Stored {
        repository,
        layer,
        device,
        reader,
    }
}

impl Stored {
    /// Reads `pieces` of a MiB, several ahead, as an export does.
    async fn read(&self, pieces: impl Iterator<Item = u64>) {
        let reads = stream::iter(pieces.map(async |n| {
            let range = ByteRange::at(n * MIB, MIB).unwrap();
            let (buf, read) = self
                .reader
                .read(range.start(), Buf::zeroed(usize::try_from(MIB).unwrap()))
                .await;
            read.unwrap();
            let expected = self.device.peek(range.start(), buf.len());
            assert!(buf[..] == expected[..], "{range}");
        }));
        reads.buffered(8).collect::<Vec<()>>().await;
    }

    /// How often each data object was fetched, as a whole.
    fn fetched(&self) -> Vec<f64> {
        let prefix = self.layer.location.to_string();
        let objects = self.repository.objects().into_iter();
        #[expect(clippy::cast_precision_loss)]
        objects
            .filter(|(name, _)| name.starts_with(&format!("{prefix}-")))
            .map(|(name, size)| self.repository.fetched(&name) as f64 / size as f64)
            .collect()
    }
}

#[tokio::test]
async fn reads_ahead_of_one_object_fetch_it_once() {
    let s = stored(48 * MIB, 8 * MIB).await;
    s.read(0..48).await;
    assert_eq!(s.fetched(), [1.0; 6]);
    // Again, and there is no room for all of them.
    s.read((0..48).rev()).await;
    assert!(s.fetched().iter().all(|n| *n <= 2.0), "{:?}", s.fetched());
}

#[tokio::test]
async fn an_object_too_long_to_hold_is_fetched_once_by_who_reads_on() {
    let s = stored(100 * MIB, 80 * MIB).await;
    s.read(0..100).await;
    assert_eq!(s.fetched(), [1.0; 2]);
    // Who goes back pays for it, and reads what is right.
    s.read([70, 3, 79, 4, 99, 0].into_iter()).await;
    let again = s.fetched();
    assert!(again[0] > 1.0 && again[0] <= 7.0, "{again:?}");
}
