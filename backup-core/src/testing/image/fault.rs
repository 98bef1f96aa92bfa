use std::fmt;
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use bytes::Bytes;

use super::super::fault::Fault;
use super::super::lock;
use crate::buffer::Buf;
use crate::device::{BlockDevice, Geometry};
use crate::error::{Error, Result};
use crate::id::{ContainerName, ObjectKey};
use crate::image::{Image, ImageKey, ImageLayout, ImageRepository, ImageSnapshot};
use crate::range::{ByteRange, Extent};
use crate::timestamp::Timestamp;

/// Kinds of calls to a store of images and to its images.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
#[expect(missing_docs, reason = "each is the method of that name")]
pub enum ImageCall {
    Containers,
    Create,
    Open,
    OpenToWrite,
    Remove,
    List,
    PutRecord,
    GetRecord,
    RemoveRecord,
    Read,
    Write,
    WriteZeroes,
    Discard,
    Flush,
    Allocated,
    StillThere,
    Snapshots,
    Snapshot,
    RemoveSnapshot,
    Diff,
    Resize,
    Lock,
    Unlock,
    Modified,
    SetNote,
    Notes,
    RemoveNote,
}

/// A store of images around a store of images, one of whose calls goes wrong. It counts every call, those of the images
/// too, so that a test first runs without a fault, reads [`calls`](Self::calls), and then injects one at each in turn.
/// Where calls run at once, their order is the order in which they arrive.
///
/// Of the [`Fault`]s, those that change bytes or cut them count as [`Fault::Fail`].
#[derive(Debug, Clone)]
pub struct FaultImages {
    inner: Arc<dyn ImageRepository>,
    plan: Arc<Mutex<Plan>>,
}

#[derive(Debug, Default)]
struct Plan {
    calls: u64,
    due: Option<(u64, Fault)>,
    hit: Option<(ImageCall, String)>,
}

impl FaultImages {
    /// Around `inner`; nothing goes wrong.
    pub fn new(inner: Arc<dyn ImageRepository>) -> Self {
        Self {
            inner,
            plan: Arc::default(),
        }
    }

    /// Counts from 0 again, and lets the `n`-th call, from 0, go wrong.
    pub fn fail(&self, n: u64, fault: Fault) {
        *lock(&self.plan) = Plan {
            due: Some((n, fault)),
            ..Plan::default()
        };
    }

    /// Counts from 0 again; nothing goes wrong any more.
    pub fn heal(&self) {
        *lock(&self.plan) = Plan::default();
    }

    /// Calls since the last fault was set or healed.
    pub fn calls(&self) -> u64 {
        lock(&self.plan).calls
    }

    /// The call that went wrong, and on what.
    pub fn hit(&self) -> Option<(ImageCall, String)> {
        lock(&self.plan).hit.clone()
    }

    fn wrap(&self, image: Arc<dyn Image>) -> Arc<dyn Image> {
        Arc::new(FaultImage {
            inner: image,
            store: self.clone(),
        })
    }

    fn enter(&self, call: ImageCall, name: &str) -> Option<Fault> {
        let mut plan = lock(&self.plan);
        let number = plan.calls;
        plan.calls += 1;
        let fault = plan.due.filter(|(due, _)| *due == number).map(|(_, f)| f);
        if fault.is_some() {
            plan.hit = Some((call, name.to_owned()));
        }
        fault
    }

    async fn call<T>(
        &self,
        call: ImageCall,
        name: String,
        work: impl Future<Output = Result<T>>,
    ) -> Result<T> {
        let failed = |fault: Fault| {
            Err(Error::new(fault.kind(), format!("call {call:?} of"))
                .on(&name)
                .because("failed as the test asked"))
        };
        match self.enter(call, &name) {
            None => work.await,
            Some(Fault::Delay(time)) => {
                tokio::time::sleep(time).await;
                work.await
            }
            Some(Fault::DelayAnswer(time)) => {
                let answer = work.await;
                tokio::time::sleep(time).await;
                answer
            }
            Some(fault @ Fault::LoseAnswer(_)) => {
                // What the call would have said makes no difference to who never hears it.
                let _unheard = work.await;
                failed(fault)
            }
            Some(fault) => failed(fault),
        }
    }
}

#[async_trait]
impl ImageRepository for FaultImages {
    fn describe(&self) -> String {
        format!("faulty {}", self.inner.describe())
    }

    fn layout(&self) -> ImageLayout {
        self.inner.layout()
    }

    async fn containers(&self) -> Result<Vec<ContainerName>> {
        let work = self.inner.containers();
        self.call(ImageCall::Containers, self.inner.describe(), work)
            .await
    }

    async fn create(&self, key: &ImageKey, size: u64) -> Result<Arc<dyn Image>> {
        let work = self.inner.create(key, size);
        let image = self.call(ImageCall::Create, key.to_string(), work).await?;
        Ok(self.wrap(image))
    }

    async fn open(&self, key: &ImageKey, snapshot: Option<&str>) -> Result<Arc<dyn Image>> {
        let work = self.inner.open(key, snapshot);
        let image = self.call(ImageCall::Open, key.to_string(), work).await?;
        Ok(self.wrap(image))
    }

    async fn open_to_write(&self, key: &ImageKey) -> Result<Arc<dyn Image>> {
        let work = self.inner.open_to_write(key);
        let image = self
            .call(ImageCall::OpenToWrite, key.to_string(), work)
            .await?;
        Ok(self.wrap(image))
    }

    async fn remove(&self, key: &ImageKey) -> Result<()> {
        let work = self.inner.remove(key);
        self.call(ImageCall::Remove, key.to_string(), work).await
    }

    async fn list(&self, container: &ContainerName, prefix: &str) -> Result<Vec<String>> {
        let work = self.inner.list(container, prefix);
        self.call(ImageCall::List, container.to_string(), work)
            .await
    }

    async fn put_record(&self, key: &ObjectKey, data: Bytes) -> Result<()> {
        let work = self.inner.put_record(key, data);
        self.call(ImageCall::PutRecord, key.to_string(), work).await
    }

    async fn get_record(&self, key: &ObjectKey) -> Result<Option<Bytes>> {
        let work = self.inner.get_record(key);
        self.call(ImageCall::GetRecord, key.to_string(), work).await
    }

    async fn remove_record(&self, key: &ObjectKey) -> Result<()> {
        let work = self.inner.remove_record(key);
        self.call(ImageCall::RemoveRecord, key.to_string(), work)
            .await
    }
}

struct FaultImage {
    inner: Arc<dyn Image>,
    store: FaultImages,
}

impl FaultImage {
    async fn call<T>(&self, call: ImageCall, work: impl Future<Output = Result<T>>) -> Result<T> {
        self.store.call(call, self.inner.describe(), work).await
    }
}

impl fmt::Debug for FaultImage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FaultImage")
            .field("inner", &self.inner)
            .finish_non_exhaustive()
    }
}

#[async_trait]
impl BlockDevice for FaultImage {
    fn geometry(&self) -> Geometry {
        self.inner.geometry()
    }

    fn describe(&self) -> String {
        self.inner.describe()
    }

    async fn read(&self, at: u64, buf: Buf) -> (Buf, Result<()>) {
        let mut back = None;
        let length = buf.len();
        let done = self
            .call(ImageCall::Read, async {
                let (buf, read) = self.inner.read(at, buf).await;
                back = Some(buf);
                read
            })
            .await;
        // One that was not even begun has its buffer no more.
        (back.unwrap_or_else(|| Buf::zeroed(length)), done)
    }

    async fn write(&self, at: u64, data: Bytes) -> Result<()> {
        self.call(ImageCall::Write, self.inner.write(at, data))
            .await
    }

    async fn write_zeroes(&self, range: ByteRange) -> Result<()> {
        self.call(ImageCall::WriteZeroes, self.inner.write_zeroes(range))
            .await
    }

    async fn discard(&self, range: ByteRange) -> Result<()> {
        self.call(ImageCall::Discard, self.inner.discard(range))
            .await
    }

    async fn flush(&self) -> Result<()> {
        self.call(ImageCall::Flush, self.inner.flush()).await
    }

    async fn allocated(&self, range: ByteRange) -> Result<Vec<Extent>> {
        self.call(ImageCall::Allocated, self.inner.allocated(range))
            .await
    }

    async fn still_there(&self) -> Result<()> {
        self.call(ImageCall::StillThere, self.inner.still_there())
            .await
    }
}

#[async_trait]
impl Image for FaultImage {
    async fn snapshots(&self) -> Result<Vec<ImageSnapshot>> {
        self.call(ImageCall::Snapshots, self.inner.snapshots())
            .await
    }

    async fn snapshot(&self, name: &str) -> Result<()> {
        self.call(ImageCall::Snapshot, self.inner.snapshot(name))
            .await
    }

    async fn remove_snapshot(&self, name: &str) -> Result<()> {
        self.call(ImageCall::RemoveSnapshot, self.inner.remove_snapshot(name))
            .await
    }

    async fn diff(&self, from: Option<&str>, range: ByteRange) -> Result<Vec<Extent>> {
        self.call(ImageCall::Diff, self.inner.diff(from, range))
            .await
    }

    async fn resize(&self, size: u64) -> Result<()> {
        self.call(ImageCall::Resize, self.inner.resize(size)).await
    }

    async fn lock(&self) -> Result<()> {
        self.call(ImageCall::Lock, self.inner.lock()).await
    }

    async fn unlock(&self) -> Result<()> {
        self.call(ImageCall::Unlock, self.inner.unlock()).await
    }

    async fn modified(&self) -> Result<Option<Timestamp>> {
        self.call(ImageCall::Modified, self.inner.modified()).await
    }

    async fn set_note(&self, key: &str, value: &str) -> Result<()> {
        self.call(ImageCall::SetNote, self.inner.set_note(key, value))
            .await
    }

    async fn notes(&self, prefix: &str) -> Result<Vec<(String, String)>> {
        self.call(ImageCall::Notes, self.inner.notes(prefix)).await
    }

    async fn remove_note(&self, key: &str) -> Result<()> {
        self.call(ImageCall::RemoveNote, self.inner.remove_note(key))
            .await
    }
}
