use std::fs::{self, File};
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::Path;

use backup_core::{BlockDevice, Buf, BufferPool, ErrorKind, ExtentKind};
use backup_file::{DeviceOptions, DirectReads, FileDevice, Holes};
use rustix::fs::FallocateFlags;

use crate::{check_extents, content, noise, range};

const KIB: u64 = 1024;
const MIB: u64 = 1024 * KIB;

async fn open(path: &Path, options: DeviceOptions) -> FileDevice {
    FileDevice::open(path, options).await.unwrap()
}

#[tokio::test]
async fn geometry_tells_the_exact_length_and_whether_writes_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("image");
    fs::write(&path, noise(1_000_001, 1)).unwrap();
    let read_only = open(&path, DeviceOptions::read_only()).await;
    let geometry = read_only.geometry();
    assert_eq!(geometry.length, 1_000_001);
    assert_eq!(geometry.preferred_alignment, 4096);
    assert!(geometry.read_only && !geometry.known_zero);
    let writable = open(&path, DeviceOptions::writable().with_known_zero(true)).await;
    assert!(!writable.geometry().read_only && writable.geometry().known_zero);
    assert_eq!(writable.describe(), path.display().to_string());
}

#[tokio::test]
async fn any_range_reads_as_the_file_has_it_with_and_without_the_page_cache() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("image");
    let bytes = noise(1_000_001, 2);
    fs::write(&path, &bytes).unwrap();
    let pool = BufferPool::new(8 * MIB);
    for direct in [
        DirectReads::Never,
        DirectReads::WhereCold,
        DirectReads::Always,
    ] {
        let device = open(&path, DeviceOptions::read_only().with_direct_reads(direct)).await;
        for (at, length) in [
            (0, 1_000_001),
            (0, 4096),
            (4096, 100_000),
            (1, 5000),
            (999_424, 577),
            (1_000_000, 1),
            (1_000_001, 0),
        ] {
            let (buf, result) = device.read(at, pool.take(length)).await;
            result.unwrap();
            let at = usize::try_from(at).unwrap();
            assert!(
                *buf == bytes[at..at + length],
                "{length} bytes at {at}, direct {direct:?}"
            );
        }
    }
}

#[tokio::test]
async fn reads_and_writes_past_the_end_are_refused_and_change_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("image");
    fs::write(&path, vec![1; 10_000]).unwrap();
    let device = open(&path, DeviceOptions::writable()).await;
    let (buf, result) = device.read(9_000, Buf::zeroed(1_001)).await;
    assert_eq!(buf.len(), 1_001, "the buffer comes back");
    let e = result.unwrap_err();
    assert_eq!(e.kind(), ErrorKind::InvalidInput);
    assert!(e.to_string().contains("image at byte 9000"), "{e}");
    let refused = [
        device.write(10_000, b"x".as_slice().into()).await,
        device.write(u64::MAX, b"x".as_slice().into()).await,
        device.write_zeroes(range(0, 10_001)).await,
        device.discard(range(10_000, 20_000)).await,
        device.allocated(range(0, 10_001)).await.map(drop),
    ];
    for result in refused {
        assert_eq!(result.unwrap_err().kind(), ErrorKind::InvalidInput);
    }
    assert_eq!(fs::read(&path).unwrap(), vec![1; 10_000]);
}

#[tokio::test]
async fn a_read_only_device_refuses_every_change() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("image");
    fs::write(&path, vec![1; 10_000]).unwrap();
    let device = open(&path, DeviceOptions::read_only()).await;
    for result in [
        device.write(0, b"x".as_slice().into()).await,
        device.write_zeroes(range(0, 1)).await,
        device.discard(range(0, 1)).await,
    ] {
        assert!(result.unwrap_err().to_string().contains("for reading only"));
    }
    device.flush().await.unwrap();
}

#[tokio::test]
async fn a_file_that_was_cut_under_us_is_an_error_and_never_zeroes() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("image");
    fs::write(&path, noise(100_000, 3)).unwrap();
    for direct in [
        DirectReads::Never,
        DirectReads::WhereCold,
        DirectReads::Always,
    ] {
        let device = open(&path, DeviceOptions::read_only().with_direct_reads(direct)).await;
        File::options()
            .write(true)
            .open(&path)
            .unwrap()
            .set_len(50_000)
            .unwrap();
        let (_, result) = device.read(0, Buf::zeroed(100_000)).await;
        let e = result.unwrap_err();
        assert_eq!(e.kind(), ErrorKind::Io);
        assert!(e.to_string().contains("became shorter"), "{e}");
        assert!(e.to_string().contains("at byte 50000"), "{e}");
        let e = device.allocated(range(0, 100_000)).await.unwrap_err();
        assert!(e.to_string().contains("became shorter"), "{e}");
        fs::write(&path, noise(100_000, 3)).unwrap();
    }
}

#[tokio::test]
async fn what_is_no_file_and_no_block_device_is_refused_with_its_reason() {
    let dir = tempfile::tempdir().unwrap();
    let open = |path: &Path| {
        let path = path.to_owned();
        async move { FileDevice::open(path, DeviceOptions::read_only()).await }
    };
    let e = open(dir.path()).await.unwrap_err();
    assert!(e.to_string().contains("it is a folder"), "{e}");
    let e = open(Path::new("/dev/null")).await.unwrap_err();
    assert_eq!(e.kind(), ErrorKind::InvalidInput);
    assert!(e.to_string().contains("neither an image file nor"), "{e}");
    let e = open(&dir.path().join("missing")).await.unwrap_err();
    assert_eq!(e.kind(), ErrorKind::NotFound);
    assert!(e.to_string().contains("missing"), "{e}");
}

#[tokio::test]
async fn zeroes_in_a_file_become_holes_and_keep_its_length() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("image");
    let mut model = noise(4 << 20, 4);
    fs::write(&path, &model).unwrap();
    let device = open(&path, DeviceOptions::writable()).await;
    let before = fs::metadata(&path).unwrap().blocks();
    device.write_zeroes(range(100, 3 * MIB + 17)).await.unwrap();
    device.flush().await.unwrap();
    model[100..(3 << 20) + 17].fill(0);
    assert!(content(&device).await == model);
    assert_eq!(fs::metadata(&path).unwrap().len(), 4 * MIB);
    let after = fs::metadata(&path).unwrap().blocks();
    assert!(
        after * 512 < before * 512 - 2 * MIB,
        "{before} to {after} blocks"
    );
}

#[tokio::test]
async fn holes_are_found_and_everything_else_is_data() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("image");
    let file = File::create(&path).unwrap();
    file.set_len(64 * MIB).unwrap();
    file.write_all_at(&noise(MIB as usize, 5), 8 * MIB).unwrap();
    // Zeroes that were written, and space that was reserved but never written, may both be either kind.
    file.write_all_at(&vec![0; MIB as usize], 16 * MIB).unwrap();
    rustix::fs::fallocate(&file, FallocateFlags::KEEP_SIZE, 24 * MIB, MIB).unwrap();
    file.write_all_at(b"tail", 64 * MIB - 4).unwrap();
    // Nothing was synced: what the filesystem has not yet placed must count all the same.
    let device = open(&path, DeviceOptions::read_only()).await;
    for (start, end) in [
        (0, 64 * MIB),
        (8 * MIB + 5, 8 * MIB + 6),
        (9 * MIB - 1, 16 * MIB + 1),
        (100, 4096),
        (64 * MIB - 4, 64 * MIB),
        (64 * MIB, 64 * MIB),
    ] {
        let extents = device.allocated(range(start, end)).await.unwrap();
        check_extents(&extents, range(start, end));
        let bytes = content(&device).await;
        for extent in extents.iter().filter(|e| e.kind == ExtentKind::Zero) {
            let part = extent.range.start() as usize..extent.range.end() as usize;
            assert!(bytes[part].iter().all(|&b| b == 0), "{extent:?} is no hole");
        }
    }
    let extents = device.allocated(range(0, 64 * MIB)).await.unwrap();
    let holes: u64 = extents
        .iter()
        .filter(|e| e.kind == ExtentKind::Zero)
        .map(|e| e.range.len())
        .sum();
    assert!(
        holes >= 60 * MIB,
        "only {holes} bytes of holes in {extents:?}"
    );
}

#[tokio::test]
async fn holes_follow_what_this_device_itself_writes() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("image");
    File::create(&path).unwrap().set_len(8 * MIB).unwrap();
    let device = open(&path, DeviceOptions::writable()).await;
    let all = range(0, 8 * MIB);
    let kinds =
        |extents: Vec<backup_core::Extent>| extents.iter().map(|e| e.kind).collect::<Vec<_>>();
    assert_eq!(
        kinds(device.allocated(all).await.unwrap()),
        [ExtentKind::Zero]
    );
    device.write(4 * MIB, vec![1; 4096].into()).await.unwrap();
    let extents = device.allocated(all).await.unwrap();
    check_extents(&extents, all);
    assert_eq!(
        kinds(extents),
        [ExtentKind::Zero, ExtentKind::Data, ExtentKind::Zero]
    );
    device.write_zeroes(all).await.unwrap();
    assert_eq!(
        kinds(device.allocated(all).await.unwrap()),
        [ExtentKind::Zero]
    );
}

#[tokio::test]
async fn without_belief_in_holes_everything_is_data() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("image");
    File::create(&path).unwrap().set_len(MIB).unwrap();
    let device = open(&path, DeviceOptions::read_only().with_holes(Holes::Ignore)).await;
    let extents = device.allocated(range(5, MIB)).await.unwrap();
    check_extents(&extents, range(5, MIB));
    assert_eq!(extents[0].kind, ExtentKind::Data);
}

#[tokio::test]
async fn a_discard_gives_the_space_of_a_file_back() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("image");
    fs::write(&path, noise(4 << 20, 6)).unwrap();
    let device = open(&path, DeviceOptions::writable()).await;
    device.flush().await.unwrap();
    device.discard(range(0, 4 * MIB)).await.unwrap();
    device.flush().await.unwrap();
    assert!(fs::metadata(&path).unwrap().blocks() * 512 < MIB);
    assert_eq!(fs::metadata(&path).unwrap().len(), 4 * MIB);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_reads_and_writes_run_side_by_side_and_dropped_ones_do_no_harm() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("image");
    File::create(&path).unwrap().set_len(32 * MIB).unwrap();
    let device = std::sync::Arc::new(open(&path, DeviceOptions::writable()).await);
    let pool = BufferPool::new(64 * MIB);
    let mut tasks = Vec::new();
    for i in 0..64u64 {
        let (device, pool) = (std::sync::Arc::clone(&device), pool.clone());
        tasks.push(tokio::spawn(async move {
            let data = noise(512 << 10, i);
            device
                .write(i * 512 * KIB, data.clone().into())
                .await
                .unwrap();
            // One that is given up at once: its buffer must stay alive until the kernel is done with it.
            let dropped = device.read(0, pool.take(4 << 20));
            let _ = tokio::time::timeout(std::time::Duration::from_micros(i), dropped).await;
            let (buf, result) = device.read(i * 512 * KIB, pool.take(512 << 10)).await;
            result.unwrap();
            assert!(*buf == *data);
        }));
    }
    for task in tasks {
        task.await.unwrap();
    }
}
