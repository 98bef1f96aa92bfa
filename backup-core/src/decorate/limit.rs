use std::fmt;
use std::num::NonZeroU64;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use futures::TryStreamExt;
use tokio::sync::{Semaphore, SemaphorePermit};
use tokio::time::Instant;

use crate::error::{Error, Result};
use crate::id::{ContainerName, ObjectKey};
use crate::range::ByteRange;
use crate::repository::{
    BoxStream, Download, Layout, Leftover, Limits, Listed, PutMode, Repository, Upload,
};

/// What a rate may be ahead of itself, so that short waits are not lost to the timer's grain.
const AHEAD: Duration = Duration::from_millis(100);

/// A repository around a repository that is asked no more than so much at once, and so many bytes a second.
///
/// A request counts while it is being answered. A body or listing counts only while its next piece is awaited, so that
/// a reader who keeps several open and takes from one never waits for itself.
#[derive(Clone)]
pub struct Limited {
    inner: Arc<dyn Repository>,
    gate: Arc<Gate>,
    requests: usize,
}

#[derive(Default)]
struct Gate {
    places: Option<Semaphore>,
    up: Option<Rate>,
    down: Option<Rate>,
}

impl Limited {
    /// At most `requests` (at least 1) at once to `inner`.
    pub fn new(inner: Arc<dyn Repository>, requests: usize) -> Self {
        let requests = requests.clamp(1, Semaphore::MAX_PERMITS);
        Self {
            inner,
            gate: Arc::new(Gate {
                places: Some(Semaphore::new(requests)),
                ..Gate::default()
            }),
            requests,
        }
    }

    /// With at most `bytes` a second sent, and as many received; 0 is no limit. To be called before it is used.
    pub fn with_bandwidth(self, bytes: u64) -> Self {
        let rate = || NonZeroU64::new(bytes).map(Rate::new);
        let gate = Gate {
            places: Some(Semaphore::new(self.requests)),
            up: rate(),
            down: rate(),
        };
        Self {
            gate: Arc::new(gate),
            ..self
        }
    }
}

impl Gate {
    async fn enter(&self) -> Result<Option<SemaphorePermit<'_>>> {
        match &self.places {
            None => Ok(None),
            Some(places) => match places.acquire().await {
                Ok(permit) => Ok(Some(permit)),
                Err(e) => Err(Error::internal("wait for a request's turn", e.to_string())),
            },
        }
    }

    async fn send(&self, bytes: usize) {
        if let Some(rate) = &self.up {
            rate.pass(bytes as u64).await;
        }
    }

    async fn receive(&self, bytes: usize) {
        if let Some(rate) = &self.down {
            rate.pass(bytes as u64).await;
        }
    }
}

/// Bytes a second: each taker is given the moment at which the bytes before its own and its own are through.
struct Rate {
    bytes: NonZeroU64, // a second
    free: Mutex<Instant>,
}

impl Rate {
    fn new(bytes: NonZeroU64) -> Self {
        Self {
            bytes,
            free: Mutex::new(Instant::now()),
        }
    }

    async fn pass(&self, bytes: u64) {
        let nanos = u128::from(bytes) * 1_000_000_000 / u128::from(self.bytes.get());
        let takes = Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX));
        let end = {
            let mut free = self.free.lock().unwrap_or_else(PoisonError::into_inner);
            let start = (*free).max(Instant::now());
            *free = start.checked_add(takes).unwrap_or(start);
            *free
        };
        // One who is dropped here has paid all the same: the rate stays below, never above.
        if let Some(ahead) = end.checked_sub(AHEAD) {
            tokio::time::sleep_until(ahead).await;
        }
    }
}

impl fmt::Debug for Limited {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Limited")
            .field("inner", &self.inner)
            .field("requests", &self.requests)
            .finish_non_exhaustive()
    }
}

/// Takes the next item only with a place in the gate.
fn gated<T: Send + 'static>(gate: Arc<Gate>, items: BoxStream<T>) -> BoxStream<T> {
    Box::pin(futures::stream::try_unfold(
        (gate, items),
        |(gate, mut items)| async move {
            let item = {
                let _place = gate.enter().await?;
                items.try_next().await?
            };
            Ok(item.map(|item| (item, (gate, items))))
        },
    ))
}

#[async_trait]
impl Repository for Limited {
    fn limits(&self) -> Limits {
        let limits = self.inner.limits();
        let requests = limits.requests.min(self.requests);
        limits.with_requests(requests)
    }

    fn layout(&self) -> Layout {
        self.inner.layout()
    }

    fn describe(&self) -> String {
        self.inner.describe()
    }

    async fn account(&self) -> Result<Option<String>> {
        let _place = self.gate.enter().await?;
        self.inner.account().await
    }

    async fn containers(&self) -> Result<BoxStream<ContainerName>> {
        let _place = self.gate.enter().await?;
        let items = self.inner.containers().await?;
        Ok(gated(Arc::clone(&self.gate), items))
    }

    async fn ensure_container(&self, container: &ContainerName) -> Result<()> {
        let _place = self.gate.enter().await?;
        self.inner.ensure_container(container).await
    }

    async fn put(&self, key: &ObjectKey, data: Bytes, mode: PutMode) -> Result<()> {
        self.gate.send(data.len()).await;
        let _place = self.gate.enter().await?;
        self.inner.put(key, data, mode).await
    }

    async fn begin(&self, key: &ObjectKey, size_hint: Option<u64>) -> Result<Box<dyn Upload>> {
        let _place = self.gate.enter().await?;
        Ok(Box::new(LimitedUpload {
            inner: self.inner.begin(key, size_hint).await?,
            gate: Arc::clone(&self.gate),
        }))
    }

    async fn get(&self, key: &ObjectKey, range: Option<ByteRange>) -> Result<Download> {
        let _place = self.gate.enter().await?;
        let download = self.inner.get(key, range).await?;
        let gate = Arc::clone(&self.gate);
        let pieces = gated(Arc::clone(&gate), download.body);
        let body = pieces.and_then(move |piece| {
            let gate = Arc::clone(&gate);
            async move {
                gate.receive(piece.len()).await;
                Ok(piece)
            }
        });
        Ok(Download {
            length: download.length,
            body: Box::pin(body),
        })
    }

    async fn list(
        &self,
        container: &ContainerName,
        prefix: &str,
        delimiter: Option<char>,
    ) -> Result<BoxStream<Listed>> {
        let _place = self.gate.enter().await?;
        let items = self.inner.list(container, prefix, delimiter).await?;
        Ok(gated(Arc::clone(&self.gate), items))
    }

    async fn copy(&self, from: &ObjectKey, to: &ObjectKey) -> Result<()> {
        let _place = self.gate.enter().await?;
        self.inner.copy(from, to).await
    }

    async fn delete(&self, keys: &[ObjectKey]) -> Vec<Result<()>> {
        match self.gate.enter().await {
            Ok(_place) => self.inner.delete(keys).await,
            Err(e) => {
                let failed = |key| Err(Error::new(e.kind(), "delete object").on(key));
                keys.iter().map(failed).collect()
            }
        }
    }

    async fn barrier(&self, container: &ContainerName) -> Result<()> {
        let _place = self.gate.enter().await?;
        self.inner.barrier(container).await
    }

    async fn leftovers(&self, container: Option<&ContainerName>) -> Result<BoxStream<Leftover>> {
        let _place = self.gate.enter().await?;
        let items = self.inner.leftovers(container).await?;
        Ok(gated(Arc::clone(&self.gate), items))
    }

    async fn remove_leftover(&self, leftover: &Leftover) -> Result<()> {
        let _place = self.gate.enter().await?;
        self.inner.remove_leftover(leftover).await
    }

    async fn clear_leftovers(&self, container: &ContainerName, prefix: &str) -> Result<()> {
        let _place = self.gate.enter().await?;
        self.inner.clear_leftovers(container, prefix).await
    }
}

struct LimitedUpload {
    inner: Box<dyn Upload>,
    gate: Arc<Gate>,
}

impl fmt::Debug for LimitedUpload {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LimitedUpload")
            .field("inner", &self.inner)
            .finish_non_exhaustive()
    }
}

#[async_trait]
impl Upload for LimitedUpload {
    async fn part(&mut self, data: Bytes) -> Result<()> {
        self.gate.send(data.len()).await;
        let _place = self.gate.enter().await?;
        self.inner.part(data).await
    }

    async fn complete(self: Box<Self>) -> Result<()> {
        let _place = self.gate.enter().await?;
        self.inner.complete().await
    }

    async fn abort(self: Box<Self>) -> Result<()> {
        let _place = self.gate.enter().await?;
        self.inner.abort().await
    }
}

#[cfg(test)]
mod tests {
    use futures::future::{join_all, try_join_all};

    use super::*;
    use crate::testing::{
        Call, ConformanceOptions, Fault, FaultPlan, FaultRepository, MemoryRepository, When,
        conformance,
    };

    fn key(i: usize) -> ObjectKey {
        let container = ContainerName::new("c").unwrap();
        ObjectKey::new(&container, format!("object-{i}")).unwrap()
    }

    async fn memory() -> MemoryRepository {
        let memory = MemoryRepository::new();
        memory.ensure_container(key(0).container()).await.unwrap();
        memory
    }

    #[tokio::test(start_paused = true)]
    async fn no_more_requests_than_allowed_are_in_flight() {
        let slow = FaultPlan::new().rule(When::any(), Fault::Delay(Duration::from_secs(1)));
        let counted = Arc::new(FaultRepository::new(Arc::new(memory().await), slow));
        let limited = Limited::new(counted.clone(), 3);
        assert_eq!(limited.limits().requests, 3);
        let put = |i| async move { key(i) };
        let keys = join_all((0..12).map(put)).await;
        let start = Instant::now();
        let puts = keys
            .iter()
            .map(|key| limited.put(key, "x".into(), PutMode::Overwrite));
        try_join_all(puts).await.unwrap();
        assert_eq!(counted.calls_of(Call::Put), 12);
        assert_eq!(counted.most_in_flight(), 3);
        assert_eq!(
            start.elapsed().as_secs(),
            4,
            "the allowed ones run side by side"
        );
    }

    #[tokio::test(start_paused = true)]
    async fn bytes_flow_no_faster_than_allowed_either_way() {
        const MIB: usize = 1 << 20;
        let limited = Limited::new(Arc::new(memory().await), 4).with_bandwidth(10 << 20);
        let data = Bytes::from(vec![1; 20 * MIB]);
        let start = Instant::now();
        for i in 0..5 {
            limited
                .put(&key(i), data.clone(), PutMode::Overwrite)
                .await
                .unwrap();
        }
        let up = start.elapsed().as_secs_f64();
        assert!((9.8..10.2).contains(&up), "100 MiB at 10 MiB/s took {up} s");
        let start = Instant::now();
        let download = limited.get(&key(0), None).await.unwrap();
        let pieces: Vec<Bytes> = download.body.try_collect().await.unwrap();
        let down = start.elapsed().as_secs_f64();
        assert_eq!(pieces.iter().map(Bytes::len).sum::<usize>(), 20 * MIB);
        assert!(
            (1.8..2.2).contains(&down),
            "20 MiB at 10 MiB/s took {down} s"
        );
    }

    #[tokio::test]
    async fn an_open_body_takes_no_place_while_nobody_reads_it() {
        let memory = memory().await;
        memory.plant("c", "object-0", vec![1; 1 << 20]).unwrap();
        let limited = Limited::new(Arc::new(memory), 1);
        let mut open = limited.get(&key(0), None).await.unwrap().body;
        open.try_next().await.unwrap();
        limited
            .put(&key(1), "x".into(), PutMode::Overwrite)
            .await
            .unwrap();
        open.try_next().await.unwrap();
    }

    #[tokio::test]
    async fn a_limited_repository_keeps_every_promise() {
        let limited = Limited::new(Arc::new(MemoryRepository::new()), 2).with_bandwidth(1 << 40);
        conformance(Arc::new(limited), ConformanceOptions::default())
            .await
            .unwrap();
    }
}
