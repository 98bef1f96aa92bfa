//! Backups as difference files, while other things happen to them.

use std::io::{self, Read, Write};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, mpsc};

use super::images::{images, world};
use super::world::{World, change};
use crate::error::{ErrorKind, Result};
use crate::format::rbd_diff::{DiffReader, DiffVersion};
use crate::image::{ImageKey, ImageRepository};
use crate::record::BackupRecord;
use crate::service::{DiffContent, DiffInput, Exported, Since};
use crate::testing::MemoryDevice;

/// A file in memory. Its first write tells so, and waits until it may go on.
struct Gate {
    bytes: Arc<Mutex<Vec<u8>>>,
    came: Option<(tokio::sync::oneshot::Sender<()>, mpsc::Receiver<()>)>,
}

impl Write for Gate {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        // The head is written where nothing may block; what comes behind it is data.
        if bytes.len() > 4096
            && let Some((came, go_on)) = self.came.take()
        {
            came.send(()).unwrap();
            go_on.recv().unwrap();
        }
        self.bytes.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Exports `backup`, and does `meanwhile` once its first data came. What was written, and what came of it.
async fn export_while(
    w: &World,
    backup: &BackupRecord,
    since: Since,
    meanwhile: impl AsyncFnOnce(),
) -> (Vec<u8>, Result<Exported>) {
    let (came, is_there) = tokio::sync::oneshot::channel();
    let (go_on, may) = mpsc::channel();
    let bytes = Arc::new(Mutex::new(Vec::new()));
    let gate = Gate {
        bytes: Arc::clone(&bytes),
        came: Some((came, may)),
    };
    let id = backup.id.to_string();
    let work = w
        .service
        .export_difference(&w.caller, &id, since, DiffVersion::V1, gate, &w.cx);
    let meddle = async {
        is_there.await.unwrap();
        meanwhile().await;
        go_on.send(()).unwrap();
    };
    let (exported, ()) = tokio::join!(work, meddle);
    let bytes = bytes.lock().unwrap().clone();
    (bytes, exported.map(|(_, exported)| exported))
}

fn records(bytes: &[u8]) -> Result<usize> {
    let mut reader = DiffReader::new(bytes)?;
    let mut count = 0;
    while reader.next_record()?.is_some() {
        count += 1;
    }
    Ok(count)
}

async fn delete(w: &World, backup: &BackupRecord) {
    let id = backup.id.to_string();
    let deleted = w.service.delete_backup(&w.caller, &id, false, &w.cx).await;
    deleted.unwrap();
}

/// Several pieces of data, so that something is left to be read.
const LENGTH: u64 = 24 << 20;

#[tokio::test]
async fn a_backup_that_is_deleted_while_it_is_exported_leaves_no_complete_file() {
    let images = images();
    for w in [world(&images).await, World::new().await] {
        let v = w.volume("data", LENGTH).await;
        let backup = w.full(&v).await;
        let (whole, exported) = export_while(&w, &backup, Since::Parent, async || {}).await;
        exported.unwrap();
        assert!(records(&whole).unwrap() > 0);

        let (part, exported) = export_while(&w, &backup, Since::Parent, async || {
            delete(&w, &backup).await;
        })
        .await;
        let e = exported.unwrap_err();
        assert!(e.is(ErrorKind::Conflict), "{e:?}");
        assert!(e.to_string().contains("deleted"), "{e}");
        assert!(records(&part).unwrap_err().is(ErrorKind::Corrupt));
    }
}

/// Nobody told the catalogue: the snapshot was removed by Ceph's own tools.
#[tokio::test]
async fn a_snapshot_that_is_removed_while_it_is_exported_leaves_no_complete_file() {
    // The one that is exported, and the one that it is compared with.
    for number in [1, 0] {
        let images = images();
        let w = world(&images).await;
        let v = w.volume("data", LENGTH).await;
        let full = w.full(&v).await;
        w.device(&v).poke(0, &vec![7; 6 << 20]);
        let inc = w.incremental(&v).await;
        let location = full.location.clone().unwrap();
        let (part, exported) = export_while(&w, &inc, Since::Parent, async || {
            let mut names = images.list(&location.container, "").await.unwrap();
            let key = ImageKey::new(&location.container, names.remove(0)).unwrap();
            let image = images.open_to_write(&key).await.unwrap();
            let snapshots = image.snapshots().await.unwrap();
            image
                .remove_snapshot(&snapshots[number].name)
                .await
                .unwrap();
        })
        .await;
        let e = exported.unwrap_err();
        assert!(e.is(ErrorKind::Conflict), "{e:?}");
        assert!(records(&part).unwrap_err().is(ErrorKind::Corrupt));
    }
}

#[tokio::test]
async fn an_entry_that_the_metadata_lost_is_damage_and_not_zeroes() {
    let w = World::new().await;
    let v = w.volume("data", 200_000).await;
    let full = w.full(&v).await;
    change(&w.device(&v));
    let inc = w.incremental(&v).await;
    for (backup, since) in [
        (&full, Since::Parent),
        (&inc, Since::Beginning),
        (&inc, Since::Parent),
    ] {
        let sound = w.repository.duplicate();
        let location = backup.location.as_ref().unwrap();
        let name = location.metadata().to_string();
        assert!(w.repository.damage(&name, |bytes| {
            let mut text: serde_json::Value = serde_json::from_slice(bytes).unwrap();
            text["objects"].as_array_mut().unwrap().remove(0);
            // As Cinder writes it, without a count.
            text.as_object_mut().unwrap().remove("ashlar");
            *bytes = serde_json::to_vec(&text).unwrap();
        }));
        let (part, exported) = quiet_export(&w, backup, since).await;
        let e = exported.unwrap_err();
        assert!(e.is(ErrorKind::Corrupt), "{e:?}");
        assert!(records(&part).unwrap_err().is(ErrorKind::Corrupt));
        let bytes = sound.object(&name).unwrap().to_vec();
        assert!(w.repository.damage(&name, |damaged| *damaged = bytes));
        quiet_export(&w, backup, Since::Parent).await.1.unwrap();
    }
}

async fn quiet_export(
    w: &World,
    backup: &BackupRecord,
    since: Since,
) -> (Vec<u8>, Result<Exported>) {
    let bytes = Arc::new(Mutex::new(Vec::new()));
    let gate = Gate {
        bytes: Arc::clone(&bytes),
        came: None,
    };
    let id = backup.id.to_string();
    let exported = w
        .service
        .export_difference(&w.caller, &id, since, DiffVersion::V1, gate, &w.cx)
        .await;
    let bytes = bytes.lock().unwrap().clone();
    (bytes, exported.map(|(_, exported)| exported))
}

/// Counts how many are open.
struct Counted {
    bytes: io::Cursor<Vec<u8>>,
    open: Arc<AtomicUsize>,
}

impl Read for Counted {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        self.bytes.read(buf)
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.open.fetch_sub(1, Ordering::SeqCst);
    }
}

#[tokio::test]
async fn a_long_chain_of_files_is_applied_with_one_of_them_open() {
    let w = World::new().await;
    let v = w.volume("data", 300_000).await;
    let mut backups = vec![w.full(&v).await];
    for n in 0..20_u8 {
        w.device(&v).poke(u64::from(n) * 9000, &[n; 12_000]);
        backups.push(w.incremental(&v).await);
    }
    let open = Arc::new(AtomicUsize::new(0));
    let most = Arc::new(AtomicUsize::new(0));
    let mut files = Vec::new();
    for (n, backup) in backups.iter().enumerate() {
        let (bytes, exported) = quiet_export(&w, backup, Since::Parent).await;
        let (open, most) = (Arc::clone(&open), Arc::clone(&most));
        files.push(DiffInput {
            name: n.to_string(),
            sha256: Some(exported.unwrap().sha256),
            content: DiffContent::File(Box::new(move || {
                let now = open.fetch_add(1, Ordering::SeqCst) + 1;
                most.fetch_max(now, Ordering::SeqCst);
                Ok(Box::new(Counted {
                    bytes: io::Cursor::new(bytes.clone()),
                    open: Arc::clone(&open),
                }))
            })),
        });
    }
    let made = w
        .service
        .import_differences(&w.caller, "made".into(), files, &w.cx)
        .await
        .unwrap();
    let content: MemoryDevice = w.device(&v);
    assert_eq!(w.device(&made).first_difference(&content), None);
    assert_eq!(most.load(Ordering::SeqCst), 1);
    assert_eq!(open.load(Ordering::SeqCst), 0);
}

#[tokio::test]
async fn files_that_come_as_streams_are_read_once_and_one_that_changed_meanwhile_is_refused() {
    let w = World::new().await;
    let v = w.volume("data", 300_000).await;
    let full = w.full(&v).await;
    w.device(&v).poke(1000, &[3; 12_000]);
    let inc = w.incremental(&v).await;
    let (one, two) = (
        quiet_export(&w, &full, Since::Parent).await.0,
        quiet_export(&w, &inc, Since::Parent).await.0,
    );
    let stream = |bytes: &[u8]| DiffInput {
        name: "stream".into(),
        sha256: None,
        content: DiffContent::Stream(Box::new(io::Cursor::new(bytes.to_vec()))),
    };
    let files = vec![stream(&one), stream(&two)];
    let made = w
        .service
        .import_differences(&w.caller, "made".into(), files, &w.cx)
        .await
        .unwrap();
    assert_eq!(w.device(&made).first_difference(&w.device(&v)), None);

    let mut turns = vec![one, two].into_iter();
    let two_faced = DiffInput {
        name: "two-faced".into(),
        sha256: None,
        content: DiffContent::File(Box::new(move || {
            Ok(Box::new(io::Cursor::new(turns.next().unwrap())))
        })),
    };
    let refused = w
        .service
        .import_differences(&w.caller, "no".into(), vec![two_faced], &w.cx)
        .await;
    assert!(refused.unwrap_err().is(ErrorKind::Corrupt));
}
