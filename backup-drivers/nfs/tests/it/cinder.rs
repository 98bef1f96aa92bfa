//! Both ways with Cinder's own nfs driver, which works on the exported folder: chains whose links are ours and Cinder's
//! in turn.
//!
//! `ASHLAR_TEST_CINDER_PYTHON` names the Python of an environment that `scripts/cinder/setup.sh` made.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;

use backup_core::format::record::export;
use backup_core::testing::MemoryDevice;
use backup_core::{
    Attachment, Backup, BackupRecord, BackupRequest, BlockDevice, ByteRange, Chain, ChunkedBackup,
    ChunkedConfig, JobContext, Layer, RestoreOptions, ScanItem, Timestamp, VolumeId,
};
use futures::TryStreamExt;

use crate::servers::{VERSIONS, files, ganesha, noise, open};

const LENGTH: u64 = 5_000_000;

/// Cinder's driver over a folder, and a folder for its files.
struct Oracle {
    python: String,
    repository: PathBuf,
    folder: tempfile::TempDir,
}

impl Oracle {
    fn file(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn run(&self, command: &str, arguments: &[String]) {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../scripts/cinder/oracle.py");
        let output = Command::new(&self.python)
            .env("PYTHONDONTWRITEBYTECODE", "1")
            .arg(script)
            .arg(command)
            .args([
                "--driver=nfs",
                "--chunk-size=1048576",
                "--sha-block-size=32768",
            ])
            .arg("--repo")
            .arg(&self.repository)
            .args(arguments)
            .output()
            .unwrap();
        let told = String::from_utf8_lossy(&output.stdout);
        let error = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{command}: {told} {error}");
    }

    /// The records as files that Cinder's own import reads.
    fn exported(&self, records: &[BackupRecord]) -> Vec<String> {
        let write = |record: &BackupRecord| {
            let exported = export(record).unwrap();
            let record_of = serde_json::json!({
                "backup_service": exported.backup_service,
                "backup_url": exported.backup_url,
            });
            let file = self.file(&format!("{}.json", record.id));
            std::fs::write(&file, record_of.to_string()).unwrap();
            format!("--record={}", file.display())
        };
        records.iter().map(write).collect()
    }
}

fn context() -> JobContext {
    JobContext::new(64 << 20).unwrap()
}

/// What a scan of everything finds, oldest first.
async fn scan(engine: &ChunkedBackup) -> Vec<BackupRecord> {
    let items = engine.scan(None, &context()).await.unwrap();
    let items: Vec<ScanItem> = items.try_collect().await.unwrap();
    let records = items.into_iter().map(|item| match item {
        ScanItem::Found(scanned) => scanned.record,
        ScanItem::Broken(problem) => panic!("{problem}"),
    });
    let mut records: Vec<_> = records.collect();
    records.sort_by_key(|r| r.created_at);
    records
}

fn layer(record: &BackupRecord) -> Layer {
    Layer {
        id: record.id,
        location: record.location.clone().unwrap(),
    }
}

fn content(volume: &MemoryDevice) -> Vec<u8> {
    volume.peek(0, usize::try_from(LENGTH).unwrap())
}

fn change(volume: &MemoryDevice, seed: u64) {
    volume.poke((1 << 20) - 50, &noise(100, seed));
    volume.poke_zeroes(ByteRange::at(seed * 500_000, 200_000).unwrap());
    volume.poke(LENGTH - 1, &[u8::try_from(seed).unwrap()]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_chain_of_ours_and_cinders_restores_by_both() {
    let Some(server) = ganesha() else { return };
    let Ok(python) = std::env::var("ASHLAR_TEST_CINDER_PYTHON") else {
        println!("skipped: ASHLAR_TEST_CINDER_PYTHON is not set");
        return;
    };
    for version in VERSIONS {
        let (config, folder) = server.place(version);
        let engine = ChunkedConfig::zlib().unwrap();
        let engine = engine.with_chunk_size(1 << 20).with_block_size(32 << 10);
        let engine = ChunkedBackup::new(open(&config), engine).unwrap();
        let oracle = Oracle {
            python: python.clone(),
            repository: folder.clone(),
            folder: tempfile::tempdir().unwrap(),
        };
        let volume = MemoryDevice::new(LENGTH);
        let id = VolumeId::generate();
        volume.poke(0, &noise(4_000_000, 1));
        let mut contents = Vec::new();
        for n in 0..4_u64 {
            let records = scan(&engine).await;
            if n > 0 {
                change(&volume, n);
            }
            contents.push(content(&volume));
            let parent = records.last();
            if n.is_multiple_of(2) {
                let request = BackupRequest::new(id, Timestamp::now());
                let plan = engine.plan(&request).unwrap();
                let source = Attachment::new(Arc::new(volume.copy()));
                let parent = parent.map(layer);
                let cx = context();
                let made = engine.create(&plan, parent.as_ref(), &source, &cx);
                made.await.unwrap();
                continue;
            }
            std::fs::write(oracle.file("volume.img"), content(&volume)).unwrap();
            let mut arguments = vec![
                format!("--volume-file={}", oracle.file("volume.img").display()),
                format!("--volume-id={id}"),
                format!("--parent={}", parent.unwrap().id),
            ];
            arguments.extend(oracle.exported(&records));
            oracle.run("backup", &arguments);
        }
        let records = scan(&engine).await;
        assert_eq!(records.len(), 4, "{version}");
        let layers: Vec<_> = records.iter().map(layer).collect();
        for (n, expected) in contents.iter().enumerate() {
            let target = MemoryDevice::from_bytes(&vec![0xa5; expected.len()]);
            let device: Arc<dyn BlockDevice> = Arc::new(target.clone());
            let chain = Chain::new(layers[..=n].to_vec()).unwrap();
            let options = RestoreOptions::default();
            let cx = context();
            engine
                .restore(&chain, &device, &options, &cx)
                .await
                .unwrap();
            assert!(content(&target) == *expected, "{version} {n} by us");

            // Each start of Cinder costs seconds: its first restore and its longest chain will do.
            if !matches!(n, 0 | 3) {
                continue;
            }
            let out = oracle.file("restored.img");
            let mut arguments = vec![
                format!("--backup-id={}", records[n].id),
                format!("--out={}", out.display()),
                format!("--size={LENGTH}"),
                "--existing".into(),
                "--prefill=0xa5".into(),
            ];
            arguments.extend(oracle.exported(&records[..=n]));
            oracle.run("restore", &arguments);
            let restored = std::fs::read(&out).unwrap();
            assert!(restored == *expected, "{version} {n} by Cinder");
        }
        // What Cinder deletes is gone for us, and the other way round.
        let mut arguments = vec![format!("--backup-id={}", records[3].id)];
        arguments.extend(oracle.exported(&records));
        oracle.run("delete", &arguments);
        for layer in layers[..3].iter().rev() {
            engine.delete(layer, &context()).await.unwrap();
        }
        assert_eq!(files(&folder), [""; 0], "{version}");
    }
}
