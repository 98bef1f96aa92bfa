use std::cmp::Reverse;
use std::collections::{BinaryHeap, VecDeque};

use crate::error::{Error, Result};
use crate::range::ByteRange;

/// The objects of one layer, in order of their offsets.
pub trait Coverage {
    /// How many objects there are.
    fn count(&self) -> u64;

    /// The range of the volume that object `index` (from 0) covers.
    fn range(&self, index: u64) -> Result<ByteRange>;
}

/// What of a layer's object shows in the newest state; or a range that no layer has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Surviving {
    /// Parts of an object, in order.
    Object {
        /// Index of the layer, 0 is the oldest.
        layer: usize,
        /// Index of the object in its layer.
        index: u64,
        /// What no newer layer covers; never empty.
        parts: Vec<ByteRange>,
    },
    /// A range that no layer covers.
    Gap(ByteRange),
}

/// Merges layers, oldest first, into the parts of their objects that show in the first `length` bytes of the newest
/// state. Objects come in order of their offsets; each byte of the volume comes once.
///
/// What is held in memory does not grow with the volume: of each layer, only the ranges that meet the object at hand.
///
/// # Errors
/// [`Corrupt`](crate::ErrorKind::Corrupt) where the objects of a layer overlap or are out of order.
pub fn merge_newest_wins<C: Coverage>(layers: Vec<C>, length: u64) -> Merge<C> {
    Merge {
        layers: layers.into_iter().map(Cursor::new).collect(),
        heads: BinaryHeap::new(),
        started: false,
        covered_to: 0,
        length,
        queued: VecDeque::new(),
    }
}

/// See [`merge_newest_wins`].
pub struct Merge<C> {
    layers: Vec<Cursor<C>>,
    heads: BinaryHeap<Reverse<(u64, usize)>>, // start of a layer's next object, layer
    started: bool,
    covered_to: u64,
    length: u64,
    queued: VecDeque<Surviving>,
}

struct Cursor<C> {
    objects: C,
    head: Option<ByteRange>,
    next: u64,                  // index behind the head
    ahead: VecDeque<ByteRange>, // ranges that may still hide a part of an older object
    ahead_next: u64,
    ahead_end: u64,
}

impl<C: Coverage> Cursor<C> {
    fn new(objects: C) -> Self {
        Self {
            objects,
            head: None,
            next: 0,
            ahead: VecDeque::new(),
            ahead_next: 0,
            ahead_end: 0,
        }
    }

    /// Moves the head to the next object that holds a byte; answers its index.
    fn advance(&mut self) -> Result<()> {
        let before = self.head.map_or(0, ByteRange::end);
        self.head = None;
        while self.next < self.objects.count() {
            let range = self.objects.range(self.next)?;
            self.next += 1;
            if range.is_empty() {
                continue;
            }
            if range.start() < before {
                return Err(overlap(range, before));
            }
            self.head = Some(range);
            break;
        }
        Ok(())
    }

    /// Collects into `hidden` what this layer covers of `range`. Calls come with growing starts.
    fn hide(&mut self, range: ByteRange, hidden: &mut Vec<ByteRange>) -> Result<()> {
        while self.ahead.front().is_some_and(|r| r.end() <= range.start()) {
            self.ahead.pop_front();
        }
        while self.ahead.back().is_none_or(|r| r.start() < range.end())
            && self.ahead_next < self.objects.count()
        {
            let next = self.objects.range(self.ahead_next)?;
            self.ahead_next += 1;
            if next.is_empty() {
                continue;
            }
            if next.start() < self.ahead_end {
                return Err(overlap(next, self.ahead_end));
            }
            self.ahead_end = next.end();
            if next.end() > range.start() {
                self.ahead.push_back(next);
            }
        }
        // Sorted and disjoint: an old, long object can leave many of them here for the short ones after it.
        let from = self.ahead.partition_point(|r| r.end() <= range.start());
        let to = self.ahead.partition_point(|r| r.start() < range.end());
        hidden.extend(
            self.ahead
                .range(from..to)
                .filter_map(|r| r.intersection(range)),
        );
        Ok(())
    }
}

fn overlap(range: ByteRange, before: u64) -> Error {
    Error::corrupt(
        "merge layers",
        "metadata",
        format!(
            "an object of bytes {range} begins before the one in front of it ends, at {before}"
        ),
    )
    .hint("restore with an older backup of the chain, or salvage what can be read")
}

impl<C: Coverage> Merge<C> {
    fn step(&mut self) -> Result<Option<Surviving>> {
        if !self.started {
            self.started = true;
            for layer in 0..self.layers.len() {
                self.push_head(layer)?;
            }
        }
        loop {
            if let Some(item) = self.queued.pop_front() {
                return Ok(Some(item));
            }
            let Some(Reverse((start, layer))) = self.heads.pop() else {
                let rest = ByteRange::new(self.covered_to, self.length).filter(|r| !r.is_empty());
                self.covered_to = self.length;
                return Ok(rest.map(Surviving::Gap));
            };
            if start >= self.length {
                // Heads come in order: nothing further lies within the volume.
                self.heads.clear();
                continue;
            }
            let Some(head) = self.layers[layer].head else {
                continue;
            };
            let index = self.layers[layer].next - 1;
            if head.start() > self.covered_to {
                self.queued
                    .extend(ByteRange::new(self.covered_to, head.start()).map(Surviving::Gap));
            }
            self.covered_to = self.covered_to.max(head.end().min(self.length));
            let mut hidden = Vec::new();
            for newer in &mut self.layers[layer + 1..] {
                newer.hide(head, &mut hidden)?;
            }
            if let Some(shown) = head.intersection(ByteRange::up_to(self.length)) {
                let parts = subtract(shown, hidden);
                if !parts.is_empty() {
                    self.queued.push_back(Surviving::Object {
                        layer,
                        index,
                        parts,
                    });
                }
            }
            self.push_head(layer)?;
        }
    }

    fn push_head(&mut self, layer: usize) -> Result<()> {
        let cursor = &mut self.layers[layer];
        cursor.advance()?;
        if let Some(head) = cursor.head {
            self.heads.push(Reverse((head.start(), layer)));
        }
        Ok(())
    }
}

impl<C: Coverage> Iterator for Merge<C> {
    type Item = Result<Surviving>;

    fn next(&mut self) -> Option<Self::Item> {
        let item = self.step();
        if item.is_err() {
            self.heads.clear();
            self.queued.clear();
            self.covered_to = self.length;
        }
        item.transpose()
    }
}

/// `range` without `hidden` (in any order, overlapping or not), in order.
fn subtract(range: ByteRange, mut hidden: Vec<ByteRange>) -> Vec<ByteRange> {
    hidden.sort_unstable();
    let mut parts = Vec::new();
    let mut at = range.start();
    for h in hidden {
        if h.start() > at {
            parts.extend(ByteRange::new(at, h.start().min(range.end())).filter(|r| !r.is_empty()));
        }
        at = at.max(h.end());
    }
    if at < range.end() {
        parts.extend(ByteRange::new(at, range.end()));
    }
    parts
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    impl Coverage for Vec<ByteRange> {
        fn count(&self) -> u64 {
            self.len() as u64
        }
        fn range(&self, index: u64) -> Result<ByteRange> {
            Ok(self[usize::try_from(index).unwrap()])
        }
    }

    fn r(start: u64, end: u64) -> ByteRange {
        ByteRange::new(start, end).unwrap()
    }

    #[test]
    fn a_newer_layer_hides_the_middle_of_an_older_object() {
        let got: Vec<_> = merge_newest_wins(vec![vec![r(0, 10)], vec![r(3, 5)]], 12)
            .collect::<Result<_>>()
            .unwrap();
        assert_eq!(
            got,
            [
                Surviving::Object {
                    layer: 0,
                    index: 0,
                    parts: vec![r(0, 3), r(5, 10)]
                },
                Surviving::Object {
                    layer: 1,
                    index: 0,
                    parts: vec![r(3, 5)]
                },
                Surviving::Gap(r(10, 12)),
            ]
        );
    }

    #[test]
    fn overlapping_objects_of_one_layer_are_refused() {
        let mut m = merge_newest_wins(vec![vec![r(0, 10), r(9, 12)]], 12);
        assert!(m.any(|item| item.is_err()));
        assert!(m.next().is_none(), "an error ends it");
    }

    /// Disjoint ranges in order, from gaps and lengths.
    fn layer() -> impl Strategy<Value = Vec<ByteRange>> {
        prop::collection::vec((0u64..6, 0u64..6), 0..12).prop_map(|steps| {
            let mut at = 0;
            let mut out = Vec::new();
            for (gap, len) in steps {
                out.push(r(at + gap, at + gap + len));
                at += gap + len;
            }
            out
        })
    }

    proptest! {
        #[test]
        fn each_byte_comes_once_from_the_newest_layer_that_has_it(
            layers in prop::collection::vec(layer(), 1..5), length in 0u64..80,
        ) {
            let mut model = vec![None; usize::try_from(length).unwrap()];
            for (l, layer) in layers.iter().enumerate() {
                for (i, range) in (0u64..).zip(layer) {
                    for b in range.start()..range.end().min(length) {
                        model[usize::try_from(b).unwrap()] = Some((l, i));
                    }
                }
            }
            let mut got = vec![0u8; model.len()];
            let mut last = 0;
            for item in merge_newest_wins(layers.clone(), length) {
                let (from, parts) = match item.unwrap() {
                    Surviving::Object { layer, index, parts } => {
                        prop_assert!(!parts.is_empty());
                        let start = layers[layer][usize::try_from(index).unwrap()].start();
                        prop_assert!(start >= last);
                        last = start;
                        (Some((layer, index)), parts)
                    }
                    Surviving::Gap(range) => (None, vec![range]),
                };
                for p in parts {
                    for b in p.start()..p.end() {
                        let b = usize::try_from(b).unwrap();
                        got[b] += 1;
                        prop_assert_eq!(model[b], from);
                    }
                }
            }
            prop_assert!(got.iter().all(|&n| n == 1));
        }
    }
}
