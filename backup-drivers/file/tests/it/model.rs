//! Random changes to a device against the same changes to a vector.

use std::fs::File;

use backup_core::{BlockDevice, ByteRange, ExtentKind};
use backup_file::{DeviceOptions, FileDevice};
use proptest::prelude::*;

use crate::{check_extents, content, noise};

#[derive(Debug, Clone)]
pub(crate) enum Change {
    Write(ByteRange, u64),
    Zero(ByteRange),
    Discard(ByteRange),
    Flush,
    Reopen,
}

/// Ranges of a device of `length` bytes: anywhere, and with ends on or near the borders of blocks and pages.
fn ranges(length: u64) -> impl Strategy<Value = ByteRange> {
    let offset = prop_oneof![
        0..=length,
        (0..=length / 512, -1i64..=1)
            .prop_map(move |(n, off)| { (n * 512).saturating_add_signed(off).min(length) }),
        (0..=length / 4096).prop_map(|n| n * 4096),
    ]
    .boxed();
    (offset.clone(), offset).prop_map(|(a, b)| ByteRange::new(a.min(b), a.max(b)).unwrap())
}

pub(crate) fn changes(length: u64, count: usize) -> impl Strategy<Value = Vec<Change>> {
    let range = ranges(length).boxed();
    let change = prop_oneof![
        5 => (range.clone(), any::<u64>()).prop_map(|(r, seed)| Change::Write(r, seed)),
        4 => range.clone().prop_map(Change::Zero),
        1 => range.prop_map(Change::Discard),
        1 => Just(Change::Flush),
        1 => Just(Change::Reopen),
    ];
    proptest::collection::vec(change, 1..count)
}

/// Applies `changes` to the device at `path` and to `model`, and checks every byte and every hole on the way.
pub(crate) async fn apply(path: &std::path::Path, model: &mut [u8], changes: &[Change]) {
    let mut device = FileDevice::open(path, DeviceOptions::writable())
        .await
        .unwrap();
    let all = ByteRange::up_to(model.len() as u64);
    for change in changes {
        let part = |r: ByteRange| r.start() as usize..r.end() as usize;
        match *change {
            Change::Write(r, seed) => {
                let data = noise(r.len() as usize, seed);
                model[part(r)].copy_from_slice(&data);
                device.write(r.start(), data.into()).await.unwrap();
            }
            Change::Zero(r) => {
                model[part(r)].fill(0);
                device.write_zeroes(r).await.unwrap();
            }
            Change::Discard(r) => {
                // Its content is undefined afterwards: take over what the device says.
                device.discard(r).await.unwrap();
                model[part(r)].copy_from_slice(&content(&device).await[part(r)]);
            }
            Change::Flush => device.flush().await.unwrap(),
            Change::Reopen => {
                drop(device); // a block device is held exclusively
                device = FileDevice::open(path, DeviceOptions::writable())
                    .await
                    .unwrap();
            }
        }
        let bytes = content(&device).await;
        if let Some(at) = bytes.iter().zip(&*model).position(|(a, b)| a != b) {
            panic!("byte {at} differs after {change:?}");
        }
        // Looking for holes syncs, which takes most of the time.
        if !matches!(change, Change::Flush | Change::Reopen) {
            continue;
        }
        let extents = device.allocated(all).await.unwrap();
        check_extents(&extents, all);
        for extent in extents.iter().filter(|e| e.kind == ExtentKind::Zero) {
            assert!(
                model[part(extent.range)].iter().all(|&b| b == 0),
                "{extent:?} holds data"
            );
        }
    }
}

pub(crate) fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap()
}

const LENGTH: u64 = 200_123; // not a multiple of anything

proptest! {
    #![proptest_config(ProptestConfig { cases: 32, ..ProptestConfig::default() })]

    #[test]
    fn a_file_reads_as_what_was_written_zeroed_and_discarded(changes in changes(LENGTH, 30)) {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("image");
        File::create(&path).unwrap().set_len(LENGTH).unwrap();
        let mut model = vec![0; LENGTH as usize];
        runtime().block_on(apply(&path, &mut model, &changes));
        assert!(std::fs::read(&path).unwrap() == model);
    }
}
