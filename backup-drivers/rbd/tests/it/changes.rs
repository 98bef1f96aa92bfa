//! Change points: what they are taken for, and when they are refused.

use backup_core::{BackupId, ByteRange, ChangePoint, ChangeSource, ErrorKind, ExtentKind};
use backup_rbd::{Pool, RbdChanges};
use bytes::Bytes;

use crate::ceph::{Ceph, noise};

const MIB: u64 = 1 << 20;

async fn at(pool: &Pool, image: &str, snapshot: &str) -> RbdChanges {
    let image = pool.open_read_only(image, Some(snapshot)).await.unwrap();
    RbdChanges::new(image).unwrap()
}

async fn mark(changes: &RbdChanges) -> ChangePoint {
    changes.mark(BackupId::generate()).await.unwrap()
}

async fn told(changes: &RbdChanges, since: &ChangePoint, length: u64) -> Vec<(u64, ExtentKind)> {
    let extents = changes
        .changed(since, ByteRange::up_to(length))
        .await
        .unwrap();
    extents.iter().map(|e| (e.range.start(), e.kind)).collect()
}

#[tokio::test]
async fn what_grew_is_never_told_as_unchanged() {
    use ExtentKind::{Data, Unchanged, Zero};
    let Some(ceph) = Ceph::connect().await else {
        return;
    };
    let image = ceph.image(8 * MIB).await;
    image
        .write(0, Bytes::from(noise(1, 8 << 20)))
        .await
        .unwrap();
    image.create_snapshot("a").await.unwrap();
    image.resize(20 * MIB).await.unwrap();
    let image = ceph.pool.open_image(image.name()).await.unwrap();
    image.write(MIB, Bytes::from(noise(2, 4096))).await.unwrap();
    image
        .write(16 * MIB, Bytes::from(noise(2, 4096)))
        .await
        .unwrap();
    image.create_snapshot("b").await.unwrap();
    let since = mark(&at(&ceph.pool, image.name(), "a").await).await;
    let changes = at(&ceph.pool, image.name(), "b").await;
    assert_eq!(
        told(&changes, &since, 20 * MIB).await,
        [
            (0, Unchanged),
            (MIB, Data),
            (MIB + 4096, Unchanged),
            (8 * MIB, Zero),
            (16 * MIB, Data),
            (16 * MIB + 4096, Zero)
        ]
    );
    // The same state: nothing changed.
    let same = mark(&changes).await;
    assert_eq!(told(&changes, &same, 20 * MIB).await, [(0, Unchanged)]);
}

#[tokio::test]
async fn a_point_that_is_gone_made_again_newer_or_anothers_is_refused() {
    let Some(ceph) = Ceph::connect().await else {
        return;
    };
    let image = ceph.image(MIB).await;
    for name in ["a", "b"] {
        image.create_snapshot(name).await.unwrap();
    }
    let a = mark(&at(&ceph.pool, image.name(), "a").await).await;
    let b = mark(&at(&ceph.pool, image.name(), "b").await).await;
    let from_a = at(&ceph.pool, image.name(), "a").await;
    let from_b = at(&ceph.pool, image.name(), "b").await;
    let other = ceph.image(MIB).await;
    other.create_snapshot("b").await.unwrap();
    let others = at(&ceph.pool, other.name(), "b").await;
    let all = ByteRange::up_to(MIB);
    let refused = async |changes: &RbdChanges, since: &ChangePoint, why: &str| {
        let e = changes.changed(since, all).await.unwrap_err();
        assert!(e.is(ErrorKind::NotFound), "{e:?}");
        assert!(e.to_string().contains(why), "{e}");
    };
    from_b.changed(&a, all).await.unwrap();
    refused(&from_a, &b, "newer").await;
    refused(&others, &a, "another image").await;
    let foreign = ChangePoint::new("memory.17").unwrap();
    refused(&from_b, &foreign, "no snapshot").await;
    image.remove_snapshot("a").await.unwrap();
    image.create_snapshot("a").await.unwrap();
    image.create_snapshot("c").await.unwrap();
    let from_c = at(&ceph.pool, image.name(), "c").await;
    refused(&from_c, &a, "no longer there").await;
}

#[tokio::test]
async fn only_a_backups_snapshot_is_released() {
    let Some(ceph) = Ceph::connect().await else {
        return;
    };
    let image = ceph.image(MIB).await;
    let backups = format!("backup.{}.snap.1795397046.532938127", BackupId::generate());
    for name in ["mine", backups.as_str()] {
        image.create_snapshot(name).await.unwrap();
    }
    for name in ["mine", backups.as_str()] {
        let changes = at(&ceph.pool, image.name(), name).await;
        let point = mark(&changes).await;
        assert_eq!(RbdChanges::snapshot_of(&point), Some(name));
        for _ in 0..2 {
            changes.release(&point).await.unwrap();
        }
    }
    let left = image.snapshots().await.unwrap();
    assert_eq!(left.len(), 1);
    assert_eq!(left[0].name, "mine");
}
