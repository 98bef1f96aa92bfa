//! Whole lives of backups on the servers, ours and Cinder's.

use std::path::Path;
use std::sync::Arc;

use backup_core::testing::MemoryDevice;
use backup_core::{
    Attachment, Backup, BackupRequest, BlockDevice, ByteRange, Chain, ChunkedBackup, ChunkedConfig,
    ContainerName, JobContext, Layer, PutMode, Repository, RestoreOptions, ScanItem, Timestamp,
    VolumeId,
};
use backup_swift::SwiftRepository;
use bytes::Bytes;
use futures::TryStreamExt;
use sha2::{Digest, Sha256};

use crate::fake::{Harm, harmed};
use crate::servers::{all, key, list, noise, open};

pub(crate) fn context() -> JobContext {
    JobContext::new(64 << 20).unwrap()
}

pub(crate) fn engine(repository: SwiftRepository) -> ChunkedBackup {
    let config = ChunkedConfig::zlib().unwrap();
    let config = config.with_chunk_size(1 << 20).with_block_size(32 << 10);
    ChunkedBackup::new(Arc::new(repository), config).unwrap()
}

/// What a scan finds, oldest first.
pub(crate) async fn scan(
    engine: &ChunkedBackup,
    of: &ContainerName,
) -> Vec<backup_core::BackupRecord> {
    let items = engine.scan(Some(of), &context()).await.unwrap();
    let items: Vec<ScanItem> = items.try_collect().await.unwrap();
    let records = items.into_iter().map(|item| match item {
        ScanItem::Found(scanned) => scanned.record,
        ScanItem::Broken(problem) => panic!("{problem}"),
    });
    let mut records: Vec<_> = records.collect();
    records.sort_by_key(|r| r.created_at);
    records
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_backup_and_three_incrementals_live_and_die() {
    for (name, config) in all() {
        let (repository, of) = open(&config).await;
        let engine = engine(repository);
        let cx = context();
        let volume = MemoryDevice::new(9_000_001);
        let volume_id = VolumeId::generate();
        volume.poke(0, &noise(5_000_000, 1));
        let mut layers: Vec<Layer> = Vec::new();
        let mut contents = Vec::new();
        for n in 0..4_u64 {
            let mut request = BackupRequest::new(volume_id, Timestamp::now());
            request.container = Some(of.clone());
            let plan = engine.plan(&request).unwrap();
            let source = Attachment::new(Arc::new(volume.clone()));
            engine
                .create(&plan, layers.last(), &source, &cx)
                .await
                .unwrap();
            layers.push(Layer {
                id: plan.id,
                location: plan.location,
            });
            contents.push(volume.copy());
            // Data that becomes zero, data over a chunk's border, the last byte.
            let zero = ByteRange::at(n * 700_000, 300_000).unwrap();
            volume.poke_zeroes(zero);
            volume.poke((1 << 20) - 100, &noise(200, n + 10));
            volume.poke(9_000_000, &[u8::try_from(n).unwrap() + 1]);
        }
        for (n, expected) in contents.iter().enumerate() {
            let chain = Chain::new(layers[..=n].to_vec()).unwrap();
            let target = MemoryDevice::from_bytes(&vec![0xa5; 9_000_001]);
            let device: Arc<dyn BlockDevice> = Arc::new(target.clone());
            let options = RestoreOptions::default();
            let report = engine
                .restore(&chain, &device, &options, &cx)
                .await
                .unwrap();
            assert_eq!(report.checked_bytes, 9_000_001, "{name} {n}");
            assert_eq!(target.first_difference(expected), None, "{name} {n}");
            let report = engine.verify(&chain, &cx).await.unwrap();
            assert_eq!(report.problems, [], "{name} {n}");
        }
        let records = scan(&engine, &of).await;
        assert_eq!(records.len(), 4, "{name}");
        for (record, layer) in records.iter().zip(&layers) {
            assert_eq!(record.id, layer.id, "{name}");
            assert_eq!(record.location.as_ref(), Some(&layer.location), "{name}");
        }
        for layer in layers.iter().rev() {
            engine.delete(layer, &cx).await.unwrap();
        }
        let left = engine.repository().list(&of, "", None).await.unwrap();
        let left: Vec<_> = left.try_collect().await.unwrap();
        assert_eq!(left, [], "{name}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_backup_and_a_restore_through_a_bad_network_come_out_right() {
    for (name, config) in all() {
        let (_, of) = open(&config).await;
        let through = async |harm| engine(harmed(&config, harm, 6).await);
        let volume = MemoryDevice::new(9_000_001);
        volume.poke(0, &noise(9_000_001, 1));
        let mut request = BackupRequest::new(VolumeId::generate(), Timestamp::now());
        request.container = Some(of.clone());
        let cx = context();
        let writer = through(Harm::CutUp(400_000)).await;
        let plan = writer.plan(&request).unwrap();
        let source = Attachment::new(Arc::new(volume.clone()));
        let made = writer.create(&plan, None, &source, &cx).await;
        made.unwrap_or_else(|e| panic!("{name}: {e}"));
        let layer = Layer {
            id: plan.id,
            location: plan.location,
        };
        let chain = Chain::new(vec![layer]).unwrap();
        for harm in [Harm::CutDown(400_000), Harm::StallDown(400_000)] {
            let target = MemoryDevice::new(9_000_001);
            let device: Arc<dyn BlockDevice> = Arc::new(target.clone());
            let reader = through(harm).await;
            let options = RestoreOptions::default();
            let restored = reader.restore(&chain, &device, &options, &cx).await;
            restored.unwrap_or_else(|e| panic!("{name} {harm:?}: {e}"));
            assert_eq!(target.first_difference(&volume), None, "{name} {harm:?}");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_cinders_swift_driver_wrote_restores() {
    let case =
        Path::new(env!("CARGO_MANIFEST_DIR")).join("../../backup-core/tests/data/cinder/swift");
    let objects = case.join("objects/volumebackups");
    let manifest = std::fs::read(case.join("manifest.json")).unwrap();
    let manifest: serde_json::Value = serde_json::from_slice(&manifest).unwrap();
    for (name, config) in all() {
        let (repository, of) = open(&config).await;
        load(&repository, &of, &objects, &objects).await;
        let backups = manifest["backups"].as_array().unwrap();
        let prefix = backups[0]["prefix"].as_str().unwrap();
        assert!(!list(&repository, &of, prefix).await.is_empty());
        let engine = engine(repository);
        let cx = context();
        let records = scan(&engine, &of).await;
        assert_eq!(records.len(), backups.len(), "{name}");
        let mut layers = Vec::new();
        for (backup, record) in backups.iter().zip(records) {
            assert_eq!(record.id.to_string(), backup["id"], "{name}");
            let location = record.location.unwrap();
            assert_eq!(location.prefix.as_str(), backup["prefix"], "{name}");
            layers.push(Layer {
                id: record.id,
                location,
            });
            let size = backup["image_size"].as_u64().unwrap();
            let target = MemoryDevice::from_bytes(&vec![0xa5; usize::try_from(size).unwrap()]);
            let device: Arc<dyn BlockDevice> = Arc::new(target.clone());
            let chain = Chain::new(layers.clone()).unwrap();
            let options = RestoreOptions::default();
            engine
                .restore(&chain, &device, &options, &cx)
                .await
                .unwrap();
            let image = target.peek(0, usize::try_from(size).unwrap());
            let sum = hex::encode(Sha256::digest(image));
            assert_eq!(sum, backup["image_sha256"], "{name} {}", backup["label"]);
        }
    }
}

/// Puts a folder's files into a container.
async fn load(repository: &SwiftRepository, of: &ContainerName, root: &Path, folder: &Path) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            Box::pin(load(repository, of, root, &path)).await;
            continue;
        }
        let name = path.strip_prefix(root).unwrap().to_str().unwrap();
        let data = Bytes::from(std::fs::read(&path).unwrap());
        let put = repository
            .put(&key(of, name), data, PutMode::Overwrite)
            .await;
        put.unwrap();
    }
}
