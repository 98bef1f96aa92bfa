//! Reads and writes of files past the page cache (`O_DIRECT`), where that is possible.
//!
//! A backup moves each byte once. Through the page cache that costs a copy and a fresh page for each 4 KiB, pushes out
//! what others need, and leaves all of the writing for the `fsync` at the end. Past it, the disk takes the bytes from
//! where they lie: docs/adr/0005-past-the-page-cache.md has the figures.
//!
//! Direct I/O wants memory, offset and length at multiples of a page, and not every filesystem has it. So nothing here
//! is a whole read or write: [`Direct`] does the head that can be done so and tells how long it was; the caller does
//! the rest, which may be all of it, the usual way. The kernel keeps both ways coherent.
#![deny(unsafe_code)] // but for one system call in cached.rs

mod cached;

use std::fs::File;
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::fs::FileExt;
use std::sync::atomic::{AtomicBool, Ordering};

use rustix::fs::{Mode, OFlags};

pub use cached::cached_bytes;

/// What memory, offset and length must be multiples of, in bytes. Enough for every disk of today; a filesystem that
/// wants more refuses, and the page cache serves.
pub const ALIGNMENT: usize = 4096;

/// A file that is open already, opened once more for direct I/O.
#[derive(Debug)]
pub struct Direct {
    file: File,
    refused: AtomicBool,
}

impl Direct {
    /// For reading what `file` is. `None` where its filesystem has no direct I/O.
    pub fn reading(file: &File) -> Option<Self> {
        Self::open(file, OFlags::RDONLY)
    }

    /// For writing what `file` is. `None` where its filesystem has no direct I/O.
    pub fn writing(file: &File) -> Option<Self> {
        Self::open(file, OFlags::WRONLY)
    }

    /// By the descriptor, not by a path, which may have come to mean another file.
    fn open(file: &File, access: OFlags) -> Option<Self> {
        let path = format!("/proc/self/fd/{}", file.as_raw_fd());
        let flags = access | OFlags::DIRECT | OFlags::CLOEXEC | OFlags::NOCTTY;
        let direct = rustix::fs::open(path, flags, Mode::empty()).ok()?;
        Some(Self {
            file: direct.into(),
            refused: AtomicBool::new(false),
        })
    }

    /// Whether it is worth a call: it was not refused, and offset and memory are aligned.
    fn takes(&self, at: u64, data: &[u8]) -> bool {
        data.len() >= ALIGNMENT
            && at.is_multiple_of(ALIGNMENT as u64)
            && data.as_ptr().align_offset(ALIGNMENT) == 0
            && !self.refused.load(Ordering::Relaxed)
    }

    fn give_up(&self, e: &io::Error) {
        tracing::debug!(error = %e, "direct I/O is given up");
        self.refused.store(true, Ordering::Relaxed);
    }

    /// Reads as much of the head of `buf` from offset `at` as can be read so, and tells how many bytes that was: 0 where
    /// it cannot, fewer than `buf` has where the file ends or its last page is a part. An error only means that the
    /// caller must read by the page cache, which then has the last word.
    pub fn read_head(&self, at: u64, buf: &mut [u8]) -> usize {
        if !self.takes(at, buf) {
            return 0;
        }
        let whole = buf.len() / ALIGNMENT * ALIGNMENT;
        let mut done = 0;
        while done < whole {
            match self.file.read_at(&mut buf[done..whole], at + done as u64) {
                Ok(0) => break,
                Ok(n) => done += n,
                Err(e) if e.kind() == io::ErrorKind::Interrupted => continue,
                Err(e) => {
                    self.give_up(&e);
                    break;
                }
            }
            // The file ends here, or the call was cut short: what follows would not be aligned.
            if !done.is_multiple_of(ALIGNMENT) {
                break;
            }
        }
        done
    }

    /// Writes as much of the head of `data` at offset `at` as can be written so, and tells how many bytes that was.
    ///
    /// # Errors
    /// What the disk answered. That direct I/O is not to be had is none: the answer is then how much was written
    /// before that.
    pub fn write_head(&self, at: u64, data: &[u8]) -> io::Result<usize> {
        if !self.takes(at, data) {
            return Ok(0);
        }
        let whole = data.len() / ALIGNMENT * ALIGNMENT;
        let mut done = 0;
        while done < whole {
            match self.file.write_at(&data[done..whole], at + done as u64) {
                Ok(0) => break,
                Ok(n) => done += n,
                Err(e) if e.kind() == io::ErrorKind::Interrupted => continue,
                Err(e) if e.kind() == io::ErrorKind::InvalidInput || unsupported(&e) => {
                    self.give_up(&e);
                    break;
                }
                Err(e) => return Err(e),
            }
            if !done.is_multiple_of(ALIGNMENT) {
                break;
            }
        }
        Ok(done)
    }
}

fn unsupported(e: &io::Error) -> bool {
    e.kind() == io::ErrorKind::Unsupported
        || e.raw_os_error() == Some(rustix::io::Errno::OPNOTSUPP.raw_os_error())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `length` bytes that begin at a page's start, within a longer vector.
    struct Aligned(Vec<u8>, usize, usize);

    impl Aligned {
        fn of(data: &[u8]) -> Self {
            let mut memory = vec![0; data.len() + ALIGNMENT];
            let start = memory.as_ptr().align_offset(ALIGNMENT);
            memory[start..start + data.len()].copy_from_slice(data);
            Self(memory, start, data.len())
        }
        fn bytes(&mut self) -> &mut [u8] {
            &mut self.0[self.1..self.1 + self.2]
        }
    }

    fn content(length: usize) -> Vec<u8> {
        (0..=250).cycle().take(length).collect()
    }

    #[test]
    fn what_is_written_both_ways_is_read_both_ways() {
        let file = tempfile::tempfile().unwrap();
        let Some(direct) = Direct::writing(&file) else {
            eprintln!("skipped: this filesystem has no direct I/O");
            return;
        };
        for length in [1, 4095, 4096, 4097, 100_000, 1 << 20] {
            let data = content(length);
            file.set_len(0).unwrap();
            let mut memory = Aligned::of(&data);
            let done = direct.write_head(0, memory.bytes()).unwrap();
            assert!(
                done == 0 || done == length / ALIGNMENT * ALIGNMENT,
                "{done}"
            );
            file.write_all_at(&data[done..], done as u64).unwrap();
            let mut read = vec![0; length];
            file.read_exact_at(&mut read, 0).unwrap();
            assert!(read == data, "{length} bytes by the cache");

            // Room to read past the end, as a reader of whole pages does.
            let mut memory = Aligned::of(&vec![9; length.next_multiple_of(ALIGNMENT)]);
            let reader = Direct::reading(&file).unwrap();
            let got = reader.read_head(0, memory.bytes());
            assert!(got <= length);
            file.read_exact_at(&mut memory.bytes()[got..length], got as u64)
                .unwrap();
            assert!(memory.bytes()[..length] == data, "{length} bytes directly");
        }
    }

    #[test]
    fn what_is_not_aligned_is_left_to_the_caller() {
        let file = tempfile::tempfile().unwrap();
        let Some(direct) = Direct::writing(&file) else {
            eprintln!("skipped: this filesystem has no direct I/O");
            return;
        };
        let mut memory = Aligned::of(&content(8192));
        assert_eq!(direct.write_head(512, memory.bytes()).unwrap(), 0);
        assert_eq!(direct.write_head(0, &memory.bytes()[1..]).unwrap(), 0);
        assert_eq!(file.metadata().unwrap().len(), 0);
    }

    #[test]
    fn a_full_or_failing_disk_is_an_error_and_not_a_refusal() {
        let Ok(full) = std::fs::OpenOptions::new().write(true).open("/dev/full") else {
            return;
        };
        let direct = Direct {
            file: full,
            refused: AtomicBool::new(false),
        };
        let mut memory = Aligned::of(&content(4096));
        let e = direct.write_head(0, memory.bytes()).unwrap_err();
        assert_eq!(e.kind(), io::ErrorKind::StorageFull);
        assert_eq!(
            direct.write_head(0, memory.bytes()).unwrap_err().kind(),
            e.kind()
        );
    }
}
