//! Differences of an image that is not written, asked for in large windows and answered in small ranges.

use std::sync::Arc;

use backup_core::error::{Error, ErrorKind, Result};
use backup_core::range::{ByteRange, Extent, ExtentKind};
use futures::{StreamExt, TryStreamExt, stream};
use tokio::sync::Mutex;

use crate::image::{Diff, DiffRequest, Image};
use crate::presence::{Answer, Presence};

/// How much is asked about at once, in bytes. A question costs something whatever its length.
const WINDOW: u64 = 64 << 30;

/// Objects to look at whose distance is at most so many others are looked at by one call: a call costs about as much as
/// looking at so many.
const NEAR_OBJECTS: u64 = 32;

/// Calls at once. Each has several objects in flight (`rbd_concurrent_management_ops`).
const CALLS_AT_ONCE: usize = 4;

const OPERATION: &str = "ask for differences";

/// Differences between a snapshot (or the beginning) and what an image handle shows. The handle shows a snapshot, so
/// that an answer stays right.
pub(crate) struct Differences {
    newer: Presence,
    older: Option<Arc<Presence>>,
    /// Whether object maps are believed: see [`Differences::by_object_maps`].
    by_maps: bool,
    last: Mutex<Option<Arc<Answer>>>,
}
impl Differences {
    /// Since the image's beginning: what is there at all, in a clone with what it takes from its parent.
    ///
    /// By its object map where it has one. Not of a clone: some releases of librbd leave the parent out then.
    pub(crate) fn since_beginning(image: Image) -> Self {
        Self {
            by_maps: !image.info().is_clone(),
            newer: Presence::new(image),
            older: None,
            last: Mutex::default(),
        }
    }

    /// Since the snapshot that `older` shows, of the same image.
    pub(crate) fn since(older: Arc<Presence>, image: Image) -> Self {
        Self {
            newer: Presence::new(image),
            older: Some(older),
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
            let part =
                part.ok_or_else(|| Error::internal(OPERATION, format!("no answer at {at}")))?;
            self.cut(&answer.diff, part, &mut extents);
            at = end;
        }
        Ok(extents)
    }

    /// An answer that holds at `at`: the last one, or a new one, which then reaches to `end` or further.
    async fn answer(&self, at: u64, end: u64) -> Result<Arc<Answer>> {
        let mut last = self.last.lock().await;
        if let Some(answer) = last.as_ref().filter(|a| a.holds_at(at)) {
            return Ok(Arc::clone(answer));
        }
        let info = self.image().info();
        // Some releases of librbd tell wrong offsets where a question by object maps begins within an object.
        let start = at / info.period() * info.period();
        let end = at.saturating_add(WINDOW).max(end).min(info.size.max(end));
        let range = ByteRange::new(start, end)
            .ok_or_else(|| Error::internal(OPERATION, "a backward window"))?;
        let diff = self.ask(range).await?;
        let diff = self.image().without_holes(diff).await?;
        // What only a snapshot held goes with it, and is then told as unchanged: so it must have been there until now.
        if let Some(older) = &self.older {
            older
                .image()
                .still_there()
                .await
                .map_err(|e| match e.kind() {
                    ErrorKind::Conflict => Error::new(ErrorKind::NotFound, OPERATION)
                        .on(older.image().target())
                        .because("it was removed while it was compared with"),
                    _ => e,
                })?;
        }
        let answer = Arc::new(Answer { start, diff });
        *last = Some(Arc::clone(&answer));
        Ok(answer)
    }

    fn image(&self) -> &Image {
        self.newer.image()
    }

    /// Asks the cluster. Of objects that object maps have in neither state nothing can differ, and they are not looked at.
    async fn ask(&self, range: ByteRange) -> Result<Diff> {
        let Some(older) = &self.older else {
            // Holes are as good by whole objects.
            let whole = self.by_maps && self.image().has_fast_diff().await?;
            let request = DiffRequest::new(None, range).by_whole_objects(whole);
            return self.image().diff(&request).await;
        };
        let exact = DiffRequest::new(older.image().snapshot(), range);
        if self.by_maps && self.image().has_fast_diff().await? {
            let touched = self
                .image()
                .diff(&exact.clone().by_whole_objects(true))
                .await?;
            let runs = touched.extents.iter().map(|e| e.range).collect();
            return self.look(&exact, runs, touched.end).await;
        }
        match tokio::try_join!(older.within(range), self.newer.within(range))? {
            (Some(mut runs), Some(newer)) => {
                runs.extend(newer);
                self.look(&exact, runs, range.end()).await
            }
            _ => self.image().diff(&exact).await,
        }
    }

    /// What `exact` asks for, up to `end`, by looking at the objects of `ranges` alone.
    async fn look(&self, exact: &DiffRequest, ranges: Vec<ByteRange>, end: u64) -> Result<Diff> {
        let near = NEAR_OBJECTS.saturating_mul(self.image().info().object_size);
        let requests = joined(ranges, near).into_iter().map(|range| DiffRequest {
            range,
            ..exact.clone()
        });
        let mut answers = stream::iter(requests)
            .map(|request| async move {
                let diff = self.image().diff(&request).await?;
                Ok::<_, Error>((request.range.end(), diff))
            })
            .buffered(CALLS_AT_ONCE);
        let mut all = Diff {
            extents: Vec::new(),
            end,
        };
        while let Some((asked, part)) = answers.try_next().await? {
            all.extents.extend(part.extents);
            if part.end < asked || all.extents.len() >= exact.limit {
                all.end = part.end; // enough for one answer
                break;
            }
        }
        Ok(all)
    }

    /// The part of an answer that lies in `part`, with what lies between its extents.
    fn cut(&self, diff: &Diff, part: ByteRange, into: &mut Vec<Extent>) {
        let clone = self.image().info().is_clone();
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
        let old_size = self.older.as_ref().map_or(0, |o| o.image().info().size);
        let (old, grown) = range.split_at(old_size);
        for (range, kind) in [(old, ExtentKind::Unchanged), (grown, ExtentKind::Zero)] {
            if !range.is_empty() {
                into.push(Extent::new(range, kind));
            }
        }
    }
}

/// The ranges in order, those that lie at most `near` bytes apart as one.
fn joined(mut ranges: Vec<ByteRange>, near: u64) -> Vec<ByteRange> {
    ranges.sort_unstable_by_key(|range| range.start());
    let mut runs: Vec<ByteRange> = Vec::new();
    for range in ranges {
        if let Some(last) = runs.last_mut()
            && range.start().saturating_sub(last.end()) <= near
            && let Some(both) = ByteRange::new(last.start(), last.end().max(range.end()))
        {
            *last = both;
        } else {
            runs.push(range);
        }
    }
    runs
}
