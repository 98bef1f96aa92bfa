//! How much of a file the page cache holds: cachestat(2), which neither rustix nor libc has yet.
#![allow(unsafe_code)]

use std::fs::File;
use std::os::fd::AsRawFd;

/// Bytes of `file` from `at` on, `length` of them, that are in the page cache. `None` where the kernel does not tell: it
/// is older than 6.5, does not let us, or we do not know the call's number on this architecture.
pub fn cached_bytes(file: &File, at: u64, length: u64) -> Option<u64> {
    let pages = cached_pages(file, &Range { at, length })?;
    Some(pages.saturating_mul(rustix::param::page_size() as u64))
}

/// The kernel's `struct cachestat_range`.
#[repr(C)]
struct Range {
    at: u64,
    length: u64,
}

/// The kernel's `struct cachestat`, in pages.
#[repr(C)]
#[derive(Default)]
struct Cached {
    cache: u64,
    dirty: u64,
    writeback: u64,
    evicted: u64,
    recently_evicted: u64,
}

// New system calls have the same number everywhere but on alpha and mips.
#[cfg(not(any(
    target_arch = "mips",
    target_arch = "mips32r6",
    target_arch = "mips64",
    target_arch = "mips64r6"
)))]
fn cached_pages(file: &File, range: &Range) -> Option<u64> {
    const CACHESTAT: libc::c_long = 451;
    const NO_FLAGS: libc::c_uint = 0;
    let mut cached = Cached::default();
    // SAFETY: the descriptor is open as long as `file` is borrowed; the two structures are laid out as the kernel's
    // (all fields 64 bits wide, no padding), live until the call returns, and the kernel writes to the second only,
    // within its size. A kernel that does not know the call answers ENOSYS and touches nothing.
    let answer = unsafe {
        libc::syscall(
            CACHESTAT,
            file.as_raw_fd(),
            std::ptr::from_ref(range),
            std::ptr::from_mut(&mut cached),
            NO_FLAGS,
        )
    };
    (answer == 0).then_some(cached.cache)
}

#[cfg(any(
    target_arch = "mips",
    target_arch = "mips32r6",
    target_arch = "mips64",
    target_arch = "mips64r6"
))]
fn cached_pages(_file: &File, _range: &Range) -> Option<u64> {
    None
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::FileExt;

    use super::*;

    #[test]
    fn what_was_just_written_is_cached_and_what_was_never_touched_is_not() {
        let file = tempfile::tempfile().unwrap();
        file.set_len(4 << 20).unwrap();
        file.write_all_at(&vec![1; 1 << 20], 1 << 20).unwrap();
        let Some(written) = cached_bytes(&file, 1 << 20, 1 << 20) else {
            eprintln!("skipped: this kernel does not tell");
            return;
        };
        assert_eq!(written, 1 << 20);
        assert_eq!(cached_bytes(&file, 2 << 20, 2 << 20), Some(0));
    }
}
