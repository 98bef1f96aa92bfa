//! Owned, page-aligned, pooled buffers.
//!
//! A buffer is owned by whoever does the I/O and comes back with the result, so that nothing is freed under an
//! operation that still runs. Reusing buffers costs a fifth of the CPU time of fresh ones, whose pages the kernel
//! must clear first.

use std::cmp::Reverse;
use std::fmt;
use std::ops::{Deref, DerefMut};
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;

/// Alignment of every buffer, in bytes: enough for direct I/O on any device of today.
pub const ALIGNMENT: usize = 4096;

/// Keeps buffers for reuse. What it keeps and what is in use are together at most its limit, unless more than that is
/// in use. Cheap to clone: clones share it.
#[derive(Clone)]
pub struct BufferPool {
    shared: Arc<Shared>,
}

struct Shared {
    limit: u64, // bytes
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    used: u64,          // bytes in use
    kept: u64,          // bytes of `free`
    free: Vec<Storage>, // the last came back last
}

impl BufferPool {
    /// A pool that keeps unused buffers while all buffers are no more than `limit` bytes.
    pub fn new(limit: u64) -> Self {
        Self {
            shared: Arc::new(Shared {
                limit,
                state: Mutex::default(),
            }),
        }
    }

    /// A buffer of `length` bytes. Its content is arbitrary (an earlier use's): the taker fills it.
    pub fn take(&self, length: usize) -> Buf {
        // Few different lengths, so that a buffer fits many uses and the allocator's heap does not become a sieve.
        let class = (length.next_power_of_two() / 8).max(ALIGNMENT);
        let needed = length.next_multiple_of(class) + ALIGNMENT;
        let reused = self.shared.lock().reuse(needed, self.shared.limit);
        let storage = reused.unwrap_or_else(|| Storage::zeroed(needed));
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

impl State {
    /// The best fit that does not waste more than it serves, and of equal ones the one that came back last, since its
    /// content may still lie in a cache of the CPU; where there is none, makes room for a new one. Counts either as
    /// used.
    fn reuse(&mut self, needed: usize, limit: u64) -> Option<Storage> {
        let best = self
            .free
            .iter()
            .enumerate()
            .filter(|(_, b)| b.len() >= needed && b.len() / 2 <= needed)
            .min_by_key(|(i, b)| (b.len(), Reverse(*i)))
            .map(|(i, _)| i);
        if let Some(i) = best {
            let storage = self.free.remove(i);
            self.kept -= storage.len() as u64;
            self.used += storage.len() as u64;
            return Some(storage);
        }
        self.used += needed as u64;
        while self.used + self.kept > limit {
            if self.free.is_empty() {
                break;
            }
            let storage = self.free.remove(0);
            self.kept -= storage.len() as u64;
        }
        None
    }
}

impl Shared {
    fn lock(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn give_back(&self, storage: Storage) {
        let mut state = self.lock();
        state.used = state.used.saturating_sub(storage.len() as u64);
        if state.used + state.kept + storage.len() as u64 <= self.limit {
            state.kept += storage.len() as u64;
            state.free.push(storage);
        }
    }
}

/// Memory of a buffer. Large ones are mapped: they go back to the system when they are dropped, where the heap would
/// keep them, and a job's memory would be more than its budget.
enum Storage {
    Heap(Vec<u8>),
    Mapped(memmap2::MmapMut),
}

/// Lengths from which a buffer is mapped, in bytes.
const MAPPED: usize = 256 << 10;

/// Lengths from which a mapped buffer asks for large pages, in bytes: two of them.
const HUGE: usize = 4 << 20;

impl Storage {
    fn zeroed(length: usize) -> Self {
        let mapped = (length >= MAPPED).then(|| memmap2::MmapMut::map_anon(length));
        match mapped {
            Some(Ok(map)) => {
                #[cfg(target_os = "linux")]
                if length >= HUGE {
                    // Large pages are cleared and looked up at a fraction of the cost. Where there are none, small ones
                    // serve.
                    let _refused = map.advise(memmap2::Advice::HugePage);
                }
                Self::Mapped(map)
            }
            // Where no map can be had, the heap decides whether there is memory.
            _ => Self::Heap(vec![0; length]),
        }
    }
}

impl Deref for Storage {
    type Target = [u8];
    fn deref(&self) -> &[u8] {
        match self {
            Self::Heap(bytes) => bytes,
            Self::Mapped(map) => map,
        }
    }
}

impl DerefMut for Storage {
    fn deref_mut(&mut self) -> &mut [u8] {
        match self {
            Self::Heap(bytes) => bytes,
            Self::Mapped(map) => map,
        }
    }
}

/// A page-aligned buffer that goes back to its pool when it is dropped.
pub struct Buf {
    storage: Storage,
    start: usize,
    length: usize,
    pool: Option<Arc<Shared>>,
}

impl Buf {
    /// A zeroed buffer of `length` bytes without a pool.
    pub fn zeroed(length: usize) -> Self {
        Self::over(
            Storage::zeroed(length.next_multiple_of(ALIGNMENT) + ALIGNMENT),
            length,
            None,
        )
    }

    fn over(storage: Storage, length: usize, pool: Option<Arc<Shared>>) -> Self {
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
            pool.give_back(std::mem::replace(
                &mut self.storage,
                Storage::Heap(Vec::new()),
            ));
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
    fn what_came_back_last_is_taken_first() {
        let pool = BufferPool::new(1 << 20);
        let taken = [pool.take(10_000), pool.take(10_000), pool.take(10_000)];
        let addresses = taken.each_ref().map(|b| b.as_ptr());
        let [a, b, c] = taken;
        drop(b);
        drop(c);
        drop(a);
        let again = [pool.take(10_000), pool.take(10_000), pool.take(10_000)];
        let expected = [addresses[0], addresses[2], addresses[1]];
        assert_eq!(again.each_ref().map(|b| b.as_ptr()), expected);
    }

    #[test]
    fn a_pool_keeps_no_more_than_its_limit() {
        let pool = BufferPool::new(20_000);
        drop((pool.take(10_000), pool.take(10_000)));
        assert!(pool.shared.lock().kept <= 20_000);
        assert_eq!(pool.shared.lock().used, 0);
    }
}
