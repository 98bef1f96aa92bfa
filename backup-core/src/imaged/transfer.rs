//! Moves ranges of a volume from one device to another, many at once, in bounded memory.

use std::sync::Arc;

use tokio::task::JoinSet;

use super::copy::{Deed, Ends, Moved, memory, piece};
use crate::backup::Problem;
use crate::error::{Error, Result};
use crate::job::{MemoryPermit, Phase, Progress};
use crate::range::ByteRange;

/// Most bytes that are read at once: an RBD object's default size, and pieces end where objects do.
pub(super) const PIECE: u64 = 4 << 20;

/// Most bytes that are zeroed at once, so that a cancel need not wait long.
const ZERO_PIECE: u64 = 64 << 20;

/// Most problems that are kept in full.
const MAX_PROBLEMS: usize = crate::backup::Report::MAX_PROBLEMS;

/// What was moved in all.
#[derive(Debug, Default)]
pub(super) struct Totals {
    pub(super) read: u64,
    pub(super) audited: u64,
    pub(super) written: u64,
    /// Bytes of the volume that were copied, compared or zeroed: those that its change is about.
    pub(super) covered: u64,
    /// The first range that an audit found changed.
    pub(super) changed: Option<ByteRange>,
    pub(super) problems: Vec<Problem>,
    pub(super) more_problems: u64,
}

/// A piece that is done, one way or the other.
struct Ended {
    held: u64,   // bytes of memory
    length: u64, // bytes of the volume
    moved: Result<Moved>,
}

/// Ranges on their way. Begun pieces go on by themselves; [`end`](Self::end) waits for them, and must be called.
#[derive(Debug)]
pub(super) struct Transfer {
    ends: Arc<Ends>,
    tasks: JoinSet<Ended>,
    in_flight: u64, // bytes
    piece: u64,     // bytes
    totals: Totals,
    progress: Progress,
}

impl Transfer {
    /// Between `ends`; `total` is the length of the volume in bytes.
    pub(super) fn new(ends: Ends, phase: Phase, total: u64) -> Self {
        // Two pieces that are compared fit into the smallest budget.
        let piece = PIECE.min(ends.cx.memory().total() / 4).max(4096);
        let transfer = Self {
            ends: Arc::new(ends),
            tasks: JoinSet::new(),
            in_flight: 0,
            piece,
            totals: Totals::default(),
            progress: Progress::start(phase, total),
        };
        transfer.tell();
        transfer
    }

    pub(super) fn ends(&self) -> &Ends {
        &self.ends
    }

    /// Whether an audit has found something changed, so that there is no use in going on.
    pub(super) fn is_refuted(&self) -> bool {
        self.totals.changed.is_some()
    }

    /// Counts bytes that need nothing done.
    pub(super) fn skip(&mut self, bytes: u64) {
        self.progress.done = self.progress.done.saturating_add(bytes);
        self.tell();
    }

    /// Begins `deed` on all of `range`, waiting for room; earlier pieces end meanwhile.
    pub(super) async fn begin(&mut self, range: ByteRange, deed: Deed) -> Result<()> {
        let longest = match deed {
            Deed::Zero => ZERO_PIECE,
            _ => self.piece,
        };
        if deed != Deed::Audit {
            self.totals.covered = self.totals.covered.saturating_add(range.len());
        }
        // A piece lies before the border of what is known to be zero, or behind it.
        let (head, tail) = range.split_at(self.ends.zero_from);
        for part in head.pieces(longest).chain(tail.pieces(longest)) {
            self.ends.cx.cancel().check(self.ends.operation)?;
            let length = part.len();
            let held = memory(deed, length);
            self.make_room(held).await?;
            let permit = self.memory(held).await?;
            self.in_flight += held;
            let ends = Arc::clone(&self.ends);
            self.tasks.spawn(async move {
                let moved = piece(ends, part, deed, permit).await;
                Ended {
                    held,
                    length,
                    moved,
                }
            });
        }
        Ok(())
    }

    /// Waits for all that was begun, whatever `fed` says, and tells what was moved.
    ///
    /// # Errors
    /// That of `fed`, else the first of a piece.
    pub(super) async fn end(mut self, fed: Result<()>) -> Result<Totals> {
        let mut first = fed;
        while let Some(done) = self.tasks.join_next().await {
            let counted = self.count(done);
            if first.is_ok() {
                first = counted;
            }
        }
        first?;
        // Asked for while the last pieces were on their way.
        self.ends.cx.cancel().check(self.ends.operation)?;
        Ok(self.totals)
    }

    /// Small pieces are bounded by number, large ones by their bytes.
    async fn make_room(&mut self, bytes: u64) -> Result<()> {
        let requests = self.ends.cx.requests();
        let most = self.piece.saturating_mul(requests as u64);
        while self.tasks.len() >= requests * 4
            || (self.in_flight.saturating_add(bytes) > most && !self.tasks.is_empty())
        {
            self.take_one().await?;
        }
        Ok(())
    }

    /// Memory of the budget; meanwhile, others end and give theirs back.
    async fn memory(&mut self, bytes: u64) -> Result<Option<MemoryPermit>> {
        if bytes == 0 {
            return Ok(None);
        }
        let budget = self.ends.cx.memory().clone();
        let cancel = self.ends.cx.cancel().clone();
        let acquiring = budget.acquire(bytes);
        tokio::pin!(acquiring);
        loop {
            tokio::select! {
                permit = &mut acquiring => return permit.map(Some),
                done = self.tasks.join_next(), if !self.tasks.is_empty() => {
                    if let Some(done) = done {
                        self.count(done)?;
                    }
                }
                () = cancel.cancelled() => return Err(Error::cancelled(self.ends.operation)),
            }
        }
    }

    async fn take_one(&mut self) -> Result<()> {
        let cancel = self.ends.cx.cancel().clone();
        tokio::select! {
            done = self.tasks.join_next() => done.map_or(Ok(()), |done| self.count(done)),
            () = cancel.cancelled() => Err(Error::cancelled(self.ends.operation)),
        }
    }

    fn count(&mut self, done: Result<Ended, tokio::task::JoinError>) -> Result<()> {
        let ended = done.map_err(|e| Error::internal(self.ends.operation, e.to_string()))?;
        self.in_flight = self.in_flight.saturating_sub(ended.held);
        let moved = ended.moved?;
        self.progress.done = self.progress.done.saturating_add(ended.length);
        let totals = &mut self.totals;
        totals.read += moved.read;
        totals.audited += moved.audited;
        totals.written += moved.written;
        totals.changed = totals.changed.or(moved.changed);
        if let Some(problem) = moved.problem {
            if totals.problems.len() < MAX_PROBLEMS {
                totals.problems.push(problem);
            } else {
                totals.more_problems += 1;
            }
        }
        self.progress.transferred = totals.read + totals.audited;
        self.tell();
        Ok(())
    }

    fn tell(&self) {
        let mut told = self.progress;
        told.done = told.done.min(told.total);
        self.ends.cx.observer().progress(&told);
    }
}
