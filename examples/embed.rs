//! Backs up a device of your own into a repository of your own: `cargo run -p ashlar-examples --example embed`.
//!
//! The device is a vector of bytes, the repository a map of objects; nothing else of Ashlar is needed, neither a
//! catalogue nor a configuration. The repository first passes the suite that every repository must pass, then holds a
//! full backup and an incremental, and both are restored and compared.
#![allow(clippy::print_stdout)]

use std::collections::{BTreeSet, HashMap};
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use backup_core::testing::{ConformanceOptions, conformance};
use backup_core::{
    Attachment, Backup, BackupRequest, BlockDevice, BoxStream, Buf, ByteRange, Chain,
    ChunkedBackup, ChunkedConfig, ContainerName, DefaultContainer, Download, Error, ErrorKind,
    Extent, ExtentKind, Geometry, JobContext, Layer, Layout, Limits, Listed, ObjectKey,
    PrefixStyle, PutMode, Repository, RestoreOptions, Result, Timestamp, Upload, VolumeId,
};
use bytes::{Bytes, BytesMut};
use futures::stream;

/// A volume: a vector of bytes.
struct VecDevice {
    content: Mutex<Vec<u8>>,
}

impl VecDevice {
    fn new(content: Vec<u8>) -> Self {
        Self {
            content: Mutex::new(content),
        }
    }

    /// Looks at all bytes, or changes some.
    fn with<T>(&self, f: impl FnOnce(&mut Vec<u8>) -> T) -> T {
        f(&mut self.content.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Looks at a part, or changes it; an error where it reaches past the end.
    fn part<T>(
        &self,
        operation: &'static str,
        at: u64,
        length: usize,
        f: impl FnOnce(&mut [u8]) -> T,
    ) -> Result<T> {
        self.with(|content| {
            let end = usize::try_from(at)
                .ok()
                .and_then(|at| Some(at..at.checked_add(length)?))
                .and_then(|range| content.get_mut(range));
            match end {
                Some(part) => Ok(f(part)),
                None => Err(Error::invalid(
                    operation,
                    format!("{length} bytes at {at} pass the end"),
                )
                .on(self.describe())),
            }
        })
    }
}

impl fmt::Debug for VecDevice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("VecDevice").finish_non_exhaustive()
    }
}

#[async_trait]
impl BlockDevice for VecDevice {
    fn geometry(&self) -> Geometry {
        Geometry::new(self.with(|content| content.len() as u64))
    }

    fn describe(&self) -> String {
        "a vector".into()
    }

    // The buffer is handed in and comes back, with the error too: a device that reads in the background keeps it until
    // the read has really ended.
    async fn read(&self, at: u64, mut buf: Buf) -> (Buf, Result<()>) {
        let result = self.part("read", at, buf.len(), |part| buf.copy_from_slice(part));
        (buf, result)
    }

    async fn write(&self, at: u64, data: Bytes) -> Result<()> {
        self.part("write", at, data.len(), |part| part.copy_from_slice(&data))
    }

    async fn write_zeroes(&self, range: ByteRange) -> Result<()> {
        let length = usize::try_from(range.len()).unwrap_or(usize::MAX);
        self.part("write zeroes", range.start(), length, |part| part.fill(0))
    }

    // A hint only, so there is nothing that must be done.
    async fn discard(&self, _range: ByteRange) -> Result<()> {
        Ok(())
    }

    async fn flush(&self) -> Result<()> {
        Ok(())
    }

    // Knows nothing of holes, and says so: all of it is data.
    async fn allocated(&self, range: ByteRange) -> Result<Vec<Extent>> {
        Ok(vec![Extent {
            range,
            kind: ExtentKind::Data,
        }])
    }
}

type Objects = HashMap<String, Bytes>;

/// A repository: containers with objects, in memory. Clones share them.
#[derive(Clone, Default)]
struct MapRepository {
    containers: Arc<Mutex<HashMap<ContainerName, Objects>>>,
}

impl MapRepository {
    /// Works on a container's objects; an error where the container is missing.
    fn within<T>(
        &self,
        operation: &'static str,
        container: &ContainerName,
        f: impl FnOnce(&mut Objects) -> Result<T>,
    ) -> Result<T> {
        let mut containers = self
            .containers
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        match containers.get_mut(container) {
            Some(objects) => f(objects),
            None => Err(Error::new(ErrorKind::NotFound, operation).on(container)),
        }
    }

    fn find(&self, operation: &'static str, key: &ObjectKey) -> Result<Bytes> {
        self.within(operation, key.container(), |objects| {
            objects
                .get(key.name())
                .cloned()
                .ok_or_else(|| Error::new(ErrorKind::NotFound, operation).on(key))
        })
    }
}

impl fmt::Debug for MapRepository {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MapRepository").finish_non_exhaustive()
    }
}

fn stream_of<T: Send + 'static>(items: Vec<T>) -> BoxStream<T> {
    Box::pin(stream::iter(items.into_iter().map(Ok)))
}

#[async_trait]
impl Repository for MapRepository {
    fn limits(&self) -> Limits {
        // No server, so nothing to retry.
        Limits::new(1 << 30).with_retries(true)
    }

    // Whose names the objects bear: with the layout of a Cinder driver, that driver restores what lies there.
    fn layout(&self) -> Layout {
        Layout {
            service: "cinder.backup.drivers.posix.PosixBackupDriver".into(),
            container: DefaultContainer::PerBackup,
            prefix: PrefixStyle::Flat,
            account: None,
        }
    }

    fn describe(&self) -> String {
        "a map".into()
    }

    async fn containers(&self) -> Result<BoxStream<ContainerName>> {
        let containers = self
            .containers
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let names = containers
            .iter()
            .filter(|(_, objects)| !objects.is_empty())
            .map(|(name, _)| name.clone())
            .collect();
        Ok(stream_of(names))
    }

    async fn ensure_container(&self, container: &ContainerName) -> Result<()> {
        self.containers
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .entry(container.clone())
            .or_default();
        Ok(())
    }

    async fn put(&self, key: &ObjectKey, data: Bytes, mode: PutMode) -> Result<()> {
        self.within("put", key.container(), |objects| {
            if mode == PutMode::CreateOnly && objects.contains_key(key.name()) {
                return Err(Error::new(ErrorKind::AlreadyExists, "put").on(key));
            }
            // Copied: the data may be a slice of a pooled buffer that the engine wants back.
            objects.insert(key.name().to_owned(), Bytes::copy_from_slice(&data));
            Ok(())
        })
    }

    async fn begin(&self, key: &ObjectKey, _size_hint: Option<u64>) -> Result<Box<dyn Upload>> {
        self.within("begin", key.container(), |_| Ok(()))?;
        Ok(Box::new(MapUpload {
            repository: self.clone(),
            key: key.clone(),
            parts: BytesMut::new(),
        }))
    }

    async fn get(&self, key: &ObjectKey, range: Option<ByteRange>) -> Result<Download> {
        let object = self.find("get", key)?;
        let all = ByteRange::up_to(object.len() as u64);
        let wanted = range.unwrap_or(all);
        let there = all.intersection(wanted);
        let (start, end) = match there {
            Some(part) => (part.start(), part.end()),
            None if range.is_none() => (0, 0), // an empty object
            None => {
                return Err(Error::invalid("get", format!("bytes {wanted} lie behind it")).on(key));
            }
        };
        // Both lie within an object in memory.
        let at = |offset: u64| usize::try_from(offset).unwrap_or(object.len());
        let body = object.slice(at(start)..at(end));
        Ok(Download {
            length: body.len() as u64,
            body: stream_of(vec![body]),
        })
    }

    async fn list(
        &self,
        container: &ContainerName,
        prefix: &str,
        delimiter: Option<char>,
    ) -> Result<BoxStream<Listed>> {
        let mut listed = Vec::new();
        let mut beginnings = BTreeSet::new();
        let found = self.within("list", container, |objects| {
            for (name, data) in objects.iter() {
                let Some(rest) = name.strip_prefix(prefix) else {
                    continue;
                };
                match delimiter.and_then(|d| rest.split_once(d).map(|(head, _)| (head, d))) {
                    Some((head, d)) => {
                        beginnings.insert(format!("{prefix}{head}{d}"));
                    }
                    None => listed.push(Listed::object(name, data.len() as u64, None)),
                }
            }
            Ok(())
        });
        match found {
            Err(e) if !e.is(ErrorKind::NotFound) => return Err(e),
            _ => {}
        }
        listed.extend(beginnings.into_iter().map(Listed::prefix));
        Ok(stream_of(listed))
    }

    async fn copy(&self, from: &ObjectKey, to: &ObjectKey) -> Result<()> {
        let data = self.find("copy", from)?;
        self.put(to, data, PutMode::Overwrite).await
    }

    async fn delete(&self, keys: &[ObjectKey]) -> Vec<Result<()>> {
        let delete = |key: &ObjectKey| {
            let deleted = self.within("delete", key.container(), |objects| {
                objects.remove(key.name());
                Ok(())
            });
            match deleted {
                Err(e) if e.is(ErrorKind::NotFound) => Ok(()),
                other => other,
            }
        };
        keys.iter().map(delete).collect()
    }

    // Memory is as durable as it gets. A real store waits here until all that was put would survive a power cut.
    async fn barrier(&self, _container: &ContainerName) -> Result<()> {
        Ok(())
    }
}

/// An object that comes in parts: it shows only when it is complete.
#[derive(Debug)]
struct MapUpload {
    repository: MapRepository,
    key: ObjectKey,
    parts: BytesMut,
}

#[async_trait]
impl Upload for MapUpload {
    async fn part(&mut self, data: Bytes) -> Result<()> {
        self.parts.extend_from_slice(&data);
        Ok(())
    }

    async fn complete(self: Box<Self>) -> Result<()> {
        self.repository
            .put(&self.key, self.parts.freeze(), PutMode::Overwrite)
            .await
    }

    async fn abort(self: Box<Self>) -> Result<()> {
        Ok(())
    }
}

/// Backs up what `device` holds now, and answers the layer that it became.
async fn back_up(
    engine: &ChunkedBackup,
    volume: VolumeId,
    device: &Arc<VecDevice>,
    parent: Option<&Layer>,
    cx: &JobContext,
) -> Result<Layer> {
    let plan = engine.plan(&BackupRequest::new(volume, Timestamp::now()))?;
    // Here a service stores the plan: after a kill, `delete` with its location removes what was left.
    let source = Attachment::new(Arc::<VecDevice>::clone(device));
    let outcome = engine.create(&plan, parent, &source, cx).await?;
    println!(
        "{} backup {}: {} bytes covered, {} bytes stored in {} objects",
        parent.map_or("full", |_| "incremental"),
        plan.id,
        outcome.covered_bytes,
        outcome.stored_bytes,
        outcome.object_count
    );
    Ok(Layer {
        id: plan.id,
        location: plan.location,
    })
}

/// Restores `layers` (oldest first) onto a device full of other data, and answers its bytes.
async fn restore(
    engine: &ChunkedBackup,
    layers: Vec<Layer>,
    length: usize,
    cx: &JobContext,
) -> Result<Vec<u8>> {
    let chain = Chain::new(layers)
        .ok_or_else(|| Error::invalid("restore", "a chain has at least one layer"))?;
    let device = Arc::new(VecDevice::new(vec![0xAA; length]));
    let target: Arc<dyn BlockDevice> = Arc::<VecDevice>::clone(&device);
    let report = engine
        .restore(&chain, &target, &RestoreOptions::default(), cx)
        .await?;
    println!("restored, {} bytes checked", report.checked_bytes);
    Ok(device.with(|content| content.clone()))
}

#[tokio::main]
async fn main() -> Result<()> {
    let repository = MapRepository::default();
    let kept = conformance(Arc::new(repository.clone()), ConformanceOptions::default()).await?;
    println!("the repository keeps {} promises", kept.len());

    // One context for the process: its memory and its CPU threads are shared by all jobs.
    let cx = JobContext::new(256 << 20)?;
    let engine = ChunkedBackup::new(Arc::new(repository), ChunkedConfig::zlib()?)?;

    // 20 000 003 bytes: no multiple of anything.
    let text = b"All work and no play makes Jack a dull boy. ".repeat(454_546);
    let device = Arc::new(VecDevice::new(text[..20_000_003].to_vec()));
    let volume = VolumeId::generate();

    let before = device.with(|content| content.clone());
    let full = back_up(&engine, volume, &device, None, &cx).await?;

    device.with(|content| {
        content[5_000_000..5_000_100].fill(b'x');
        content[9_000_000..12_000_000].fill(0);
    });
    let after = device.with(|content| content.clone());
    let incremental = back_up(&engine, volume, &device, Some(&full), &cx).await?;

    let length = before.len();
    assert!(restore(&engine, vec![full.clone()], length, &cx).await? == before);
    assert!(restore(&engine, vec![full, incremental], length, &cx).await? == after);
    println!("both states came back, byte for byte");
    Ok(())
}
