//! Images most of whose objects are not there. Only the others are looked at, and nothing may be missed for that.

use std::sync::Arc;

use backup_core::{BackupId, Buf, ByteRange, ChangeSource, ErrorKind, ExtentKind};
use backup_rbd::{Diff, DiffRequest, Image, Pool, RbdChanges};
use bytes::Bytes;

use crate::ceph::{Ceph, conf, config, noise, volumes_config};
use crate::repository::engine;
use crate::subject::Subject;

const MIB: u64 = 1 << 20;
const OBJECT: u64 = 4 * MIB;

/// Objects that are farther from each other than those that are looked at by one call.
const FAR: u64 = 100;

async fn write(image: &Image, object: u64, seed: u64) {
    let data = Bytes::from(noise(seed, 4096));
    image.write(object * OBJECT + 8192, data).await.unwrap();
}

async fn zero(image: &Image, object: u64) {
    let range = ByteRange::at(object * OBJECT, OBJECT).unwrap();
    image.write_zeroes(range).await.unwrap();
}

/// What the change source tells from one snapshot to another, and what Ceph tells when it looks at every object.
async fn both(pool: &Pool, image: &str, from: &str, to: &str) -> (Vec<ByteRange>, Diff) {
    let at = async |name: &str| pool.open_read_only(image, Some(name)).await.unwrap();
    let since = RbdChanges::new(at(from).await).unwrap();
    let since = since.mark(BackupId::generate()).await.unwrap();
    let image = at(to).await;
    let all = ByteRange::up_to(image.info().size);
    let exact = image
        .diff(&DiffRequest::new(Some(from), all))
        .await
        .unwrap();
    let changes = RbdChanges::new(image).unwrap();
    let told = changes.changed(&since, all).await.unwrap();
    let changed = told
        .iter()
        .filter(|extent| extent.kind != ExtentKind::Unchanged)
        .map(|extent| extent.range);
    (changed.collect(), exact)
}

/// The objects that ranges lie in.
fn objects(ranges: impl IntoIterator<Item = ByteRange>) -> Vec<u64> {
    let mut objects: Vec<u64> = ranges.into_iter().map(|r| r.start() / OBJECT).collect();
    objects.dedup();
    objects
}

#[tokio::test]
async fn what_comes_changes_and_goes_far_from_everything_else_is_told() {
    let Some(ceph) = Ceph::connect().await else {
        return;
    };
    let mut image = ceph.image(20 * FAR * OBJECT).await;
    for far in [1, 3, 4, 6, 18] {
        write(&image, far * FAR, far).await;
    }
    image.create_snapshot("a").await.unwrap();
    write(&image, 2 * FAR, 20).await;
    write(&image, 3 * FAR, 21).await;
    zero(&image, 4 * FAR).await;
    // Came and went between the two.
    write(&image, 5 * FAR, 22).await;
    zero(&image, 5 * FAR).await;
    // Cut off, and long again.
    image.resize(10 * FAR * OBJECT).await.unwrap();
    image.resize(20 * FAR * OBJECT).await.unwrap();
    let name = image.name().to_owned();
    image.close().await.unwrap();
    image = ceph.pool.open_image(&name).await.unwrap();
    write(&image, 19 * FAR, 23).await;
    image.create_snapshot("b").await.unwrap();
    // A snapshot between those that are compared.
    image.create_snapshot("c").await.unwrap();
    image.roll_back("a").await.unwrap();
    image.create_snapshot("d").await.unwrap();
    let differ = [2, 3, 4, 18, 19].map(|far| far * FAR);
    for (from, to) in [("a", "b"), ("a", "c"), ("b", "d"), ("c", "d")] {
        let (told, exact) = both(&ceph.pool, &name, from, to).await;
        assert_eq!(objects(told.clone()), differ, "{from} to {to}: {told:?}");
        let all = objects(exact.extents.iter().map(|e| e.range));
        assert_eq!(all, differ, "{from} to {to}, by all objects: {exact:?}");
    }
    let (told, _) = both(&ceph.pool, &name, "b", "c").await;
    assert_eq!(told, []);
}

/// What only it held is gone with it, and would be told as unchanged.
#[tokio::test]
async fn a_state_that_is_removed_while_it_is_compared_with_is_gone() {
    let Some(ceph) = Ceph::connect().await else {
        return;
    };
    let image = ceph.image(130 << 30).await;
    write(&image, 1, 1).await;
    image.create_snapshot("a").await.unwrap();
    image.create_snapshot("b").await.unwrap();
    let at = async |name: &str| {
        let opened = ceph.pool.open_read_only(image.name(), Some(name)).await;
        RbdChanges::new(opened.unwrap()).unwrap()
    };
    let since = at("a").await.mark(BackupId::generate()).await.unwrap();
    let changes = at("b").await;
    let told = changes.changed(&since, ByteRange::up_to(MIB)).await;
    assert_eq!(told.unwrap()[0].kind, ExtentKind::Unchanged);
    image.remove_snapshot("a").await.unwrap();
    let later = ByteRange::at(100 << 30, MIB).unwrap();
    let gone = changes.changed(&since, later).await.unwrap_err();
    assert!(gone.is(ErrorKind::NotFound), "{gone:?}");
    assert!(gone.to_string().contains("removed"), "{gone}");
}

/// A killed attempt, or anybody else, has written to the base image, where nothing else is.
#[tokio::test(flavor = "multi_thread")]
async fn what_the_head_of_a_base_image_holds_besides_does_not_count() {
    let Some(conf) = conf() else {
        return;
    };
    let mut s = Subject::new(
        volumes_config(&conf),
        Arc::new(engine(&conf, 0)),
        6 * FAR * OBJECT,
    )
    .await;
    let image = s.image().await;
    for far in [1, 4] {
        write(&image, far * FAR, far).await;
    }
    s.back_up().await;
    let base = format!("{}.backup.{}", s.name(), s.layers[0].id);
    let cluster = backup_rbd::Cluster::connect(&config(&conf)).await.unwrap();
    let backups = cluster.pool("backups").await.unwrap();
    let head = backups.open_image(&base).await.unwrap();
    write(&head, 2 * FAR, 30).await; // the parent has nothing there
    zero(&head, 4 * FAR).await; // and here something
    head.close().await.unwrap();
    write(&image, 5 * FAR, 5).await;
    image.close().await.unwrap();
    let outcome = s.back_up().await;
    assert!(outcome.read_bytes <= 16_384, "{outcome:?}");

    let snapshot = s.snapshots.last().unwrap();
    let held = backups.open_read_only(&base, Some(snapshot)).await.unwrap();
    for far in 0..6 {
        let expected = match far {
            1 | 4 | 5 => noise(far, 4096),
            _ => vec![0; 4096],
        };
        let at = far * FAR * OBJECT + 8192;
        let (read, done) = held.read(at, Buf::zeroed(4096)).await;
        done.unwrap();
        assert!(read[..] == expected[..], "object {}", far * FAR);
    }
    held.close().await.unwrap();
    s.end().await;
}
