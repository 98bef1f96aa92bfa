//! Both ways with Cinder's own swift driver, on the same servers: chains whose links are ours and Cinder's in turn.
//!
//! `ASHLAR_TEST_CINDER_PYTHON` names the Python of an environment that `scripts/cinder/setup.sh` made.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use backup_core::format::record::export;
use backup_core::testing::MemoryDevice;
use backup_core::{
    Attachment, Backup, BackupRecord, BackupRequest, BlockDevice, ByteRange, Chain, ChunkedBackup,
    ChunkedConfig, ContainerName, Layer, RestoreOptions, Timestamp, VolumeId,
};
use backup_swift::{AuthKind, Secret, SwiftConfig, SwiftRepository};
use sha2::{Digest, Sha256};

use crate::keystone::demo_token;
use crate::life::{context, engine, scan};
use crate::servers::{named, noise, open, v1, v3};

const LENGTH: u64 = 5_000_000;

/// Cinder's driver with its settings, and a folder for its files.
struct Oracle {
    python: String,
    settings: Vec<String>,
    folder: tempfile::TempDir,
}

impl Oracle {
    fn new(python: &str, account: &[String], of: &ContainerName) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let mut settings = vec![
            "--driver=swift".to_owned(),
            "--chunk-size=1048576".into(),
            "--sha-block-size=32768".into(),
            format!("--bucket={of}"),
        ];
        settings.extend(account.iter().cloned());
        Self {
            python: python.to_owned(),
            settings,
            folder,
        }
    }

    fn file(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn run(&self, command: &str, arguments: &[String]) {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../scripts/cinder/oracle.py");
        let output = Command::new(&self.python)
            .env("PYTHONDONTWRITEBYTECODE", "1")
            .arg(script)
            .arg(command)
            .args(&self.settings)
            .args(arguments)
            .output()
            .unwrap();
        let told = String::from_utf8_lossy(&output.stdout);
        let error = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{command}: {told} {error}");
    }
}

/// How Cinder gets at each account: by version 1 and by Keystone as one user for all, and as each user by itself, with
/// that user's token.
async fn accounts() -> Vec<(&'static str, SwiftConfig, Vec<String>)> {
    let mut all = Vec::new();
    let set = |options: &[(&str, &str)]| {
        let option = |(name, value): &(&str, &str)| format!("--set=backup_swift_{name}={value}");
        options.iter().map(option).collect::<Vec<_>>()
    };
    if let Some(config) = v1() {
        let url = config.auth_url.clone().unwrap();
        let options = [
            ("auth", "single_user"),
            ("auth_version", "1"),
            ("auth_url", &url),
            ("user", "test:tester"),
            ("key", "testing"),
        ];
        all.push(("v1", config, set(&options)));
    }
    if let Some(config) = v3() {
        let url = config.auth_url.clone().unwrap();
        let options = [
            ("auth", "single_user"),
            ("auth_version", "3"),
            ("auth_url", &url),
            ("user", "demo"),
            ("key", "demopw"),
            ("project", "demo"),
            ("project_domain", "Default"),
            ("user_domain", "Default"),
        ];
        all.push(("v3", config.clone(), set(&options)));
        let account = SwiftRepository::open(&config)
            .unwrap()
            .account_url()
            .await
            .unwrap();
        let (endpoint, project) = account.rsplit_once('_').unwrap();
        let token = demo_token(&url).await;
        let options = vec![
            format!("--endpoint={endpoint}_"),
            format!("--project={project}"),
            format!("--auth-token={token}"),
        ];
        let mut own = SwiftConfig::default();
        own.auth = AuthKind::PerUser;
        own.storage_url = Some(account);
        own.token = Some(Secret::new(token));
        all.push(("per_user", own, options));
    }
    all
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

async fn back_up(
    engine: &ChunkedBackup,
    of: VolumeId,
    volume: &MemoryDevice,
    parent: Option<&Layer>,
) {
    let mut request = BackupRequest::new(of, Timestamp::now());
    request.name = Some("ours".into());
    let plan = engine.plan(&request).unwrap();
    let source = Attachment::new(Arc::new(volume.copy()));
    engine
        .create(&plan, parent, &source, &context())
        .await
        .unwrap();
}

fn change(volume: &MemoryDevice, seed: u64) {
    volume.poke((1 << 20) - 50, &noise(100, seed));
    volume.poke_zeroes(ByteRange::at(seed * 500_000, 200_000).unwrap());
    volume.poke(LENGTH - 1, &[u8::try_from(seed).unwrap()]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_chain_of_ours_and_cinders_restores_by_both() {
    let Some(python) = named("ASHLAR_TEST_CINDER_PYTHON") else {
        return;
    };
    for (name, config, account) in accounts().await {
        let (_, of) = open(&config).await;
        let config = config.with_container(of.as_str());
        let engine = engine(SwiftRepository::open(&config).unwrap());
        let oracle = Oracle::new(&python, &account, &of);
        let volume = MemoryDevice::new(LENGTH);
        let id = VolumeId::generate();
        volume.poke(0, &noise(4_000_000, 1));
        let mut contents = vec![content(&volume)];
        back_up(&engine, id, &volume, None).await;
        for n in 1..4_u64 {
            let records = scan(&engine, &of).await;
            let parent = records.last().unwrap();
            change(&volume, n);
            contents.push(content(&volume));
            // Times in the names have whole seconds; the scan's order stands on the records' own.
            if n == 2 {
                back_up(&engine, id, &volume, Some(&layer(parent))).await;
                continue;
            }
            std::fs::write(oracle.file("volume.img"), contents.last().unwrap()).unwrap();
            let mut arguments = vec![
                format!("--volume-file={}", oracle.file("volume.img").display()),
                format!("--volume-id={id}"),
                format!("--parent={}", parent.id),
            ];
            arguments.extend(exported(&oracle, &records));
            oracle.run("backup", &arguments);
        }
        let records = scan(&engine, &of).await;
        assert_eq!(records.len(), 4, "{name}");
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
            assert_eq!(sum(&content(&target)), sum(expected), "{name} {n} by us");

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
            arguments.extend(exported(&oracle, &records[..=n]));
            oracle.run("restore", &arguments);
            let restored = std::fs::read(&out).unwrap();
            assert_eq!(sum(&restored), sum(expected), "{name} {n} by Cinder");
        }
        // What Cinder deletes is gone for us, and the other way round.
        let mut arguments = vec![format!("--backup-id={}", records[3].id)];
        arguments.extend(exported(&oracle, &records));
        oracle.run("delete", &arguments);
        for layer in layers[..3].iter().rev() {
            engine.delete(layer, &context()).await.unwrap();
        }
        let left = SwiftRepository::open(&config).unwrap();
        let left = crate::servers::list(&left, &of, "").await;
        assert_eq!(left, [], "{name}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_chain_of_ours_and_cinders_objects_in_segments_are_restored_by_cinder() {
    let Some(python) = named("ASHLAR_TEST_CINDER_PYTHON") else {
        return;
    };
    for (name, config, account) in accounts().await {
        let (_, of) = open(&config).await;
        let mut config = config.with_container(of.as_str());
        // Each chunk of 4 MiB becomes a manifest and its segments.
        (config.max_object_size, config.segment_size) = (Some(1 << 20), 1 << 20);
        let large = ChunkedConfig::zlib().unwrap();
        let large = large.with_chunk_size(4 << 20).with_block_size(32 << 10);
        let repository = Arc::new(SwiftRepository::open(&config).unwrap());
        let engine = ChunkedBackup::new(repository, large).unwrap();
        let volume = MemoryDevice::new(LENGTH);
        volume.poke(0, &noise(usize::try_from(LENGTH).unwrap(), 1));
        back_up(&engine, VolumeId::generate(), &volume, None).await;
        let segments = crate::servers::container(&format!("{of}_segments"));
        let direct = SwiftRepository::open(&config).unwrap();
        let segments = crate::servers::list(&direct, &segments, "").await;
        assert!(segments.len() >= 4, "{name}: {segments:?}");

        let records = scan(&engine, &of).await;
        let oracle = Oracle::new(&python, &account, &of);
        let out = oracle.file("restored.img");
        let mut arguments = vec![
            format!("--backup-id={}", records[0].id),
            format!("--out={}", out.display()),
            format!("--size={LENGTH}"),
            "--existing".into(),
            "--prefill=0xa5".into(),
        ];
        arguments.extend(exported(&oracle, &records));
        oracle.run("restore", &arguments);
        let restored = std::fs::read(&out).unwrap();
        assert_eq!(sum(&restored), sum(&content(&volume)), "{name} by Cinder");

        // Cinder deletes the manifest only; what it leaves behind is found.
        let mut arguments = vec![format!("--backup-id={}", records[0].id)];
        arguments.extend(exported(&oracle, &records));
        oracle.run("delete", &arguments);
        let found = direct.unfinished_uploads(&of, "", Duration::ZERO).await;
        assert!(!found.unwrap().is_empty(), "{name}");
    }
}

/// The records as files that Cinder's own import reads.
fn exported(oracle: &Oracle, records: &[BackupRecord]) -> Vec<String> {
    let write = |record: &BackupRecord| {
        let exported = export(record).unwrap();
        let record_of = serde_json::json!({
            "backup_service": exported.backup_service,
            "backup_url": exported.backup_url,
        });
        let file = oracle.file(&format!("{}.json", record.id));
        std::fs::write(&file, record_of.to_string()).unwrap();
        format!("--record={}", file.display())
    };
    records.iter().map(write).collect()
}

fn sum(image: &[u8]) -> String {
    hex::encode(Sha256::digest(image))
}
