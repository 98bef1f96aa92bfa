//! Things that happen when the test says so: reads of a device, tasks of the CPU threads, puts.

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard};

use async_trait::async_trait;
use backup_core::testing::{MemoryDevice, MemoryRepository};
use backup_core::{
    BlockDevice, BoxStream, Buf, ByteRange, ContainerName, CpuPool, CpuTask, Download, Extent,
    Geometry, Layout, Limits, Listed, ObjectKey, PutMode, Repository, Result, Upload,
};
use bytes::Bytes;
use tokio::sync::oneshot;

/// What waits at a gate.
enum Waiting {
    /// A read or a put: it goes on.
    Call(oneshot::Sender<()>),
    /// Work for a CPU thread: it is done.
    Work(CpuTask),
}

/// All gates of a run. Clones share them.
#[derive(Clone, Default)]
pub struct Gates {
    waiting: Arc<Mutex<Vec<Waiting>>>,
    open_puts: bool,
}

impl Gates {
    /// Puts do not wait: fewer orders, for more of the rest.
    pub fn with_open_puts(mut self) -> Self {
        self.open_puts = true;
        self
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Waiting>> {
        self.waiting.lock().unwrap()
    }

    /// How many wait.
    pub fn waiting(&self) -> usize {
        self.lock().len()
    }

    /// Lets the one at `index` go on, in the order in which they came.
    pub fn open(&self, index: usize) {
        let one = self.lock().remove(index);
        match one {
            Waiting::Call(go) => {
                // Nobody listens where its job was dropped.
                let _ = go.send(());
            }
            Waiting::Work(task) => task(),
        }
    }

    async fn pass(&self) {
        let (go, told) = oneshot::channel();
        self.lock().push(Waiting::Call(go));
        told.await.unwrap();
    }

    /// A pool whose threads work when a gate is opened.
    pub fn cpu(&self, threads: usize) -> CpuPool {
        let gates = self.clone();
        CpuPool::over(threads, move |task| gates.lock().push(Waiting::Work(task)))
    }
}

impl fmt::Debug for Gates {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Gates").finish_non_exhaustive()
    }
}

/// A device whose reads wait.
#[derive(Debug)]
pub struct GatedDevice(pub MemoryDevice, pub Gates);

#[async_trait]
impl BlockDevice for GatedDevice {
    fn geometry(&self) -> Geometry {
        self.0.geometry()
    }

    fn describe(&self) -> String {
        self.0.describe()
    }

    async fn read(&self, at: u64, buf: Buf) -> (Buf, Result<()>) {
        self.1.pass().await;
        self.0.read(at, buf).await
    }

    async fn write(&self, at: u64, data: Bytes) -> Result<()> {
        self.0.write(at, data).await
    }

    async fn write_zeroes(&self, range: ByteRange) -> Result<()> {
        self.0.write_zeroes(range).await
    }

    async fn discard(&self, range: ByteRange) -> Result<()> {
        self.0.discard(range).await
    }

    async fn flush(&self) -> Result<()> {
        self.0.flush().await
    }

    async fn allocated(&self, range: ByteRange) -> Result<Vec<Extent>> {
        self.0.allocated(range).await
    }
}

/// A repository whose puts wait.
#[derive(Debug)]
pub struct GatedRepository(pub MemoryRepository, pub Gates);

#[async_trait]
impl Repository for GatedRepository {
    fn limits(&self) -> Limits {
        self.0.limits()
    }

    fn layout(&self) -> Layout {
        self.0.layout()
    }

    fn describe(&self) -> String {
        self.0.describe()
    }

    async fn containers(&self) -> Result<BoxStream<ContainerName>> {
        self.0.containers().await
    }

    async fn ensure_container(&self, container: &ContainerName) -> Result<()> {
        self.0.ensure_container(container).await
    }

    async fn put(&self, key: &ObjectKey, data: Bytes, mode: PutMode) -> Result<()> {
        if !self.1.open_puts {
            self.1.pass().await;
        }
        self.0.put(key, data, mode).await
    }

    async fn begin(&self, key: &ObjectKey, size_hint: Option<u64>) -> Result<Box<dyn Upload>> {
        self.0.begin(key, size_hint).await
    }

    async fn get(&self, key: &ObjectKey, range: Option<ByteRange>) -> Result<Download> {
        self.0.get(key, range).await
    }

    async fn list(
        &self,
        container: &ContainerName,
        prefix: &str,
        delimiter: Option<char>,
    ) -> Result<BoxStream<Listed>> {
        self.0.list(container, prefix, delimiter).await
    }

    async fn copy(&self, from: &ObjectKey, to: &ObjectKey) -> Result<()> {
        self.0.copy(from, to).await
    }

    async fn delete(&self, keys: &[ObjectKey]) -> Vec<Result<()>> {
        self.0.delete(keys).await
    }

    async fn barrier(&self, container: &ContainerName) -> Result<()> {
        self.0.barrier(container).await
    }
}
