//! What objects told of their holes, put together: without a call to Ceph.

use std::collections::BTreeMap;

use backup_core::range::ByteRange;

use super::{Diff, DiffExtent, LIMIT, errno};

/// An object of which no more than this is told is not asked: reading it costs as much.
const WORTH_ASKING: u64 = 64 << 10; // bytes

/// The numbers of the objects of which much is told, in order.
pub(super) fn candidates(diff: &Diff, object_size: u64) -> Vec<u64> {
    let mut objects = Vec::new();
    for extent in diff.extents.iter().filter(|e| e.data) {
        // What lies in the next object is that one's, and costs a question of its own.
        for part in extent.range.pieces(object_size) {
            let number = part.start() / object_size;
            if part.len() > WORTH_ASKING && objects.last() != Some(&number) {
                objects.push(number);
            }
        }
    }
    objects
}

pub(super) type Known = BTreeMap<u64, Vec<ByteRange>>;

/// What objects told.
#[derive(Debug, Default)]
pub(super) struct Told {
    pub(super) known: Known,
    ranges: usize, // of all of them
    /// Where there was enough for one answer: the first object that was not asked.
    pub(super) enough: Option<u64>,
    /// Why no more is asked.
    pub(super) failed: Option<i32>,
}

impl Told {
    /// Takes an object's answer; whether another one is to be asked.
    pub(super) fn take(
        &mut self,
        number: u64,
        answer: std::result::Result<Vec<ByteRange>, i32>,
    ) -> bool {
        match answer {
            Ok(data) => {
                self.ranges = self.ranges.saturating_add(data.len());
                self.known.insert(number, data);
                true
            }
            // The object is not there at the snapshot, and reads as librbd reads it.
            Err(code) if code == -errno::ENOENT => true,
            Err(code) => {
                self.failed.get_or_insert(code);
                false
            }
        }
    }

    /// The next of `objects` to be asked, the `next`-th.
    pub(super) fn next(&mut self, objects: &[u64], next: &mut usize) -> Option<u64> {
        if self.failed.is_some() || self.enough.is_some() {
            return None;
        }
        let number = *objects.get(*next)?;
        // At least one, so that each answer comes further than the one before it.
        if self.ranges >= LIMIT && *next > 0 {
            self.enough = Some(number);
            return None;
        }
        *next += 1;
        Some(number)
    }
}

/// What a diff tells before `end`.
pub(super) fn cut_off(mut diff: Diff, end: u64) -> Diff {
    if end >= diff.end {
        return diff;
    }
    diff.extents
        .truncate(diff.extents.partition_point(|e| e.range.start() < end));
    if let Some(last) = diff.extents.last_mut() {
        last.range = last.range.split_at(end).0;
    }
    diff.end = end;
    diff
}

/// The extents with the holes of the objects that are known.
pub(super) fn narrowed(
    extents: Vec<DiffExtent>,
    object_size: u64,
    known: &Known,
) -> Vec<DiffExtent> {
    let mut out: Vec<DiffExtent> = Vec::with_capacity(extents.len());
    let mut push = |range: ByteRange, data: bool| {
        if range.is_empty() {
            return;
        }
        if let Some(last) = out.last_mut()
            && last.range.end() == range.start()
            && last.data == data
            && let Some(both) = ByteRange::new(last.range.start(), range.end())
        {
            last.range = both;
        } else {
            out.push(DiffExtent { range, data });
        }
    };
    for extent in extents {
        if !extent.data {
            push(extent.range, false);
            continue;
        }
        for part in extent.range.pieces(object_size) {
            let number = part.start() / object_size;
            let Some(data) = known.get(&number) else {
                push(part, true);
                continue;
            };
            let mut rest = part;
            for held in data {
                let held = held
                    .start()
                    .checked_add(number * object_size)
                    .and_then(|start| ByteRange::at(start, held.len()))
                    .and_then(|held| held.intersection(rest));
                let Some(held) = held else {
                    continue;
                };
                let (hole, behind) = rest.split_at(held.start());
                push(hole, false);
                push(held, true);
                rest = behind.split_at(held.end()).1;
            }
            push(rest, false);
        }
    }
    out
}
