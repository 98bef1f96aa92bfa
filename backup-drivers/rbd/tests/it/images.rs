//! Making, cloning, sizing and removing images; their snapshots, texts, locks; small objects.

use backup_core::{ByteRange, ErrorKind};
use backup_rbd::{CloneOptions, CreateOptions, Features};
use bytes::Bytes;

use crate::ceph::{Ceph, content, noise, unique};

const MIB: u64 = 1 << 20;

#[tokio::test]
async fn an_image_has_the_shape_that_was_asked_for() {
    let Some(ceph) = Ceph::connect().await else {
        return;
    };
    let mut options = CreateOptions::default();
    options.object_size = Some(MIB);
    options.stripe_unit = Some(65_536);
    options.stripe_count = Some(4);
    options.features = Some(
        Features::LAYERING
            | Features::STRIPING
            | Features::EXCLUSIVE_LOCK
            | Features::OBJECT_MAP
            | Features::FAST_DIFF,
    );
    let image = ceph.image_with(10_000_001, &options).await;
    let info = image.info();
    assert_eq!((info.size, info.object_size), (10_000_001, MIB));
    assert_eq!((info.stripe_unit, info.stripe_count), (65_536, 4));
    assert_eq!(info.period(), 4 * MIB);
    assert!(info.features.has(Features::FAST_DIFF | Features::STRIPING));
    assert!(!info.is_clone() && info.snapshot_id.is_none());
    assert!(image.modified().await.unwrap().is_some());
    assert!(image.has_fast_diff().await.unwrap());
    let again = ceph.pool.create(image.name(), MIB, &options).await;
    assert!(again.unwrap_err().is(ErrorKind::AlreadyExists));

    image.resize(3 * MIB).await.unwrap();
    assert_eq!(image.size().await.unwrap(), 3 * MIB);
    let name = unique("renamed");
    let old = image.name().to_owned();
    image.close().await.unwrap();
    ceph.pool.rename(&old, &name).await.unwrap();
    assert_eq!(ceph.pool.images(&name).await.unwrap(), [name.as_str()]);
    ceph.pool.remove(&name).await.unwrap();
    let gone = ceph.pool.remove(&name).await.unwrap_err();
    assert!(gone.is(ErrorKind::NotFound));
}

#[tokio::test]
async fn snapshots_keep_what_was_and_are_listed_oldest_first() {
    let Some(ceph) = Ceph::connect().await else {
        return;
    };
    let image = ceph.image(MIB).await;
    assert_eq!(image.snapshots().await.unwrap(), []);
    image.write(0, Bytes::from_static(b"first")).await.unwrap();
    for name in ["z", "a"] {
        image.create_snapshot(name).await.unwrap();
    }
    let again = image.create_snapshot("z").await.unwrap_err();
    assert!(again.is(ErrorKind::AlreadyExists));
    image.write(0, Bytes::from_static(b"later")).await.unwrap();
    let listed = image.snapshots().await.unwrap();
    assert_eq!(
        listed.iter().map(|s| s.name.as_str()).collect::<Vec<_>>(),
        ["z", "a"]
    );
    assert!(listed[0].id < listed[1].id);
    assert!(listed[0].size == MIB && listed[0].created_at.is_some());

    let then = ceph
        .pool
        .open_read_only(image.name(), Some("z"))
        .await
        .unwrap();
    assert_eq!(then.info().snapshot_id, Some(listed[0].id));
    assert_eq!(content(&then).await[..5], *b"first");

    image.protect_snapshot("z").await.unwrap();
    image.protect_snapshot("z").await.unwrap();
    assert!(image.is_protected("z").await.unwrap());
    let kept = image.remove_snapshot("z").await.unwrap_err();
    assert!(kept.is(ErrorKind::Conflict), "{kept}");
    image.unprotect_snapshot("z").await.unwrap();
    image.unprotect_snapshot("z").await.unwrap();
    image.roll_back("z").await.unwrap();
    assert_eq!(content(&image).await[..5], *b"first");
    let busy = ceph.pool.remove(image.name()).await.unwrap_err();
    assert!(busy.is(ErrorKind::Conflict), "{busy}");
    for name in ["z", "a"] {
        image.remove_snapshot(name).await.unwrap();
    }
    let missing = image.remove_snapshot("z").await.unwrap_err();
    assert!(missing.is(ErrorKind::NotFound));
}

#[tokio::test]
async fn a_clone_shows_its_parent_until_it_is_flattened_and_its_snapshot_may_go_before() {
    let Some(ceph) = Ceph::connect().await else {
        return;
    };
    let parent = ceph.image(8 * MIB).await;
    let expected = noise(1, 8 << 20);
    parent
        .write(0, Bytes::from(expected.clone()))
        .await
        .unwrap();
    parent.create_snapshot("s").await.unwrap();
    let name = unique("clone");
    ceph.pool
        .clone_image(
            &ceph.pool,
            parent.name(),
            "s",
            &name,
            &CloneOptions::default(),
        )
        .await
        .unwrap();
    let clone = ceph.pool.open_image(&name).await.unwrap();
    assert!(clone.info().is_clone());
    let of = clone.parent().await.unwrap().unwrap();
    assert_eq!(
        (of.pool.as_str(), of.image.as_str()),
        ("volumes", parent.name())
    );
    assert_eq!(of.snapshot, "s");
    // Format 2: the snapshot was not protected, and goes into the trash, which is not told.
    parent.remove_snapshot("s").await.unwrap();
    assert_eq!(parent.snapshots().await.unwrap(), []);
    assert!(content(&clone).await == expected);
    clone.flatten().await.unwrap();
    assert_eq!(clone.parent().await.unwrap(), None);
    assert!(content(&clone).await == expected);
    clone.close().await.unwrap();
    let name = parent.name().to_owned();
    parent.close().await.unwrap();
    ceph.pool.remove(&name).await.unwrap();
}

#[tokio::test]
async fn an_image_carries_texts() {
    let Some(ceph) = Ceph::connect().await else {
        return;
    };
    let image = ceph.image(MIB).await;
    assert_eq!(image.metadata("k").await.unwrap(), None);
    let long = "ü".repeat(5000);
    image.set_metadata("long", &long).await.unwrap();
    assert_eq!(image.metadata("long").await.unwrap().unwrap(), long);
    for i in 0..70 {
        image.set_metadata(&format!("k{i:03}"), "v").await.unwrap();
    }
    let all = image.all_metadata().await.unwrap();
    assert_eq!(all.len(), 71);
    assert_eq!((all["k069"].as_str(), &all["long"]), ("v", &long));
    image.remove_metadata("long").await.unwrap();
    image.remove_metadata("long").await.unwrap();
    assert_eq!(image.metadata("long").await.unwrap(), None);
}

#[tokio::test]
async fn small_objects_are_stored_whole_and_a_new_one_takes_no_others_place() {
    let Some(ceph) = Ceph::connect().await else {
        return;
    };
    let name = unique("object");
    assert_eq!(ceph.pool.get_object(&name, 100).await.unwrap(), None);
    ceph.pool
        .put_object(&name, Bytes::from_static(b"one"), true)
        .await
        .unwrap();
    let second = ceph
        .pool
        .put_object(&name, Bytes::from_static(b"two"), true)
        .await
        .unwrap_err();
    assert!(second.is(ErrorKind::AlreadyExists), "{second}");
    let read = ceph.pool.get_object(&name, 100).await.unwrap().unwrap();
    assert_eq!(read, "one");
    ceph.pool
        .put_object(&name, Bytes::from_static(b"x"), false)
        .await
        .unwrap();
    assert_eq!(
        ceph.pool.get_object(&name, 100).await.unwrap().unwrap(),
        "x"
    );
    let large = ceph.pool.get_object(&name, 0).await.unwrap_err();
    assert!(large.is(ErrorKind::Corrupt));
    assert_eq!(ceph.pool.objects(&name).await.unwrap(), [name.as_str()]);
    ceph.pool.remove_object(&name).await.unwrap();
    ceph.pool.remove_object(&name).await.unwrap();
    assert_eq!(ceph.pool.objects(&name).await.unwrap(), [""; 0]);
}

#[tokio::test]
async fn a_lock_that_is_kept_keeps_others_from_writing_and_watchers_are_seen() {
    let Some(ceph) = Ceph::connect().await else {
        return;
    };
    let image = ceph.image(MIB).await;
    let look = ceph.pool.open_read_only(image.name(), None).await.unwrap();
    assert_eq!(
        look.watchers().await.unwrap().len(),
        1,
        "the writer, not the reader"
    );
    assert_eq!(image.lock_owner().await.unwrap(), None);
    image.take_lock().await.unwrap();
    assert!(image.lock_owner().await.unwrap().is_some());
    let e = look.lock_owner().await.unwrap_err();
    assert!(e.is(ErrorKind::InvalidInput), "{e}");
    // Another connection, as two of one client share theirs.
    let other = Ceph::connect().await.unwrap();
    let theirs = other.pool.open_image(image.name()).await.unwrap();
    let refused = theirs.take_lock().await.unwrap_err();
    assert!(refused.is(ErrorKind::Conflict), "{refused:?}");
    let refused = theirs.write(0, Bytes::from_static(b"theirs")).await;
    assert!(refused.is_err(), "the lock is kept");
    image.write(0, Bytes::from_static(b"ours")).await.unwrap();
    image.write_zeroes(ByteRange::up_to(2)).await.unwrap();
    image.release_lock().await.unwrap();
    assert_eq!(content(&look).await[..4], *b"\0\0rs");
}
