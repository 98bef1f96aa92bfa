//! A pool: makes, clones, lists and removes its images.

mod create;
mod objects;

use std::ffi::CStr;
use std::fmt;
use std::ptr;
use std::sync::Arc;
use std::time::Duration;

use backup_core::error::{Error, Result};
use librbd_sys as sys;

pub use create::{CloneOptions, CreateOptions};

use crate::cluster::{Cluster, Connection, c_text};
use crate::error::{check, errno, failed};
use crate::image::Image;
use crate::thread::{Steps, on_thread, with_steps};

/// A pool of a cluster, or a namespace in one. Clones share the handle.
#[derive(Clone)]
pub struct Pool {
    pub(crate) shared: Arc<Context>,
}

pub(crate) struct Context {
    raw: sys::rados_ioctx_t,
    id: i64,
    name: String,
    pub(crate) connection: Arc<Connection>,
}

// SAFETY: librados allows an I/O context to be used from any thread, also from several at once, as long as its settings
// (namespace, locator, snapshot) stay. They are set before anybody else sees it, and never again.
unsafe impl Send for Context {}
// SAFETY: as above.
unsafe impl Sync for Context {}

impl Context {
    pub(crate) fn raw(&self) -> sys::rados_ioctx_t {
        self.raw
    }
}

impl Drop for Context {
    fn drop(&mut self) {
        // SAFETY: this is the drop of the handle's only owner; it does not block. The connection outlives it: the
        // field is dropped after this.
        unsafe { sys::rados_ioctx_destroy(self.raw) };
    }
}

impl Pool {
    pub(crate) async fn open(cluster: &Cluster, name: &str) -> Result<Self> {
        const OPERATION: &str = "open pool";
        let connection = Arc::clone(&cluster.shared);
        let owned = name.to_owned();
        let deadline = connection.timeout;
        on_thread(OPERATION, name, deadline, move || {
            let (pool, namespace) = match owned.split_once('/') {
                Some((pool, namespace)) => (pool, Some(namespace)),
                None => (owned.as_str(), None),
            };
            let pool = c_text(OPERATION, pool)?;
            let mut raw: sys::rados_ioctx_t = ptr::null_mut();
            // SAFETY: the connection is live, the text ends with a zero byte, `raw` is a place for the handle.
            let made =
                unsafe { sys::rados_ioctx_create(connection.raw(), pool.as_ptr(), &raw mut raw) };
            check(OPERATION, &owned, made)
                .map_err(|e| e.hint("the cluster's pools: ceph osd pool ls"))?;
            // From here on the handle is ended by its drop.
            let mut context = Context {
                raw,
                id: 0,
                name: owned.clone(),
                connection,
            };
            // SAFETY: the handle is live.
            context.id = unsafe { sys::rados_ioctx_get_id(raw) };
            if let Some(namespace) = namespace {
                let namespace = c_text(OPERATION, namespace)?;
                // SAFETY: the handle is live and nobody else's yet, the text ends with a zero byte.
                unsafe { sys::rados_ioctx_set_namespace(raw, namespace.as_ptr()) };
            }
            Ok(Self {
                shared: Arc::new(context),
            })
        })
        .await
    }

    /// The name that it was opened by: `pool` or `pool/namespace`.
    pub fn name(&self) -> &str {
        &self.shared.name
    }

    /// The pool's number in its cluster, which no other pool gets again.
    pub fn id(&self) -> i64 {
        self.shared.id
    }

    /// The cluster that it is in.
    pub fn cluster(&self) -> Cluster {
        Cluster {
            shared: Arc::clone(&self.shared.connection),
        }
    }

    /// How long a call may take.
    pub fn timeout(&self) -> Duration {
        self.shared.connection.timeout
    }

    /// What an image of this pool is called in messages.
    pub fn target(&self, image: &str) -> String {
        format!("{}/{image}", self.shared.name)
    }

    /// Runs a blocking call on this pool.
    pub(crate) async fn call<T: Send + 'static>(
        &self,
        operation: &'static str,
        target: String,
        work: impl FnOnce(&Context) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        let context = Arc::clone(&self.shared);
        on_thread(operation, target, self.timeout(), move || work(&context)).await
    }

    /// As [`call`](Self::call), with a deadline that begins anew with each step of the work.
    pub(crate) async fn long_call<T: Send + 'static>(
        &self,
        operation: &'static str,
        target: String,
        work: impl FnOnce(&Context, &Steps) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        let context = Arc::clone(&self.shared);
        with_steps(operation, target, self.timeout(), move |steps| {
            work(&context, steps)
        })
        .await
    }

    /// Names of all images that begin with `prefix`, in order.
    pub async fn images(&self, prefix: &str) -> Result<Vec<String>> {
        let prefix = prefix.to_owned();
        self.call("list images", self.name().to_owned(), move |context| {
            let mut names = list(context)?;
            names.retain(|name| name.starts_with(&prefix));
            names.sort_unstable();
            Ok(names)
        })
        .await
    }

    /// Removes the image `name` with all its data.
    ///
    /// A removal that was broken off can be made again.
    ///
    /// # Errors
    /// [`NotFound`](backup_core::ErrorKind::NotFound);
    /// [`Conflict`](backup_core::ErrorKind::Conflict) while it has snapshots, clones or watchers: somebody has it open.
    /// The watch of a client that died ends after half a minute.
    pub async fn remove(&self, name: &str) -> Result<()> {
        const OPERATION: &str = "remove image";
        let (target, told) = (self.target(name), self.target(name));
        let name = name.to_owned();
        self.long_call(OPERATION, target, move |context, steps| {
            let name = c_text(OPERATION, &name)?;
            // SAFETY: the context is live, the text ends with a zero byte; the counter outlives the call.
            let removed = unsafe {
                sys::rbd_remove_with_progress(
                    context.raw(),
                    name.as_ptr(),
                    Some(count_step),
                    Arc::as_ptr(steps).cast_mut().cast(),
                )
            };
            check(OPERATION, &told, removed).map(drop).map_err(|e| {
                match crate::error::errno_of(&e) {
                    Some(errno::ENOTEMPTY) => e.because("it has snapshots"),
                    Some(errno::EBUSY) => {
                        e.because("somebody has it open, or a clone depends on it")
                    }
                    _ => e,
                }
            })
        })
        .await
    }

    /// Renames an image.
    pub async fn rename(&self, from: &str, to: &str) -> Result<()> {
        const OPERATION: &str = "rename image";
        let told = self.target(from);
        let (from, to) = (c_text(OPERATION, from)?, c_text(OPERATION, to)?);
        self.call(OPERATION, told.clone(), move |context| {
            // SAFETY: the context is live, both texts end with a zero byte.
            let renamed = unsafe { sys::rbd_rename(context.raw(), from.as_ptr(), to.as_ptr()) };
            check(OPERATION, &told, renamed).map(drop)
        })
        .await
    }

    /// Opens an image for reading and writing. Does not take its exclusive lock: the first write does.
    pub async fn open_image(&self, name: &str) -> Result<Image> {
        Image::open(self, name, None, false).await
    }

    /// Opens an image, or a snapshot of it, for reading.
    pub async fn open_read_only(&self, name: &str, snapshot: Option<&str>) -> Result<Image> {
        Image::open(self, name, snapshot, true).await
    }
}

impl fmt::Debug for Pool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pool")
            .field("name", &self.shared.name)
            .field("id", &self.shared.id)
            .finish_non_exhaustive()
    }
}

/// Progress of a long call: counts a step of the counter that `steps` points to.
pub(crate) extern "C" fn count_step(
    _offset: u64,
    _total: u64,
    steps: *mut std::ffi::c_void,
) -> std::ffi::c_int {
    // SAFETY: whoever passes this function passes the address of an `AtomicU64` that lives until the call returns.
    let steps = unsafe { &*steps.cast::<std::sync::atomic::AtomicU64>() };
    steps.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
    0
}

fn list(context: &Context) -> Result<Vec<String>> {
    const OPERATION: &str = "list images";
    let mut room = 256_usize;
    loop {
        let empty = sys::rbd_image_spec_t {
            id: ptr::null_mut(),
            name: ptr::null_mut(),
        };
        let mut specs = vec![empty; room];
        let mut count = room;
        // SAFETY: the context is live; there is room for `count` entries.
        let told = unsafe { sys::rbd_list2(context.raw(), specs.as_mut_ptr(), &raw mut count) };
        if told == -errno::ERANGE {
            room = count.max(room * 2);
            continue;
        }
        if told < 0 {
            return Err(failed(OPERATION, &context.name, told.into()));
        }
        let count = count.min(room);
        let names = specs[..count]
            .iter()
            .filter(|spec| !spec.name.is_null())
            // SAFETY: not null, so it is a text that the call has filled and that ends with a zero byte.
            .map(|spec| unsafe { CStr::from_ptr(spec.name) })
            .map(|name| name.to_string_lossy().into_owned())
            .collect();
        // SAFETY: these are the entries that the call has filled, given back once.
        unsafe { sys::rbd_image_spec_list_cleanup(specs.as_mut_ptr(), count) };
        return Ok(names);
    }
}

/// An error for a number that C has no type for.
pub(crate) fn too_large(operation: &'static str, what: &str) -> Error {
    Error::invalid(operation, format!("{what} is too large"))
}
