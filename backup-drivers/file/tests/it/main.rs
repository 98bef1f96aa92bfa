//! Files and block devices as volumes, against real filesystems and loop devices.
//!
//! Loop devices need root and `losetup`; the tests of reflinks need a folder on xfs or btrfs, named by
//! `ASHLAR_TEST_XFS`. Where something is missing, a test says so and passes.
#![allow(
    clippy::unwrap_used,
    clippy::cast_possible_truncation,
    reason = "a test may panic, and runs where usize has 64 bits"
)]

mod block_device;
mod device;
mod model;
mod point_in_time;
mod volumes;

use std::fs::File;
use std::path::{Path, PathBuf};

use backup_core::{BlockDevice, Buf, ByteRange, Extent, ExtentKind};

/// All bytes of `device`.
async fn content(device: &dyn BlockDevice) -> Vec<u8> {
    let length = usize::try_from(device.geometry().length).unwrap();
    let (buf, result) = device.read(0, Buf::zeroed(length)).await;
    result.unwrap();
    buf.to_vec()
}

fn range(start: u64, end: u64) -> ByteRange {
    ByteRange::new(start, end).unwrap()
}

/// Checks what every answer of `allocated` promises: in order, no gaps, exactly `range`, neighbours differ.
fn check_extents(extents: &[Extent], range: ByteRange) {
    let mut at = range.start();
    let mut before = None;
    for extent in extents {
        assert_eq!(extent.range.start(), at, "a gap or overlap in {extents:?}");
        assert!(!extent.range.is_empty());
        assert_ne!(before, Some(extent.kind), "not joined: {extents:?}");
        assert!(matches!(extent.kind, ExtentKind::Data | ExtentKind::Zero));
        at = extent.range.end();
        before = Some(extent.kind);
    }
    assert_eq!(at, range.end());
}

/// Bytes that do not repeat.
fn noise(length: usize, seed: u64) -> Vec<u8> {
    let mut state = seed.wrapping_mul(2).wrapping_add(1);
    let mut bytes = Vec::with_capacity(length + 8);
    while bytes.len() < length {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        bytes.extend_from_slice(&state.to_le_bytes());
    }
    bytes.truncate(length);
    bytes
}

/// A fresh folder on a filesystem with reflinks, where one is named.
fn folder_with_reflinks() -> Option<tempfile::TempDir> {
    let Some(mount) = std::env::var_os("ASHLAR_TEST_XFS").map(PathBuf::from) else {
        eprintln!("skipped: ASHLAR_TEST_XFS names no folder on xfs or btrfs");
        return None;
    };
    Some(tempfile::tempdir_in(mount).unwrap())
}

fn folder_has_reflinks(folder: &Path) -> bool {
    let (a, b) = (folder.join("a"), folder.join("b"));
    std::fs::write(&a, b"x").unwrap();
    let cloned = rustix::fs::ioctl_ficlone(File::create(&b).unwrap(), File::open(&a).unwrap());
    std::fs::remove_file(a).unwrap();
    std::fs::remove_file(b).unwrap();
    cloned.is_ok()
}
