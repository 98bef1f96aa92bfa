//! Holes within objects.
//!
//! librbd tells what changed from the lists of an object's snapshots. Of an object that was first written since the older
//! state there is nothing to compare with, and so it tells all from the object's start to its last byte, though it may
//! hold a few KiB; of one that became longer, all behind its old end. The object itself knows which parts of it hold data:
//! librbd reads by that too, when it reads long pieces.

mod told;

use std::ffi::CString;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

use backup_core::error::Result;
use backup_core::range::ByteRange;
use librbd_sys as sys;

use self::told::{Told, candidates, cut_off, narrowed};
use super::diff::{Abandon, Diff, DiffExtent, LIMIT};
use super::{Handle, Image};
use crate::cluster::c_text;
use crate::error::{check, errno, failed};
use crate::thread::{Steps, with_steps};

const OPERATION: &str = "ask for holes in objects";

/// Objects that are asked at once.
const AT_ONCE: usize = 8;

/// An I/O context of its own: set to read at a snapshot.
struct AtSnapshot(sys::rados_ioctx_t);

// SAFETY: librados allows an I/O context to be used from several threads as long as its settings stay: they are set before
// anybody else sees it.
unsafe impl Sync for AtSnapshot {}

impl Drop for AtSnapshot {
    fn drop(&mut self) {
        // SAFETY: the handle is live and dropped once; it does not block.
        unsafe { sys::rados_ioctx_destroy(self.0) };
    }
}

impl AtSnapshot {
    fn open(handle: &Handle, snapshot: u64) -> Result<Self> {
        let connection = &handle.pool.shared.connection;
        let mut raw: sys::rados_ioctx_t = std::ptr::null_mut();
        // SAFETY: the connection is live, `raw` is a place for the handle.
        let made = unsafe {
            sys::rados_ioctx_create2(connection.raw(), handle.info.data_pool, &raw mut raw)
        };
        check(OPERATION, handle.target(), made)?;
        let context = Self(raw);
        if let Some((_, namespace)) = handle.pool.name().split_once('/') {
            let namespace = c_text(OPERATION, namespace)?;
            // SAFETY: the handle is live and nobody else's yet, the text ends with a zero byte.
            unsafe { sys::rados_ioctx_set_namespace(raw, namespace.as_ptr()) };
        }
        // SAFETY: as above.
        unsafe { sys::rados_ioctx_snap_set_read(raw, snapshot) };
        Ok(context)
    }

    /// The parts of an object that hold data, or the errno for which it does not tell.
    fn data(&self, object: &CString, length: u64) -> std::result::Result<Vec<ByteRange>, i32> {
        let mut room = 64;
        loop {
            let mut pairs = vec![0_u64; room * 2];
            let mut count = room;
            // SAFETY: the context is live, the text ends with a zero byte, there is room for `count` pairs.
            let told = unsafe {
                sys::ashlar_mapext(
                    self.0,
                    object.as_ptr(),
                    length,
                    pairs.as_mut_ptr(),
                    &raw mut count,
                )
            };
            if told == -errno::ERANGE && count > room {
                room = count;
                continue;
            }
            if told < 0 || count > room {
                return Err(told);
            }
            return pairs[..count * 2]
                .chunks_exact(2)
                .map(|pair| ByteRange::at(pair[0], pair[1]).ok_or(-errno::EIO))
                .collect();
        }
    }
}

impl Image {
    /// Takes out of `diff` what is a hole in an object of which it tells much: zeroes, of which it then says so.
    ///
    /// As it is where that cannot be asked: of what is no snapshot, a clone (whose parent may show) or striped, of pools
    /// that do not tell (erasure-coded ones), and in builds without the call.
    pub(crate) async fn without_holes(&self, diff: Diff) -> Result<Diff> {
        let info = self.info();
        let asks = sys::HAS_MAPEXT
            && info.snapshot_id.is_some()
            && !info.is_clone()
            && info.stripe_count <= 1
            && info.object_prefix.starts_with("rbd_data.");
        if !asks {
            return Ok(diff);
        }
        let objects = candidates(&diff, info.object_size);
        if objects.is_empty() {
            return Ok(diff);
        }
        let abandoned = Abandon(Arc::default());
        let stop = Arc::clone(&abandoned.0);
        let handle = Arc::clone(&self.shared);
        let deadline = self.shared.pool.timeout();
        let told = with_steps(OPERATION, self.target(), deadline, move |steps| {
            ask(&handle, &objects, &stop, steps)
        })
        .await?;
        drop(abandoned);
        let diff = match told.enough {
            Some(number) => cut_off(diff, number.saturating_mul(info.object_size)),
            None => diff,
        };
        Ok(Diff {
            extents: narrowed(diff.extents, info.object_size, &told.known),
            end: diff.end,
        })
    }
}

/// Asks the objects, several at once, until there is enough for one answer. One that does not tell is left out.
fn ask(handle: &Handle, objects: &[u64], stop: &AtomicBool, steps: &Steps) -> Result<Told> {
    let Some(snapshot) = handle.info.snapshot_id else {
        return Ok(Told::default());
    };
    let context = AtSnapshot::open(handle, snapshot)?;
    let (length, prefix) = (handle.info.object_size, &handle.info.object_prefix);
    let state = Mutex::new((Told::default(), 0_usize));
    let work = || {
        while !stop.load(Ordering::Relaxed) {
            let number = {
                let mut state = state.lock().unwrap_or_else(PoisonError::into_inner);
                let (told, next) = &mut *state;
                told.next(objects, next)
            };
            let Some(number) = number else {
                return;
            };
            let Ok(name) = CString::new(format!("{prefix}.{number:016x}")) else {
                return;
            };
            let answer = context.data(&name, length);
            steps.fetch_add(1, Ordering::Relaxed);
            let mut state = state.lock().unwrap_or_else(PoisonError::into_inner);
            if !state.0.take(number, answer) {
                return;
            }
        }
    };
    thread::scope(|scope| {
        for _ in 1..AT_ONCE.min(objects.len()) {
            // With fewer threads it takes longer.
            let _fewer = thread::Builder::new().spawn_scoped(scope, work);
        }
        work();
    });
    let (told, _) = state.into_inner().unwrap_or_else(PoisonError::into_inner);
    match told.failed {
        // A pool that cannot tell of one object tells of none: as it should be, in an erasure-coded one.
        Some(code) if code != -errno::EOPNOTSUPP => tracing::warn!(
            "{}: its objects do not tell their holes, so more of them is read: {}",
            handle.target(),
            failed(OPERATION, handle.target(), code.into())
        ),
        _ => {}
    }
    Ok(told)
}
