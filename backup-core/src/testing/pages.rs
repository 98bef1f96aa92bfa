//! A sparse run of bytes: only pages that hold something but zeroes are kept. Clones share pages until one is written.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::range::{ByteRange, Extent, ExtentKind};

/// Bytes of a page.
pub(super) const PAGE: u64 = 4096;
const PAGE_LEN: usize = 4096;

type Page = [u8; PAGE_LEN];

#[derive(Clone, Default)]
pub(super) struct Pages {
    pages: BTreeMap<u64, Arc<Page>>, // by page number
}

/// Splits `range` at page borders: page number, first byte in the page, length.
fn parts(range: ByteRange) -> impl Iterator<Item = (u64, usize, usize)> {
    range.pieces(PAGE).map(|piece| {
        // Both are below the page's length, and that is a usize.
        let within = usize::try_from(piece.start() % PAGE).unwrap_or(0);
        let length = usize::try_from(piece.len()).unwrap_or(PAGE_LEN);
        (piece.start() / PAGE, within, length)
    })
}

impl Pages {
    pub(super) fn read(&self, at: u64, out: &mut [u8]) {
        let Some(range) = ByteRange::at(at, out.len() as u64) else {
            return;
        };
        let mut done = 0;
        for (number, within, length) in parts(range) {
            let out = &mut out[done..done + length];
            match self.pages.get(&number) {
                Some(page) => out.copy_from_slice(&page[within..within + length]),
                None => out.fill(0),
            }
            done += length;
        }
    }

    pub(super) fn write(&mut self, at: u64, data: &[u8]) {
        let Some(range) = ByteRange::at(at, data.len() as u64) else {
            return;
        };
        let mut done = 0;
        for (number, within, length) in parts(range) {
            let data = &data[done..done + length];
            done += length;
            let zero = data.iter().all(|&b| b == 0);
            if zero && (length == PAGE_LEN || !self.pages.contains_key(&number)) {
                self.pages.remove(&number);
                continue;
            }
            let page = self
                .pages
                .entry(number)
                .or_insert_with(|| Arc::new([0; PAGE_LEN]));
            let page = Arc::make_mut(page);
            page[within..within + length].copy_from_slice(data);
            if zero && page.iter().all(|&b| b == 0) {
                self.pages.remove(&number);
            }
        }
    }

    pub(super) fn zero(&mut self, range: ByteRange) {
        let first_whole = range.start().div_ceil(PAGE);
        let end_whole = range.end() / PAGE;
        if first_whole >= end_whole {
            self.write(
                range.start(),
                &vec![0; usize::try_from(range.len()).unwrap_or(0)],
            );
            return;
        }
        let (head, rest) = range.split_at(first_whole * PAGE);
        let (whole, tail) = rest.split_at(end_whole * PAGE);
        for edge in [head, tail] {
            self.write(
                edge.start(),
                &vec![0; usize::try_from(edge.len()).unwrap_or(0)],
            );
        }
        let keep = self.pages.split_off(&(whole.end() / PAGE));
        self.pages.split_off(&(whole.start() / PAGE));
        self.pages.extend(keep);
    }

    /// Extents over `range`, each page's kind told by `kind`, equal neighbours joined.
    fn extents_by(
        range: ByteRange,
        runs: impl Iterator<Item = (ByteRange, ExtentKind)>,
    ) -> Vec<Extent> {
        let mut extents: Vec<Extent> = Vec::new();
        for (run, kind) in runs {
            let Some(run) = run.intersection(range) else {
                continue;
            };
            match extents.last_mut() {
                Some(last) if last.kind == kind => {
                    if let Some(joined) = ByteRange::new(last.range.start(), run.end()) {
                        last.range = joined;
                    }
                }
                _ => extents.push(Extent::new(run, kind)),
            }
        }
        extents
    }

    /// Pages that are kept as data, all else as zero.
    pub(super) fn allocated(&self, range: ByteRange) -> Vec<Extent> {
        self.described(range, ExtentKind::Zero, |_, _| ExtentKind::Data)
    }

    /// What differs from `before` in `range`: data, zero (was data), or unchanged.
    pub(super) fn differences(&self, before: &Self, range: ByteRange) -> Vec<Extent> {
        let mut all = Self {
            pages: self.pages.clone(),
        };
        for (number, page) in &before.pages {
            all.pages.entry(*number).or_insert_with(|| Arc::clone(page));
        }
        all.described(range, ExtentKind::Unchanged, |number, _| {
            match (before.pages.get(&number), self.pages.get(&number)) {
                (Some(old), Some(new)) if Arc::ptr_eq(old, new) || old == new => {
                    ExtentKind::Unchanged
                }
                (_, Some(_)) => ExtentKind::Data,
                (_, None) => ExtentKind::Zero,
            }
        })
    }

    fn described(
        &self,
        range: ByteRange,
        between: ExtentKind,
        kind: impl Fn(u64, &Page) -> ExtentKind,
    ) -> Vec<Extent> {
        if range.is_empty() {
            return Vec::new();
        }
        let mut runs = Vec::new();
        let mut at = range.start();
        let last = (range.end() - 1) / PAGE;
        for (number, page) in self.pages.range(range.start() / PAGE..=last) {
            let start = number * PAGE;
            let end = start.saturating_add(PAGE);
            runs.extend(ByteRange::new(at, start).map(|gap| (gap, between)));
            runs.extend(ByteRange::new(start, end).map(|run| (run, kind(*number, page))));
            at = end;
        }
        runs.extend(ByteRange::new(at, range.end()).map(|gap| (gap, between)));
        Self::extents_by(range, runs.into_iter())
    }

    /// Drops what lies at or behind `length`.
    pub(super) fn cut(&mut self, length: u64) {
        if let Some(tail) = ByteRange::new(length, length.next_multiple_of(PAGE)) {
            self.zero(tail);
        }
        self.pages.split_off(&length.div_ceil(PAGE));
    }

    /// Offset of the first byte that differs.
    pub(super) fn first_difference(&self, other: &Self) -> Option<u64> {
        let zero: Page = [0; PAGE_LEN];
        let mut numbers: Vec<_> = self.pages.keys().chain(other.pages.keys()).collect();
        numbers.sort_unstable();
        numbers.dedup();
        numbers.into_iter().find_map(|number| {
            let a = self.pages.get(number).map_or(&zero, |p| &**p);
            let b = other.pages.get(number).map_or(&zero, |p| &**p);
            let at = a.iter().zip(b).position(|(a, b)| a != b)?;
            Some(number * PAGE + at as u64)
        })
    }

    /// Bytes of the pages that are kept.
    pub(super) fn held(&self) -> u64 {
        self.pages.len() as u64 * PAGE
    }
}
