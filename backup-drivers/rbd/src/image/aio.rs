//! Reads and writes: asynchronous, many in flight.
//!
//! librbd reads and writes the caller's memory until it calls back. So an operation owns its buffer: it lies in a box
//! that goes to librbd as the completion's argument and comes back in the callback, and only there. A future that is
//! dropped, or that gave up at its deadline, leaves the box where it is; the callback then drops it.

use std::ffi::c_void;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::ptr;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use backup_core::buffer::Buf;
use backup_core::error::{Error, ErrorKind, Result};
use backup_core::range::ByteRange;
use bytes::Bytes;
use librbd_sys as sys;
use tokio::sync::{OwnedSemaphorePermit, oneshot};

use super::{Handle, Image};
use crate::error::{check, late};

/// An operation may take a second more for each so many bytes than one of none.
const FLOOR_RATE: u64 = 1 << 20;

/// What librbd holds of an operation until it calls back.
struct InFlight<B> {
    buffer: B,
    answer: oneshot::Sender<(B, i64)>,
    /// Keeps the image open.
    handle: Arc<Handle>,
    slot: OwnedSemaphorePermit,
}

/// Called by librbd on one of its threads, once for each operation.
extern "C" fn completed<B>(completion: sys::rbd_completion_t, argument: *mut c_void) {
    // Unwinding into C is not possible; a panic could come from a waker, or from the drop of a buffer.
    let _ = catch_unwind(AssertUnwindSafe(|| {
        // SAFETY: librbd passes the completion that it was given, once it is complete; it is released once, here.
        let answer = unsafe {
            let answer = sys::rbd_aio_get_return_value(completion);
            sys::rbd_aio_release(completion);
            answer
        };
        // SAFETY: the argument is the box that `submit::<B>` has turned into a pointer for this completion, and librbd
        // calls back once: nobody else has it.
        let InFlight {
            buffer,
            answer: sender,
            handle,
            slot,
        } = *unsafe { Box::from_raw(argument.cast::<InFlight<B>>()) };
        // Before the answer: whoever hears it may want to close the image.
        drop((handle, slot));
        // Where nobody waits any more, the buffer is dropped here.
        drop(sender.send((buffer, answer as i64)));
    }));
}

/// An operation that was handed to librbd, or why it was not.
enum Submitted<B> {
    Waiting(oneshot::Receiver<(B, i64)>),
    Refused(B, i64),
}

/// Hands an operation over. `start` gets the buffer's address and calls librbd.
fn submit<B: Send + 'static>(
    handle: &Arc<Handle>,
    slot: OwnedSemaphorePermit,
    buffer: B,
    start: impl FnOnce(sys::rbd_image_t, *mut B, sys::rbd_completion_t) -> i32,
) -> Submitted<B> {
    let (sender, receiver) = oneshot::channel();
    let argument = Box::into_raw(Box::new(InFlight {
        buffer,
        answer: sender,
        handle: Arc::clone(handle),
        slot,
    }));
    let mut completion: sys::rbd_completion_t = ptr::null_mut();
    // SAFETY: the callback takes the argument for what it is; `completion` is a place for the handle.
    let created = unsafe {
        sys::rbd_aio_create_completion(argument.cast(), Some(completed::<B>), &raw mut completion)
    };
    if created < 0 {
        // SAFETY: no completion knows the argument, so it is still ours alone.
        let in_flight = unsafe { Box::from_raw(argument) };
        return Submitted::Refused(in_flight.buffer, created.into());
    }
    // SAFETY: the argument is live: the callback, which frees it, cannot have been called before the start.
    let buffer = unsafe { &raw mut (*argument).buffer };
    let started = start(handle.raw, buffer, completion);
    if started < 0 {
        // SAFETY: an operation that was refused has no callback: completion and argument are still ours alone.
        let in_flight = unsafe {
            sys::rbd_aio_release(completion);
            Box::from_raw(argument)
        };
        return Submitted::Refused(in_flight.buffer, started.into());
    }
    Submitted::Waiting(receiver)
}

impl Image {
    /// Runs an operation on `buffer` of `length` bytes. `None` instead of the buffer where librbd still has it.
    async fn run<B: Send + 'static>(
        &self,
        operation: &'static str,
        length: u64,
        buffer: B,
        start: impl FnOnce(sys::rbd_image_t, *mut B, sys::rbd_completion_t) -> i32 + Send,
    ) -> (Option<B>, Result<u64>) {
        let handle = &self.shared;
        if let Err(e) = handle.certain(operation) {
            return (Some(buffer), Err(e));
        }
        let deadline = handle.pool.timeout() + Duration::from_secs(length / FLOOR_RATE);
        let slot = match tokio::time::timeout(deadline, Arc::clone(&handle.slots).acquire_owned())
            .await
        {
            Ok(Ok(slot)) => slot,
            Ok(Err(e)) => return (Some(buffer), Err(Error::internal(operation, e.to_string()))),
            Err(_) => {
                return (
                    Some(buffer),
                    Err(late(operation, handle.target(), deadline)),
                );
            }
        };
        match submit(handle, slot, buffer, start) {
            Submitted::Refused(buffer, code) => {
                (Some(buffer), check(operation, handle.target(), code))
            }
            Submitted::Waiting(receiver) => match tokio::time::timeout(deadline, receiver).await {
                Ok(Ok((buffer, code))) => (Some(buffer), check(operation, handle.target(), code)),
                Ok(Err(_)) => (
                    None,
                    Err(
                        Error::internal(operation, "an operation has lost its answer")
                            .on(handle.target()),
                    ),
                ),
                Err(_) => (None, Err(late(operation, handle.target(), deadline))),
            },
        }
    }

    /// As [`run`](Self::run), for what changes the image: one that gets no answer spoils the handle.
    async fn change<B: Send + 'static>(
        &self,
        operation: &'static str,
        length: u64,
        buffer: B,
        start: impl FnOnce(sys::rbd_image_t, *mut B, sys::rbd_completion_t) -> i32 + Send,
    ) -> Result<()> {
        if self.shared.read_only || self.shared.snapshot.is_some() {
            return Err(Error::new(ErrorKind::PermissionDenied, operation)
                .on(self.target())
                .because("it was opened for reading only"));
        }
        // Told by the drop too: a future that goes away has not heard either.
        let mut unheard = Unheard {
            handle: &self.shared,
            armed: true,
        };
        let (buffer, done) = self.run(operation, length, buffer, start).await;
        unheard.armed = buffer.is_none();
        drop(unheard);
        done.map(drop).map_err(|e| {
            if buffer.is_none() {
                e.because("no answer in time: the write may still land until this process ends")
            } else {
                e
            }
        })
    }

    /// Fills `buffer` from offset `at`. The buffer comes back in any case; after a time-out it is another one, since
    /// librbd may still write into the first.
    ///
    /// # Errors
    /// [`Io`](ErrorKind::Io) where the image ends before the buffer is full.
    pub async fn read(&self, at: u64, buffer: Buf) -> (Buf, Result<()>) {
        const OPERATION: &str = "read";
        let length = buffer.len();
        if length == 0 {
            return (buffer, Ok(()));
        }
        let (buffer, read) = self
            .run(
                OPERATION,
                length as u64,
                buffer,
                move |image, buffer, completion| {
                    // SAFETY: the buffer lives, in one place, until the callback, and has room for `length` bytes; image and
                    // completion are live.
                    unsafe {
                        let start = (*buffer).as_mut_ptr();
                        sys::rbd_aio_read2(image, at, length, start.cast(), completion, NO_CACHE)
                    }
                },
            )
            .await;
        let read = read.and_then(|n| {
            if n == length as u64 {
                return Ok(());
            }
            Err(Error::new(ErrorKind::Io, OPERATION)
                .on(self.target())
                .because(format!("at {at} there were {n} of {length} bytes")))
        });
        (buffer.unwrap_or_else(|| Buf::zeroed(length)), read)
    }

    /// Writes `data` at offset `at`. Durable when this returns, as librbd's cache is off; [`flush`](Self::flush) is for
    /// images with a cache of their own on the host.
    pub async fn write(&self, at: u64, data: Bytes) -> Result<()> {
        let length = data.len();
        if length == 0 {
            return Ok(());
        }
        self.change(
            "write",
            length as u64,
            data,
            move |image, data, completion| {
                // SAFETY: the bytes live, in one place, until the callback, and are only read; image and completion are live.
                unsafe {
                    let start = (*data).as_ptr();
                    sys::rbd_aio_write2(image, at, length, start.cast(), completion, NO_CACHE)
                }
            },
        )
        .await
    }

    /// Makes `range` read as zeroes. By librbd's own call for that: a discard may leave parts of objects as they are.
    pub async fn write_zeroes(&self, range: ByteRange) -> Result<()> {
        const OPERATION: &str = "write zeroes";
        let length = usize::try_from(range.len())
            .map_err(|_| crate::pool::too_large(OPERATION, "the range"))?;
        if length == 0 {
            return Ok(());
        }
        let at = range.start();
        self.change(OPERATION, 0, (), move |image, _, completion| {
            // SAFETY: image and completion are live; no memory of ours is touched.
            unsafe { sys::rbd_aio_write_zeroes(image, at, length, completion, 0, 0) }
        })
        .await
    }

    /// Gives the space of `range` back where that is easy. What it then holds is not said.
    pub async fn discard(&self, range: ByteRange) -> Result<()> {
        if range.is_empty() {
            return Ok(());
        }
        self.change("discard", 0, (), move |image, _, completion| {
            // SAFETY: image and completion are live; no memory of ours is touched.
            unsafe { sys::rbd_aio_discard(image, range.start(), range.len(), completion) }
        })
        .await
    }

    /// All writes that returned before this call are durable when it returns.
    pub async fn flush(&self) -> Result<()> {
        let (_, flushed) = self
            .run("flush", 0, (), |image, _, completion| {
                // SAFETY: image and completion are live; no memory of ours is touched.
                unsafe { sys::rbd_aio_flush(image, completion) }
            })
            .await;
        flushed.map(drop)
    }
}

/// A transfer touches each byte once: the cluster's own caches need not keep it.
const NO_CACHE: i32 = (sys::LIBRADOS_OP_FLAG_FADVISE_SEQUENTIAL
    | sys::LIBRADOS_OP_FLAG_FADVISE_DONTNEED)
    .cast_signed();

/// Spoils the handle of a write that nobody hears of any more.
struct Unheard<'a> {
    handle: &'a Handle,
    armed: bool,
}

impl Drop for Unheard<'_> {
    fn drop(&mut self) {
        if self.armed {
            self.handle.uncertain.store(true, Ordering::Release);
        }
    }
}
