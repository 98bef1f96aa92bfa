use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;

use backup_core::{
    AttachSource, BackupId, BlockDevice, DeviceAttacher, ErrorKind, ExtentKind, SnapshotId,
    VolumeId, VolumeProvider, VolumeRef,
};
use backup_file::{DeviceOptions, FileDevice, FileVolumes};
use proptest::test_runner::{Config, TestRunner};

use crate::{content, model, noise, range};

const MIB: u64 = 1 << 20;

/// A loop device over a file; detached when dropped.
struct LoopDevice {
    path: PathBuf,
    _dir: tempfile::TempDir,
}

impl LoopDevice {
    /// One of `length` bytes with sectors of `sector` bytes, where this machine lets us.
    fn new(length: u64, sector: u32) -> Option<Self> {
        let dir = tempfile::tempdir().unwrap();
        let image = dir.path().join("backing");
        File::create(&image).unwrap().set_len(length).unwrap();
        let made = Command::new("losetup")
            .args(["--find", "--show", "--sector-size", &sector.to_string()])
            .arg(&image)
            .output();
        match made {
            Ok(output) if output.status.success() => Some(Self {
                path: PathBuf::from(String::from_utf8(output.stdout).unwrap().trim()),
                _dir: dir,
            }),
            _ => {
                eprintln!("skipped: no loop device can be had here");
                None
            }
        }
    }
}

impl Drop for LoopDevice {
    fn drop(&mut self) {
        let _ = Command::new("losetup")
            .arg("--detach")
            .arg(&self.path)
            .status();
    }
}

fn run(program: &str, args: &[&Path]) {
    let output = Command::new(program).args(args).output().unwrap();
    assert!(output.status.success(), "{program}: {output:?}");
}

#[tokio::test]
async fn a_block_device_has_the_length_that_the_kernel_tells() {
    // A length that is no multiple of a page.
    let Some(device) = LoopDevice::new(5 * MIB + 512, 512) else {
        return;
    };
    let told = Command::new("blockdev")
        .arg("--getsize64")
        .arg(&device.path)
        .output()
        .unwrap();
    let told: u64 = String::from_utf8(told.stdout)
        .unwrap()
        .trim()
        .parse()
        .unwrap();
    assert_eq!(told, 5 * MIB + 512);
    let opened = FileDevice::open(&device.path, DeviceOptions::read_only())
        .await
        .unwrap();
    assert_eq!(opened.geometry().length, told);
    assert!(opened.geometry().preferred_alignment >= 512);
    let extents = opened.allocated(range(0, told)).await.unwrap();
    assert_eq!(extents.len(), 1);
    assert_eq!(
        extents[0].kind,
        ExtentKind::Data,
        "holes of devices are not believed"
    );
}

#[test]
fn a_block_device_reads_as_what_was_written_and_zeroed() {
    for sector in [512, 4096] {
        let length = 300 * 1024 + u64::from(sector);
        let Some(device) = LoopDevice::new(length, sector) else {
            return;
        };
        let mut runner = TestRunner::new(Config {
            cases: 12,
            failure_persistence: None,
            ..Config::default()
        });
        let runtime = model::runtime();
        runner
            .run(&model::changes(length, 20), |changes| {
                let mut model = fs::read(&device.path).unwrap();
                runtime.block_on(model::apply(&device.path, &mut model, &changes));
                assert!(fs::read(&device.path).unwrap() == model);
                Ok(())
            })
            .unwrap();
    }
}

#[tokio::test]
async fn zeroing_a_large_unaligned_range_of_a_block_device_touches_nothing_else() {
    let length = 70 * MIB + 512;
    let Some(device) = LoopDevice::new(length, 512) else {
        return;
    };
    let mut model = noise(70_001, 9).repeat(1049);
    model.truncate(length as usize);
    let opened = FileDevice::open(&device.path, DeviceOptions::writable())
        .await
        .unwrap();
    opened.write(0, model.clone().into()).await.unwrap();
    let zeroed = range(1_000_003, 69 * MIB + 77);
    opened.write_zeroes(zeroed).await.unwrap();
    opened.flush().await.unwrap();
    model[1_000_003..(69 << 20) + 77].fill(0);
    assert!(content(&opened).await == model);
    drop(opened);
    // From the disk, not from a cache; then from the cache.
    run("blockdev", &[Path::new("--flushbufs"), &device.path]);
    let opened = FileDevice::open(&device.path, DeviceOptions::read_only())
        .await
        .unwrap();
    assert!(content(&opened).await == model);
    assert!(fs::read(&device.path).unwrap() == model);
    assert!(content(&opened).await == model);
}

#[tokio::test]
async fn a_device_that_is_being_written_is_held_and_a_second_writer_refused() {
    let Some(device) = LoopDevice::new(MIB, 512) else {
        return;
    };
    let first = FileDevice::open(&device.path, DeviceOptions::writable())
        .await
        .unwrap();
    let second = FileDevice::open(&device.path, DeviceOptions::writable()).await;
    let e = second.unwrap_err();
    assert_eq!(e.kind(), ErrorKind::Conflict);
    assert!(e.to_string().contains("held by something else"), "{e}");
    drop(first);
    FileDevice::open(&device.path, DeviceOptions::writable())
        .await
        .unwrap();
}

#[tokio::test]
async fn a_restore_onto_a_mounted_device_is_refused_and_a_torn_read_of_it_too() {
    let Some(device) = LoopDevice::new(16 * MIB, 512) else {
        return;
    };
    let made = Command::new("mkfs.ext4")
        .arg("-q")
        .arg(&device.path)
        .status();
    if !made.is_ok_and(|s| s.success()) {
        eprintln!("skipped: no mkfs.ext4");
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let point = dir.path().join("a mount");
    fs::create_dir(&point).unwrap();
    run("mount", &[&device.path, &point]);
    let volumes = FileVolumes::new(dir.path().join("volumes")).unwrap();
    let (location, length) = volumes
        .adopt(VolumeId::generate(), device.path.to_str().unwrap())
        .await
        .unwrap();
    assert_eq!(length, 16 * MIB);
    let volume = VolumeRef {
        id: VolumeId::generate(),
        provider_location: Some(location),
    };
    let attach = async |source| {
        let plan = volumes.plan(&source, BackupId::generate()).await?;
        volumes.execute(&plan).await
    };
    let onto = attach(AttachSource::Target(volume.clone())).await;
    let from = attach(AttachSource::Volume(volume.clone())).await;
    let copied = volumes
        .create_snapshot(&volume, SnapshotId::generate(), false)
        .await;
    run("umount", &[&point]);

    for (error, says) in [
        (onto.unwrap_err(), "would destroy that filesystem"),
        (from.unwrap_err(), "torn"),
        (copied.unwrap_err(), "torn"),
    ] {
        assert_eq!(error.kind(), ErrorKind::Conflict);
        assert!(error.to_string().contains(says), "{error}");
        assert!(
            error.to_string().contains(point.to_str().unwrap()),
            "{error}"
        );
        assert!(error.hint_text().unwrap().contains("umount"));
    }
    let target = attach(AttachSource::Target(volume.clone())).await.unwrap();
    assert!(
        !target.device.geometry().known_zero,
        "a device may hold anything"
    );
    drop(target);
    let source = attach(AttachSource::Volume(volume.clone())).await.unwrap();
    assert_eq!(source.device.geometry().length, length);
    let e = attach(AttachSource::VolumeInUse(volume)).await.unwrap_err();
    assert_eq!(e.kind(), ErrorKind::Unsupported);
    assert!(e.hint_text().unwrap().contains("detach it"));
}

#[tokio::test]
async fn a_snapshot_of_a_block_device_is_a_sparse_copy() {
    let Some(device) = LoopDevice::new(32 * MIB, 512) else {
        return;
    };
    let dir = tempfile::tempdir().unwrap();
    let volumes = FileVolumes::new(dir.path().join("volumes")).unwrap();
    let opened = FileDevice::open(&device.path, DeviceOptions::writable())
        .await
        .unwrap();
    opened
        .write(7 * MIB + 3, noise(1 << 20, 8).into())
        .await
        .unwrap();
    opened.flush().await.unwrap();
    let volume = VolumeRef {
        id: VolumeId::generate(),
        provider_location: Some(device.path.to_str().unwrap().to_owned()),
    };
    let snapshot = volumes
        .create_snapshot(&volume, SnapshotId::generate(), false)
        .await
        .unwrap();
    assert!(fs::read(&snapshot).unwrap() == content(&opened).await);
    let blocks = std::os::unix::fs::MetadataExt::blocks(&fs::metadata(&snapshot).unwrap());
    assert!(blocks * 512 < 3 * MIB, "{blocks} blocks");
}
