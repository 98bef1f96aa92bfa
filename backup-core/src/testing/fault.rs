mod plan;
mod stream;

use std::fmt;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;

pub use plan::{Call, Fault, FaultPlan, When};

use self::plan::Progress;
use super::lock;
use crate::error::{Error, Result};
use crate::id::{ContainerName, ObjectKey};
use crate::range::ByteRange;
use crate::repository::{
    BoxStream, Download, Layout, Leftover, Limits, Listed, PutMode, Repository, Upload,
};

/// A repository around a repository whose calls fail as a [`FaultPlan`] says.
///
/// It counts every call, so that a test first runs without a plan, reads [`calls`](Self::calls), and then injects a
/// fault at each index in turn. Where calls run at once, their order is the order in which they arrive.
pub struct FaultRepository {
    inner: Arc<dyn Repository>,
    shared: Arc<Shared>,
}

#[derive(Default)]
struct Shared {
    progress: Mutex<Progress>,
}

impl Shared {
    /// Counts the call, and waits where it is to be delayed. The other faults are the caller's to do.
    async fn enter(&self, call: Call, name: &str) -> Option<Fault> {
        let fault = lock(&self.progress).enter(call, name);
        if let Some(Fault::Delay(time)) = fault {
            tokio::time::sleep(time).await;
            return None;
        }
        fault
    }

    fn leave(&self) {
        lock(&self.progress).leave();
    }
}

/// Leaves when the call ends, however it ends.
struct InFlight<'a>(&'a Shared);

impl Drop for InFlight<'_> {
    fn drop(&mut self) {
        self.0.leave();
    }
}

impl FaultRepository {
    /// Puts `plan` around `inner`.
    pub fn new(inner: Arc<dyn Repository>, plan: FaultPlan) -> Self {
        let faulty = Self {
            inner,
            shared: Arc::default(),
        };
        faulty.set_plan(plan);
        faulty
    }

    /// Takes another plan, and starts to count from 0.
    pub fn set_plan(&self, plan: FaultPlan) {
        *lock(&self.shared.progress) = Progress::new(plan);
    }

    /// Calls since the plan was set.
    pub fn calls(&self) -> u64 {
        lock(&self.shared.progress).total()
    }

    /// Calls of one kind since the plan was set.
    pub fn calls_of(&self, call: Call) -> u64 {
        lock(&self.shared.progress).count(call)
    }

    /// Faults that happened since the plan was set.
    pub fn faults(&self) -> u64 {
        lock(&self.shared.progress).hits().len() as u64
    }

    /// The calls that went wrong since the plan was set, in order, with their names as [`When::named`] sees them.
    pub fn hits(&self) -> Vec<(Call, String)> {
        lock(&self.shared.progress).hits().to_vec()
    }

    /// The most calls that were in flight at once since the plan was set. A body or listing that is being read counts
    /// no more.
    pub fn most_in_flight(&self) -> usize {
        lock(&self.shared.progress).most_in_flight()
    }

    /// Makes a call that has no body: a fault comes before or after it.
    async fn simple<T>(
        &self,
        call: Call,
        name: &str,
        work: impl Future<Output = Result<T>>,
    ) -> Result<T> {
        simple(&self.shared, call, name, work).await
    }
}

async fn simple<T>(
    shared: &Shared,
    call: Call,
    name: &str,
    work: impl Future<Output = Result<T>>,
) -> Result<T> {
    let _in_flight = InFlight(shared);
    match shared.enter(call, name).await {
        None => work.await,
        Some(Fault::DelayAnswer(time)) => late(work, time).await,
        Some(Fault::LoseAnswer(kind)) => {
            // What the call would have said makes no difference to who never hears it.
            let _unheard = work.await;
            Err(plan::injected(kind, call, name))
        }
        Some(fault) => Err(plan::injected(fault.kind(), call, name)),
    }
}

/// Does the work, and holds its answer back.
async fn late<T>(work: impl Future<Output = T>, time: Duration) -> T {
    let answer = work.await;
    tokio::time::sleep(time).await;
    answer
}

impl fmt::Debug for FaultRepository {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FaultRepository")
            .field("inner", &self.inner)
            .finish_non_exhaustive()
    }
}

#[async_trait]
impl Repository for FaultRepository {
    fn limits(&self) -> Limits {
        self.inner.limits()
    }

    fn layout(&self) -> Layout {
        self.inner.layout()
    }

    fn describe(&self) -> String {
        format!("faulty {}", self.inner.describe())
    }

    async fn account(&self) -> Result<Option<String>> {
        self.inner.account().await
    }

    async fn containers(&self) -> Result<BoxStream<ContainerName>> {
        self.simple(Call::Containers, "", self.inner.containers())
            .await
    }

    async fn ensure_container(&self, container: &ContainerName) -> Result<()> {
        let work = self.inner.ensure_container(container);
        self.simple(Call::EnsureContainer, container.as_str(), work)
            .await
    }

    async fn put(&self, key: &ObjectKey, data: Bytes, mode: PutMode) -> Result<()> {
        let _in_flight = InFlight(&self.shared);
        let name = key.to_string();
        let Some(fault) = self.shared.enter(Call::Put, &name).await else {
            return self.inner.put(key, data, mode).await;
        };
        match fault {
            Fault::Fail(kind) => Err(plan::injected(kind, Call::Put, &name)),
            Fault::LoseAnswer(kind) => {
                let _unheard = self.inner.put(key, data, mode).await;
                Err(plan::injected(kind, Call::Put, &name))
            }
            Fault::Break { .. } => {
                let _unheard = self.inner.put(key, fault.change(data, 0), mode).await;
                Err(plan::injected(fault.kind(), Call::Put, &name))
            }
            Fault::DelayAnswer(time) => late(self.inner.put(key, data, mode), time).await,
            Fault::Truncate { .. }
            | Fault::Corrupt { .. }
            | Fault::Extend { .. }
            | Fault::Delay(_) => self.inner.put(key, fault.change(data, 0), mode).await,
        }
    }

    async fn begin(&self, key: &ObjectKey, size_hint: Option<u64>) -> Result<Box<dyn Upload>> {
        let name = key.to_string();
        let work = self.inner.begin(key, size_hint);
        let inner = self.simple(Call::Begin, &name, work).await?;
        Ok(Box::new(FaultUpload {
            inner,
            name,
            shared: Arc::clone(&self.shared),
        }))
    }

    async fn get(&self, key: &ObjectKey, range: Option<ByteRange>) -> Result<Download> {
        let _in_flight = InFlight(&self.shared);
        let name = key.to_string();
        let fault = self.shared.enter(Call::Get, &name).await;
        if let Some(Fault::Fail(kind) | Fault::LoseAnswer(kind)) = fault {
            return Err(plan::injected(kind, Call::Get, &name));
        }
        let got = self.inner.get(key, range);
        let download = match fault {
            Some(Fault::DelayAnswer(time)) => late(got, time).await?,
            _ => got.await?,
        };
        Ok(match fault {
            Some(fault) => Download {
                length: download.length,
                body: stream::faulty_body(download.body, fault, &name),
            },
            None => download,
        })
    }

    async fn list(
        &self,
        container: &ContainerName,
        prefix: &str,
        delimiter: Option<char>,
    ) -> Result<BoxStream<Listed>> {
        let _in_flight = InFlight(&self.shared);
        let name = format!("{container}/{prefix}");
        let fault = self.shared.enter(Call::List, &name).await;
        if let Some(Fault::Fail(kind) | Fault::LoseAnswer(kind)) = fault {
            return Err(plan::injected(kind, Call::List, &name));
        }
        let list = self.inner.list(container, prefix, delimiter);
        let listed = match fault {
            Some(Fault::DelayAnswer(time)) => late(list, time).await?,
            _ => list.await?,
        };
        Ok(match fault {
            Some(fault) => stream::faulty_list(listed, fault, &name),
            None => listed,
        })
    }

    async fn copy(&self, from: &ObjectKey, to: &ObjectKey) -> Result<()> {
        let work = self.inner.copy(from, to);
        self.simple(Call::Copy, &to.to_string(), work).await
    }

    async fn delete(&self, keys: &[ObjectKey]) -> Vec<Result<()>> {
        let _in_flight = InFlight(&self.shared);
        let name = keys.first().map(ToString::to_string).unwrap_or_default();
        let Some(fault) = self.shared.enter(Call::Delete, &name).await else {
            return self.inner.delete(keys).await;
        };
        if let Fault::DelayAnswer(time) = fault {
            return late(self.inner.delete(keys), time).await;
        }
        let reached = match fault {
            Fault::LoseAnswer(_) => keys.len(),
            Fault::Break { after } | Fault::Truncate { after } => {
                usize::try_from(after).unwrap_or(usize::MAX)
            }
            _ => 0,
        };
        let reached = reached.min(keys.len());
        let mut results = self.inner.delete(&keys[..reached]).await;
        if matches!(fault, Fault::LoseAnswer(_)) {
            results.clear();
        }
        for key in &keys[results.len()..] {
            let error = plan::injected(fault.kind(), Call::Delete, &key.to_string());
            results.push(Err(error));
        }
        results
    }

    async fn barrier(&self, container: &ContainerName) -> Result<()> {
        let work = self.inner.barrier(container);
        self.simple(Call::Barrier, container.as_str(), work).await
    }

    async fn leftovers(&self, container: Option<&ContainerName>) -> Result<BoxStream<Leftover>> {
        // No part of a backup's work, so nothing goes wrong with it and nothing is counted.
        self.inner.leftovers(container).await
    }

    async fn remove_leftover(&self, leftover: &Leftover) -> Result<()> {
        self.inner.remove_leftover(leftover).await
    }

    async fn clear_leftovers(&self, container: &ContainerName, prefix: &str) -> Result<()> {
        let name = format!("{container}/{prefix}");
        let work = self.inner.clear_leftovers(container, prefix);
        self.simple(Call::ClearLeftovers, &name, work).await
    }
}

struct FaultUpload {
    inner: Box<dyn Upload>,
    name: String,
    shared: Arc<Shared>,
}

impl fmt::Debug for FaultUpload {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FaultUpload")
            .field("inner", &self.inner)
            .finish_non_exhaustive()
    }
}

#[async_trait]
impl Upload for FaultUpload {
    async fn part(&mut self, data: Bytes) -> Result<()> {
        let _in_flight = InFlight(&self.shared);
        let Some(fault) = self.shared.enter(Call::Part, &self.name).await else {
            return self.inner.part(data).await;
        };
        let failed =
            |fault: &Fault, name: &str| -> Error { plan::injected(fault.kind(), Call::Part, name) };
        match fault {
            Fault::Fail(_) => Err(failed(&fault, &self.name)),
            Fault::LoseAnswer(_) | Fault::Break { .. } => {
                let _unheard = self.inner.part(fault.change(data, 0)).await;
                Err(failed(&fault, &self.name))
            }
            Fault::DelayAnswer(time) => late(self.inner.part(data), time).await,
            Fault::Truncate { .. }
            | Fault::Corrupt { .. }
            | Fault::Extend { .. }
            | Fault::Delay(_) => self.inner.part(fault.change(data, 0)).await,
        }
    }

    async fn complete(self: Box<Self>) -> Result<()> {
        let work = self.inner.complete();
        simple(&self.shared, Call::Complete, &self.name, work).await
    }

    async fn abort(self: Box<Self>) -> Result<()> {
        let work = self.inner.abort();
        simple(&self.shared, Call::Abort, &self.name, work).await
    }
}

#[cfg(test)]
mod tests;
