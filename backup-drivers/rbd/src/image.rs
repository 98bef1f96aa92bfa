//! An open image.

mod aio;
mod diff;
mod holes;
mod info;
mod lock;
mod metadata;
mod snapshots;

use std::fmt;
use std::ptr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use backup_core::error::{Error, ErrorKind, Result};
use librbd_sys as sys;
use tokio::sync::Semaphore;

pub use diff::{Diff, DiffExtent, DiffRequest};
pub use info::{Features, ImageInfo, Parent};
pub use lock::{LockOwner, Watcher};
pub use snapshots::Snapshot;

use crate::cluster::c_text;
use crate::error::check;
use crate::open::{ClosingHandle, OpenHandle};
use crate::pool::{Pool, count_step};
use crate::thread::{Steps, aside, on_thread, with_steps};

/// Most reads and writes of one image that are in flight at once; further ones wait.
const OPERATIONS_AT_ONCE: usize = 64;

/// An open image, or a snapshot of one. Clones share the handle; it is closed with the last of them, on a thread of
/// its own, once nothing is in flight.
#[derive(Clone)]
pub struct Image {
    pub(crate) shared: Arc<Handle>,
}

pub(crate) struct Handle {
    raw: sys::rbd_image_t,
    pool: Pool,
    name: String,
    snapshot: Option<String>,
    read_only: bool,
    info: ImageInfo,
    slots: Arc<Semaphore>,
    /// A write got no answer in time and may still land: nothing is read or written by this handle any more.
    uncertain: AtomicBool,
    /// Closes `raw`. Taken by whoever does that, so that it is done once.
    open: Option<OpenImage>,
}

// SAFETY: librbd allows an image handle to be used from any thread, also from several at once; closing it is the drop
// of its only owner.
unsafe impl Send for Handle {}
// SAFETY: as above.
unsafe impl Sync for Handle {}

impl Drop for Handle {
    fn drop(&mut self) {
        // Closing waits for the cluster, and the last reference may go in a callback on one of its own threads.
        if let Some(open) = self.open.take() {
            let closing = ClosingHandle::new();
            aside(move || {
                drop(open);
                drop(closing);
            });
        }
    }
}

/// Closes the image when it is dropped, which blocks.
struct OpenImage {
    raw: sys::rbd_image_t,
    _pool: Pool,
    _open: OpenHandle,
}

// SAFETY: see `Handle`.
unsafe impl Send for OpenImage {}
// SAFETY: see `Handle`; besides, there is nothing to do with a shared one.
unsafe impl Sync for OpenImage {}

impl Drop for OpenImage {
    fn drop(&mut self) {
        // SAFETY: only the drop of the handle, or its last owner, lets go of this. Operations in flight hold a
        // reference to the handle, so there are none. The pool is dropped after this.
        let closed = unsafe { sys::rbd_close(self.raw) };
        if closed < 0 {
            tracing::debug!("an image could not be closed: {closed}");
        }
    }
}

impl Image {
    pub(crate) async fn open(
        pool: &Pool,
        name: &str,
        snapshot: Option<&str>,
        read_only: bool,
    ) -> Result<Self> {
        const OPERATION: &str = "open image";
        let mut target = pool.target(name);
        if let Some(snapshot) = snapshot {
            target = format!("{target}@{snapshot}");
        }
        let (c_name, c_snapshot) = (
            c_text(OPERATION, name)?,
            snapshot.map(|s| c_text(OPERATION, s)).transpose()?,
        );
        let (name, snapshot) = (name.to_owned(), snapshot.map(str::to_owned));
        let (pool, told) = (pool.clone(), target.clone());
        on_thread(OPERATION, target, pool.timeout(), move || {
            let open = if read_only {
                sys::rbd_open_read_only
            } else {
                sys::rbd_open
            };
            let mut raw: sys::rbd_image_t = ptr::null_mut();
            let at = c_snapshot.as_ref().map_or(ptr::null(), |s| s.as_ptr());
            // SAFETY: the pool is live, the texts end with a zero byte (a null one is no snapshot), `raw` is a place
            // for the handle.
            let opened = unsafe { open(pool.shared.raw(), c_name.as_ptr(), &raw mut raw, at) };
            check(OPERATION, &told, opened)?;
            let open = OpenImage {
                raw,
                _pool: pool.clone(),
                _open: OpenHandle::new(),
            };
            let mut handle = Handle {
                raw,
                pool,
                name,
                snapshot,
                read_only,
                info: ImageInfo::default(),
                slots: Arc::new(Semaphore::new(OPERATIONS_AT_ONCE)),
                uncertain: AtomicBool::new(false),
                open: Some(open),
            };
            handle.info = info::read(&handle)?;
            Ok(Self {
                shared: Arc::new(handle),
            })
        })
        .await
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.shared.name
    }

    /// The snapshot that it shows, where it shows one.
    pub fn snapshot(&self) -> Option<&str> {
        self.shared.snapshot.as_deref()
    }

    /// The pool that it lies in.
    pub fn pool(&self) -> &Pool {
        &self.shared.pool
    }

    /// Whether it was opened for reading.
    pub fn read_only(&self) -> bool {
        self.shared.read_only
    }

    /// `pool/image` or `pool/image@snapshot`, for messages.
    pub fn target(&self) -> String {
        self.shared.target()
    }

    /// What it was like when it was opened.
    pub fn info(&self) -> &ImageInfo {
        &self.shared.info
    }

    /// Runs a blocking call on this image.
    pub(crate) async fn call<T: Send + 'static>(
        &self,
        operation: &'static str,
        work: impl FnOnce(&Handle) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        let handle = Arc::clone(&self.shared);
        let (target, deadline) = (self.target(), self.shared.pool.timeout());
        on_thread(operation, target, deadline, move || work(&handle)).await
    }

    async fn long_call<T: Send + 'static>(
        &self,
        operation: &'static str,
        work: impl FnOnce(&Handle, &Steps) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        let handle = Arc::clone(&self.shared);
        let (target, deadline) = (self.target(), self.shared.pool.timeout());
        with_steps(operation, target, deadline, move |steps| {
            work(&handle, steps)
        })
        .await
    }

    /// Sets its length in bytes. What is cut off is lost; what is added reads as zeroes. [`info`](Self::info) and the
    /// bounds of this handle stay as they were: open it again.
    ///
    /// # Errors
    /// [`Conflict`](ErrorKind::Conflict) for a snapshot.
    pub async fn resize(&self, size: u64) -> Result<()> {
        const OPERATION: &str = "resize image";
        self.long_call(OPERATION, move |handle, steps| {
            // SAFETY: the handle is live; the counter outlives the call.
            let resized = unsafe {
                sys::rbd_resize2(
                    handle.raw,
                    size,
                    true,
                    Some(count_step),
                    Arc::as_ptr(steps).cast_mut().cast(),
                )
            };
            check(OPERATION, handle.target(), resized).map(drop)
        })
        .await
    }

    /// Copies into this clone what it still takes from its parent, and frees it from that.
    pub async fn flatten(&self) -> Result<()> {
        const OPERATION: &str = "flatten image";
        self.long_call(OPERATION, move |handle, steps| {
            // SAFETY: the handle is live; the counter outlives the call.
            let flattened = unsafe {
                sys::rbd_flatten_with_progress(
                    handle.raw,
                    Some(count_step),
                    Arc::as_ptr(steps).cast_mut().cast(),
                )
            };
            check(OPERATION, handle.target(), flattened).map(drop)
        })
        .await
    }

    /// Its length in bytes as it is now.
    pub async fn size(&self) -> Result<u64> {
        const OPERATION: &str = "ask for the image's size";
        self.call(OPERATION, |handle| {
            let mut size = 0_u64;
            // SAFETY: the handle is live, `size` is a place for the answer.
            let told = unsafe { sys::rbd_get_size(handle.raw, &raw mut size) };
            check(OPERATION, handle.target(), told)?;
            Ok(size)
        })
        .await
    }

    /// Waits until the handle is closed. Only the last clone closes it; another one is an error.
    ///
    /// # Errors
    /// [`Conflict`](ErrorKind::Conflict) where the handle is shared or something is in flight: it is closed later.
    pub async fn close(self) -> Result<()> {
        const OPERATION: &str = "close image";
        let (target, deadline) = (self.target(), self.shared.pool.timeout());
        let Some(mut handle) = Arc::into_inner(self.shared) else {
            return Err(Error::new(ErrorKind::Conflict, OPERATION)
                .on(target)
                .because("it is still in use"));
        };
        let open = handle.open.take();
        on_thread(OPERATION, target, deadline, move || {
            drop(open);
            Ok(())
        })
        .await
    }
}

impl Handle {
    pub(crate) fn target(&self) -> String {
        let image = self.pool.target(&self.name);
        match &self.snapshot {
            Some(snapshot) => format!("{image}@{snapshot}"),
            None => image,
        }
    }

    /// Refuses what a handle with an uncertain write must not do.
    fn certain(&self, operation: &'static str) -> Result<()> {
        if self.uncertain.load(Ordering::Acquire) {
            return Err(Error::new(ErrorKind::Io, operation)
                .on(self.target())
                .because("an earlier write got no answer in time and may still land"));
        }
        Ok(())
    }
}

impl fmt::Debug for Image {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Image")
            .field("target", &self.target())
            .field("read_only", &self.shared.read_only)
            .finish_non_exhaustive()
    }
}
