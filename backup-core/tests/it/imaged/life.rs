//! Lives of a volume, told step by step.

use std::sync::Arc;

use backup_core::format::ceph::{self, BaseImage};
use backup_core::testing::{MemoryDevice, MemoryImages};
use backup_core::{
    Attachment, Backup, BackupId, BlockDevice, Buf, ByteRange, Chain, ChangePoint, ChangeSource,
    ErrorKind, Extent, ExtentKind, ImageBackup, ImageKey, ImageRepository, ImagedConfig, Layer,
    Location, ObjectKey, Observer, OrphanKind, Progress, RestoreOptions, Result, ScanItem,
    Timestamp, VolumeId,
};
use futures::TryStreamExt;

use super::volume::{Life, Way, attach, pool, read_all};
use crate::history::{noise, text};

const MIB: u64 = 1 << 20;

async fn life(length: u64) -> Life {
    Life::new(length, ImagedConfig::new().with_audit(1_000_000)).await
}

#[tokio::test]
async fn an_incremental_of_a_tracked_image_reads_only_what_changed() {
    let mut l = Life::new(64 * MIB, ImagedConfig::new().with_audit(0)).await;
    l.image.write(0, noise(1, 9 << 20).into()).await.unwrap();
    let full = l.full(Way::Tracked).await;
    let outcome = &l.versions[full].outcome;
    assert_eq!(outcome.volume_length, 64 * MIB);
    assert_eq!(outcome.stored_bytes, 9 << 20, "holes are not stored");
    assert_eq!(outcome.read_bytes, 9 << 20, "nor read");

    l.image.write(5 * MIB, noise(2, 8192).into()).await.unwrap();
    l.image
        .write_zeroes(ByteRange::at(2 * MIB, 65_536).unwrap())
        .await
        .unwrap();
    let incremental = l.incremental(Way::Tracked).await;
    let outcome = &l.versions[incremental].outcome;
    assert_eq!(outcome.read_bytes, 8192);
    assert_eq!(outcome.stored_bytes, 8192);
    assert_eq!(outcome.covered_bytes, 8192 + 65_536);
    l.check_all().await;
}

#[tokio::test]
async fn an_incremental_of_any_other_source_is_found_by_comparing() {
    for way in [Way::Untracked, Way::Plain] {
        let mut l = life(20 * MIB + 512).await;
        l.image.write(0, noise(1, 10 << 20).into()).await.unwrap();
        l.full(way).await;
        l.image.write(5 * MIB, noise(2, 4096).into()).await.unwrap();
        l.image
            .write_zeroes(ByteRange::at(8 * MIB, MIB).unwrap())
            .await
            .unwrap();
        l.image
            .write(20 * MIB, b"the last sector".as_slice().into())
            .await
            .unwrap();
        let incremental = l.incremental(way).await;
        let outcome = &l.versions[incremental].outcome;
        // Two runs of 32 KiB at most, of which the last is the volume's short end.
        assert!(outcome.stored_bytes <= 65_536, "{outcome:?}");
        l.check_all().await;
    }
}

#[tokio::test]
async fn names_and_metadata_are_cinders() {
    let mut l = life(MIB).await;
    let mut request = l.request(None);
    request.volume_metadata = Some(backup_core::format::volume::VolumeMetadata::default());
    let plan = l.engine.plan(&request).unwrap();
    let (volume, id) = (l.volume_id, plan.id);
    assert_eq!(
        plan.location.prefix.as_str(),
        format!("{{\"base\": \"volume-{volume}.backup.{id}\"}}")
    );
    assert_eq!(plan.location.container.as_str(), "backups");
    let source = attach(&l.volumes, &l.key, &plan.layer(), Way::Tracked).await;
    l.engine
        .create(&plan, None, &source.attachment, &l.cx)
        .await
        .unwrap();
    let snapshot = source.snapshot.unwrap();
    assert_eq!(
        l.backups.inventory(),
        [
            format!(
                "image backups/volume-{volume}.backup.{id}: snapshots [({snapshot:?}, {MIB})], notes \
                 [\"ashlar.backup.{id}\"]"
            ),
            format!("record backups/backup.{id}.meta"),
        ]
    );
    let record = ObjectKey::new(&pool("backups"), format!("backup.{id}.meta")).unwrap();
    let kept = l.backups.get_record(&record).await.unwrap().unwrap();
    assert_eq!(
        std::str::from_utf8(&kept).unwrap(),
        plan.volume_metadata.unwrap(),
        "as it is, not wrapped"
    );

    // An incremental carries the full backup's base, and lies in its pool.
    let parent = plan.location.clone();
    l.versions.push(super::volume::Version {
        layer: Layer {
            id,
            location: parent.clone(),
        },
        parent: None,
        content: vec![0; 1 << 20],
        outcome: backup_core::Outcome::new(MIB),
        deleted: false,
    });
    let mut request = l.request(Some(0));
    assert_eq!(l.engine.plan(&request).unwrap().location, parent);
    request.container = Some(pool("other"));
    let e = l.engine.plan(&request).unwrap_err();
    assert!(
        e.is(ErrorKind::InvalidInput) && e.hint_text().is_some(),
        "{e}"
    );
    request.parent = None;
    let plan = l.engine.plan(&request).unwrap();
    assert_eq!(plan.location.container, pool("other"));
}

#[tokio::test]
async fn a_volume_that_grows_and_shrinks_restores_at_every_length() {
    for way in Way::ALL {
        let mut l = life(3 * MIB + 512).await;
        l.image.write(0, noise(1, 3 << 20).into()).await.unwrap();
        l.full(way).await;
        for (n, length) in [5 * MIB, MIB + 7, 6 * MIB, 512, 4 * MIB]
            .into_iter()
            .enumerate()
        {
            l.image.resize(length).await.unwrap();
            if n % 2 == 0 {
                l.image
                    .write(length - 100, noise(n as u64, 100).into())
                    .await
                    .unwrap();
            }
            l.incremental(way).await;
        }
        l.check_all().await;
    }
}

#[tokio::test]
async fn the_base_image_goes_with_its_last_backup_and_not_before() {
    let mut l = life(MIB).await;
    l.full(Way::Tracked).await;
    l.incremental(Way::Tracked).await;
    let base = l.base(0);
    l.delete(1).await;
    assert!(l.backups.open(&base, None).await.is_ok());
    l.check_all().await;
    l.delete(0).await;
    assert_eq!(l.backups.inventory(), Vec::<String>::new());
    // Deleting again is success.
    let layer = l.versions[0].layer.clone();
    l.engine.delete(&layer, &l.cx).await.unwrap();
}

#[tokio::test]
async fn a_foreign_snapshot_on_the_base_image_is_told_and_not_removed() {
    let mut l = life(MIB).await;
    l.full(Way::Tracked).await;
    let base = l.backups.open_to_write(&l.base(0)).await.unwrap();
    base.snapshot("by hand").await.unwrap();
    let layer = l.versions[0].layer.clone();
    let e = l.engine.delete(&layer, &l.cx).await.unwrap_err();
    assert!(e.is(ErrorKind::Conflict), "{e:?}");
    assert!(e.to_string().contains("by hand"), "{e}");
    base.remove_snapshot("by hand").await.unwrap();
    drop(base);
    l.delete(0).await;
    assert_eq!(l.backups.inventory(), Vec::<String>::new());
}

#[tokio::test]
async fn a_location_that_names_no_base_image_touches_nothing() {
    let l = life(MIB).await;
    // Backups and volumes in one pool: a forged record names the volume itself.
    let engine = ImageBackup::new(Arc::clone(&l.volumes), ImagedConfig::new()).unwrap();
    let layer = Layer {
        id: BackupId::generate(),
        location: Location {
            container: pool("volumes"),
            prefix: ceph::service_metadata(l.key.name()).unwrap(),
        },
    };
    let e = engine.delete(&layer, &l.cx).await.unwrap_err();
    assert!(e.is(ErrorKind::Corrupt), "{e:?}");
    assert!(l.volumes.open(&l.key, None).await.is_ok());
    let chain = Chain::new(vec![layer]).unwrap();
    assert!(engine.length(&chain, &l.cx).await.is_err());
}

#[tokio::test]
async fn a_parent_that_is_not_the_newest_in_its_image_is_refused() {
    let mut l = life(MIB).await;
    l.full(Way::Tracked).await;
    l.incremental(Way::Tracked).await;
    let before = l.backups.inventory();
    let e = l.try_back_up(Some(0), Way::Tracked).await.unwrap_err();
    assert!(e.is(ErrorKind::Conflict), "{e:?}");
    assert!(e.hint_text().unwrap().contains("full"), "{e:?}");
    assert_eq!(l.backups.inventory(), before);
    // Nor one whose snapshot is gone.
    l.delete(1).await;
    let e = l.try_back_up(Some(1), Way::Tracked).await.unwrap_err();
    assert!(e.is(ErrorKind::Conflict), "{e:?}");
    l.incremental_on(0).await;
    l.check_all().await;
}

impl Life {
    async fn incremental_on(&mut self, parent: usize) -> usize {
        self.try_back_up(Some(parent), Way::Tracked).await.unwrap()
    }
}

#[tokio::test]
async fn what_a_killed_attempt_wrote_does_not_count() {
    let mut l = life(4 * MIB).await;
    l.image.write(0, noise(1, 4 << 20).into()).await.unwrap();
    l.full(Way::Tracked).await;
    // Half of an incremental of a smaller volume, and of one that is longer.
    for (length, at) in [(2 * MIB, 100), (6 * MIB, 5 * MIB)] {
        let base = l.backups.open_to_write(&l.base(0)).await.unwrap();
        base.resize(length).await.unwrap();
        base.write(at, noise(9, 300_000).into()).await.unwrap();
        base.set_note(&format!("ashlar.backup.{}", BackupId::generate()), "{}")
            .await
            .unwrap();
        drop(base);
        l.image
            .write(MIB, noise(length, 5000).into())
            .await
            .unwrap();
        l.incremental(Way::Tracked).await;
        l.check_all().await;
    }
}

/// Calls one range unchanged, whatever happens to it.
#[derive(Debug)]
struct Liar {
    truth: Arc<dyn ChangeSource>,
    lie: ByteRange,
}

#[async_trait::async_trait]
impl ChangeSource for Liar {
    async fn mark(&self, id: BackupId) -> Result<ChangePoint> {
        self.truth.mark(id).await
    }
    async fn changed(&self, since: &ChangePoint, range: ByteRange) -> Result<Vec<Extent>> {
        let told = self.truth.changed(since, range).await?;
        let cut = |e: &Extent| {
            let (head, rest) = e.range.split_at(self.lie.start());
            let (middle, tail) = rest.split_at(self.lie.end());
            [
                Extent::new(head, e.kind),
                Extent::new(middle, ExtentKind::Unchanged),
                Extent::new(tail, e.kind),
            ]
        };
        Ok(told
            .iter()
            .flat_map(cut)
            .filter(|e| !e.range.is_empty())
            .collect())
    }
    async fn release(&self, point: &ChangePoint) -> Result<()> {
        self.truth.release(point).await
    }
}

/// Keeps the warnings.
#[derive(Debug, Default)]
struct Warnings(std::sync::Mutex<Vec<String>>);

impl Observer for Warnings {
    fn progress(&self, _: &Progress) {}
    fn warning(&self, message: &str) {
        self.0.lock().unwrap().push(message.to_owned());
    }
}

#[tokio::test]
async fn a_tracker_that_misses_a_write_is_found_by_the_audit_and_all_is_read() {
    let mut l = life(40 * MIB).await;
    l.image.write(0, noise(1, 40 << 20).into()).await.unwrap();
    l.full(Way::Tracked).await;
    l.image
        .write(30 * MIB, noise(2, 5000).into())
        .await
        .unwrap();
    l.image.write(MIB, noise(3, 5000).into()).await.unwrap();
    let plan = l.engine.plan(&l.request(Some(0))).unwrap();
    let mut source = attach(&l.volumes, &l.key, &plan.layer(), Way::Tracked).await;
    let truth = source.attachment.changes.take().unwrap();
    let lie = ByteRange::at(30 * MIB, MIB).unwrap();
    source.attachment.changes = Some(Arc::new(Liar { truth, lie }));
    let warnings = Arc::new(Warnings::default());
    let cx = l.cx.for_job(Arc::<Warnings>::clone(&warnings));
    let parent = l.versions[0].layer.clone();
    let outcome = l
        .engine
        .create(&plan, Some(&parent), &source.attachment, &cx)
        .await
        .unwrap();
    let warned = warnings.0.lock().unwrap().clone();
    assert_eq!(warned.len(), 1, "{warned:?}");
    assert!(warned[0].contains("CHANGE TRACKING IS WRONG"), "{warned:?}");
    let content = read_all(&l.image).await;
    l.versions.push(super::volume::Version {
        layer: plan.layer(),
        parent: Some(0),
        content,
        outcome,
        deleted: false,
    });
    l.check_all().await;
}

#[tokio::test]
async fn a_source_that_lost_the_parents_state_is_read_whole() {
    let mut l = life(4 * MIB).await;
    l.image.write(0, noise(1, 4 << 20).into()).await.unwrap();
    l.full(Way::Tracked).await;
    for snapshot in l.image.snapshots().await.unwrap() {
        l.image.remove_snapshot(&snapshot.name).await.unwrap();
    }
    l.image.write(MIB, text(1, 5000).into()).await.unwrap();
    let version = l.incremental(Way::Tracked).await;
    assert_eq!(l.versions[version].outcome.read_bytes, 4 * MIB);
    l.check_all().await;
}

#[tokio::test]
async fn an_image_that_was_there_before_is_told_and_left() {
    let l = life(MIB).await;
    let plan = l.engine.plan(&l.request(None)).unwrap();
    let source = attach(&l.volumes, &l.key, &plan.layer(), Way::Tracked).await;
    let base = ceph::base_of(&plan.location.prefix).unwrap();
    let key = ImageKey::new(&pool("backups"), base).unwrap();
    l.backups.create(&key, 4096).await.unwrap();
    let e = l
        .engine
        .create(&plan, None, &source.attachment, &l.cx)
        .await
        .unwrap_err();
    assert!(e.is(ErrorKind::AlreadyExists), "{e:?}");
    assert!(l.backups.open(&key, None).await.is_ok());
}

// The clock runs as fast as nobody is at work: a lock is waited for.
#[tokio::test(start_paused = true)]
async fn two_incrementals_at_once_on_one_image_are_not_mixed() {
    let mut l = life(MIB).await;
    l.full(Way::Tracked).await;
    let holder = l.backups.open_to_write(&l.base(0)).await.unwrap();
    holder.lock().await.unwrap();
    let e = l.try_back_up(Some(0), Way::Tracked).await.unwrap_err();
    assert!(e.is(ErrorKind::Conflict), "{e:?}");
    drop(holder);
    l.incremental_on(0).await;
    l.check_all().await;
}

#[tokio::test]
async fn a_scan_brings_back_every_record() {
    let mut l = life(MIB + 512).await;
    l.full(Way::Tracked).await;
    l.incremental(Way::Untracked).await;
    l.full(Way::Plain).await;
    let items: Vec<ScanItem> = l
        .engine
        .scan(None, &l.cx)
        .await
        .unwrap()
        .try_collect()
        .await
        .unwrap();
    assert_eq!(items.len(), 3);
    for item in items {
        let ScanItem::Found(found) = item else {
            panic!("{item:?}");
        };
        let r = found.record;
        let at = l.versions.iter().position(|v| v.layer.id == r.id).unwrap();
        let v = &l.versions[at];
        assert_eq!(r.location.as_ref(), Some(&v.layer.location));
        assert_eq!(r.parent_id, v.parent.map(|p| l.versions[p].layer.id));
        assert_eq!(r.volume_id, l.volume_id);
        assert_eq!(r.volume_length, Some(MIB + 512));
        assert_eq!(r.name.as_deref(), Some(&*format!("version {at}")));
        assert_eq!(
            (r.project_id.as_str(), r.user_id.as_str()),
            ("project", "user")
        );
        assert_eq!(r.properties["key"], "value");
        assert_eq!(r.stored_bytes, Some(v.outcome.stored_bytes));
        assert_eq!(r.service, "cinder.backup.drivers.ceph.CephBackupDriver");
    }
}

#[tokio::test]
async fn the_end_of_a_killed_job_is_told_by_its_snapshot() {
    let mut l = life(MIB).await;
    l.full(Way::Tracked).await;
    let done = l.versions[0].layer.clone();
    let outcome = l.engine.committed(&done, &l.cx).await.unwrap().unwrap();
    assert_eq!(outcome.volume_length, MIB);
    assert_eq!(outcome.change_point, l.versions[0].outcome.change_point);
    for location in [
        done.location.clone(),
        l.engine.plan(&l.request(None)).unwrap().location,
    ] {
        let never = Layer {
            id: BackupId::generate(),
            location,
        };
        assert_eq!(l.engine.committed(&never, &l.cx).await.unwrap(), None);
    }
}

#[tokio::test]
async fn what_killed_jobs_left_is_found_and_removed_and_nothing_else() {
    let mut l = life(MIB).await;
    l.full(Way::Tracked).await;
    let sound = l.backups.inventory();
    // A full backup and an incremental whose jobs were killed.
    let full = l.engine.plan(&l.request(None)).unwrap();
    let key = ImageKey::new(
        &pool("backups"),
        ceph::base_of(&full.location.prefix).unwrap(),
    )
    .unwrap();
    l.backups.create(&key, MIB).await.unwrap();
    let incremental = BackupId::generate();
    let base = l.backups.open_to_write(&l.base(0)).await.unwrap();
    base.set_note(&format!("ashlar.backup.{incremental}"), "{}")
        .await
        .unwrap();
    let record = ObjectKey::new(&pool("backups"), ceph::record_name(incremental)).unwrap();
    l.backups.put_record(&record, "{}".into()).await.unwrap();

    let orphans: Vec<_> = l
        .engine
        .orphans(None, &l.cx)
        .await
        .unwrap()
        .try_collect()
        .await
        .unwrap();
    assert_eq!(orphans.len(), 2, "{orphans:?}");
    assert!(orphans.iter().all(|o| o.modified.is_some()));
    assert!(orphans.iter().any(|o| matches!(&o.kind,
        OrphanKind::Backup { id, .. } if *id == full.id)));
    for orphan in &orphans {
        assert!(l.engine.remove_orphan(orphan, &l.cx).await.unwrap());
    }
    assert_eq!(l.backups.inventory(), sound);
    // What was completed meanwhile is none any more.
    base.set_note(&format!("ashlar.backup.{incremental}"), "{}")
        .await
        .unwrap();
    let found: Vec<_> = l
        .engine
        .orphans(None, &l.cx)
        .await
        .unwrap()
        .try_collect()
        .await
        .unwrap();
    base.snapshot(&ceph::snapshot_name(incremental, Timestamp::now()))
        .await
        .unwrap();
    assert!(!l.engine.remove_orphan(&found[0], &l.cx).await.unwrap());
    l.check_all().await;
}

/// A copy as Cinder makes it of what is no RBD image: no snapshot, no note.
async fn cinders_copy(l: &Life, name: BaseImage, id: BackupId, content: &[u8]) -> Layer {
    let key = ImageKey::new(&pool("backups"), name.to_string()).unwrap();
    let image = l.backups.create(&key, content.len() as u64).await.unwrap();
    image.write(0, content.to_vec().into()).await.unwrap();
    let record = ObjectKey::new(&pool("backups"), ceph::record_name(id)).unwrap();
    let metadata = r#"{"version": 2, "volume-base-metadata": {"display_name": "v"}}"#;
    l.backups
        .put_record(&record, metadata.into())
        .await
        .unwrap();
    Layer {
        id,
        location: Location {
            container: pool("backups"),
            prefix: ceph::service_metadata(key.name()).unwrap(),
        },
    }
}

#[tokio::test]
async fn cinders_copies_without_snapshots_are_restored_found_and_deleted() {
    let l = life(MIB).await;
    let content = noise(4, 300_000);
    let volume = VolumeId::generate();
    for old_style in [false, true] {
        let id = BackupId::generate();
        let name = if old_style {
            BaseImage::old_style(volume)
        } else {
            BaseImage::new(volume, id)
        };
        let layer = cinders_copy(&l, name, id, &content).await;
        let chain = Chain::new(vec![layer.clone()]).unwrap();
        let target = MemoryDevice::new(content.len() as u64);
        let device: Arc<dyn BlockDevice> = Arc::new(target.clone());
        l.engine
            .restore(&chain, &device, &RestoreOptions::default(), &l.cx)
            .await
            .unwrap();
        assert!(target.peek(0, content.len()) == content);
        let items: Vec<ScanItem> = l
            .engine
            .scan(None, &l.cx)
            .await
            .unwrap()
            .try_collect()
            .await
            .unwrap();
        match (&items[..], old_style) {
            ([ScanItem::Found(found)], false) => {
                assert_eq!(found.record.id, id);
                assert_eq!(found.volume_name.as_deref(), Some("v"));
            }
            // Which backup it is only its record tells.
            ([ScanItem::Broken(problem)], true) => {
                assert!(problem.text.contains("record"), "{problem}");
            }
            other => panic!("{other:?}"),
        }
        let orphans: Vec<_> = l
            .engine
            .orphans(None, &l.cx)
            .await
            .unwrap()
            .try_collect()
            .await
            .unwrap();
        assert!(orphans.is_empty(), "{orphans:?}");
        // No incremental stands on what has no snapshot: it would be overwritten.
        let mut request = l.request(None);
        request.parent = Some(layer.clone());
        let plan = l.engine.plan(&request).unwrap();
        let source = Attachment::new(Arc::new(target.clone()));
        let e = l
            .engine
            .create(&plan, Some(&layer), &source, &l.cx)
            .await
            .unwrap_err();
        assert!(e.is(ErrorKind::Conflict), "{e:?}");
        l.engine.delete(&layer, &l.cx).await.unwrap();
        assert_eq!(l.backups.inventory(), Vec::<String>::new());
    }
}

#[tokio::test]
async fn any_byte_of_any_version_can_be_read() {
    let mut l = life(MIB + 512).await;
    l.image.write(1000, noise(1, 500_000).into()).await.unwrap();
    l.full(Way::Tracked).await;
    l.image.write(400_000, noise(2, 100).into()).await.unwrap();
    l.incremental(Way::Tracked).await;
    for version in 0..2 {
        let content = &l.versions[version].content;
        let reader = l.engine.open(&l.chain(version), &l.cx).await.unwrap();
        assert_eq!(reader.length(), content.len() as u64);
        for (at, length) in [(0, 1), (999, 3), (399_990, 200), (content.len() - 5, 5)] {
            let (buf, read) = reader.read(at as u64, Buf::zeroed(length)).await;
            read.unwrap();
            assert_eq!(buf[..], content[at..at + length]);
        }
        let (_, past) = reader.read(MIB, Buf::zeroed(513)).await;
        assert!(past.unwrap_err().is(ErrorKind::InvalidInput));
        let extents = reader.extents(ByteRange::up_to(MIB + 512)).await.unwrap();
        assert!(extents.iter().any(|e| e.kind == ExtentKind::Zero));
    }
}

#[tokio::test]
async fn a_target_that_is_too_small_or_read_only_is_refused() {
    let mut l = life(MIB).await;
    l.full(Way::Tracked).await;
    let chain = l.chain(0);
    for target in [
        MemoryDevice::new(MIB - 1),
        MemoryDevice::new(MIB).with_read_only(true),
    ] {
        let device: Arc<dyn BlockDevice> = Arc::new(target);
        let e = l
            .engine
            .restore(&chain, &device, &RestoreOptions::default(), &l.cx)
            .await
            .unwrap_err();
        assert!(e.is(ErrorKind::InvalidInput), "{e:?}");
    }
}

#[tokio::test]
async fn a_restore_into_what_holds_nothing_writes_only_data() {
    let mut l = life(64 * MIB).await;
    l.image
        .write(8 * MIB, noise(1, 1 << 20).into())
        .await
        .unwrap();
    l.full(Way::Tracked).await;
    let targets = MemoryImages::new(pool("targets"));
    let key = ImageKey::new(&pool("targets"), "t").unwrap();
    let target: Arc<dyn BlockDevice> = targets.create(&key, 64 * MIB).await.unwrap();
    let report = l
        .engine
        .restore(&l.chain(0), &target, &RestoreOptions::default(), &l.cx)
        .await
        .unwrap();
    assert_eq!(report.written_bytes, MIB);
    assert_eq!(report.fetched_bytes, MIB);
}

#[tokio::test]
async fn a_budget_of_a_few_pages_is_enough() {
    let mut l = life(9 * MIB).await;
    l.cx = backup_core::JobContext::new(64 << 10).unwrap();
    l.image.write(0, noise(1, 3 << 20).into()).await.unwrap();
    l.full(Way::Untracked).await;
    l.image.write(MIB, noise(2, 1 << 20).into()).await.unwrap();
    l.incremental(Way::Untracked).await;
    l.check_all().await;
    assert_eq!(l.cx.memory().free(), l.cx.memory().total());
}
