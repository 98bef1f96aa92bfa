//! Reads, writes and zeroes.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use backup_core::{Buf, ByteRange, ErrorKind};
use backup_rbd::errno_of;
use bytes::Bytes;
use futures::future::join_all;
use futures::poll;

use crate::ceph::{Ceph, content, noise, pool_of_one, until};

const MIB: u64 = 1 << 20;

#[tokio::test(flavor = "multi_thread")]
async fn what_is_written_is_read_back_with_many_in_flight() {
    let Some(ceph) = Ceph::connect().await else {
        return;
    };
    let image = ceph.image(24 * MIB).await;
    let expected = noise(1, 24 << 20);
    // Pieces that cross the borders of objects, more than run at once.
    let piece = 100_003;
    let writes = expected
        .chunks(piece)
        .enumerate()
        .map(|(i, data)| image.write((i * piece) as u64, Bytes::copy_from_slice(data)));
    for written in join_all(writes).await {
        written.unwrap();
    }
    image.flush().await.unwrap();
    let reads = (0..expected.len() / 77_777).map(|i| {
        let (image, at) = (image.clone(), i * 77_777);
        async move { (at, image.read(at as u64, Buf::zeroed(77_777)).await) }
    });
    for (at, (buf, read)) in join_all(reads).await {
        read.unwrap();
        assert!(buf[..] == expected[at..at + 77_777], "at {at}");
    }
    assert!(content(&image).await == expected);
}

#[tokio::test]
async fn zeroes_read_as_zeroes_also_where_they_begin_and_end_within_an_object() {
    let Some(ceph) = Ceph::connect().await else {
        return;
    };
    let image = ceph.image(12 * MIB).await;
    let mut expected = noise(2, 12 << 20);
    image.write(0, Bytes::from(expected.clone())).await.unwrap();
    for (start, end) in [
        (0, 512),
        (4 * MIB - 1, 4 * MIB + 1),
        (5 * MIB + 7, 11 * MIB + 513),
    ] {
        image
            .write_zeroes(ByteRange::new(start, end).unwrap())
            .await
            .unwrap();
        let (start, end) = (
            usize::try_from(start).unwrap(),
            usize::try_from(end).unwrap(),
        );
        expected[start..end].fill(0);
    }
    assert!(content(&image).await == expected);
}

/// Data that says when it goes.
struct Watched(Vec<u8>, Arc<AtomicBool>);

impl AsRef<[u8]> for Watched {
    fn as_ref(&self) -> &[u8] {
        &self.0
    }
}

impl Drop for Watched {
    fn drop(&mut self) {
        self.1.store(true, Ordering::SeqCst);
    }
}

#[tokio::test]
async fn a_dropped_write_keeps_its_data_until_librbd_is_done_and_spoils_its_handle() {
    let Some(ceph) = Ceph::connect().await else {
        return;
    };
    let image = ceph.image(8 * MIB).await;
    let gone = Arc::new(AtomicBool::new(false));
    let data = Bytes::from_owner(Watched(noise(3, 8 << 20), Arc::clone(&gone)));
    {
        let mut write = Box::pin(image.write(0, data));
        assert!(poll!(&mut write).is_pending(), "it is with librbd");
    }
    // The operation is not waited for, and its data goes when librbd is done, not before.
    until("end of the write", || gone.load(Ordering::SeqCst)).await;
    let (_, read) = image.read(0, Buf::zeroed(512)).await;
    let e = read.unwrap_err();
    assert!(e.to_string().contains("may still land"), "{e}");
    // Another handle sees what was written.
    let other = ceph.pool.open_read_only(image.name(), None).await.unwrap();
    assert!(content(&other).await == noise(3, 8 << 20));
}

#[tokio::test]
async fn a_dropped_read_gives_its_buffer_back_when_librbd_is_done_and_the_handle_goes_on() {
    let Some(ceph) = Ceph::connect().await else {
        return;
    };
    let length = 8 << 20;
    let image = ceph.image(8 * MIB).await;
    image.write(0, Bytes::from(noise(4, length))).await.unwrap();
    let buffers = pool_of_one(length);
    let buffer = buffers.take(length);
    let address = buffer.as_ptr() as usize;
    {
        let mut read = Box::pin(image.read(0, buffer));
        assert!(poll!(&mut read).is_pending(), "it is with librbd");
    }
    until("return of the buffer", || {
        buffers.take(length).as_ptr() as usize == address
    })
    .await;
    assert!(content(&image).await == noise(4, length));
    image.close().await.unwrap();
}

#[tokio::test]
async fn what_must_not_be_is_refused_with_operation_place_and_number() {
    let Some(ceph) = Ceph::connect().await else {
        return;
    };
    let image = ceph.image(MIB).await;
    image.create_snapshot("s").await.unwrap();
    let snapshot = ceph
        .pool
        .open_read_only(image.name(), Some("s"))
        .await
        .unwrap();
    let e = snapshot
        .write(0, Bytes::from_static(b"x"))
        .await
        .unwrap_err();
    assert!(e.is(ErrorKind::PermissionDenied), "{e}");
    assert!(
        e.to_string()
            .contains(&format!("volumes/{}@s", image.name()))
    );
    let (buf, read) = image.read(MIB - 100, Buf::zeroed(200)).await;
    assert_eq!(buf.len(), 200, "the buffer comes back");
    assert!(read.is_err(), "past the end");
    let e = ceph.pool.open_image("nothing").await.unwrap_err();
    assert_eq!((e.kind(), errno_of(&e)), (ErrorKind::NotFound, Some(2)));
    assert_eq!(e.operation(), "open image");
    assert_eq!(e.target(), Some("volumes/nothing"));
}
