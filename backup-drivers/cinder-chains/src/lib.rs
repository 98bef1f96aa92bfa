//! Chains of backups whose links are ours and Cinder's in turn, on one repository: what the tests of the drivers that
//! Cinder has too stand on.
//!
//! Cinder's side is `scripts/cinder/oracle.py`, which runs Cinder's own unmodified driver. `ASHLAR_TEST_CINDER_PYTHON`
//! names the Python of an environment that `scripts/cinder/setup.sh` made.
#![forbid(unsafe_code)]
// A test's support: what fails here fails the test, with its reason.
#![allow(clippy::unwrap_used, clippy::missing_panics_doc)]

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;

use backup_core::format::record::export;
use backup_core::testing::MemoryDevice;
use backup_core::{
    Attachment, Backup, BackupRecord, BackupRequest, BlockDevice, ByteRange, Chain, ChunkedBackup,
    ContainerName, JobContext, Layer, RestoreOptions, ScanItem, Timestamp, VolumeId,
};
use futures::TryStreamExt;

/// Bytes of the volume. It ends within a block.
pub const LENGTH: u64 = 5_000_000;

/// The Python that has Cinder, where it is named.
pub fn python() -> Option<String> {
    let named = std::env::var("ASHLAR_TEST_CINDER_PYTHON").ok();
    named.filter(|python| !python.is_empty())
}

/// One of Cinder's drivers with its settings, and a folder for its files.
#[derive(Debug)]
pub struct Cinder {
    python: String,
    settings: Vec<String>,
    folder: tempfile::TempDir,
}

impl Cinder {
    /// The driver `driver` with these options of the oracle's, with objects of 1 MiB and blocks of 32 KiB.
    pub fn new(python: &str, driver: &str, settings: impl IntoIterator<Item = String>) -> Self {
        let own = [
            format!("--driver={driver}"),
            "--chunk-size=1048576".into(),
            "--sha-block-size=32768".into(),
        ];
        Self {
            python: python.to_owned(),
            settings: own.into_iter().chain(settings).collect(),
            folder: tempfile::tempdir().unwrap(),
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

    /// Backs up `content` incrementally on the last of these backups, which Cinder knows from our exports.
    pub fn back_up(&self, volume: VolumeId, content: &[u8], before: &[BackupRecord]) {
        let image = self.file("volume.img");
        std::fs::write(&image, content).unwrap();
        let mut arguments = vec![
            format!("--volume-file={}", image.display()),
            format!("--volume-id={volume}"),
            format!("--parent={}", before.last().unwrap().id),
        ];
        arguments.extend(self.exported(before));
        self.run("backup", &arguments);
    }

    /// Restores the last of a chain, onto a volume of [`LENGTH`] bytes that is full of other data.
    pub fn restore(&self, chain: &[BackupRecord]) -> Vec<u8> {
        let out = self.file("restored.img");
        let mut arguments = vec![
            format!("--backup-id={}", chain.last().unwrap().id),
            format!("--out={}", out.display()),
            format!("--size={LENGTH}"),
            "--existing".into(),
            "--prefill=0xa5".into(),
        ];
        arguments.extend(self.exported(chain));
        self.run("restore", &arguments);
        std::fs::read(&out).unwrap()
    }

    /// Deletes the last of a chain.
    pub fn delete(&self, chain: &[BackupRecord]) {
        let mut arguments = vec![format!("--backup-id={}", chain.last().unwrap().id)];
        arguments.extend(self.exported(chain));
        self.run("delete", &arguments);
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

/// A volume with noise at its beginning and nothing behind it.
pub fn volume() -> MemoryDevice {
    let volume = MemoryDevice::new(LENGTH);
    volume.poke(0, &noise(4_000_000, 1));
    volume
}

/// All of a volume.
pub fn content(volume: &MemoryDevice) -> Vec<u8> {
    volume.peek(0, usize::try_from(LENGTH).unwrap())
}

/// The place of a record's backup.
pub fn layer(record: &BackupRecord) -> Layer {
    Layer {
        id: record.id,
        location: record.location.clone().unwrap(),
    }
}

/// Backs the volume up with our engine.
pub async fn back_up(
    engine: &ChunkedBackup,
    of: VolumeId,
    volume: &MemoryDevice,
    parent: Option<&Layer>,
) {
    let mut request = BackupRequest::new(of, Timestamp::now());
    request.name = Some("ours".into());
    let plan = engine.plan(&request).unwrap();
    let source = Attachment::new(Arc::new(volume.copy()));
    let cx = context();
    let created = engine.create(&plan, parent, &source, &cx).await;
    created.unwrap_or_else(|e| panic!("{e}"));
}

/// What a scan finds in the container, or in all, oldest first.
pub async fn scan(engine: &ChunkedBackup, container: Option<&ContainerName>) -> Vec<BackupRecord> {
    let items = engine.scan(container, &context()).await.unwrap();
    let items: Vec<ScanItem> = items.try_collect().await.unwrap();
    let records = items.into_iter().map(|item| match item {
        ScanItem::Found(scanned) => scanned.record,
        ScanItem::Broken(problem) => panic!("{problem}"),
    });
    let mut records: Vec<_> = records.collect();
    // Times in the names have whole seconds; this order stands on the records' own.
    records.sort_by_key(|r| r.created_at);
    records
}

/// Makes a full backup, an incremental by Cinder, one by us, and one by Cinder again; restores them by both; deletes
/// the newest by Cinder and the others by us. That nothing is left is for the caller to see.
pub async fn take_turns(
    what: &str,
    engine: &ChunkedBackup,
    container: Option<&ContainerName>,
    cinder: &Cinder,
) {
    let volume = volume();
    let id = VolumeId::generate();
    let mut contents = vec![content(&volume)];
    back_up(engine, id, &volume, None).await;
    for n in 1..4 {
        let before = scan(engine, container).await;
        change(&volume, n);
        contents.push(content(&volume));
        if n.is_multiple_of(2) {
            let parent = layer(before.last().unwrap());
            back_up(engine, id, &volume, Some(&parent)).await;
        } else {
            cinder.back_up(id, &content(&volume), &before);
        }
    }
    let records = scan(engine, container).await;
    assert_eq!(records.len(), 4, "{what}");
    let layers: Vec<_> = records.iter().map(layer).collect();
    for (n, expected) in contents.iter().enumerate() {
        let target = MemoryDevice::from_bytes(&vec![0xa5; expected.len()]);
        let device: Arc<dyn BlockDevice> = Arc::new(target.clone());
        let chain = Chain::new(layers[..=n].to_vec()).unwrap();
        let (options, cx) = (RestoreOptions::default(), context());
        let restored = engine.restore(&chain, &device, &options, &cx).await;
        restored.unwrap_or_else(|e| panic!("{what} {n} by us: {e}"));
        // Not compared by assert_eq, which would print megabytes.
        assert!(content(&target) == *expected, "{what} {n} by us");
        // Each start of Cinder costs seconds: its first restore and its longest chain will do.
        if matches!(n, 0 | 3) {
            let restored = cinder.restore(&records[..=n]);
            assert!(restored == *expected, "{what} {n} by Cinder");
        }
    }
    // What Cinder deletes is gone for us, and the other way round.
    cinder.delete(&records);
    for layer in layers[..3].iter().rev() {
        let deleted = engine.delete(layer, &context()).await;
        deleted.unwrap_or_else(|e| panic!("{what}: {e}"));
    }
}

/// Data that becomes other data over a chunk's border, data that becomes zero, the last byte.
fn change(volume: &MemoryDevice, seed: u64) {
    volume.poke((1 << 20) - 50, &noise(100, seed));
    volume.poke_zeroes(ByteRange::at(seed * 500_000, 200_000).unwrap());
    volume.poke(LENGTH - 1, &[u8::try_from(seed).unwrap()]);
}

fn context() -> JobContext {
    JobContext::new(64 << 20).unwrap()
}

/// Bytes that no codec shortens, the same for each seed.
pub fn noise(length: usize, seed: u64) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let words = std::iter::repeat_with(|| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()
    });
    words.flatten().take(length).collect()
}
