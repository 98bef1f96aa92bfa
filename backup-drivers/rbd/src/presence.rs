//! Which objects of an image are there at all.

use std::sync::Arc;

use backup_core::error::{Error, Result};
use backup_core::range::ByteRange;
use tokio::sync::Mutex;

use crate::image::{Diff, DiffRequest, Image};

/// How much is asked about at once, in bytes, of what does not change. A question costs a read of the object map of each
/// older snapshot, whatever its length; of objects of 4 MiB an answer fits into the limit of one.
const WINDOW: u64 = 1 << 40;

/// Which objects an image has in the state that its handle shows, by its object map.
///
/// That an object is there, maps tell rightly, also after a roll-back: librbd reads by them too, and takes what a map does
/// not have for zeroes without a look at it. What they are not believed about is whether an object was written since.
/// Where the map of an older snapshot is marked as invalid, librbd looks at every object instead: slow, and right.
pub(crate) struct Presence {
    image: Image,
    last: Mutex<Option<Arc<Answer>>>,
}

/// What was asked last: of what does not change, it is an answer for as far as it reaches.
pub(crate) struct Answer {
    pub(crate) start: u64,
    pub(crate) diff: Diff,
}

impl Answer {
    /// Whether it says something of the byte `at`.
    pub(crate) fn holds_at(&self, at: u64) -> bool {
        self.start <= at && at < self.diff.end
    }
}

impl Presence {
    pub(crate) fn new(image: Image) -> Self {
        Self {
            image,
            last: Mutex::default(),
        }
    }

    pub(crate) fn image(&self) -> &Image {
        &self.image
    }

    /// The parts of `range`, in order, whose objects are there; of a clone, those that it has of its own. What lies behind
    /// the image's end is not. `None` where there is no object map, or it is marked as invalid.
    ///
    /// `range` begins where a stripe's period does.
    pub(crate) async fn within(&self, range: ByteRange) -> Result<Option<Vec<ByteRange>>> {
        if !self.image.has_fast_diff().await? {
            return Ok(None);
        }
        let mut held = Vec::new();
        let mut at = range.start();
        let end = match self.image.snapshot() {
            Some(_) => range.end().min(self.image.info().size),
            None => range.end(), // its length may be another one by now
        };
        while at < end {
            let answer = self.answer(at, end).await?;
            held.extend(
                answer
                    .diff
                    .extents
                    .iter()
                    .filter_map(|extent| ByteRange::new(at, end)?.intersection(extent.range))
                    .filter(|part| !part.is_empty()),
            );
            if answer.diff.end <= at {
                return Err(Error::internal(OPERATION, format!("no answer at {at}")));
            }
            at = answer.diff.end;
        }
        Ok(Some(held))
    }

    /// An answer that holds at `at`: the last one, or a new one.
    async fn answer(&self, at: u64, end: u64) -> Result<Arc<Answer>> {
        let mut last = self.last.lock().await;
        if let Some(answer) = last.as_ref().filter(|a| a.holds_at(at)) {
            return Ok(Arc::clone(answer));
        }
        let end = match self.image.snapshot() {
            Some(_) => at
                .saturating_add(WINDOW)
                .max(end)
                .min(self.image.info().size),
            None => end, // it may be written before the next question
        };
        let range = ByteRange::new(at, end)
            .ok_or_else(|| Error::internal(OPERATION, "a backward window"))?;
        let request = DiffRequest::new(None, range)
            .by_whole_objects(true)
            .with_parent(false);
        let diff = self.image.diff(&request).await?;
        let answer = Arc::new(Answer { start: at, diff });
        *last = self.image.snapshot().map(|_| Arc::clone(&answer));
        Ok(answer)
    }
}

const OPERATION: &str = "ask which objects are there";
