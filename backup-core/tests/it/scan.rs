//! A scan of large containers: what it asks the repository for, and what it makes of the answers.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use async_trait::async_trait;
use backup_core::format::metadata::{self, AshlarKey, Metadata, ObjectEntry};
use backup_core::testing::MemoryRepository;
use backup_core::{
    Algorithm, Backup, BackupId, BackupRecord, BoxStream, ByteRange, ChunkedBackup, ChunkedConfig,
    ContainerName, Download, Layout, Limits, Listed, ObjectKey, PutMode, Repository, Result,
    ScanItem, Timestamp, Upload, VolumeId,
};
use bytes::Bytes;
use futures::TryStreamExt;

use crate::history::context;

/// Counts the reads and their bytes.
#[derive(Debug)]
struct Counting {
    inner: MemoryRepository,
    gets: AtomicU64,
    bytes: AtomicU64,
}

#[async_trait]
impl Repository for Counting {
    fn limits(&self) -> Limits {
        self.inner.limits()
    }
    fn layout(&self) -> Layout {
        self.inner.layout()
    }
    fn describe(&self) -> String {
        self.inner.describe()
    }
    async fn containers(&self) -> Result<BoxStream<ContainerName>> {
        self.inner.containers().await
    }
    async fn ensure_container(&self, container: &ContainerName) -> Result<()> {
        self.inner.ensure_container(container).await
    }
    async fn put(&self, key: &ObjectKey, data: Bytes, mode: PutMode) -> Result<()> {
        self.inner.put(key, data, mode).await
    }
    async fn begin(&self, key: &ObjectKey, size_hint: Option<u64>) -> Result<Box<dyn Upload>> {
        self.inner.begin(key, size_hint).await
    }
    async fn get(&self, key: &ObjectKey, range: Option<ByteRange>) -> Result<Download> {
        let download = self.inner.get(key, range).await?;
        self.gets.fetch_add(1, Ordering::Relaxed);
        self.bytes.fetch_add(download.length, Ordering::Relaxed);
        Ok(download)
    }
    async fn list(
        &self,
        container: &ContainerName,
        prefix: &str,
        delimiter: Option<char>,
    ) -> Result<BoxStream<Listed>> {
        self.inner.list(container, prefix, delimiter).await
    }
    async fn copy(&self, from: &ObjectKey, to: &ObjectKey) -> Result<()> {
        self.inner.copy(from, to).await
    }
    async fn delete(&self, keys: &[ObjectKey]) -> Vec<Result<()>> {
        self.inner.delete(keys).await
    }
    async fn barrier(&self, container: &ContainerName) -> Result<()> {
        self.inner.barrier(container).await
    }
}

const CHUNK: u64 = 1 << 20;

/// What a backup of `count` chunks says of itself.
fn about(count: u64) -> Metadata {
    let mut about = Metadata::new(BackupId::generate(), VolumeId::generate(), Timestamp::now());
    about.backup_name = Some("größe \"]\n".into());
    about.parent_id = Some(BackupId::generate());
    about.volume_meta =
        Some("{\"version\": 2, \"volume-base-metadata\": {\"display_name\": \"web\"}}".into());
    let mut ashlar = AshlarKey::new();
    ashlar.volume_length = Some(count * CHUNK - 17);
    ashlar.object_count = Some(count);
    ashlar.stored_bytes = Some(count * 1000);
    ashlar.hash_list_bytes = Some(5000);
    ashlar
        .properties
        .insert("objects".into(), "\n  ],\n".into());
    about.ashlar = Some(ashlar);
    about
}

fn text(about: &Metadata, prefix: &str, count: u64) -> Vec<u8> {
    let mut out = Vec::new();
    metadata::write_head(&mut out, about);
    for n in 0..count {
        let entry = ObjectEntry {
            name: format!("{prefix}-{:05}", n + 1),
            offset: n * CHUNK,
            length: CHUNK,
            md5: Some([7; 16]),
            compression: Algorithm::Zlib,
            stored_length: Some(1000),
            zero: false,
        };
        metadata::write_entry(&mut out, n == 0, &entry);
    }
    metadata::write_tail(&mut out, about, count > 0);
    out
}

/// Plants the metadata and answers its prefix.
fn plant(memory: &MemoryRepository, about: &Metadata, count: u64) -> (String, usize) {
    let prefix = format!(
        "volume_{}/20261127120000/az_nova_backup_{}",
        about.volume_id, about.backup_id
    );
    let text = text(about, &prefix, count);
    let length = text.len();
    memory
        .plant("volumebackups", &format!("{prefix}_metadata"), text)
        .unwrap();
    (prefix, length)
}

/// Scans, and tells what was found, how many reads it took and how many bytes they had.
async fn scan(memory: &MemoryRepository) -> (Vec<BackupRecord>, u64, u64) {
    let counting = Arc::new(Counting {
        inner: memory.clone(),
        gets: AtomicU64::new(0),
        bytes: AtomicU64::new(0),
    });
    let engine = ChunkedBackup::new(counting.clone(), ChunkedConfig::zlib().unwrap()).unwrap();
    let items = engine.scan(None, &context()).await.unwrap();
    let items: Vec<ScanItem> = items.try_collect().await.unwrap();
    let found = items.into_iter().map(|item| match item {
        ScanItem::Found(found) => found.record,
        ScanItem::Broken(problem) => panic!("{problem}"),
    });
    let found = found.collect();
    let count = |n: &AtomicU64| n.load(Ordering::Relaxed);
    (found, count(&counting.gets), count(&counting.bytes))
}

fn memory() -> MemoryRepository {
    MemoryRepository::new().with_slashed_layout().unwrap()
}

#[tokio::test]
async fn a_container_of_100_000_objects_is_scanned_by_the_two_ends_of_its_metadata() {
    const OBJECTS: u64 = 100_000;
    let memory = memory();
    let about = about(OBJECTS);
    let (prefix, length) = plant(&memory, &about, OBJECTS);
    for n in 0..OBJECTS {
        let name = format!("{prefix}-{:05}", n + 1);
        memory
            .plant("volumebackups", &name, Bytes::from_static(b"x"))
            .unwrap();
    }
    let (found, gets, bytes) = scan(&memory).await;
    assert_eq!(found.len(), 1);
    let record = &found[0];
    assert_eq!(record.id, about.backup_id);
    assert_eq!(record.parent_id, about.parent_id);
    assert_eq!(record.name, about.backup_name);
    assert_eq!(record.volume_id, about.volume_id);
    assert_eq!(record.volume_length, Some(OBJECTS * CHUNK - 17));
    assert_eq!(record.object_count, OBJECTS);
    assert_eq!(
        record.stored_bytes,
        Some(OBJECTS * 1000 + 5000 + length as u64)
    );
    assert_eq!(record.properties["objects"], "\n  ],\n");
    assert!(length > 20 << 20, "{length} bytes of metadata");
    assert_eq!(gets, 2);
    assert!(bytes <= 32 << 10, "{bytes} bytes were read");
}

#[tokio::test]
async fn the_ends_say_what_the_whole_says_whatever_their_length() {
    // Around the lengths at which the way of reading changes.
    for count in [0, 1, 200, 280, 300, 2000] {
        for volume_meta in [0, 12 << 10, 100 << 10, 300 << 10] {
            let memory = memory();
            let mut about = about(count.max(1));
            let long = "x".repeat(volume_meta);
            about.volume_meta = Some(format!("{{\"version\": 2, \"more\": \"{long}\"}}"));
            if let Some(ashlar) = &mut about.ashlar {
                ashlar.object_count = Some(count);
            }
            let (_, length) = plant(&memory, &about, count);
            let (found, _, bytes) = scan(&memory).await;
            let label = format!("{count} objects, {volume_meta} bytes, {length} in all");
            assert_eq!(found[0].id, about.backup_id, "{label}");
            assert_eq!(found[0].parent_id, about.parent_id, "{label}");
            assert_eq!(found[0].object_count, count, "{label}");
            assert_eq!(found[0].name, about.backup_name, "{label}");
            assert!(
                bytes <= length as u64 + (544 << 10),
                "{label}: {bytes} read"
            );
        }
    }
}

#[tokio::test]
async fn what_cinder_wrote_is_read_whole_however_long() {
    let memory = memory();
    let mut about = about(3000);
    about.ashlar = None;
    about.parent_id = None;
    let (_, length) = plant(&memory, &about, 3000);
    let (found, _, bytes) = scan(&memory).await;
    assert_eq!(found[0].object_count, 3000);
    assert_eq!(found[0].volume_length, Some(3000 * CHUNK));
    assert!(bytes >= length as u64);
}

#[tokio::test]
async fn metadata_of_ours_whose_ends_do_not_fit_is_read_whole_and_told() {
    let memory = memory();
    let about = about(2000);
    let (prefix, _) = plant(&memory, &about, 2000);
    // Cut: the tail is an entry's.
    let cut = memory.damage(&format!("volumebackups/{prefix}_metadata"), |bytes| {
        bytes.truncate(200_000);
    });
    assert!(cut);
    let engine = ChunkedBackup::new(Arc::new(memory), ChunkedConfig::zlib().unwrap()).unwrap();
    let items = engine.scan(None, &context()).await.unwrap();
    let items: Vec<ScanItem> = items.try_collect().await.unwrap();
    assert!(matches!(&items[..], [ScanItem::Broken(_)]), "{items:?}");
}
