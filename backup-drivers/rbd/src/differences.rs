//! Differences of an image that is not written, asked for in large windows and answered in small ranges.

use std::sync::Arc;

use backup_core::error::{Error, Result};
use backup_core::range::{ByteRange, Extent, ExtentKind};
use tokio::sync::Mutex;

use crate::image::{Diff, DiffRequest, Image};

/// How much is asked about at once, in bytes. A question costs something whatever its length.
const WINDOW: u64 = 64 << 30;

/// Touched objects whose distance is at most so many others are looked at by one call.
const NEAR_OBJECTS: u64 = 8;

/// Where more than this part of a window's objects is touched, all of it is looked at by one call.
const MANY: u64 = 4;

/// Differences between a snapshot (or the beginning) and what an image handle shows. The handle shows a snapshot, so
/// that an answer stays right.
pub(crate) struct Differences {
    image: Image,
    from: Option<String>,
    /// Up to where the older state reached, in bytes; what lies behind is new.
    old_size: u64,
    /// Whether object maps are believed: see [`Differences::by_object_maps`].
    by_maps: bool,
    last: Mutex<Option<Arc<Answer>>>,
}

struct Answer {
    start: u64,
    diff: Diff,
}

impl Differences {
    /// Since the image's beginning: what is there at all, in a clone with what it takes from its parent.
    ///
    /// By its object map where it has one. Not of a clone: some releases of librbd leave the parent out then.
    pub(crate) fn since_beginning(image: Image) -> Self {
        Self {
            by_maps: !image.info().is_clone(),
            image,
            from: None,
            old_size: 0,
            last: Mutex::default(),
        }
    }

    /// Since the snapshot `from`, when the image was `old_size` bytes long.
    pub(crate) fn since(image: Image, from: String, old_size: u64) -> Self {
        Self {
            image,
            from: Some(from),
            old_size,
            by_maps: false,
            last: Mutex::default(),
        }
    }

    /// Lets object maps tell which objects were touched, so that only those are looked at. Fast, and not always right:
    /// a roll-back brings an older map back, and some releases of librbd miss an object whose discard was cut short.
    pub(crate) fn by_object_maps(mut self, yes: bool) -> Self {
        self.by_maps = yes;
        self
    }

    /// What is known of `range`: extents in order, without gaps, covering exactly it.
    pub(crate) async fn extents(&self, range: ByteRange) -> Result<Vec<Extent>> {
        let mut extents = Vec::new();
        let mut at = range.start();
        while at < range.end() {
            let answer = self.answer(at, range.end()).await?;
            let end = answer.diff.end.min(range.end());
            let part = ByteRange::new(at, end).filter(|part| !part.is_empty());
            let part = part.ok_or_else(|| {
                Error::internal("ask for differences", format!("no answer at {at}"))
            })?;
            self.cut(&answer.diff, part, &mut extents);
            at = end;
        }
        Ok(extents)
    }

    /// An answer that holds at `at`: the last one, or a new one, which then reaches to `end` or further.
    async fn answer(&self, at: u64, end: u64) -> Result<Arc<Answer>> {
        let mut last = self.last.lock().await;
        if let Some(answer) = last.as_ref()
            && answer.start <= at
            && at < answer.diff.end
        {
            return Ok(Arc::clone(answer));
        }
        let info = self.image.info();
        // Some releases of librbd tell wrong offsets where a question by object maps begins within an object.
        let start = at / info.period() * info.period();
        let end = at.saturating_add(WINDOW).max(end).min(info.size.max(end));
        let range = ByteRange::new(start, end)
            .ok_or_else(|| Error::internal("ask for differences", "a backward window"))?;
        let diff = self.ask(range).await?;
        let diff = self.image.without_holes(diff).await?;
        let answer = Arc::new(Answer { start, diff });
        *last = Some(Arc::clone(&answer));
        Ok(answer)
    }

    /// Asks the cluster. Where object maps tell which objects were touched, only those are looked at more closely.
    async fn ask(&self, range: ByteRange) -> Result<Diff> {
        let exact = DiffRequest::new(self.from.as_deref(), range);
        if !self.by_maps || !self.image.has_fast_diff().await? {
            return self.image.diff(&exact).await;
        }
        let touched = self
            .image
            .diff(&exact.clone().by_whole_objects(true))
            .await?;
        if self.from.is_none() {
            return Ok(touched); // holes are as good by whole objects
        }
        let Some(asked) = ByteRange::new(range.start(), touched.end) else {
            return Err(Error::internal("ask for differences", "a backward answer"));
        };
        let near = NEAR_OBJECTS.saturating_mul(self.image.info().object_size);
        let runs = joined(&touched, near);
        let all: u64 = runs.iter().map(|run| run.len()).sum();
        if all > asked.len() / MANY {
            let request = DiffRequest {
                range: asked,
                ..exact
            };
            return self.image.diff(&request).await;
        }
        let mut diff = Diff {
            extents: Vec::new(),
            end: asked.end(),
        };
        for run in runs {
            let request = DiffRequest {
                range: run,
                ..exact.clone()
            };
            let part = self.image.diff(&request).await?;
            diff.extents.extend(part.extents);
            if part.end < run.end() || diff.extents.len() >= request.limit {
                diff.end = part.end; // enough for one answer
                break;
            }
        }
        Ok(diff)
    }

    /// The part of an answer that lies in `part`, with what lies between its extents.
    fn cut(&self, diff: &Diff, part: ByteRange, into: &mut Vec<Extent>) {
        let clone = self.image.info().is_clone();
        let first = diff
            .extents
            .partition_point(|e| e.range.end() <= part.start());
        let mut at = part.start();
        for extent in &diff.extents[first..] {
            let Some(range) = extent.range.intersection(part) else {
                break;
            };
            self.between(at, range.start(), into);
            // Nothing there in a clone may mean that its parent shows.
            let kind = if extent.data || clone {
                ExtentKind::Data
            } else {
                ExtentKind::Zero
            };
            into.push(Extent::new(range, kind));
            at = range.end();
        }
        self.between(at, part.end(), into);
    }

    /// Nothing was written in `start..end`.
    fn between(&self, start: u64, end: u64, into: &mut Vec<Extent>) {
        let Some(range) = ByteRange::new(start, end) else {
            return;
        };
        // What the image grew by was not there (since the beginning: all of it): it cannot be unchanged, and nothing
        // was written to it.
        let (old, grown) = range.split_at(self.old_size);
        for (range, kind) in [(old, ExtentKind::Unchanged), (grown, ExtentKind::Zero)] {
            if !range.is_empty() {
                into.push(Extent::new(range, kind));
            }
        }
    }
}

/// The extents' ranges, those that lie at most `near` bytes apart as one.
fn joined(diff: &Diff, near: u64) -> Vec<ByteRange> {
    let mut runs: Vec<ByteRange> = Vec::new();
    for extent in &diff.extents {
        if let Some(last) = runs.last_mut()
            && extent.range.start() - last.end() <= near
            && let Some(both) = ByteRange::new(last.start(), extent.range.end())
        {
            *last = both;
            continue;
        }
        runs.push(extent.range);
    }
    runs
}
