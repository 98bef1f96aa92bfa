//! Small RADOS objects beside the images: Cinder keeps a backup's volume metadata in one.

use std::ffi::{CStr, c_char};
use std::ptr;

use backup_core::error::{Error, ErrorKind, Result};
use bytes::Bytes;
use librbd_sys as sys;

use super::{Context, Pool, too_large};
use crate::cluster::c_text;
use crate::error::{check, errno};

/// An operation of several parts on an object; freed when dropped.
struct WriteOp(sys::rados_write_op_t);

impl Drop for WriteOp {
    fn drop(&mut self) {
        // SAFETY: the handle is live and dropped once.
        unsafe { sys::rados_release_write_op(self.0) };
    }
}

/// A listing; closed when dropped.
struct Listing(sys::rados_list_ctx_t);

impl Drop for Listing {
    fn drop(&mut self) {
        // SAFETY: the handle is live and dropped once.
        unsafe { sys::rados_nobjects_list_close(self.0) };
    }
}

impl Pool {
    /// Stores an object in one atomic step; durable when this returns.
    ///
    /// # Errors
    /// [`AlreadyExists`](ErrorKind::AlreadyExists) for a `new` one that is there.
    pub async fn put_object(&self, name: &str, data: Bytes, new: bool) -> Result<()> {
        const OPERATION: &str = "store object";
        let target = self.target(name);
        let told = target.clone();
        let name = c_text(OPERATION, name)?;
        self.call(OPERATION, target, move |context| {
            // SAFETY: gives a fresh handle.
            let op = WriteOp(unsafe { sys::rados_create_write_op() });
            if new {
                let exclusive = i32::try_from(sys::LIBRADOS_CREATE_EXCLUSIVE).unwrap_or(1);
                // SAFETY: the handle is live; the last argument is unused and may be null.
                unsafe { sys::rados_write_op_create(op.0, exclusive, ptr::null()) };
            }
            // SAFETY: the handle is live; the bytes are read until the operation is done, below, and outlive it.
            unsafe { sys::rados_write_op_write_full(op.0, data.as_ptr().cast(), data.len()) };
            // SAFETY: handle, context and text are live; no time of modification is given.
            let done = unsafe {
                sys::rados_write_op_operate(op.0, context.raw(), name.as_ptr(), ptr::null_mut(), 0)
            };
            check(OPERATION, &told, done).map(drop)
        })
        .await
    }

    /// Reads a whole object; `None` where there is none.
    ///
    /// # Errors
    /// [`Corrupt`](ErrorKind::Corrupt) for one that is longer than `limit` bytes.
    pub async fn get_object(&self, name: &str, limit: usize) -> Result<Option<Bytes>> {
        const OPERATION: &str = "read object";
        let target = self.target(name);
        let told = target.clone();
        let name = c_text(OPERATION, name)?;
        self.call(OPERATION, target, move |context| {
            let mut size = 0_u64;
            // SAFETY: the context is live, the text ends with a zero byte; the time is not asked for.
            let told_size = unsafe {
                sys::rados_stat(context.raw(), name.as_ptr(), &raw mut size, ptr::null_mut())
            };
            if told_size == -errno::ENOENT {
                return Ok(None);
            }
            check(OPERATION, &told, told_size)?;
            let length = usize::try_from(size).unwrap_or(usize::MAX);
            if length > limit {
                return Err(Error::corrupt(
                    OPERATION,
                    &told,
                    format!("it has {size} bytes, more than {limit}"),
                ));
            }
            let mut data = vec![0_u8; length];
            let mut filled = 0;
            while filled < length {
                let rest = &mut data[filled..];
                // SAFETY: the context is live; `rest` has room for as many bytes as are asked for.
                let read = unsafe {
                    sys::rados_read(
                        context.raw(),
                        name.as_ptr(),
                        rest.as_mut_ptr().cast(),
                        rest.len(),
                        filled as u64,
                    )
                };
                let read = usize::try_from(check(OPERATION, &told, read)?)
                    .map_err(|_| too_large(OPERATION, "a read"))?;
                if read == 0 {
                    return Err(Error::new(ErrorKind::Io, OPERATION)
                        .on(&told)
                        .because("it became shorter while it was read"));
                }
                filled += read;
            }
            Ok(Some(Bytes::from(data)))
        })
        .await
    }

    /// Removes an object; one that is missing is success.
    pub async fn remove_object(&self, name: &str) -> Result<()> {
        const OPERATION: &str = "remove object";
        let target = self.target(name);
        let told = target.clone();
        let name = c_text(OPERATION, name)?;
        self.call(OPERATION, target, move |context| {
            // SAFETY: the context is live, the text ends with a zero byte.
            let removed = unsafe { sys::rados_remove(context.raw(), name.as_ptr()) };
            if removed == -errno::ENOENT {
                return Ok(());
            }
            check(OPERATION, &told, removed).map(drop)
        })
        .await
    }

    /// Names of the objects that begin with `prefix`, in order. Goes through all objects of the pool, those of images
    /// too: slow on a large one.
    pub async fn objects(&self, prefix: &str) -> Result<Vec<String>> {
        let prefix = prefix.as_bytes().to_vec();
        let target = self.name().to_owned();
        self.long_call("list objects", target, move |context, steps| {
            let mut names = list(context, &prefix, steps)?;
            names.sort_unstable();
            Ok(names)
        })
        .await
    }
}

fn list(context: &Context, prefix: &[u8], steps: &crate::thread::Steps) -> Result<Vec<String>> {
    const OPERATION: &str = "list objects";
    let mut raw: sys::rados_list_ctx_t = ptr::null_mut();
    // SAFETY: the context is live, `raw` is a place for the handle.
    let opened = unsafe { sys::rados_nobjects_list_open(context.raw(), &raw mut raw) };
    check(OPERATION, &context.name, opened)?;
    let listing = Listing(raw);
    let mut names = Vec::new();
    loop {
        let mut name: *const c_char = ptr::null();
        // SAFETY: the listing is live; key and namespace are not asked for.
        let next = unsafe {
            sys::rados_nobjects_list_next(
                listing.0,
                &raw mut name,
                ptr::null_mut(),
                ptr::null_mut(),
            )
        };
        if next == -errno::ENOENT {
            return Ok(names);
        }
        check(OPERATION, &context.name, next)?;
        steps.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        // SAFETY: the call has set it to a text that ends with a zero byte and lives until the next call.
        let name = unsafe { CStr::from_ptr(name) };
        if name.to_bytes().starts_with(prefix) {
            names.push(name.to_string_lossy().into_owned());
        }
    }
}
