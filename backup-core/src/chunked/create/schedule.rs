//! Which task is started next.

use std::sync::Arc;

use super::stages::{
    Content, Input, Pending, Stored, Taken, compare, compress, in_memory, store, store_zeroes, sum,
};
use super::{BACKLOG, COLD_RUN, Creation, Done};
use crate::id::ObjectKey;
use crate::job::MemoryPermit;
use crate::pipeline::{Unit, UnitKind};

impl Creation<'_> {
    /// Takes a unit on whose memory there is: it is read where it is compared if it lies in memory, else before that.
    pub(super) fn take_on(&mut self, number: u64, unit: Unit, permit: MemoryPermit) {
        let taken = Taken {
            unit: number,
            range: unit.range,
            audit: unit.kind == UnitKind::Audit,
            permit,
        };
        if self.cold > 0 {
            self.cold -= 1;
            self.start_read(taken);
        } else {
            let device = Arc::clone(&self.source.device);
            let input = Input::Cached(device, self.cx.buffers().clone());
            self.to_compare.push_back((taken, input));
        }
    }

    /// A unit is not in memory: reads it, and its successors without looking for them there first.
    pub(super) fn go_cold(&mut self, taken: Taken) {
        self.cold = COLD_RUN;
        self.start_read(taken);
    }

    fn start_read(&mut self, taken: Taken) {
        let device = Arc::clone(&self.source.device);
        let buffers = self.cx.buffers().clone();
        self.reading += 1;
        self.reading_bytes += taken.range.len();
        self.tasks.spawn(async move {
            let range = taken.range;
            let read = async {
                let buffer = buffers.take(in_memory(range)?);
                let (buffer, result) = device.read(range.start(), buffer).await;
                result?;
                Ok((taken, buffer))
            };
            Done::Read(range, read.await)
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
            } else if let Some((taken, input)) = self.to_compare.pop_front() {
                self.start_compare(taken, input);
            } else {
                break;
            }
        }
    }

    /// Whether a batch of few objects is better than waiting for more: a CPU would be idle, and the repository soon too.
    pub(super) fn may_sum_few(&self) -> bool {
        let threads = self.cx.cpu().threads();
        let to_store = self.putting + self.to_put.len();
        !self.to_sum.is_empty() && self.computing < threads && to_store < 2 * threads
    }

    pub(super) fn start_compare(&mut self, taken: Taken, input: Input) {
        let hasher = self.engine.hasher.clone();
        let cancel = self.cx.cancel().clone();
        let join = self.engine.config.join;
        let parent = self.parent_hashes(taken.range);
        let number = taken.unit;
        self.compute(move || {
            Done::Compared(
                number,
                parent.and_then(|p| compare(&hasher, taken, input, p.as_deref(), join, &cancel)),
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
