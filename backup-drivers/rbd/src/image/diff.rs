//! What changed between two states of an image.
//!
//! `rbd_diff_iterate2` blocks, calls back for each extent that changed, and can be stopped in its callback only. So it
//! runs on a thread of its own. The callback must not wait: librbd may call it on the thread that completes all of the
//! cluster's operations, and whoever would make room may be waiting for one of them. So an answer is bounded by
//! stopping the call, and the next one goes on where it ended.

use std::ffi::{c_int, c_void};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::ptr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use backup_core::error::{Error, ErrorKind, Result};
use backup_core::range::ByteRange;
use librbd_sys as sys;

use super::Image;
use crate::cluster::c_text;
use crate::error::{check, errno};
use crate::thread::on_thread;

/// Extents of an answer, unless the caller wants another number: about 6 MiB.
pub(super) const LIMIT: usize = 256 * 1024;

/// A call may take a second more for each so many objects than one for none.
const OBJECTS_A_SECOND: u64 = 500;

/// What is asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct DiffRequest {
    /// The snapshot to compare with: an older one. `None` for the image's beginning, when it was empty (a clone: when
    /// it was as its parent).
    pub from: Option<String>,
    /// The part of the image that is asked about. A call costs something whatever its length: 64 GiB or more is good.
    pub range: ByteRange,
    /// Whether what a clone takes from its parent counts as changed, where `from` is `None`.
    pub include_parent: bool,
    /// Whole objects, told by the object maps where they are there: fast, and coarse. Else what was written, exactly:
    /// each object is looked at.
    pub whole_objects: bool,
    /// After how many extents the answer may end early.
    pub limit: usize,
}

impl DiffRequest {
    /// What was written in `range` since `from`, exactly.
    pub fn new(from: Option<&str>, range: ByteRange) -> Self {
        Self {
            from: from.map(str::to_owned),
            range,
            include_parent: true,
            whole_objects: false,
            limit: LIMIT,
        }
    }

    /// By whole objects or exactly.
    pub fn by_whole_objects(mut self, yes: bool) -> Self {
        self.whole_objects = yes;
        self
    }

    /// With what a clone takes from its parent, or without.
    pub fn with_parent(mut self, yes: bool) -> Self {
        self.include_parent = yes;
        self
    }

    /// Ends early after so many extents (at least 1).
    pub fn with_limit(mut self, extents: usize) -> Self {
        self.limit = extents.max(1);
        self
    }
}

/// A range that changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DiffExtent {
    /// Where.
    pub range: ByteRange,
    /// Whether there is data now; else it reads as zeroes, or, in a clone, perhaps as its parent.
    pub data: bool,
}

/// What changed in the range that was asked about, up to `end`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Diff {
    /// The extents that changed, in order, without overlaps, neighbours of a kind joined. Between them nothing changed.
    pub extents: Vec<DiffExtent>,
    /// Up to where the answer holds: the end of the range, or less where there were too many extents; then ask for the
    /// rest.
    pub end: u64,
}

/// Gathers extents in the callback.
pub(crate) struct Collector {
    range: ByteRange,
    period: u64,
    limit: usize,
    extents: Vec<DiffExtent>,
    stopped_at: Option<u64>,
}

impl Collector {
    pub(crate) fn new(range: ByteRange, period: u64, limit: usize) -> Self {
        Self {
            range,
            period: period.max(1),
            limit: limit.max(1),
            extents: Vec::new(),
            stopped_at: None,
        }
    }

    /// Takes an extent; `false` where there is no room for it.
    ///
    /// Extents come in order from one stripe period to the next, but not within one, so an answer ends between two.
    pub(crate) fn add(&mut self, offset: u64, length: u64, data: bool) -> bool {
        let Some(range) = ByteRange::at(offset, length).and_then(|r| r.intersection(self.range))
        else {
            return true; // nothing of it was asked for
        };
        if let Some(last) = self.extents.last_mut() {
            if last.range.end() == range.start()
                && last.data == data
                && let Some(joined) = ByteRange::new(last.range.start(), range.end())
            {
                last.range = joined;
                return true;
            }
            let begun = last.range.end().saturating_sub(1) / self.period;
            if self.extents.len() >= self.limit && range.start() / self.period > begun {
                self.stopped_at = Some(range.start() / self.period * self.period);
                return false;
            }
        }
        self.extents.push(DiffExtent { range, data });
        true
    }

    /// The answer, once the call has returned.
    pub(crate) fn finish(mut self) -> std::result::Result<Diff, String> {
        let end = self.stopped_at.unwrap_or(self.range.end());
        self.extents.sort_unstable_by_key(|e| e.range.start());
        let mut joined: Vec<DiffExtent> = Vec::with_capacity(self.extents.len());
        for extent in self.extents {
            match joined.last_mut() {
                Some(last) if last.range.end() > extent.range.start() => {
                    return Err(format!(
                        "the extents {} and {} overlap",
                        last.range, extent.range
                    ));
                }
                Some(last)
                    if last.range.end() == extent.range.start() && last.data == extent.data =>
                {
                    if let Some(both) = ByteRange::new(last.range.start(), extent.range.end()) {
                        last.range = both;
                    }
                }
                _ => joined.push(extent),
            }
        }
        if joined.last().is_some_and(|e| e.range.end() > end) {
            return Err(format!("an extent reaches past {end}"));
        }
        Ok(Diff {
            extents: joined,
            end,
        })
    }
}

/// What the callback works on.
struct Shared {
    collector: Mutex<Collector>,
    /// Nobody waits for the answer any more.
    abandoned: Arc<AtomicBool>,
}

/// Called by librbd for each extent, on this thread or on another one, never by two at once that we know of.
extern "C" fn changed(offset: u64, length: usize, exists: c_int, argument: *mut c_void) -> c_int {
    let told = catch_unwind(AssertUnwindSafe(|| {
        // SAFETY: the argument is the address of the `Shared` of `iterate`, which outlives the call of librbd.
        let shared = unsafe { &*argument.cast::<Shared>() };
        if shared.abandoned.load(Ordering::Relaxed) {
            return -errno::ECANCELED;
        }
        let mut collector = shared
            .collector
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        if collector.stopped_at.is_some() || !collector.add(offset, length as u64, exists != 0) {
            -errno::ECANCELED
        } else {
            0
        }
    }));
    // Unwinding into C is not possible.
    told.unwrap_or(-errno::EIO)
}

impl Image {
    /// What changed in the range that `request` names. The answer may end early: see [`Diff::end`].
    ///
    /// Dropping the future stops the call at the next extent.
    ///
    /// # Errors
    /// [`NotFound`](ErrorKind::NotFound) where the snapshot to compare with is gone;
    /// [`InvalidInput`](ErrorKind::InvalidInput) where it is not older than what this handle shows.
    pub async fn diff(&self, request: &DiffRequest) -> Result<Diff> {
        const OPERATION: &str = "ask for differences";
        let info = self.info();
        let abandoned = Abandon(Arc::default());
        let shared = Shared {
            collector: Mutex::new(Collector::new(request.range, info.period(), request.limit)),
            abandoned: Arc::clone(&abandoned.0),
        };
        let objects = request.range.len() / info.object_size.max(1);
        let deadline = self.shared.pool.timeout() + Duration::from_secs(objects / OBJECTS_A_SECOND);
        let (handle, asked) = (Arc::clone(&self.shared), request.clone());
        let target = match &request.from {
            Some(from) => format!("from @{from} to {}", self.target()),
            None => self.target(),
        };
        let told = target.clone();
        let answer = on_thread(OPERATION, target, deadline, move || {
            let from = asked
                .from
                .as_deref()
                .map(|name| c_text(OPERATION, name))
                .transpose()?;
            let from = from.as_ref().map_or(ptr::null(), |name| name.as_ptr());
            // SAFETY: the handle is live, the text is null or ends with a zero byte, and librbd calls back only until
            // it returns, while `shared` is there; the callback only shares it.
            let done = unsafe {
                sys::rbd_diff_iterate2(
                    handle.raw,
                    from,
                    asked.range.start(),
                    asked.range.len(),
                    u8::from(asked.include_parent),
                    u8::from(asked.whole_objects),
                    Some(changed),
                    (&raw const shared).cast_mut().cast(),
                )
            };
            let collector = shared
                .collector
                .into_inner()
                .unwrap_or_else(PoisonError::into_inner);
            if collector.stopped_at.is_none() {
                check(OPERATION, &told, done)?;
            }
            collector
                .finish()
                .map_err(|why| Error::new(ErrorKind::Io, OPERATION).on(&told).because(why))
        })
        .await;
        drop(abandoned);
        answer
    }
}

/// Stops a call when it is dropped.
pub(super) struct Abandon(pub(super) Arc<AtomicBool>);

impl Drop for Abandon {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}
