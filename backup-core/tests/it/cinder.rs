//! Repositories that Cinder wrote: every backup restores to what its volume held.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use backup_core::testing::{MemoryDevice, MemoryRepository};
use backup_core::{
    Backup, BackupId, BlockDevice, Chain, Check, ChunkedBackup, ChunkedConfig, Layer,
    RestoreOptions, ScanItem,
};
use futures::StreamExt;
use sha2::{Digest, Sha256};

use crate::history::context;

pub fn cases() -> Vec<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/cinder");
    let mut cases: Vec<_> = std::fs::read_dir(root)
        .unwrap()
        .map(|e| e.unwrap().path())
        .filter(|p| p.join("repo").is_dir())
        .collect();
    cases.sort();
    assert!(cases.len() >= 14, "the test data is there");
    cases
}

/// Loads a folder into a repository in memory.
pub fn load(root: &Path, folder: &Path, memory: &MemoryRepository) {
    for item in std::fs::read_dir(folder).unwrap() {
        let path = item.unwrap().path();
        if path.is_dir() {
            load(root, &path, memory);
        } else {
            let container = folder.strip_prefix(root).unwrap().to_str().unwrap();
            let name = path.file_name().unwrap().to_str().unwrap();
            memory
                .plant(container, name, std::fs::read(&path).unwrap())
                .unwrap();
        }
    }
}

fn sha256(device: &MemoryDevice) -> String {
    let length = usize::try_from(device.geometry().length).unwrap();
    hex::encode(Sha256::digest(device.peek(0, length)))
}

#[tokio::test]
async fn every_backup_that_cinder_wrote_restores_from_a_scan_alone() {
    let mut restored = 0;
    for case in cases() {
        let memory = MemoryRepository::new();
        load(&case.join("repo"), &case.join("repo"), &memory);
        let engine = ChunkedBackup::new(Arc::new(memory), ChunkedConfig::zlib().unwrap()).unwrap();
        let cx = context();
        let manifest: serde_json::Value =
            serde_json::from_slice(&std::fs::read(case.join("manifest.json")).unwrap()).unwrap();
        let mut found = std::collections::HashMap::new();
        for item in engine
            .scan(None, &cx)
            .await
            .unwrap()
            .collect::<Vec<_>>()
            .await
        {
            let ScanItem::Found(scanned) = item.unwrap() else {
                panic!("broken in {}", case.display())
            };
            found.insert(scanned.record.id, scanned.record);
        }
        for backup in manifest["backups"].as_array().unwrap() {
            let id: BackupId = backup["id"].as_str().unwrap().parse().unwrap();
            let size = backup["image_size"].as_u64().unwrap();
            let expected = backup["image_sha256"].as_str().unwrap();
            let mut layers = Vec::new();
            let mut at = Some(id);
            while let Some(id) = at {
                let record = &found[&id];
                layers.insert(
                    0,
                    Layer {
                        id,
                        location: record.location.clone().unwrap(),
                    },
                );
                at = record.parent_id;
            }
            let chain = Chain::new(layers).unwrap();
            let label = format!("{} {}", case.display(), backup["label"]);
            assert_eq!(engine.length(&chain, &cx).await.unwrap(), size, "{label}");
            for check in [Check::Hashes, Check::Md5] {
                let new = MemoryDevice::new(size).with_known_zero(true);
                let dirty = MemoryDevice::from_bytes(&vec![0xa5; usize::try_from(size).unwrap()]);
                for target in [new, dirty] {
                    let device: Arc<dyn BlockDevice> = Arc::new(target.clone());
                    let options = RestoreOptions::default().with_check(check);
                    let report = engine
                        .restore(&chain, &device, &options, &cx)
                        .await
                        .unwrap();
                    assert_eq!(report.checked_bytes, size, "{label}");
                    assert_eq!(sha256(&target), expected, "{label}");
                    restored += 1;
                }
            }
            let report = engine.verify(&chain, &cx).await.unwrap();
            assert_eq!(report.problems, [], "{label}");
        }
    }
    println!("{restored} restores");
}
