//! Metadata whose offsets or lengths are a little wrong, so that blocks come in pieces: each object's MD5 is right, and
//! the volume would not be.

use backup_core::testing::MemoryDevice;
use backup_core::{Backup, ByteRange, Check, ChunkedConfig, RestoreOptions};

use crate::history::{History, noise, small};

const LENGTH: u64 = 100_000;

/// A full backup, and an incremental of a block of data and of two of zeroes.
async fn two_layers() -> History {
    let mut h = History::new(LENGTH, small(ChunkedConfig::zlib().unwrap()));
    h.volume.poke(0, &noise(1, 100_000));
    h.full().await;
    h.volume.poke(8192, &noise(2, 4096));
    h.volume
        .poke_zeroes(ByteRange::new(32_768, 40_960).unwrap());
    h.incremental().await;
    h
}

/// Exchanges a piece of text in the metadata of the newest version.
fn edit(h: &History, from: &str, to: &str) {
    let location = &h.versions[1].layer.location;
    let name = location.prefix.metadata();
    let path = format!("{}/{name}", location.container);
    let text = String::from_utf8(h.memory.object(&path).unwrap().to_vec()).unwrap();
    assert_eq!(
        text.matches(from).count(),
        1,
        "{from} stands once in {text}"
    );
    let text = text.replace(from, to);
    h.memory
        .plant(location.container.as_str(), &name, text.into_bytes())
        .unwrap();
}

/// Nothing restores without an error, and what a salvage does not list is right.
async fn is_told(h: &History, what: &str) {
    for check in [Check::Hashes, Check::Md5] {
        let target = MemoryDevice::from_bytes(&vec![0xA5; 100_000]);
        let options = RestoreOptions::default().with_check(check);
        let restored = h.restore_onto(1, &target, &options).await;
        assert!(restored.is_err(), "{what} with {check:?}: {restored:?}");
    }
    let report = h.engine.verify(&h.chain(1), &h.cx).await.unwrap();
    assert!(!report.data_is_right(), "{what}");

    let target = MemoryDevice::from_bytes(&vec![0xA5; 100_000]);
    let options = RestoreOptions::default().with_salvage(true);
    let report = h.restore_onto(1, &target, &options).await.unwrap();
    let right = &h.versions[1].content;
    let told: Vec<ByteRange> = report.problems.iter().filter_map(|p| p.range).collect();
    let (got, wanted) = (target.peek(0, 100_000), right.peek(0, 100_000));
    for at in 0..LENGTH {
        let here = usize::try_from(at).unwrap();
        let listed = told.iter().any(|r| r.start() <= at && at < r.end());
        if listed {
            assert_ne!(got[here], 0xA5, "{what}: byte {at} is left as it was");
        } else {
            assert_eq!(got[here], wanted[here], "{what}: byte {at} is not listed");
        }
    }
}

#[tokio::test]
async fn an_offset_that_moved_within_a_block_is_told_though_each_md5_is_right() {
    let h = two_layers().await;
    edit(&h, "\"offset\": 8192", "\"offset\": 8292");
    is_told(&h, "data moved").await;
    let h = two_layers().await;
    edit(&h, "\"offset\": 8192", "\"offset\": 8092");
    is_told(&h, "data moved back").await;
    let h = two_layers().await;
    edit(&h, "\"offset\": 32768", "\"offset\": 32758");
    is_told(&h, "zeroes moved").await;
}

#[tokio::test]
async fn a_length_of_zeroes_that_shrank_within_a_block_is_told() {
    let h = two_layers().await;
    edit(&h, "\"length\": 8192", "\"length\": 8092");
    is_told(&h, "zeroes shrank").await;
}

#[tokio::test]
async fn a_block_whose_pieces_are_right_restores() {
    // Zeroes over what was zero but for one byte: where the metadata tells them 100 bytes shorter, the older layer's
    // bytes show there, and are zero as well.
    let mut h = History::new(LENGTH, small(ChunkedConfig::zlib().unwrap()));
    h.volume.poke(0, &noise(1, 32_768));
    h.volume.poke(32_770, b"x");
    h.full().await;
    h.volume
        .poke_zeroes(ByteRange::new(32_770, 32_771).unwrap());
    h.incremental().await;
    edit(&h, "\"length\": 4096", "\"length\": 3996");
    for known_zero in [false, true] {
        let target = if known_zero {
            MemoryDevice::new(LENGTH).with_known_zero(true)
        } else {
            MemoryDevice::from_bytes(&vec![0xA5; 100_000])
        };
        let report = h
            .restore_onto(1, &target, &RestoreOptions::default())
            .await
            .unwrap();
        assert_eq!(report.checked_bytes, LENGTH);
        assert_eq!(target.first_difference(&h.versions[1].content), None);
    }
}
