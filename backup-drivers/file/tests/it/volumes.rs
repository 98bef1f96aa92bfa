use std::fs::{self, File};
use std::os::unix::fs::{FileExt, MetadataExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use backup_core::{
    AttachPlan, AttachSource, BackupId, DeviceAttacher, ErrorKind, ExtentKind, SnapshotId,
    SnapshotRef, VolumeId, VolumeProvider, VolumeRef,
};
use backup_file::FileVolumes;

use crate::{content, folder_has_reflinks, noise, range};

const MIB: u64 = 1 << 20;

struct Home {
    dir: tempfile::TempDir,
    volumes: FileVolumes,
}

impl Home {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let volumes = FileVolumes::new(dir.path().join("volumes")).unwrap();
        Self { dir, volumes }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    async fn volume(&self, length: u64) -> VolumeRef {
        let id = VolumeId::generate();
        let location = self.volumes.create_volume(id, length).await.unwrap();
        VolumeRef {
            id,
            provider_location: Some(location),
        }
    }

    async fn adopt(&self, path: &Path) -> backup_core::Result<(VolumeRef, u64)> {
        let id = VolumeId::generate();
        let (location, length) = self.volumes.adopt(id, path.to_str().unwrap()).await?;
        let volume = VolumeRef {
            id,
            provider_location: Some(location),
        };
        Ok((volume, length))
    }

    async fn attach(
        &self,
        source: AttachSource,
    ) -> backup_core::Result<(AttachPlan, backup_core::Attachment)> {
        let plan = self.volumes.plan(&source, BackupId::generate()).await?;
        let attachment = self.volumes.execute(&plan).await?;
        Ok((plan, attachment))
    }
}

fn path_of(volume: &VolumeRef) -> &Path {
    Path::new(volume.provider_location.as_deref().unwrap())
}

fn names_in(folder: &Path) -> Vec<String> {
    fs::read_dir(folder).map_or_else(
        |_| Vec::new(),
        |entries| {
            entries
                .map(|e| e.unwrap().file_name().into_string().unwrap())
                .collect()
        },
    )
}

#[tokio::test]
async fn a_new_volume_is_a_sparse_private_file_of_the_exact_length() {
    let home = Home::new();
    let volume = home.volume(10 * (1 << 30) + 17).await;
    let path = path_of(&volume);
    assert!(path.is_absolute());
    assert_eq!(
        path,
        home.path(&format!("volumes/volume-{}.img", volume.id))
    );
    let metadata = fs::metadata(path).unwrap();
    assert_eq!(metadata.len(), 10 * (1 << 30) + 17);
    assert_eq!(metadata.blocks(), 0);
    assert_eq!(metadata.permissions().mode() & 0o7777, 0o600);
    assert_eq!(
        home.volumes.length(&volume).await.unwrap(),
        10 * (1 << 30) + 17
    );
    let again = home.volumes.create_volume(volume.id, 5).await.unwrap_err();
    assert_eq!(again.kind(), ErrorKind::AlreadyExists);
    assert_eq!(fs::metadata(path).unwrap().len(), 10 * (1 << 30) + 17);
}

#[tokio::test]
async fn a_volume_of_no_or_of_impossible_length_is_refused_and_leaves_nothing() {
    let home = Home::new();
    for length in [0, u64::MAX] {
        let e = home
            .volumes
            .create_volume(VolumeId::generate(), length)
            .await
            .unwrap_err();
        assert_eq!(e.kind(), ErrorKind::InvalidInput, "{e}");
    }
    assert!(names_in(&home.path("volumes")).is_empty());
}

#[tokio::test]
async fn deleting_a_volume_removes_its_file_again_and_again_but_never_an_adopted_one() {
    let home = Home::new();
    let volume = home.volume(MIB).await;
    for _ in 0..2 {
        home.volumes.delete_volume(&volume).await.unwrap();
        assert!(!path_of(&volume).exists());
    }
    // Killed before the location could be noted.
    let volume = home.volume(MIB).await;
    let unnoted = VolumeRef {
        provider_location: None,
        ..volume.clone()
    };
    home.volumes.delete_volume(&unnoted).await.unwrap();
    assert!(!path_of(&volume).exists());

    let image = home.path("mine.img");
    fs::write(&image, b"data").unwrap();
    let (adopted, _) = home.adopt(&image).await.unwrap();
    let e = home.volumes.delete_volume(&adopted).await.unwrap_err();
    assert_eq!(e.kind(), ErrorKind::InvalidInput);
    let other = home.volume(MIB).await;
    let crossed = VolumeRef {
        id: VolumeId::generate(),
        ..other.clone()
    };
    assert!(home.volumes.delete_volume(&crossed).await.is_err());
    assert!(image.exists() && path_of(&other).exists());
}

#[tokio::test]
async fn an_image_is_adopted_where_it_is_by_its_real_path() {
    let home = Home::new();
    let image = home.path("disk.img");
    fs::write(&image, noise(12_345, 1)).unwrap();
    symlink(&image, home.path("link")).unwrap();
    let (volume, length) = home.adopt(&home.path("link")).await.unwrap();
    assert_eq!(length, 12_345);
    assert_eq!(path_of(&volume), fs::canonicalize(&image).unwrap());
    // Grown and shrunk from outside.
    let file = File::options().write(true).open(&image).unwrap();
    for length in [20_000, 4_000] {
        file.set_len(length).unwrap();
        assert_eq!(home.volumes.length(&volume).await.unwrap(), length);
    }
}

#[tokio::test]
async fn folders_special_files_empty_and_missing_ones_are_not_adopted() {
    let home = Home::new();
    let empty = home.path("empty");
    File::create(&empty).unwrap();
    for (path, says) in [
        (home.dir.path(), "a folder"),
        (Path::new("/dev/null"), "neither"),
        (&empty, "empty"),
    ] {
        let e = home.adopt(path).await.unwrap_err();
        assert_eq!(e.kind(), ErrorKind::InvalidInput);
        assert!(e.to_string().contains(says), "{e}");
    }
    let e = home.adopt(&home.path("missing")).await.unwrap_err();
    assert_eq!(e.kind(), ErrorKind::NotFound);
}

#[tokio::test]
async fn a_target_is_known_to_be_zero_only_until_something_was_written() {
    let home = Home::new();
    let volume = home.volume(4 * MIB).await;
    let (_, first) = home
        .attach(AttachSource::Target(volume.clone()))
        .await
        .unwrap();
    assert!(first.device.geometry().known_zero);
    assert!(!first.device.geometry().read_only);
    // Not flushed: it counts all the same.
    first
        .device
        .write(2 * MIB, vec![1; 1].into())
        .await
        .unwrap();
    let (_, second) = home
        .attach(AttachSource::Target(volume.clone()))
        .await
        .unwrap();
    assert!(!second.device.geometry().known_zero);

    // A few bytes, which a filesystem may keep in the inode.
    let small = home.path("small.img");
    fs::write(&small, b"abc").unwrap();
    let (small, _) = home.adopt(&small).await.unwrap();
    let (_, target) = home.attach(AttachSource::Target(small)).await.unwrap();
    assert!(!target.device.geometry().known_zero);
}

#[tokio::test]
async fn an_available_volume_is_attached_as_it_is_for_reading_only() {
    let home = Home::new();
    let volume = home.volume(MIB).await;
    let (plan, attachment) = home
        .attach(AttachSource::Volume(volume.clone()))
        .await
        .unwrap();
    assert!(attachment.device.geometry().read_only);
    assert_eq!(plan.temporary_snapshot, None);
    home.volumes.undo(&plan).await.unwrap();
    assert!(path_of(&volume).exists());
}

#[tokio::test]
async fn a_snapshot_keeps_the_bytes_and_the_holes_of_its_moment() {
    let home = Home::new();
    let volume = home.volume(64 * MIB + 5).await;
    let file = File::options()
        .read(true)
        .write(true)
        .open(path_of(&volume))
        .unwrap();
    file.write_all_at(&noise(3 << 20, 2), 10 * MIB + 3).unwrap();
    file.write_all_at(b"end", 64 * MIB + 2).unwrap();
    let before = fs::read(path_of(&volume)).unwrap();

    let id = SnapshotId::generate();
    let location = home
        .volumes
        .create_snapshot(&volume, id, false)
        .await
        .unwrap();
    file.write_all_at(&noise(3 << 20, 3), 10 * MIB).unwrap();
    assert_eq!(
        Path::new(&location),
        home.path(&format!("snapshots/snapshot-{id}.img"))
    );
    assert_eq!(
        fs::metadata(&location).unwrap().permissions().mode() & 0o7777,
        0o600
    );
    assert_eq!(
        names_in(&home.path("snapshots")).len(),
        1,
        "nothing temporary stays"
    );

    let snapshot = SnapshotRef {
        id,
        volume,
        provider_location: Some(location.clone()),
    };
    let (plan, attachment) = home
        .attach(AttachSource::Snapshot(snapshot.clone()))
        .await
        .unwrap();
    assert!(attachment.device.geometry().read_only);
    assert!(content(&*attachment.device).await == before);
    let extents = attachment
        .device
        .allocated(range(0, 64 * MIB + 5))
        .await
        .unwrap();
    let holes: u64 = extents
        .iter()
        .filter(|e| e.kind == ExtentKind::Zero)
        .map(|e| e.range.len())
        .sum();
    assert!(holes > 60 * MIB, "{extents:?}");
    home.volumes.undo(&plan).await.unwrap();
    assert!(Path::new(&location).exists(), "only what is temporary goes");

    for _ in 0..2 {
        home.volumes.delete_snapshot(&snapshot).await.unwrap();
        assert!(names_in(&home.path("snapshots")).is_empty());
    }
}

#[tokio::test]
async fn what_a_kill_leaves_of_a_snapshot_goes_without_its_location() {
    let home = Home::new();
    let volume = home.volume(MIB).await;
    let id = SnapshotId::generate();
    fs::create_dir(home.path("snapshots")).unwrap();
    for name in [
        format!("snapshot-{id}.img"),
        format!(".snapshot-{id}.img.part"),
    ] {
        fs::write(home.path("snapshots").join(name), b"half").unwrap();
    }
    let hidden = path_of(&volume).with_file_name(format!(".snapshot-{id}.img.part"));
    fs::write(&hidden, b"half").unwrap();
    let other = home.path("snapshots/snapshot-other.img");
    fs::write(&other, b"keep").unwrap();
    let snapshot = SnapshotRef {
        id,
        volume,
        provider_location: None,
    };
    home.volumes.delete_snapshot(&snapshot).await.unwrap();
    assert_eq!(names_in(&home.path("snapshots")), ["snapshot-other.img"]);
    assert!(!hidden.exists());
    let crossed = SnapshotRef {
        provider_location: Some(other.to_str().unwrap().to_owned()),
        ..snapshot
    };
    assert!(home.volumes.delete_snapshot(&crossed).await.is_err());
    assert!(other.exists());
}

#[tokio::test]
async fn a_leftover_of_a_killed_try_does_not_stop_the_next_one() {
    let home = Home::new();
    let volume = home.volume(MIB).await;
    let id = SnapshotId::generate();
    fs::create_dir(home.path("snapshots")).unwrap();
    fs::write(
        home.path(&format!("snapshots/.snapshot-{id}.img.part")),
        b"half",
    )
    .unwrap();
    let location = home
        .volumes
        .create_snapshot(&volume, id, false)
        .await
        .unwrap();
    assert_eq!(fs::read(location).unwrap(), vec![0; 1 << 20]);
    let e = home
        .volumes
        .create_snapshot(&volume, id, false)
        .await
        .unwrap_err();
    assert_eq!(e.kind(), ErrorKind::AlreadyExists);
    assert_eq!(names_in(&home.path("snapshots")).len(), 1);
}

#[tokio::test]
async fn a_copy_that_would_not_fit_is_refused_before_it_begins() {
    // tmpfs has no reflinks and is small.
    let mount = tempfile::tempdir().unwrap();
    let mounted = std::process::Command::new("mount")
        .args(["-t", "tmpfs", "-o", "size=16m", "tmpfs"])
        .arg(mount.path())
        .status();
    if !mounted.is_ok_and(|s| s.success()) {
        eprintln!("skipped: tmpfs cannot be mounted here");
        return;
    }
    let volumes = FileVolumes::new(mount.path().join("volumes")).unwrap();
    let id = VolumeId::generate();
    let location = volumes.create_volume(id, 1 << 30).await.unwrap();
    let volume = VolumeRef {
        id,
        provider_location: Some(location.clone()),
    };
    // A sparse one fits, however long it is.
    volumes
        .create_snapshot(&volume, SnapshotId::generate(), false)
        .await
        .unwrap();
    let file = File::options().write(true).open(&location).unwrap();
    file.write_all_at(&noise(10 << 20, 1), 0).unwrap();
    let refused = volumes
        .create_snapshot(&volume, SnapshotId::generate(), false)
        .await;
    drop(file);
    let left = names_in(&mount.path().join("snapshots"));
    std::process::Command::new("umount")
        .arg(mount.path())
        .status()
        .unwrap();

    let e = refused.unwrap_err();
    assert_eq!(e.kind(), ErrorKind::NoSpace);
    assert!(e.to_string().contains("may need 10 MiB, and"), "{e}");
    assert_eq!(left.len(), 1);
}

#[tokio::test]
async fn a_volume_in_use_without_reflinks_is_refused_with_what_to_do_instead() {
    let home = Home::new();
    if folder_has_reflinks(home.dir.path()) {
        eprintln!("skipped: the temporary folder has reflinks");
        return;
    }
    let volume = home.volume(MIB).await;
    assert!(!home.volumes.supports_point_in_time(&volume).await);
    let source = AttachSource::VolumeInUse(volume.clone());
    let from_plan = home
        .volumes
        .plan(&source, BackupId::generate())
        .await
        .unwrap_err();
    let from_snapshot = home
        .volumes
        .create_snapshot(&volume, SnapshotId::generate(), true)
        .await
        .unwrap_err();
    for e in [from_plan, from_snapshot] {
        assert_eq!(e.kind(), ErrorKind::Unsupported);
        assert!(e.to_string().contains("the volume is in use"), "{e}");
        assert!(
            e.to_string()
                .contains(volume.provider_location.as_deref().unwrap()),
            "{e}"
        );
        assert_eq!(
            e.hint_text().unwrap(),
            "detach it or stop its guest, so that it is available; or keep its image on xfs or btrfs"
        );
    }
    assert!(names_in(&home.path("snapshots")).is_empty());
    assert_eq!(names_in(&home.path("volumes")).len(), 1);
}

#[tokio::test]
async fn a_volume_that_is_written_while_it_is_copied_gives_no_snapshot() {
    let home = Home::new();
    if folder_has_reflinks(home.dir.path()) {
        eprintln!("skipped: the temporary folder has reflinks");
        return;
    }
    let volume = home.volume(128 * MIB).await;
    let file = File::options().write(true).open(path_of(&volume)).unwrap();
    file.write_all_at(&vec![1; 128 << 20], 0).unwrap();
    let stop = Arc::new(AtomicBool::new(false));
    let stopped = Arc::clone(&stop);
    let (began, begin) = std::sync::mpsc::channel();
    let writer = std::thread::spawn(move || {
        while !stopped.load(Ordering::Relaxed) {
            file.write_all_at(b"x", 0).unwrap();
            let _ = began.send(());
        }
    });
    begin.recv().unwrap();
    let made = home
        .volumes
        .create_snapshot(&volume, SnapshotId::generate(), false)
        .await;
    stop.store(true, Ordering::Relaxed);
    writer.join().unwrap();
    let e = made.unwrap_err();
    assert_eq!(e.kind(), ErrorKind::Conflict);
    assert!(e.to_string().contains("torn"), "{e}");
    assert!(names_in(&home.path("snapshots")).is_empty());
}

#[tokio::test]
async fn a_copy_that_is_given_up_leaves_a_whole_snapshot_or_none() {
    let home = Home::new();
    let volume = home.volume(96 * MIB).await;
    let bytes = vec![1; 96 << 20];
    fs::write(path_of(&volume), &bytes).unwrap();
    let id = SnapshotId::generate();
    let copy = home.volumes.create_snapshot(&volume, id, false);
    let given_up = tokio::time::timeout(Duration::from_millis(5), copy)
        .await
        .is_err();
    // The copy ends by itself soon after.
    let names = async || {
        loop {
            let names = names_in(&home.path("snapshots"));
            if names.iter().all(|name| name.starts_with("snapshot")) {
                return names;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    let names = tokio::time::timeout(Duration::from_mins(1), names())
        .await
        .unwrap();
    let whole = home.path(&format!("snapshots/snapshot-{id}.img"));
    assert!(given_up || names.len() == 1);
    assert!(names.is_empty() || fs::read(whole).unwrap() == bytes);
}

#[tokio::test]
async fn a_plan_from_elsewhere_cannot_remove_a_foreign_file() {
    let home = Home::new();
    let victim = home.path("victim");
    fs::write(&victim, b"data").unwrap();
    let volume = home.volume(MIB).await;
    let mut plan = AttachPlan::direct(AttachSource::VolumeInUse(volume), BackupId::generate());
    plan.temporary_snapshot = Some("victim".into());
    for path in [victim.to_str().unwrap(), "relative/backup-snap-x.img"] {
        plan.details = serde_json::json!({ "temporary_path": path });
        let e = home.volumes.undo(&plan).await.unwrap_err();
        assert_eq!(e.kind(), ErrorKind::InvalidInput);
        assert!(home.volumes.execute(&plan).await.is_err());
    }
    assert!(victim.exists());
}
