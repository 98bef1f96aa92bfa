use std::collections::VecDeque;

use crate::attach::Attachment;
use crate::device::ChangePoint;
use crate::error::{Error, ErrorKind, Result};
use crate::range::{ByteRange, Extent, ExtentKind};

/// How much of the volume the device is asked about at once, in bytes. Bounds what an answer can hold.
const WINDOW: u64 = 256 << 20;

/// What is done with a unit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum UnitKind {
    /// Read, hashed, compared.
    Read,
    /// Known to be zero: not read.
    Zero,
    /// Known to be as the parent has it: not read, the parent's hashes hold.
    Unchanged,
    /// As that, but read all the same, to see whether the change source is right.
    Audit,
}

/// A range of the volume that is handled at once. Units come in order and cover the volume; each begins at a block's
/// start; one that is read is no longer than a chunk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Unit {
    pub(crate) range: ByteRange,
    pub(crate) kind: UnitKind,
}

/// Which blocks that a change source calls unchanged are read all the same: some in each million, others in each backup.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct AuditSample {
    pub(crate) per_million: u32,
    pub(crate) seed: u64,
}

impl AuditSample {
    /// Whether block number `block` is in it.
    fn holds(self, block: u64) -> bool {
        // SplitMix64: neighbouring numbers give unrelated ones.
        let mut x = self
            .seed
            .wrapping_add(block.wrapping_mul(0x9e37_79b9_7f4a_7c15));
        x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (x ^ (x >> 31)) % 1_000_000 < u64::from(self.per_million)
    }
}

/// Cuts a volume into units, asking device and change source window by window.
#[derive(Debug)]
pub(crate) struct UnitPlanner {
    source: Attachment,
    since: Option<ChangePoint>,
    lost: Option<Error>,
    audit: AuditSample,
    length: u64,
    chunk_size: u64,
    block_size: u64,
    zero_run: u64,
    at: u64,
    queue: VecDeque<Unit>,
}

impl UnitPlanner {
    /// `since`: the state that the change source is asked about. `zero_run`: shorter holes are read.
    pub(crate) fn new(
        source: Attachment,
        since: Option<ChangePoint>,
        audit: AuditSample,
        chunk_size: u64,
        block_size: u64,
        zero_run: u64,
    ) -> Self {
        Self {
            length: source.device.geometry().length,
            source,
            since,
            lost: None,
            audit,
            chunk_size,
            block_size,
            zero_run,
            at: 0,
            queue: VecDeque::new(),
        }
    }

    pub(crate) async fn next(&mut self) -> Result<Option<Unit>> {
        while self.queue.is_empty() && self.at < self.length {
            let window = WINDOW.next_multiple_of(self.chunk_size);
            let end = self.at.saturating_add(window).min(self.length);
            let range = ByteRange::new(self.at, end)
                .ok_or_else(|| Error::internal("plan units", "backward window"))?;
            let known = self.ask(range).await?;
            self.cut(range, &known);
            self.at = end;
        }
        Ok(self.queue.pop_front())
    }

    /// Why the change source cannot say any more what changed, told once: from there on everything is read.
    pub(crate) fn take_lost(&mut self) -> Option<Error> {
        self.lost.take()
    }

    /// What is known of `range` without reading, as extents of kind Zero and Unchanged only.
    async fn ask(&mut self, range: ByteRange) -> Result<Vec<Extent>> {
        let mut known = Vec::new();
        if let (Some(changes), Some(since)) = (&self.source.changes, &self.since) {
            match changes.changed(since, range).await {
                Ok(extents) => {
                    check_cover("ask change source", range, &extents)?;
                    known.extend(
                        extents
                            .into_iter()
                            .filter(|e| matches!(e.kind, ExtentKind::Unchanged | ExtentKind::Zero)),
                    );
                }
                Err(e) if matches!(e.kind(), ErrorKind::NotFound | ErrorKind::Unsupported) => {
                    self.since = None;
                    self.lost = Some(e);
                }
                Err(e) => return Err(e),
            }
        }
        let extents = self.source.device.allocated(range).await?;
        check_cover("ask device for holes", range, &extents)?;
        known.extend(extents.into_iter().filter(|e| e.kind == ExtentKind::Zero));
        known.sort_unstable_by_key(|e| (e.range.start(), e.range.end()));
        Ok(known)
    }

    /// Cuts `window` into units: what is known becomes a unit of its own where it is whole blocks and long enough.
    fn cut(&mut self, window: ByteRange, known: &[Extent]) {
        let mut at = window.start();
        for extent in known {
            let start = extent
                .range
                .start()
                .max(at)
                .next_multiple_of(self.block_size);
            // A short last block was hashed as short as it is; the parent's may have been longer.
            let end = if extent.range.end() >= self.length && extent.kind == ExtentKind::Zero {
                self.length
            } else {
                extent.range.end() / self.block_size * self.block_size
            };
            let least = match extent.kind {
                ExtentKind::Zero => self.zero_run.max(1),
                _ => 1,
            };
            let Some(range) = ByteRange::new(start, end.min(window.end())) else {
                continue;
            };
            if range.len() < least {
                continue;
            }
            self.push_reads(at, range.start());
            match extent.kind {
                ExtentKind::Unchanged => self.push_unchanged(range),
                _ => self.queue.push_back(Unit {
                    range,
                    kind: UnitKind::Zero,
                }),
            }
            at = range.end();
        }
        self.push_reads(at, window.end());
    }

    /// `range` is whole blocks.
    fn push_unchanged(&mut self, range: ByteRange) {
        let mut run = range.start();
        for block in range.pieces(self.block_size) {
            if !self.audit.holds(block.start() / self.block_size) {
                continue;
            }
            self.push(run, block.start(), UnitKind::Unchanged);
            self.push(block.start(), block.end(), UnitKind::Audit);
            run = block.end();
        }
        self.push(run, range.end(), UnitKind::Unchanged);
    }

    fn push(&mut self, start: u64, end: u64, kind: UnitKind) {
        if let Some(range) = ByteRange::new(start, end).filter(|r| !r.is_empty()) {
            self.queue.push_back(Unit { range, kind });
        }
    }

    fn push_reads(&mut self, start: u64, end: u64) {
        if let Some(range) = ByteRange::new(start, end) {
            self.queue
                .extend(range.pieces(self.chunk_size).map(|range| Unit {
                    range,
                    kind: UnitKind::Read,
                }));
        }
    }
}

/// Refuses an answer that does not cover exactly `range` in order: a wrong one would lose data in silence.
pub(crate) fn check_cover(
    operation: &'static str,
    range: ByteRange,
    extents: &[Extent],
) -> Result<()> {
    let mut at = range.start();
    for e in extents {
        if e.range.start() != at {
            return Err(Error::internal(
                operation,
                format!(
                    "the answer for {range} has an extent {} where {at} is next",
                    e.range
                ),
            ));
        }
        at = e.range.end();
    }
    if at != range.end() {
        return Err(Error::internal(
            operation,
            format!("the answer for {range} ends at {at}"),
        ));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn r(start: u64, end: u64) -> ByteRange {
        ByteRange::new(start, end).unwrap()
    }

    #[test]
    fn an_audit_takes_about_its_share_of_the_blocks_and_others_each_time() {
        let sample = |per_million, seed| AuditSample { per_million, seed };
        let count = |s: AuditSample| (0..100_000).filter(|b| s.holds(*b)).count();
        assert_eq!(count(sample(0, 1)), 0);
        assert_eq!(count(sample(1_000_000, 1)), 100_000);
        let hundredth = count(sample(10_000, 7));
        assert!((700..1300).contains(&hundredth), "{hundredth}");
        let chosen = |seed| (0..100_000).find(|b| sample(10_000, seed).holds(*b));
        assert_ne!(chosen(1), chosen(2));
    }

    #[test]
    fn an_answer_with_a_gap_is_refused() {
        let data = |s, e| Extent::new(r(s, e), ExtentKind::Data);
        assert!(check_cover("t", r(0, 10), &[data(0, 10)]).is_ok());
        assert!(check_cover("t", r(0, 10), &[data(0, 4), data(5, 10)]).is_err());
        assert!(check_cover("t", r(0, 10), &[data(0, 9)]).is_err());
        assert!(check_cover("t", r(0, 10), &[data(0, 11)]).is_err());
    }
}
