//! Reflinks, on a filesystem that has them.

use std::fs::{self, File};
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;

use backup_core::{
    AttachPlan, AttachSource, BackupId, DeviceAttacher, SnapshotId, VolumeId, VolumeProvider,
    VolumeRef,
};
use backup_file::FileVolumes;
use rustix::fs::IFlags;

use crate::{content, folder_with_reflinks, noise};

const BLOCKS: u64 = 1024;
const BLOCK: usize = 4096;

/// Writes the number of the round into every block in turn, round after round, until it is stopped.
struct Writer {
    stop: Arc<AtomicBool>,
    rounds: Arc<AtomicU64>,
    thread: Option<JoinHandle<()>>,
}

impl Writer {
    fn start(path: &Path) -> Self {
        let (stop, rounds) = (
            Arc::new(AtomicBool::new(false)),
            Arc::new(AtomicU64::new(0)),
        );
        let file = File::options().write(true).open(path).unwrap();
        let (stopped, round) = (Arc::clone(&stop), Arc::clone(&rounds));
        let thread = std::thread::spawn(move || {
            while !stopped.load(Ordering::Relaxed) {
                let number = round.load(Ordering::Relaxed) + 1;
                let block = number.to_le_bytes().repeat(BLOCK / 8);
                for i in 0..BLOCKS {
                    file.write_all_at(&block, i * BLOCK as u64).unwrap();
                }
                round.store(number, Ordering::Relaxed);
            }
        });
        Self {
            stop,
            rounds,
            thread: Some(thread),
        }
    }

    fn rounds(&self) -> u64 {
        self.rounds.load(Ordering::Relaxed)
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            thread.join().unwrap();
        }
    }
}

/// A moment of the writer's file: one round up to some block and the one before from there on. Answers the round.
fn check_moment(bytes: &[u8]) -> u64 {
    let numbers: Vec<u64> = bytes
        .chunks(8)
        .map(|n| u64::from_le_bytes(n.try_into().unwrap()))
        .collect();
    let newest = numbers[0];
    let switch = numbers
        .iter()
        .position(|&n| n != newest)
        .unwrap_or(numbers.len());
    assert_eq!(switch % (BLOCK / 8), 0, "a block is torn");
    assert!(
        numbers[switch..].iter().all(|&n| n + 1 == newest),
        "no moment of the file looked like this"
    );
    newest
}

async fn in_use_volume(volumes: &FileVolumes) -> VolumeRef {
    let id = VolumeId::generate();
    let location = volumes
        .create_volume(id, BLOCKS * BLOCK as u64)
        .await
        .unwrap();
    VolumeRef {
        id,
        provider_location: Some(location),
    }
}

fn temporary_path(plan: &AttachPlan) -> PathBuf {
    PathBuf::from(plan.details["temporary_path"].as_str().unwrap())
}

#[tokio::test]
async fn a_volume_in_use_is_read_as_it_was_at_one_moment() {
    let Some(dir) = folder_with_reflinks() else {
        return;
    };
    let volumes = FileVolumes::new(dir.path().join("volumes")).unwrap();
    let volume = in_use_volume(&volumes).await;
    let writer = Writer::start(Path::new(volume.provider_location.as_deref().unwrap()));
    assert!(volumes.supports_point_in_time(&volume).await);
    let mut seen = Vec::new();
    for _ in 0..8 {
        let id = BackupId::generate();
        let plan = volumes
            .plan(&AttachSource::VolumeInUse(volume.clone()), id)
            .await
            .unwrap();
        assert_eq!(
            plan.temporary_snapshot,
            Some(format!("backup-snap-{id}.img"))
        );
        let path = temporary_path(&plan);
        assert!(!path.exists(), "a plan does nothing");
        let before = writer.rounds();
        let attachment = volumes.execute(&plan).await.unwrap();
        let round = check_moment(&content(&*attachment.device).await);
        assert!(round >= before, "older than when it was asked for");
        // Much is written meanwhile; the moment stays.
        let now = writer.rounds();
        while writer.rounds() < now + 2 {
            std::thread::yield_now();
        }
        assert_eq!(check_moment(&content(&*attachment.device).await), round);
        assert!(attachment.device.geometry().read_only);
        seen.push(round);
        for _ in 0..2 {
            volumes.undo(&plan).await.unwrap();
            assert!(!path.exists());
        }
    }
    assert!(seen.windows(2).all(|w| w[0] < w[1]), "{seen:?}");
}

#[tokio::test]
async fn a_plan_can_be_executed_again_after_a_kill_and_undone_without_being_executed() {
    let Some(dir) = folder_with_reflinks() else {
        return;
    };
    let volumes = FileVolumes::new(dir.path().join("volumes")).unwrap();
    let volume = in_use_volume(&volumes).await;
    let source = AttachSource::VolumeInUse(volume);
    let plan = volumes.plan(&source, BackupId::generate()).await.unwrap();
    volumes.undo(&plan).await.unwrap();
    drop(volumes.execute(&plan).await.unwrap());
    // As another process sees it, which knows only what was stored.
    let stored: AttachPlan = serde_json::from_str(&serde_json::to_string(&plan).unwrap()).unwrap();
    let restarted = FileVolumes::new(dir.path().join("volumes")).unwrap();
    drop(restarted.execute(&stored).await.unwrap());
    restarted.undo(&stored).await.unwrap();
    assert!(!temporary_path(&stored).exists());
}

#[tokio::test]
async fn a_snapshot_of_a_volume_in_use_is_a_reflink_of_one_moment() {
    let Some(dir) = folder_with_reflinks() else {
        return;
    };
    let volumes = FileVolumes::new(dir.path().join("volumes")).unwrap();
    let volume = in_use_volume(&volumes).await;
    let writer = Writer::start(Path::new(volume.provider_location.as_deref().unwrap()));
    while writer.rounds() < 2 {
        std::thread::yield_now();
    }
    let location = volumes
        .create_snapshot(&volume, SnapshotId::generate(), true)
        .await
        .unwrap();
    drop(writer);
    assert!(Path::new(&location).starts_with(dir.path().join("snapshots")));
    check_moment(&fs::read(&location).unwrap());
}

#[tokio::test]
async fn an_adopted_image_on_another_filesystem_is_reflinked_beside_itself() {
    let Some(dir) = folder_with_reflinks() else {
        return;
    };
    let home = tempfile::tempdir().unwrap();
    if fs::metadata(home.path()).unwrap().dev() == fs::metadata(dir.path()).unwrap().dev() {
        eprintln!("skipped: the temporary folder is on that filesystem too");
        return;
    }
    let volumes = FileVolumes::new(home.path().join("volumes")).unwrap();
    let image = dir.path().join("disk.img");
    let bytes = noise(3_000_001, 1);
    fs::write(&image, &bytes).unwrap();
    let id = VolumeId::generate();
    let (location, _) = volumes.adopt(id, image.to_str().unwrap()).await.unwrap();
    let volume = VolumeRef {
        id,
        provider_location: Some(location),
    };

    let backup = BackupId::generate();
    let plan = volumes
        .plan(&AttachSource::VolumeInUse(volume.clone()), backup)
        .await
        .unwrap();
    assert_eq!(
        temporary_path(&plan),
        fs::canonicalize(dir.path())
            .unwrap()
            .join(format!(".backup-snap-{backup}.img"))
    );
    let attachment = volumes.execute(&plan).await.unwrap();
    assert!(content(&*attachment.device).await == bytes);
    volumes.undo(&plan).await.unwrap();

    let snapshot = SnapshotId::generate();
    let made = volumes
        .create_snapshot(&volume, snapshot, true)
        .await
        .unwrap();
    assert!(Path::new(&made).ends_with(format!(".snapshot-{snapshot}.img")));
    assert!(fs::read(&made).unwrap() == bytes);
    let reference = backup_core::SnapshotRef {
        id: snapshot,
        volume,
        provider_location: Some(made),
    };
    volumes.delete_snapshot(&reference).await.unwrap();
    let left: Vec<_> = fs::read_dir(dir.path())
        .unwrap()
        .map(|e| e.unwrap().file_name())
        .collect();
    assert_eq!(left, ["disk.img"]);
}

#[tokio::test]
async fn an_image_without_copy_on_write_is_reflinked_too() {
    let Some(dir) = folder_with_reflinks() else {
        return;
    };
    let volumes = FileVolumes::new(dir.path().join("volumes")).unwrap();
    let volume = in_use_volume(&volumes).await;
    let path = Path::new(volume.provider_location.as_deref().unwrap());
    let file = File::options().write(true).open(path).unwrap();
    let no_cow = rustix::fs::ioctl_getflags(&file)
        .and_then(|flags| rustix::fs::ioctl_setflags(&file, flags | IFlags::NOCOW));
    if no_cow.is_err() {
        eprintln!("skipped: copy-on-write cannot be turned off here (it can on btrfs)");
        return;
    }
    let bytes = noise(1 << 20, 1);
    file.write_all_at(&bytes, 0).unwrap();
    assert!(volumes.supports_point_in_time(&volume).await);
    let location = volumes
        .create_snapshot(&volume, SnapshotId::generate(), true)
        .await
        .unwrap();
    assert!(fs::read(&location).unwrap()[..1 << 20] == bytes);
}
