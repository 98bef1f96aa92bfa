//! The engine without a runtime around it.

use std::io::{ErrorKind, Read, Seek, SeekFrom};
use std::sync::Arc;
use std::time::Duration;

use backup_core::blocking::BlockingBackup;
use backup_core::testing::{MemoryDevice, MemoryRepository};
use backup_core::{
    Attachment, BackupRequest, BlockDevice, CancelToken, Chain, ChunkedBackup, ChunkedConfig,
    JobContext, Layer, RestoreOptions, ScanItem, Timestamp, VolumeId,
};

const LENGTH: usize = 3_000_001;

fn context() -> JobContext {
    JobContext::new(64 << 20).unwrap()
}

fn engine(repository: &MemoryRepository) -> BlockingBackup {
    let config = ChunkedConfig::zlib().unwrap().with_chunk_size(1 << 20);
    let engine = ChunkedBackup::new(Arc::new(repository.clone()), config).unwrap();
    BlockingBackup::new(Arc::new(engine)).unwrap()
}

fn volume() -> MemoryDevice {
    let words = (0..LENGTH).map(|i| u8::try_from((i / 7 + i / 1000) % 251).unwrap());
    MemoryDevice::from_bytes(&words.collect::<Vec<_>>())
}

fn back_up(
    engine: &BlockingBackup,
    volume: &MemoryDevice,
    of: VolumeId,
    parent: Option<&Layer>,
    cx: &JobContext,
) -> backup_core::Result<Layer> {
    let plan = engine.plan(&BackupRequest::new(of, Timestamp::now()))?;
    let source = Attachment::new(Arc::new(volume.clone()));
    engine.create(&plan, parent, &source, cx)?;
    Ok(Layer {
        id: plan.id,
        location: plan.location,
    })
}

#[test]
fn a_whole_life_needs_no_runtime() {
    let repository = MemoryRepository::new();
    let (engine, cx, volume, id) = (
        engine(&repository),
        context(),
        volume(),
        VolumeId::generate(),
    );
    let full = back_up(&engine, &volume, id, None, &cx).unwrap();
    volume.poke(2_000_000, b"something else");
    let child = back_up(&engine, &volume, id, Some(&full), &cx).unwrap();
    let chain = Chain::new(vec![full.clone(), child.clone()]).unwrap();

    assert_eq!(engine.length(&chain, &cx).unwrap(), LENGTH as u64);
    let target = MemoryDevice::from_bytes(&vec![0xa5; LENGTH]);
    let device: Arc<dyn BlockDevice> = Arc::new(target.clone());
    let options = RestoreOptions::default();
    let report = engine.restore(&chain, &device, &options, &cx).unwrap();
    assert_eq!(report.checked_bytes, LENGTH as u64);
    assert_eq!(target.first_difference(&volume), None);
    assert!(engine.verify(&chain, &cx).unwrap().data_is_right());
    assert!(engine.committed(&child, &cx).unwrap().is_some());

    let found = engine.scan(None, &cx).unwrap().map(Result::unwrap);
    let mut found: Vec<_> = found
        .map(|item| match item {
            ScanItem::Found(scanned) => scanned.record.id,
            ScanItem::Broken(problem) => panic!("{problem}"),
        })
        .collect();
    found.sort_unstable();
    let mut expected = vec![full.id, child.id];
    expected.sort_unstable();
    assert_eq!(found, expected);

    engine.delete(&child, &cx).unwrap();
    // Without its metadata the full backup is an orphan.
    assert!(repository.remove(&full.location.metadata().to_string()));
    for orphan in engine.orphans(None, &cx).unwrap() {
        assert!(engine.remove_orphan(&orphan.unwrap(), &cx).unwrap());
    }
    assert_eq!(engine.orphans(None, &cx).unwrap().count(), 0);
    assert_eq!(engine.scan(None, &cx).unwrap().count(), 0);
}

#[test]
fn an_opened_backup_reads_as_a_file_does() {
    let repository = MemoryRepository::new();
    let (engine, cx, volume) = (engine(&repository), context(), volume());
    let content = volume.peek(0, LENGTH);
    let full = back_up(&engine, &volume, VolumeId::generate(), None, &cx).unwrap();
    let chain = Chain::new(vec![full.clone()]).unwrap();
    let mut reader = engine.open(&chain, &cx).unwrap();
    assert_eq!(reader.length(), LENGTH as u64);

    let mut all = Vec::new();
    reader.read_to_end(&mut all).unwrap();
    assert!(all == content);
    assert_eq!(reader.read(&mut [0; 10]).unwrap(), 0, "behind the end");

    let mut part = [0; 100];
    reader.seek(SeekFrom::End(-100)).unwrap();
    reader.read_exact(&mut part).unwrap();
    assert_eq!(part, content[LENGTH - 100..]);
    assert_eq!(
        reader.seek(SeekFrom::Current(-1_000_100)).unwrap(),
        LENGTH as u64 - 1_000_100
    );
    reader.read_exact(&mut part).unwrap();
    assert_eq!(part, content[LENGTH - 1_000_100..][..100]);
    let error = reader.seek(SeekFrom::End(-3_000_002)).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidInput);

    // A reader outlives the engine that opened it.
    drop(engine);
    reader.rewind().unwrap();
    reader.read_exact(&mut part).unwrap();
    assert_eq!(part, content[..100]);
}

#[test]
fn a_job_is_cancelled_from_another_thread() {
    let engine = engine(&MemoryRepository::new());
    let cancel = CancelToken::new();
    let cx = context().with_cancel(cancel.clone());
    let ends = std::thread::spawn(move || {
        // As large as it takes to be in the middle of it.
        let volume = MemoryDevice::new(1 << 40);
        back_up(&engine, &volume, VolumeId::generate(), None, &cx)
    });
    std::thread::sleep(Duration::from_millis(20));
    cancel.cancel();
    let error = ends.join().unwrap().unwrap_err();
    assert_eq!(error.kind(), backup_core::ErrorKind::Cancelled, "{error}");
}

#[tokio::test]
async fn waiting_in_a_runtime_is_refused_and_breaks_nothing() {
    let repository = MemoryRepository::new();
    let (engine, cx) = (engine(&repository), context());
    let error = back_up(&engine, &volume(), VolumeId::generate(), None, &cx).unwrap_err();
    assert_eq!(
        error.kind(),
        backup_core::ErrorKind::InvalidInput,
        "{error}"
    );
    assert!(error.hint_text().unwrap().contains("await"), "{error:?}");
    drop(engine);
}
