//! Who has an image open, and who may write it.

use std::ffi::{CStr, c_char};
use std::ptr;

use backup_core::error::{Error, ErrorKind, Result};
use librbd_sys as sys;

use super::{Features, Image};
use crate::error::{check, errno, errno_of, failed};

/// A client that has the image open for writing.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Watcher {
    /// Its address, as Ceph prints it.
    pub address: String,
    /// Its number in the cluster.
    pub client: i64,
}

/// Who holds the exclusive lock.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct LockOwner {
    /// The owner, as Ceph prints it.
    pub owner: String,
}

impl Image {
    /// The clients that have the image open for writing, this one too where it has. One that died counts for half a
    /// minute more (`osd_client_watch_timeout`).
    pub async fn watchers(&self) -> Result<Vec<Watcher>> {
        const OPERATION: &str = "list watchers";
        self.call(OPERATION, |handle| {
            let mut room = 16_usize;
            loop {
                let empty = sys::rbd_image_watcher_t {
                    addr: ptr::null_mut(),
                    id: 0,
                    cookie: 0,
                };
                let mut entries = vec![empty; room];
                let mut count = room;
                // SAFETY: the handle is live; there is room for `count` entries.
                let told = unsafe {
                    sys::rbd_watchers_list(handle.raw, entries.as_mut_ptr(), &raw mut count)
                };
                if told == -errno::ERANGE {
                    room = count.max(room * 2);
                    continue;
                }
                if told < 0 {
                    return Err(failed(OPERATION, handle.target(), told.into()));
                }
                let count = count.min(room);
                let watchers = entries[..count]
                    .iter()
                    .filter(|entry| !entry.addr.is_null())
                    .map(|entry| Watcher {
                        // SAFETY: not null, so it is a text that the call has filled and that ends with a zero byte.
                        address: unsafe { CStr::from_ptr(entry.addr) }
                            .to_string_lossy()
                            .into_owned(),
                        client: entry.id,
                    })
                    .collect();
                // SAFETY: these are the entries that the call has filled, given back once.
                unsafe { sys::rbd_watchers_list_cleanup(entries.as_mut_ptr(), count) };
                return Ok(watchers);
            }
        })
        .await
    }

    /// Takes the exclusive lock and keeps it: no other client can write until this handle is closed. The lock of a
    /// client that died is taken over, which puts that client on the cluster's blocklist. Does nothing on an image
    /// without exclusive lock.
    ///
    /// # Errors
    /// [`Conflict`](ErrorKind::Conflict) where another client keeps it;
    /// [`Timeout`](ErrorKind::Timeout) where it does not answer.
    pub async fn take_lock(&self) -> Result<()> {
        const OPERATION: &str = "take exclusive lock";
        if !self.info().features.has(Features::EXCLUSIVE_LOCK) {
            return Ok(());
        }
        self.call(OPERATION, |handle| {
            // SAFETY: the handle is live.
            let taken = unsafe { sys::rbd_lock_acquire(handle.raw, sys::RBD_LOCK_MODE_EXCLUSIVE) };
            check(OPERATION, handle.target(), taken)
                .map(drop)
                .map_err(|e| match errno_of(&e) {
                    Some(errno::EBUSY | errno::EROFS) => Error::new(ErrorKind::Conflict, OPERATION)
                        .on(handle.target())
                        .because("another client holds it")
                        .caused_by(e),
                    _ => e,
                })
        })
        .await
    }

    /// Gives the exclusive lock back.
    pub async fn release_lock(&self) -> Result<()> {
        const OPERATION: &str = "release exclusive lock";
        self.call(OPERATION, |handle| {
            // SAFETY: the handle is live.
            let released = unsafe { sys::rbd_lock_release(handle.raw) };
            check(OPERATION, handle.target(), released).map(drop)
        })
        .await
    }

    /// Who holds the exclusive lock; `None` where nobody does. Only a handle that was opened for writing is told.
    ///
    /// # Errors
    /// [`InvalidInput`](ErrorKind::InvalidInput) for one that was not.
    pub async fn lock_owner(&self) -> Result<Option<LockOwner>> {
        const OPERATION: &str = "ask for the lock's owner";
        if !self.info().features.has(Features::EXCLUSIVE_LOCK) {
            return Ok(None);
        }
        self.call(OPERATION, |handle| {
            let mut mode: sys::rbd_lock_mode_t = 0;
            let mut owners: [*mut c_char; 4] = [ptr::null_mut(); 4];
            let mut count = owners.len();
            // SAFETY: the handle is live, there is room for `count` entries.
            let told = unsafe {
                sys::rbd_lock_get_owners(
                    handle.raw,
                    &raw mut mode,
                    owners.as_mut_ptr(),
                    &raw mut count,
                )
            };
            if told == -errno::ENOENT {
                return Ok(None);
            }
            check(OPERATION, handle.target(), told)?;
            let count = count.min(owners.len());
            let owner = owners[..count].first().map(|&owner| LockOwner {
                // SAFETY: the call has filled `count` entries with texts that end with a zero byte.
                owner: unsafe { CStr::from_ptr(owner) }
                    .to_string_lossy()
                    .into_owned(),
            });
            // SAFETY: these are the entries that the call has filled, given back once.
            unsafe { sys::rbd_lock_get_owners_cleanup(owners.as_mut_ptr(), count) };
            Ok(owner)
        })
        .await
    }
}
