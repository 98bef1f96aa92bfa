//! What changed between two states.

use backup_core::{ByteRange, ErrorKind};
use backup_rbd::{CloneOptions, DiffRequest, Image};
use bytes::Bytes;

use crate::ceph::{Ceph, noise, unique};

const MIB: u64 = 1 << 20;

fn all(image: &Image) -> ByteRange {
    ByteRange::up_to(image.info().size)
}

async fn extents(image: &Image, request: DiffRequest) -> Vec<(u64, u64, bool)> {
    let diff = image.diff(&request).await.unwrap();
    assert_eq!(diff.end, request.range.end());
    diff.extents
        .iter()
        .map(|e| (e.range.start(), e.range.len(), e.data))
        .collect()
}

#[tokio::test]
async fn a_difference_is_told_exactly_and_by_whole_objects() {
    let Some(ceph) = Ceph::connect().await else {
        return;
    };
    let image = ceph.image(64 * MIB).await;
    image
        .write(0, Bytes::from(noise(1, 44 << 20)))
        .await
        .unwrap();
    image.create_snapshot("a").await.unwrap();
    image
        .write(5_242_976, Bytes::from(noise(2, 8192)))
        .await
        .unwrap();
    image
        .write_zeroes(ByteRange::new(8 * MIB, 12 * MIB).unwrap())
        .await
        .unwrap();
    image
        .write(40 * MIB + 4096, Bytes::from(noise(3, 512)))
        .await
        .unwrap();
    image.create_snapshot("b").await.unwrap();
    let b = ceph
        .pool
        .open_read_only(image.name(), Some("b"))
        .await
        .unwrap();
    let exact = extents(&b, DiffRequest::new(Some("a"), all(&b))).await;
    assert_eq!(
        exact,
        [
            (5_242_976, 8192, true),
            (8 * MIB, 4 * MIB, false),
            (40 * MIB + 4096, 512, true)
        ]
    );
    let objects = DiffRequest::new(Some("a"), all(&b)).by_whole_objects(true);
    let objects = extents(&b, objects).await;
    assert_eq!(objects[0].0, 4 * MIB);
    assert!(objects.contains(&(40 * MIB, 4 * MIB, true)), "{objects:?}");
    // A part of the image, cut where the question is.
    let part = ByteRange::new(5 * MIB, 5_242_976 + 100).unwrap();
    let part = extents(&b, DiffRequest::new(Some("a"), part)).await;
    assert_eq!(part, [(5_242_976, 100, true)]);

    let missing = b
        .diff(&DiffRequest::new(Some("none"), all(&b)))
        .await
        .unwrap_err();
    assert!(missing.is(ErrorKind::NotFound), "{missing:?}");
    let a = ceph
        .pool
        .open_read_only(image.name(), Some("a"))
        .await
        .unwrap();
    let backwards = a
        .diff(&DiffRequest::new(Some("b"), all(&a)))
        .await
        .unwrap_err();
    assert!(backwards.is(ErrorKind::InvalidInput), "{backwards:?}");
}

#[tokio::test]
async fn an_answer_that_would_be_too_long_ends_early_and_the_next_goes_on() {
    let Some(ceph) = Ceph::connect().await else {
        return;
    };
    let image = ceph.image(64 * MIB).await;
    image
        .write(0, Bytes::from(noise(1, 64 << 20)))
        .await
        .unwrap();
    image.create_snapshot("a").await.unwrap();
    let mut expected = Vec::new();
    for object in 0..16 {
        for piece in 0..3 {
            let at = object * 4 * MIB + piece * 12_288;
            image.write(at, Bytes::from(noise(at, 4096))).await.unwrap();
            expected.push((at, 4096));
        }
    }
    let (mut told, mut at, mut answers) = (Vec::new(), 0, 0);
    while at < 64 * MIB {
        let range = ByteRange::new(at, 64 * MIB).unwrap();
        let request = DiffRequest::new(Some("a"), range).with_limit(5);
        let diff = image.diff(&request).await.unwrap();
        assert!(
            diff.extents.len() < 5 + 3,
            "a few more at most, of the last object"
        );
        told.extend(
            diff.extents
                .iter()
                .map(|e| (e.range.start(), e.range.len())),
        );
        assert!(diff.end > at);
        at = diff.end;
        answers += 1;
    }
    assert_eq!(told, expected);
    assert!(answers > 3);
}

#[tokio::test]
async fn a_clones_beginning_is_its_parent_where_that_is_asked_for() {
    let Some(ceph) = Ceph::connect().await else {
        return;
    };
    let parent = ceph.image(16 * MIB).await;
    parent
        .write(4 * MIB, Bytes::from(noise(1, 4096)))
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
    clone
        .write(12 * MIB, Bytes::from(noise(2, 4096)))
        .await
        .unwrap();
    for whole in [false, true] {
        let with = DiffRequest::new(None, all(&clone)).by_whole_objects(whole);
        let with = extents(&clone, with).await;
        assert!(with.iter().any(|e| e.0 == 4 * MIB), "{whole}: {with:?}");
        assert!(with.iter().any(|e| e.0 == 12 * MIB), "{whole}: {with:?}");
        let without = DiffRequest::new(None, all(&clone))
            .by_whole_objects(whole)
            .with_parent(false);
        let without = extents(&clone, without).await;
        assert!(
            without.iter().all(|e| e.0 >= 12 * MIB),
            "{whole}: {without:?}"
        );
    }
}

#[tokio::test]
async fn a_question_whose_future_is_dropped_stops_and_the_image_closes() {
    let Some(ceph) = Ceph::connect().await else {
        return;
    };
    let image = ceph.image(64 * MIB).await;
    for object in 0..16 {
        image
            .write(object * 4 * MIB, Bytes::from_static(b"x"))
            .await
            .unwrap();
    }
    for _ in 0..20 {
        let request = DiffRequest::new(None, all(&image));
        let mut asked = Box::pin(image.diff(&request));
        assert!(futures::poll!(&mut asked).is_pending());
    }
    // All of their threads end, so that this becomes the last clone.
    let name = image.name().to_owned();
    drop(image);
    let mut removed = ceph.pool.remove(&name).await;
    for _ in 0..100 {
        if removed.is_ok() {
            break;
        }
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
        removed = ceph.pool.remove(&name).await;
    }
    removed.unwrap();
}
