//! Which task is started next.

use std::sync::Arc;

use bytes::Bytes;

use super::stages::{
    Accounted, Content, Pending, ReadUnit, Stored, compare, compress, store, store_zeroes, sum,
};
use super::{BACKLOG, Creation, Done};
use crate::error::Error;
use crate::id::ObjectKey;
use crate::job::MemoryPermit;
use crate::pipeline::{Unit, UnitKind};

impl Creation<'_> {
    pub(super) fn start_read(&mut self, number: u64, unit: Unit, mut permit: MemoryPermit) {
        let range = unit.range;
        let device = Arc::clone(&self.source.device);
        let buffers = self.cx.buffers().clone();
        self.reading += 1;
        self.reading_bytes += range.len();
        self.tasks.spawn(async move {
            let read = async {
                let length = usize::try_from(range.len())
                    .map_err(|_| Error::internal("read volume", "unit too long for memory"))?;
                let (buffer, result) = device.read(range.start(), buffers.take(length)).await;
                result?;
                let input = permit
                    .split(range.len())
                    .ok_or_else(|| Error::internal("read volume", "memory was not acquired"))?;
                Ok(ReadUnit {
                    unit: number,
                    range,
                    audit: unit.kind == UnitKind::Audit,
                    bytes: Bytes::from_owner(Accounted {
                        buffer,
                        _permit: input,
                    }),
                    output: permit,
                })
            };
            Done::Read(read.await)
        });
    }

    /// Starts CPU work and puts, the later stages first, since they give memory back.
    pub(super) fn schedule(&mut self) {
        while self.putting
            < self
                .cx
                .requests()
                .min(self.engine.repository.limits().requests)
        {
            let Some(stored) = self.to_put.pop_front() else {
                break;
            };
            self.start_put(stored);
        }
        let threads = self.cx.cpu().threads();
        let lanes = md5_lanes::lanes().min(8);
        // One task more than threads, so that none waits for this loop.
        while self.computing <= threads && self.to_put.len() < BACKLOG {
            if let Some(pending) = self.to_compress.pop_front() {
                self.start_compress(pending);
            } else if self.to_sum.len() >= lanes
                || (self.to_compare.is_empty() && self.may_sum_few())
            {
                let count = self.to_sum.len().min(2 * lanes);
                let batch: Vec<_> = self.to_sum.drain(..count).collect();
                self.start_sum(batch);
            } else if let Some(read) = self.to_compare.pop_front() {
                self.start_compare(read);
            } else {
                break;
            }
        }
    }

    /// Whether a batch of few objects is better than waiting for more: a CPU would be idle.
    pub(super) fn may_sum_few(&self) -> bool {
        !self.to_sum.is_empty() && self.computing < self.cx.cpu().threads()
    }

    pub(super) fn start_compare(&mut self, read: ReadUnit) {
        let hasher = self.engine.hasher.clone();
        let cancel = self.cx.cancel().clone();
        let join = self.engine.config.join;
        let parent = self.parent_hashes(read.range);
        let number = read.unit;
        self.compute(move || {
            Done::Compared(
                number,
                parent.and_then(|p| compare(&hasher, read, p.as_deref(), join, &cancel)),
            )
        });
    }

    pub(super) fn start_sum(&mut self, batch: Vec<Pending>) {
        let cancel = self.cx.cancel().clone();
        self.compute(move || Done::Summed(sum(batch, &cancel)));
    }

    pub(super) fn start_compress(&mut self, pending: Pending) {
        let config = Arc::clone(&self.engine.config);
        let zeroes = Arc::clone(&self.engine.zeroes);
        let cx = self.cx.clone();
        let name = self.plan.location.prefix.data_object(pending.number);
        self.compute(move || {
            let number = pending.number;
            let stored = match pending.content {
                Content::Zeroes => store_zeroes(&zeroes, name, pending.range),
                Content::Data { bytes, output, md5 } => compress(
                    &*config.compressor,
                    name,
                    pending.range,
                    &bytes,
                    output,
                    md5,
                    &cx,
                ),
            };
            Done::Compressed(stored.map(|stored| (number, stored)))
        });
    }

    pub(super) fn compute(&mut self, work: impl FnOnce() -> Done + Send + 'static) {
        self.computing += 1;
        let result = self.cx.cpu().run(work);
        self.tasks
            .spawn(async move { result.await.unwrap_or_else(|e| Done::Put(Err(e))) });
    }

    pub(super) fn start_put(&mut self, stored: Stored) {
        self.putting += 1;
        let repository = Arc::clone(&self.engine.repository);
        let key = ObjectKey::new(&self.plan.location.container, stored.entry.name.clone());
        self.tasks.spawn(async move {
            let put = async {
                store(&*repository, &key?, stored.bytes.clone()).await?;
                Ok(stored.range)
            };
            Done::Put(put.await)
        });
    }
}
