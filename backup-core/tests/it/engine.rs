//! What the engine promises, one by one.

use std::sync::Arc;

use backup_core::compress::compressor;
use backup_core::diff::JoinRules;
use backup_core::testing::{HoleDevice, MemoryDevice, MemoryRepository};
use backup_core::{
    Algorithm, Attachment, Backup, BackupRequest, BlockDevice, ByteRange, Chain, Check,
    ChunkedBackup, ChunkedConfig, ContainerName, ErrorKind, ExtentKind, Layer, Limits, PutMode,
    RestoreOptions, Timestamp, VolumeId,
};
use bytes::Bytes;

use crate::history::{History, context, noise, small, text};

const K: u64 = 1 << 10;

fn config(algorithm: Algorithm) -> ChunkedConfig {
    small(ChunkedConfig::new(compressor(algorithm, None).unwrap()))
}

fn history(length: u64) -> History {
    History::new(length, config(Algorithm::Zlib))
}

#[tokio::test]
async fn a_chain_restores_link_by_link_with_each_codec() {
    for algorithm in [
        Algorithm::None,
        Algorithm::Zlib,
        Algorithm::Bzip2,
        Algorithm::Zstd,
    ] {
        let mut h = History::new(1_000_003, config(algorithm));
        h.volume.poke(0, &text(1, 300_000));
        h.volume.poke(500_000, &noise(2, 200_000));
        h.full().await;
        h.volume.poke(65_530, b"over a chunk's border");
        h.volume
            .poke_zeroes(ByteRange::new(100_000, 180_000).unwrap());
        h.volume.poke(1_000_002, b"x");
        h.incremental().await;
        h.incremental().await;
        h.volume.poke(0, &noise(3, 1000));
        h.incremental().await;
        assert_eq!(
            h.versions[2].outcome.object_count, 0,
            "nothing changed, nothing stored"
        );
        h.check_all().await;
    }
}

#[tokio::test]
async fn an_incremental_that_zeroes_a_block_restores_zeroes_into_a_new_volume() {
    let mut h = history(256 * K);
    h.volume.poke(0, &noise(1, 256 << 10));
    h.full().await;
    h.volume.poke_zeroes(ByteRange::new(8 * K, 12 * K).unwrap());
    h.incremental().await;
    h.check_all().await;
}

#[tokio::test]
async fn a_grown_and_a_shrunk_volume_are_backed_up_incrementally() {
    let mut h = history(100_000);
    h.volume.poke(0, &noise(1, 100_000));
    h.full().await;
    h.volume = h.volume.resized(300_001);
    h.volume.poke(250_000, &text(2, 50_001));
    h.incremental().await;
    h.volume = h.volume.resized(50_123);
    h.incremental().await;
    h.volume = h.volume.resized(120_000);
    h.incremental().await;
    h.check_all().await;
}

#[tokio::test]
async fn holes_are_not_read_and_cost_next_to_nothing() {
    let mut h = history(64 << 20);
    h.volume.poke(10 << 20, &noise(1, 10_000));
    let full = h.full().await;
    let outcome = &h.versions[full].outcome;
    assert!(outcome.read_bytes <= 256 << 10, "{outcome:?}");
    assert!(outcome.stored_bytes < 128 << 10, "{outcome:?}");
    h.check_all().await;
}

#[tokio::test]
async fn zeroes_that_must_be_read_become_objects_of_their_own() {
    let mut h = history(8 << 20);
    h.volume = h.volume.without_holes();
    h.volume.poke(0, &noise(1, 4096));
    let full = h.full().await;
    assert_eq!(h.versions[full].outcome.object_count, 2);
    h.check_all().await;
}

#[tokio::test]
async fn scattered_changes_store_only_changed_blocks() {
    let mut h = History::new(
        4 << 20,
        config(Algorithm::None).with_join(JoinRules {
            join_gap: 0,
            zero_run: 256 << 10,
        }),
    );
    h.volume.poke(0, &noise(1, 4 << 20));
    h.full().await;
    for i in 0..100 {
        h.volume.poke(i * 40_000, b"changed");
    }
    let inc = h.incremental().await;
    assert!(h.versions[inc].outcome.covered_bytes <= 200 * 4 * K);
    h.check_all().await;
}

#[tokio::test]
async fn codecs_and_chunk_sizes_may_change_within_a_chain() {
    let mut h = history(500_000);
    h.volume.poke(0, &text(1, 400_000));
    h.full().await;
    for (i, algorithm) in [Algorithm::Zstd, Algorithm::None, Algorithm::Bzip2]
        .into_iter()
        .enumerate()
    {
        h.configure(config(algorithm).with_chunk_size(8192 << i));
        h.volume
            .poke(30_000 * i as u64, &noise(9 + i as u64, 50_000));
        h.incremental().await;
    }
    h.check_all().await;
}

#[tokio::test]
async fn another_block_size_asks_for_a_full_backup() {
    let mut h = history(100_000);
    h.full().await;
    h.configure(config(Algorithm::Zlib).with_block_size(8 << 10));
    let e = h.try_back_up(Some(0)).await.unwrap_err();
    assert_eq!(e.kind(), ErrorKind::Conflict);
    assert!(e.hint_text().unwrap().contains("full backup"), "{e}");
}

#[tokio::test]
async fn a_missing_parent_hash_list_asks_for_a_full_backup_but_restores() {
    let mut h = history(100_000);
    h.volume.poke(0, &text(1, 90_000));
    h.full().await;
    assert!(
        h.memory
            .remove(&h.versions[0].layer.location.hash_list().to_string())
    );
    let e = h.try_back_up(Some(0)).await.unwrap_err();
    assert_eq!(e.kind(), ErrorKind::Conflict);
    assert!(e.hint_text().unwrap().contains("full backup"), "{e}");
    h.check(0).await;
}

#[tokio::test]
async fn a_failed_backup_leaves_nothing_behind() {
    let mut h = history(1 << 20);
    h.volume.poke(0, &noise(1, 1 << 20));
    h.volume.fail_read(5);
    h.try_back_up(None).await.unwrap_err();
    assert_eq!(h.memory.objects(), []);
    assert_eq!(h.memory.open_uploads(), 0);
}

#[tokio::test]
async fn a_failed_backup_leaves_nothing_that_a_lagging_listing_hides() {
    let mut h = history(1 << 20);
    h.volume.poke(0, &noise(1, 1 << 20));
    h.volume.fail_read(12);
    h.memory.unlist(|_| true);
    h.try_back_up(None).await.unwrap_err();
    assert_eq!(h.memory.objects(), []);
}

#[tokio::test]
async fn a_cancelled_backup_leaves_nothing_behind() {
    let mut h = history(1 << 20);
    h.volume.poke(0, &noise(1, 1 << 20));
    h.cx.cancel().cancel();
    let e = h.try_back_up(None).await.unwrap_err();
    assert_eq!(e.kind(), ErrorKind::Cancelled);
    assert_eq!(h.memory.objects(), []);
}

#[tokio::test]
async fn deleting_a_backup_leaves_its_neighbours() {
    let mut h = history(200_000);
    h.volume.poke(0, &noise(1, 200_000));
    h.full().await;
    h.volume.poke(0, b"x");
    h.incremental().await;
    let inc = h.versions[1].layer.clone();
    h.engine.delete(&inc, &h.cx).await.unwrap();
    h.engine.delete(&inc, &h.cx).await.unwrap();
    assert!(
        h.memory
            .objects()
            .iter()
            .all(|(name, _)| !name.contains(&h.id(1).to_string()))
    );
    h.check(0).await;
}

#[tokio::test]
async fn what_a_lagging_listing_hides_is_restored_and_deleted() {
    let mut h = history(400_000);
    h.volume.poke(0, &noise(1, 400_000));
    h.full().await;
    h.memory.unlist(|name| !name.ends_with("-00002"));
    h.check(0).await;
    let layer = h.versions[0].layer.clone();
    h.engine.delete(&layer, &h.cx).await.unwrap();
    assert_eq!(h.memory.objects(), []);
}

#[tokio::test]
async fn what_killed_uploads_left_goes_with_the_backup_though_nothing_names_it() {
    let mut h = history(400_000);
    h.volume.poke(0, &noise(1, 400_000));
    h.full().await;
    let layer = h.versions[0].layer.clone();
    let repository = h.engine.repository();
    let begin = async |key| {
        let upload = repository.begin(&key, None).await.unwrap();
        std::mem::forget(upload); // as a kill does
    };
    begin(layer.location.data_object(4711)).await;
    let mut other = layer.location.clone();
    other.container = ContainerName::new("other").unwrap();
    repository.ensure_container(&other.container).await.unwrap();
    begin(other.data_object(1)).await;
    h.engine.delete(&layer, &h.cx).await.unwrap();
    assert_eq!(h.memory.objects(), []);
    assert_eq!(h.memory.open_uploads(), 1, "the other container's stays");
}

#[tokio::test]
async fn a_backup_with_damaged_metadata_can_be_deleted() {
    let mut h = history(400_000);
    h.volume.poke(0, &noise(1, 400_000));
    h.full().await;
    let layer = h.versions[0].layer.clone();
    let damaged = Bytes::from_static(b"{ \"objects\": 7");
    let (repository, metadata) = (h.engine.repository(), layer.location.metadata());
    let put = repository.put(&metadata, damaged, PutMode::Overwrite).await;
    put.unwrap();
    h.engine.delete(&layer, &h.cx).await.unwrap();
    assert_eq!(h.memory.objects(), []);
}

#[tokio::test]
async fn any_byte_of_any_version_can_be_read() {
    let mut h = history(300_000);
    h.volume.poke(0, &noise(1, 200_000));
    h.full().await;
    h.volume.poke(70_000, &text(2, 30_000));
    h.incremental().await;
    for version in 0..2 {
        for (at, length) in [
            (0, 300_000),
            (69_999, 2),
            (99_999, 50_000),
            (299_999, 1),
            (5, 0),
        ] {
            let expected = h.versions[version].content.peek(at, length);
            assert_eq!(
                h.read(version, at, length).await,
                expected,
                "{length} bytes at {at}"
            );
        }
    }
    let reader = h.engine.open(&h.chain(1), &h.cx).await.unwrap();
    let extents = reader.extents(ByteRange::up_to(300_000)).await.unwrap();
    assert_eq!(extents[0].kind, ExtentKind::Data);
    assert_eq!(extents.last().unwrap().kind, ExtentKind::Zero);
    assert_eq!(extents.iter().map(|e| e.range.len()).sum::<u64>(), 300_000);
    let (_, past) = reader.read(299_999, backup_core::Buf::zeroed(2)).await;
    assert_eq!(past.unwrap_err().kind(), ErrorKind::InvalidInput);
}

#[tokio::test]
async fn scan_finds_every_backup_with_all_that_is_known_of_it() {
    use futures::StreamExt;
    let mut h = history(100_001);
    h.volume.poke(0, &noise(1, 100_001));
    h.full().await;
    h.incremental().await;
    let found: Vec<_> = h.engine.scan(None, &h.cx).await.unwrap().collect().await;
    assert_eq!(found.len(), 2);
    for item in found {
        let backup_core::ScanItem::Found(scanned) = item.unwrap() else {
            panic!("broken")
        };
        let record = scanned.record;
        let version = h.versions.iter().find(|v| v.layer.id == record.id).unwrap();
        assert_eq!(record.volume_id, h.volume_id);
        assert_eq!(record.parent_id, version.parent.map(|p| h.id(p)));
        assert_eq!(record.volume_length, Some(100_001));
        assert_eq!(record.object_count, version.outcome.object_count);
        let stored = version.outcome.stored_bytes + version.outcome.index_bytes;
        assert_eq!(record.stored_bytes, Some(stored));
        assert_eq!(record.location.as_ref(), Some(&version.layer.location));
    }
}

/// Breaks the first data object in turn and tells what restore and verify say.
#[tokio::test]
async fn damage_is_named_and_never_restored() {
    for algorithm in [
        Algorithm::None,
        Algorithm::Zlib,
        Algorithm::Bzip2,
        Algorithm::Zstd,
    ] {
        for damage in ["flip", "cut", "grow", "gone", "swap"] {
            let mut h = History::new(150_000, config(algorithm));
            h.volume.poke(0, &text(1, 150_000));
            h.full().await;
            let name = h.versions[0].layer.location.data_object(1).to_string();
            match damage {
                "flip" => assert!(h.memory.damage(&name, |b| {
                    let middle = b.len() / 2;
                    b[middle] ^= 1;
                })),
                "cut" => assert!(h.memory.damage(&name, |b| b.truncate(b.len() - 1))),
                "grow" => assert!(h.memory.damage(&name, |b| b.push(0))),
                "gone" => assert!(h.memory.remove(&name)),
                _ => {
                    let other = h
                        .memory
                        .object(&h.versions[0].layer.location.data_object(2).to_string())
                        .unwrap();
                    assert!(h.memory.damage(&name, |b| *b = other.to_vec()));
                }
            }
            let target = MemoryDevice::new(150_000);
            let e = h
                .restore_onto(0, &target, &RestoreOptions::default())
                .await
                .unwrap_err();
            assert!(e.to_string().contains(&name), "{algorithm} {damage}: {e}");
            let report = h.engine.verify(&h.chain(0), &h.cx).await.unwrap();
            assert!(!report.data_is_right(), "{algorithm} {damage}");
            assert!(
                report.problems[0].object.contains(&name),
                "{:?}",
                report.problems
            );
            let salvaged = h
                .restore_onto(0, &target, &RestoreOptions::default().with_salvage(true))
                .await
                .unwrap();
            assert!(!salvaged.data_is_right());
            let end = 64 << 10;
            assert_eq!(
                target.peek(end, 1000),
                h.versions[0].content.peek(end, 1000),
                "the rest is there"
            );
        }
    }
}

#[tokio::test]
async fn an_extra_object_does_not_stop_a_restore_and_verify_tells_it() {
    let mut h = history(100_000);
    h.volume.poke(0, &noise(1, 100_000));
    h.full().await;
    let location = &h.versions[0].layer.location;
    let extra = format!("{}.part", location.prefix.as_str());
    h.memory
        .plant(location.container.as_str(), &extra, &b"x"[..])
        .unwrap();
    h.check(0).await;
    let report = h.engine.verify(&h.chain(0), &h.cx).await.unwrap();
    assert!(report.data_is_right());
    assert!(report.problems[0].object.ends_with(&extra));
}

#[tokio::test]
async fn a_flipped_hash_is_told_as_the_suspect() {
    let mut h = history(100_000);
    h.volume.poke(0, &noise(1, 100_000));
    h.full().await;
    let list = h.versions[0].layer.location.hash_list().to_string();
    assert!(h.memory.damage(&list, |b| {
        let at = b.len() / 2;
        let at = (at..b.len()).find(|&i| b[i].is_ascii_hexdigit()).unwrap();
        b[at] = if b[at] == b'0' { b'1' } else { b'0' };
    }));
    let e = h
        .restore_onto(0, &MemoryDevice::new(100_000), &RestoreOptions::default())
        .await
        .unwrap_err();
    assert!(e.to_string().contains(&list), "{e}");
}

#[tokio::test]
async fn md5_checks_catch_what_a_missing_hash_list_would_let_pass() {
    let mut h = History::new(100_000, config(Algorithm::None));
    h.volume.poke(0, &noise(1, 100_000));
    h.full().await;
    let location = h.versions[0].layer.location.clone();
    assert!(h.memory.remove(&location.hash_list().to_string()));
    h.check(0).await;
    assert!(
        h.memory
            .damage(&location.data_object(1).to_string(), |b| b[7] ^= 4)
    );
    for check in [Check::Hashes, Check::Md5] {
        let e = h
            .restore_onto(
                0,
                &MemoryDevice::new(100_000),
                &RestoreOptions::default().with_check(check),
            )
            .await
            .unwrap_err();
        assert!(e.to_string().contains("MD5"), "{e}");
    }
}

#[tokio::test]
async fn a_lost_incremental_entry_does_not_bring_old_data_back() {
    let mut h = history(100_000);
    h.volume.poke(0, &noise(1, 100_000));
    h.full().await;
    h.volume.poke(0, b"new");
    h.incremental().await;
    // A metadata without objects: as if nothing had changed. Without our count of them too, which would tell already.
    let location = h.versions[1].layer.location.clone();
    assert!(h.memory.damage(&location.metadata().to_string(), |b| {
        let text = String::from_utf8(b.clone()).unwrap();
        let text = text.replace("\"object_count\"", "\"no_count\"");
        let (from, to) = (
            text.find("\"objects\": [").unwrap(),
            text.rfind("  ],").unwrap(),
        );
        *b = format!("{}\"objects\": [{}", &text[..from], &text[to + 2..]).into_bytes();
    }));
    let target = MemoryDevice::new(100_000);
    let e = h
        .restore_onto(1, &target, &RestoreOptions::default())
        .await
        .unwrap_err();
    assert_eq!(e.kind(), ErrorKind::Corrupt, "{e}");
    let reader = h.engine.open(&h.chain(1), &h.cx).await.unwrap();
    let (_, read) = reader.read(0, backup_core::Buf::zeroed(10)).await;
    assert_eq!(read.unwrap_err().kind(), ErrorKind::Corrupt);
}

#[tokio::test]
async fn objects_larger_than_a_put_go_in_parts() {
    let memory = MemoryRepository::new().with_limits(Limits::new(1 << 40).with_max_put(10_000));
    let mut h = History::over(
        Arc::new(memory.clone()),
        memory,
        300_000,
        config(Algorithm::None),
    );
    h.volume.poke(0, &noise(1, 300_000));
    h.full().await;
    h.check_all().await;
}

#[tokio::test]
async fn a_target_that_is_too_short_is_refused_before_a_byte_is_written() {
    let mut h = history(100_000);
    h.volume.poke(0, &noise(1, 100_000));
    h.full().await;
    let target = MemoryDevice::new(99_999);
    let e = h
        .restore_onto(0, &target, &RestoreOptions::default())
        .await
        .unwrap_err();
    assert_eq!(e.kind(), ErrorKind::InvalidInput);
    assert_eq!(target.held(), 0);
}

#[tokio::test]
async fn sixteen_tebibytes_of_holes_fit_a_small_memory() {
    let memory = MemoryRepository::new().discarding();
    let mut config = ChunkedConfig::zlib().unwrap();
    // Hashes of 16 TiB are 36 GiB of text; large blocks keep the test short.
    config = config.with_block_size(16 << 20).with_chunk_size(16 << 20);
    let engine = ChunkedBackup::new(Arc::new(memory), config).unwrap();
    let cx = context();
    let source: Arc<dyn BlockDevice> =
        Arc::new(HoleDevice::new(1 << 44).with_scattered_data(1, 4, 1 << 20));
    let plan = engine
        .plan(&BackupRequest::new(VolumeId::generate(), Timestamp::now()))
        .unwrap();
    let outcome = engine
        .create(&plan, None, &Attachment::new(source), &cx)
        .await
        .unwrap();
    assert_eq!(outcome.covered_bytes, 1 << 44);
    assert!(outcome.read_bytes <= 8 * (16 << 20));
    let chain = Chain::new(vec![Layer {
        id: plan.id,
        location: plan.location.clone(),
    }])
    .unwrap();
    assert_eq!(engine.length(&chain, &cx).await.unwrap(), 1 << 44);
}
