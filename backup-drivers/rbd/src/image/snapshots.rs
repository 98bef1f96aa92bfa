//! Snapshots of an image.

use std::ffi::CStr;
use std::ptr;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use backup_core::error::{Error, ErrorKind, Result};
use librbd_sys as sys;

use super::{Handle, Image};
use crate::cluster::c_text;
use crate::error::{check, errno, errno_of, failed};
use crate::pool::count_step;

/// A snapshot that somebody made by a name. Those that Ceph keeps for itself (in its trash while a clone needs them,
/// of groups, for mirroring) are not told.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Snapshot {
    /// Its number: of two snapshots in a pool the later one has the greater.
    pub id: u64,
    /// Its name.
    pub name: String,
    /// The image's length in bytes when it was made.
    pub size: u64,
    /// When it was made, by the cluster's clock.
    pub created_at: Option<SystemTime>,
}

impl Image {
    /// The snapshots, oldest first.
    pub async fn snapshots(&self) -> Result<Vec<Snapshot>> {
        self.call("list snapshots", list).await
    }

    /// Makes sure that the snapshot which this handle shows was there until now: the image of that ID has one of that
    /// number and name. Of a handle that shows none nothing is asked.
    ///
    /// A handle that only reads is not told when the snapshot is removed, and what it reads then are objects that are
    /// missing: zeroes, and no error. So this looks by a handle of its own.
    ///
    /// # Errors
    /// [`Conflict`](ErrorKind::Conflict) where it is gone, or under another name.
    pub async fn still_there(&self) -> Result<()> {
        const OPERATION: &str = "look whether the snapshot is still there";
        let (Some(name), Some(id)) = (self.snapshot(), self.info().snapshot_id) else {
            return Ok(());
        };
        let gone = |why: &str| {
            Error::new(ErrorKind::Conflict, OPERATION)
                .on(self.target())
                .because(format!(
                    "{why} while it was read, and what was read since may be zeroes"
                ))
                .hint("find out who removes it, and begin again")
        };
        let look = match self.pool().open_read_only(self.name(), None).await {
            Ok(look) => look,
            Err(e) if e.is(ErrorKind::NotFound) => return Err(gone("the image was removed")),
            Err(e) => return Err(e),
        };
        if look.info().id != self.info().id {
            return Err(gone("the image was replaced by another one of its name"));
        }
        let snapshots = look.snapshots().await?;
        if snapshots.iter().any(|s| s.id == id && s.name == name) {
            Ok(())
        } else {
            Err(gone("the snapshot was removed"))
        }
    }

    /// Makes a snapshot of what is written so far.
    ///
    /// Where another client holds the exclusive lock, it is asked to make it: a running guest keeps its lock, and is
    /// told to quiesce where it can be.
    ///
    /// # Errors
    /// [`AlreadyExists`](backup_core::ErrorKind::AlreadyExists).
    pub async fn create_snapshot(&self, name: &str) -> Result<()> {
        const OPERATION: &str = "make snapshot";
        let (name, told) = (c_text(OPERATION, name)?, self.at(name));
        self.long_call(OPERATION, move |handle, steps| {
            // SAFETY: the handle is live, the text ends with a zero byte; the counter outlives the call.
            let made = unsafe {
                sys::rbd_snap_create2(
                    handle.raw,
                    name.as_ptr(),
                    0,
                    Some(count_step),
                    Arc::as_ptr(steps).cast_mut().cast(),
                )
            };
            check(OPERATION, told, made).map(drop)
        })
        .await
    }

    /// Removes a snapshot. Clones of format 2 keep what they need of it.
    ///
    /// # Errors
    /// [`NotFound`](backup_core::ErrorKind::NotFound);
    /// [`Conflict`](backup_core::ErrorKind::Conflict) while it is protected.
    pub async fn remove_snapshot(&self, name: &str) -> Result<()> {
        const OPERATION: &str = "remove snapshot";
        let (name, told) = (c_text(OPERATION, name)?, self.at(name));
        self.long_call(OPERATION, move |handle, steps| {
            // SAFETY: the handle is live, the text ends with a zero byte; the counter outlives the call.
            let removed = unsafe {
                sys::rbd_snap_remove2(
                    handle.raw,
                    name.as_ptr(),
                    0,
                    Some(count_step),
                    Arc::as_ptr(steps).cast_mut().cast(),
                )
            };
            check(OPERATION, told, removed).map(drop).map_err(|e| {
                if errno_of(&e) == Some(errno::EBUSY) {
                    e.because("it is protected, or a clone of format 1 needs it")
                } else {
                    e
                }
            })
        })
        .await
    }

    /// Keeps a snapshot from being removed, as clones of format 1 need. One that is protected is success.
    pub async fn protect_snapshot(&self, name: &str) -> Result<()> {
        self.by_name(
            "protect snapshot",
            name,
            sys::rbd_snap_protect,
            errno::EBUSY,
        )
        .await
    }

    /// Lets a snapshot be removed again. One that is not protected is success.
    pub async fn unprotect_snapshot(&self, name: &str) -> Result<()> {
        self.by_name(
            "unprotect snapshot",
            name,
            sys::rbd_snap_unprotect,
            errno::EINVAL,
        )
        .await
    }

    /// Makes the image what it was at a snapshot. What was written since is lost.
    pub async fn roll_back(&self, name: &str) -> Result<()> {
        self.by_name("roll back", name, sys::rbd_snap_rollback, 0)
            .await
    }

    /// Whether a snapshot is protected.
    pub async fn is_protected(&self, name: &str) -> Result<bool> {
        const OPERATION: &str = "ask whether a snapshot is protected";
        let (name, told) = (c_text(OPERATION, name)?, self.at(name));
        self.call(OPERATION, move |handle| {
            let mut protected = 0;
            // SAFETY: the handle is live, the text ends with a zero byte, `protected` is a place for the answer.
            let asked = unsafe {
                sys::rbd_snap_is_protected(handle.raw, name.as_ptr(), &raw mut protected)
            };
            check(OPERATION, told, asked)?;
            Ok(protected != 0)
        })
        .await
    }

    /// A call that takes a snapshot's name; the answer `fine` is success too.
    async fn by_name(
        &self,
        operation: &'static str,
        name: &str,
        call: unsafe extern "C" fn(sys::rbd_image_t, *const std::ffi::c_char) -> i32,
        fine: i32,
    ) -> Result<()> {
        let (name, told) = (c_text(operation, name)?, self.at(name));
        self.call(operation, move |handle| {
            // SAFETY: the handle is live, the text ends with a zero byte; all functions passed have this meaning.
            let done = unsafe { call(handle.raw, name.as_ptr()) };
            if done == -fine {
                return Ok(());
            }
            check(operation, told, done).map(drop)
        })
        .await
    }

    fn at(&self, snapshot: &str) -> String {
        format!("{}@{snapshot}", self.shared.pool.target(&self.shared.name))
    }
}

/// The number of the snapshot `name`. Blocks.
pub(super) fn id_of(handle: &Handle, name: &str) -> Result<u64> {
    const OPERATION: &str = "find snapshot";
    let told = handle.target();
    let name = c_text(OPERATION, name)?;
    let mut id = 0_u64;
    // SAFETY: the handle is live, the text ends with a zero byte, `id` is a place for the answer.
    let found = unsafe { sys::rbd_snap_get_id(handle.raw, name.as_ptr(), &raw mut id) };
    check(OPERATION, told, found)?;
    Ok(id)
}

fn list(handle: &Handle) -> Result<Vec<Snapshot>> {
    const OPERATION: &str = "list snapshots";
    let mut room: i32 = 64;
    loop {
        let length = usize::try_from(room).unwrap_or(0);
        let empty = sys::rbd_snap_info_t {
            id: 0,
            size: 0,
            name: ptr::null(),
        };
        // One more than is said, so that the list ends with an entry without a name in any case.
        let mut entries = vec![empty; length + 1];
        let mut count = room;
        // SAFETY: the handle is live; there is room for `count` entries.
        let told = unsafe { sys::rbd_snap_list(handle.raw, entries.as_mut_ptr(), &raw mut count) };
        if told == -errno::ERANGE {
            room = count.max(room.saturating_mul(2));
            continue;
        }
        if told < 0 {
            return Err(failed(OPERATION, handle.target(), told.into()));
        }
        let mut snapshots = Vec::new();
        let count = usize::try_from(told).unwrap_or(0).min(length);
        for entry in &entries[..count] {
            if entry.name.is_null() || !is_by_name(handle, entry.id) {
                continue;
            }
            snapshots.push(Snapshot {
                id: entry.id,
                // SAFETY: the name is a text that ends with a zero byte, until the list is given back.
                name: unsafe { CStr::from_ptr(entry.name) }
                    .to_string_lossy()
                    .into_owned(),
                size: entry.size,
                created_at: created_at(handle, entry.id),
            });
        }
        // SAFETY: this is the list that the call has filled, given back once; it ends with an entry without a name.
        unsafe { sys::rbd_snap_list_end(entries.as_mut_ptr()) };
        snapshots.sort_unstable_by_key(|s| s.id);
        return Ok(snapshots);
    }
}

fn is_by_name(handle: &Handle, id: u64) -> bool {
    let mut kind: sys::rbd_snap_namespace_type_t = 0;
    // SAFETY: the handle is live, `kind` is a place for the answer.
    let told = unsafe { sys::rbd_snap_get_namespace_type(handle.raw, id, &raw mut kind) };
    told >= 0 && kind == sys::RBD_SNAP_NAMESPACE_TYPE_USER
}

fn created_at(handle: &Handle, id: u64) -> Option<SystemTime> {
    let mut time = sys::timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    // SAFETY: the handle is live, `time` is a place for the answer.
    let told = unsafe { sys::rbd_snap_get_timestamp(handle.raw, id, &raw mut time) };
    if told < 0 {
        return None;
    }
    time_of(time)
}

/// A time of the library's; `None` for one before 1970.
pub(super) fn time_of(time: sys::timespec) -> Option<SystemTime> {
    let seconds = u64::try_from(time.tv_sec).ok()?;
    let nanos = u32::try_from(time.tv_nsec).ok()?;
    Some(SystemTime::UNIX_EPOCH + Duration::new(seconds, nanos.min(999_999_999)))
}
