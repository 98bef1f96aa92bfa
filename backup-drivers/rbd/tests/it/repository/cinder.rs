//! Both ways with Cinder's own ceph driver, on the same cluster: a chain whose links are Cinder's and ours in turn.
//!
//! `ASHLAR_TEST_CINDER_PYTHON` names the Python of an environment that `scripts/cinder/setup.sh` made, of release 29, and
//! `ASHLAR_TEST_CINDER_22_PYTHON` one of release 22.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;

use backup_core::format::record::{export, import};
use backup_core::testing::MemoryDevice;
use backup_core::volume::VolumeRef;
use backup_core::{
    Backup, BackupId, BackupRecord, BlockDevice, ByteRange, Chain, ImageBackup, JobContext, Layer,
    Outcome, RestoreOptions, ScanItem, VolumeId, VolumeProvider,
};
use backup_rbd::{RbdDevice, RbdVolumes};
use bytes::Bytes;
use futures::TryStreamExt;

use super::fixture::rbd;
use super::{backups, engine, file_sha256, sha256};
use crate::ceph::{conf, noise, volumes_config};
use crate::subject::back_up;

const GIB: u64 = 1 << 30;
const MIB: u64 = 1 << 20;

/// A volume, and its backups by either.
struct Mixed {
    python: String,
    conf: String,
    volumes: RbdVolumes,
    volume: VolumeRef,
    engine: ImageBackup,
    layers: Vec<Layer>,
    sums: Vec<String>,
    folder: tempfile::TempDir,
    cx: JobContext,
}

impl Mixed {
    async fn new() -> Option<Self> {
        Self::with("ASHLAR_TEST_CINDER_PYTHON").await
    }

    /// With the Cinder of the Python that a variable names.
    async fn with(variable: &str) -> Option<Self> {
        let conf = conf()?;
        let Ok(python) = std::env::var(variable) else {
            println!("skipped: {variable} names no Cinder");
            return None;
        };
        let volumes = RbdVolumes::new(volumes_config(&conf)).unwrap();
        let id = VolumeId::generate();
        let location = volumes.create_volume(id, GIB).await.unwrap();
        Some(Self {
            python,
            volumes,
            volume: VolumeRef {
                id,
                provider_location: Some(location),
            },
            engine: engine(&conf, 1_000_000),
            layers: Vec::new(),
            sums: Vec::new(),
            folder: tempfile::tempdir().unwrap(),
            cx: JobContext::new(128 << 20).unwrap(),
            conf,
        })
    }

    fn file(&self, name: impl AsRef<Path>) -> PathBuf {
        self.folder.path().join(name)
    }

    fn oracle(&self, command: &str, arguments: &[String]) {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../scripts/cinder/oracle.py");
        let output = Command::new(&self.python)
            .env("PYTHONDONTWRITEBYTECODE", "1")
            .arg(script)
            .arg(command)
            .args(["--driver=ceph", "--ceph-user=admin", "--bucket=backups"])
            .arg(format!("--ceph-conf={}", self.conf))
            .args(arguments)
            .output()
            .unwrap();
        let told = String::from_utf8_lossy(&output.stdout);
        let error = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{command}: {told} {error}");
    }

    /// The records of all backups so far, as arguments.
    fn records(&self) -> Vec<String> {
        (0..self.layers.len())
            .map(|n| format!("--record={}", self.file(format!("{n}.yaml")).display()))
            .collect()
    }

    async fn image(&self) -> backup_rbd::Image {
        let pool = self.volumes.pool().await.unwrap();
        let name = format!("volume-{}", self.volume.id);
        pool.open_image(&name).await.unwrap()
    }

    async fn write(&self, at: u64, seed: u64, length: usize) {
        let image = self.image().await;
        image
            .write(at, Bytes::from(noise(seed, length)))
            .await
            .unwrap();
        image.close().await.unwrap();
    }

    async fn zero(&self, at: u64, length: u64) {
        let image = self.image().await;
        let range = ByteRange::at(at, length).unwrap();
        image.write_zeroes(range).await.unwrap();
        image.close().await.unwrap();
    }

    async fn sum(&self, volume: VolumeId) -> String {
        let pool = self.volumes.pool().await.unwrap();
        let name = format!("volume-{volume}");
        let image = pool.open_read_only(&name, None).await.unwrap();
        sha256(&RbdDevice::new(image), GIB).await
    }

    /// Cinder's: full, or incremental on the newest.
    async fn cinder_backs_up(&mut self) {
        let n = self.layers.len();
        let id = BackupId::generate();
        let mut arguments = vec![
            "--rbd-source".to_owned(),
            format!("--volume-id={}", self.volume.id),
            "--volume-size=1".to_owned(),
            format!("--backup-id={id}"),
            format!("--record-out={}", self.file(format!("{n}.yaml")).display()),
        ];
        if let Some(parent) = self.layers.last() {
            arguments.push(format!("--parent={}", parent.id));
        }
        arguments.extend(self.records());
        self.oracle("backup", &arguments);
        let text = std::fs::read_to_string(self.file(format!("{n}.yaml"))).unwrap();
        let line = |key: &str| {
            let line = text.lines().find_map(|l| l.strip_prefix(key)).unwrap();
            line.trim_start_matches(':').trim().to_owned()
        };
        let record = import(&line("backup_service"), &line("backup_url")).unwrap();
        assert_eq!(record.id, id);
        self.layers.push(Layer {
            id,
            location: record.location.unwrap(),
        });
        self.sums.push(self.sum(self.volume.id).await);
    }

    /// Ours: full, or incremental on the newest.
    async fn we_back_up(&mut self) -> Outcome {
        let (layer, _, outcome) = back_up(
            &self.volumes,
            &self.volume,
            &self.engine,
            self.layers.last(),
            &self.cx,
        )
        .await;
        let record = self.scanned(layer.id).await;
        let exported = export(&record).unwrap();
        let n = self.layers.len();
        std::fs::write(
            self.file(format!("{n}.yaml")),
            format!(
                "backup_service: {}\nbackup_url: {}\n",
                exported.backup_service, exported.backup_url
            ),
        )
        .unwrap();
        self.layers.push(layer);
        self.sums.push(self.sum(self.volume.id).await);
        outcome
    }

    async fn scanned(&self, id: BackupId) -> BackupRecord {
        let items: Vec<ScanItem> = self
            .engine
            .scan(Some(&backups()), &self.cx)
            .await
            .unwrap()
            .try_collect()
            .await
            .unwrap();
        items
            .into_iter()
            .find_map(|item| match item {
                ScanItem::Found(found) if found.record.id == id => Some(found.record),
                _ => None,
            })
            .unwrap()
    }

    async fn we_restore(&self, version: usize) {
        let chain = Chain::new(self.layers[..=version].to_vec()).unwrap();
        let device = MemoryDevice::new(GIB);
        let target: Arc<dyn BlockDevice> = Arc::new(device.clone());
        self.engine
            .restore(&chain, &target, &RestoreOptions::default(), &self.cx)
            .await
            .unwrap();
        assert_eq!(
            sha256(&device, GIB).await,
            self.sums[version],
            "version {version} by us"
        );
    }

    fn restore_arguments(&self, version: usize) -> Vec<String> {
        let mut arguments = vec![
            format!("--backup-id={}", self.layers[version].id),
            format!("--size={GIB}"),
        ];
        arguments.extend(self.records());
        arguments
    }

    fn cinder_restores_into_a_dirty_file(&self, version: usize) {
        let out = self.file("out");
        let mut arguments = self.restore_arguments(version);
        arguments.push(format!("--out={}", out.display()));
        arguments.extend(["--prefill=0x5a".to_owned(), "--no-sha256".to_owned()]);
        self.oracle("restore", &arguments);
        let restored = file_sha256(&out);
        std::fs::remove_file(&out).unwrap();
        assert_eq!(
            restored, self.sums[version],
            "version {version} into a file by Cinder"
        );
    }

    async fn cinder_restores_into_a_new_volume(&self, version: usize) {
        let id = VolumeId::generate();
        let location = self.volumes.create_volume(id, GIB).await.unwrap();
        let mut arguments = self.restore_arguments(version);
        arguments.extend(["--rbd-target".to_owned(), format!("--volume-id={id}")]);
        self.oracle("restore", &arguments);
        assert_eq!(
            self.sum(id).await,
            self.sums[version],
            "version {version} into a volume by Cinder"
        );
        let target = VolumeRef {
            id,
            provider_location: Some(location),
        };
        self.volumes.delete_volume(&target).await.unwrap();
    }

    fn cinder_deletes(&self, version: usize) {
        let mut arguments = vec![format!("--backup-id={}", self.layers[version].id)];
        arguments.extend(self.records().into_iter().take(version + 1));
        self.oracle("delete", &arguments);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_chain_of_ours_and_cinders_in_a_pool_restores_by_both() {
    for cinder_first in [true, false] {
        let Some(mut m) = Mixed::new().await else {
            return;
        };
        m.write(0, 1, 5 << 20).await;
        m.write(700 * MIB + 512, 2, 1 << 20).await;
        for n in 0..4 {
            if (n % 2 == 0) == cinder_first {
                m.cinder_backs_up().await;
            } else {
                let outcome = m.we_back_up().await;
                if n > 0 {
                    // The link before is Cinder's or ours; its snapshot on the volume is found by either's name.
                    assert!(outcome.read_bytes <= 2 * MIB, "link {n}: {outcome:?}");
                }
            }
            m.write(n * 3 * MIB + 4096, n + 10, 70_000).await;
            m.zero(MIB + n * 65_536, 65_536).await;
        }
        for version in 0..4 {
            m.we_restore(version).await;
            // Cinder's full proves nothing of ours. In turn, since Cinder takes its time.
            match (version % 2, version > 0 || !cinder_first) {
                (0, true) => m.cinder_restores_into_a_dirty_file(version),
                (_, true) => m.cinder_restores_into_a_new_volume(version).await,
                (_, false) => {}
            }
        }
        // What one deletes is gone for the other.
        m.cinder_deletes(3);
        m.engine.delete(&m.layers[2], &m.cx).await.unwrap();
        m.cinder_deletes(1);
        m.we_restore(0).await;
        m.engine.delete(&m.layers[0], &m.cx).await.unwrap();
        let prefix = format!("volume-{}", m.volume.id);
        let left = m.engine.repository().list(&backups(), &prefix).await;
        assert_eq!(left.unwrap(), Vec::<String>::new());
        m.volumes.delete_volume(&m.volume).await.unwrap();
    }
}

/// A short chain: the older release takes seconds to start as well.
#[tokio::test(flavor = "multi_thread")]
async fn a_chain_of_ours_and_cinders_of_release_22_in_a_pool_restores_by_both() {
    let Some(mut m) = Mixed::with("ASHLAR_TEST_CINDER_22_PYTHON").await else {
        return;
    };
    m.write(0, 1, 5 << 20).await;
    m.write(700 * MIB + 512, 2, 1 << 20).await;
    m.we_back_up().await;
    m.write(3 * MIB + 4096, 3, 70_000).await;
    m.zero(MIB, 65_536).await;
    m.cinder_backs_up().await;
    m.write(9 * MIB, 4, 70_000).await;
    m.zero(700 * MIB, 2 * MIB).await;
    let outcome = m.we_back_up().await;
    assert!(outcome.read_bytes <= 2 * MIB, "{outcome:?}");
    for version in 0..3 {
        m.we_restore(version).await;
    }
    m.cinder_restores_into_a_dirty_file(0);
    m.cinder_restores_into_a_new_volume(2).await;
    for layer in m.layers.iter().rev() {
        m.engine.delete(layer, &m.cx).await.unwrap();
    }
    m.volumes.delete_volume(&m.volume).await.unwrap();
}

/// scripts/test runs it with Cinder by the beginning of its name.
#[tokio::test(flavor = "multi_thread")]
async fn a_chain_of_ours_and_cinders_leaves_a_volume_that_cinders_volume_driver_deletes() {
    let Some(mut m) = Mixed::new().await else {
        return;
    };
    m.write(0, 1, 5 << 20).await;
    m.we_back_up().await;
    m.write(9 * MIB, 2, 1 << 20).await;
    m.cinder_backs_up().await;
    m.write(3 * MIB, 3, 1 << 20).await;
    m.we_back_up().await;
    let kept: Vec<_> = m.image().await.snapshots().await.unwrap();
    let ours = kept.iter().filter(|s| {
        let (_, nanos) = s.name.rsplit_once('.').unwrap();
        nanos.len() == 9
    });
    assert!(ours.count() >= 2, "ours are among them: {kept:?}");

    let id = format!("--volume-id={}", m.volume.id);
    m.oracle("delete-volume", &[id]);
    let pool = m.volumes.pool().await.unwrap();
    let name = format!("volume-{}", m.volume.id);
    assert_eq!(pool.images(&name).await.unwrap(), [""; 0]);
    // What it cannot remove it would move there.
    let trash = rbd(&m.conf, &["trash", "ls", "volumes"], b"");
    assert!(trash.status.success(), "{trash:?}");
    assert!(
        !String::from_utf8_lossy(&trash.stdout).contains(&name),
        "{trash:?}"
    );
    // The backups are as they were.
    for version in 0..3 {
        m.we_restore(version).await;
    }
    for layer in m.layers.iter().rev() {
        m.engine.delete(layer, &m.cx).await.unwrap();
    }
}
