//! The blocking half of a [`FileDevice`](super::FileDevice).

use std::fs::File;
use std::io::{self, IoSliceMut};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use backup_core::device::Geometry;
use backup_core::error::{Error, ErrorKind, Result};
use backup_core::range::{ByteRange, Extent, ExtentKind};
use direct_io::{Direct, cached_bytes};
use rustix::fs::FallocateFlags;
use rustix::io::{Errno, ReadWriteFlags};

use super::zero::Zeroing;
use super::{DeviceOptions, DirectReads, Kind, open};
use crate::holes;

/// Writes of at least so many bytes go past the page cache. Shorter ones are gathered there.
const DIRECT_WRITE: usize = 256 << 10;

/// So many bytes gather in the page cache before they are flushed along the way: a flush cannot be interrupted, and
/// one of all that a long restore gathered would keep whoever stops it waiting for the disk.
const GATHERED: u64 = 32 << 20;

pub(super) struct RawDevice {
    file: File,
    /// The same file past the page cache: for reads, and of a device that is open for writing for long writes.
    direct_reader: Option<Direct>,
    direct_writer: Option<Direct>,
    direct_reads: DirectReads,
    path: PathBuf,
    kind: Kind,
    geometry: Geometry,
    believe_holes: bool,
    /// Whether the filesystem itself lies in memory.
    in_memory: bool,
    /// Whether something may have been written that holes do not yet tell of.
    unsynced: AtomicBool,
    /// Bytes written to the cache since a flush was last begun.
    gathered: AtomicU64,
    flush_failed: AtomicBool,
    zeroing: Zeroing,
}

impl RawDevice {
    pub(super) fn open(path: PathBuf, options: &DeviceOptions) -> Result<Self> {
        let (kind, _) = open::identify("open device", &path)?;
        let file = open::open(&path, kind, options.writable)?;
        let length = open::length_of(&file, kind)
            .map_err(|e| Error::io("find length of", path.display(), e))?;
        let geometry = Geometry::new(length)
            .with_preferred_alignment(open::preferred_alignment(&file, kind))
            .with_read_only(!options.writable)
            .with_known_zero(options.known_zero);
        // A filesystem that has no direct I/O refuses here or at the first call; the cache serves then.
        let direct_reader = match options.direct_reads {
            DirectReads::Never => None,
            DirectReads::WhereCold if options.writable => None,
            DirectReads::WhereCold | DirectReads::Always => Direct::reading(&file),
        };
        let direct_writer = if options.writable && options.direct_writes {
            Direct::writing(&file)
        } else {
            None
        };
        Ok(Self {
            in_memory: kind == Kind::Regular && open::is_in_memory(&file),
            believe_holes: kind == Kind::Regular && options.holes.believed_for(&file),
            file,
            direct_reader,
            direct_writer,
            direct_reads: options.direct_reads,
            path,
            kind,
            geometry,
            unsynced: AtomicBool::new(true),
            gathered: AtomicU64::new(0),
            flush_failed: AtomicBool::new(false),
            zeroing: Zeroing::for_kind(kind),
        })
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    pub(super) fn geometry(&self) -> Geometry {
        self.geometry
    }

    fn error(&self, operation: &'static str, at: u64, cause: impl Into<io::Error>) -> Error {
        Error::io(operation, self.place(at), cause.into())
    }

    fn place(&self, at: u64) -> String {
        format!("{} at byte {at}", self.path.display())
    }

    /// Refuses what reaches past the end.
    pub(super) fn check(&self, operation: &'static str, at: u64, length: u64) -> Result<()> {
        let end = self.geometry.length;
        if at.checked_add(length).is_some_and(|e| e <= end) {
            return Ok(());
        }
        Err(Error::invalid(
            operation,
            format!("{length} bytes reach past the end at {end}"),
        )
        .on(self.place(at)))
    }

    pub(super) fn check_write(&self, operation: &'static str, at: u64, length: u64) -> Result<()> {
        if self.geometry.read_only {
            return Err(Error::invalid(operation, "it is open for reading only").on(self.place(at)));
        }
        self.check(operation, at, length)
    }

    pub(super) fn read(&self, at: u64, buf: &mut [u8]) -> Result<()> {
        let done = match &self.direct_reader {
            Some(direct) if self.is_cold(at, buf.len() as u64) => direct.read_head(at, buf),
            _ => 0,
        };
        self.read_from_cache(at + done as u64, &mut buf[done..])
    }

    /// Whether reading past the page cache pays: what is there already is copied from it in a tenth of the time.
    fn is_cold(&self, at: u64, length: u64) -> bool {
        self.direct_reads == DirectReads::Always
            || cached_bytes(&self.file, at, length).is_some_and(|cached| cached < length / 2)
    }

    /// Reads what lies in the page cache; `None` where some of it does not, or that cannot be told.
    pub(super) fn read_cached(&self, at: u64, buf: &mut [u8]) -> Option<Result<()>> {
        if self.direct_reads == DirectReads::Always {
            return None;
        }
        if self.in_memory {
            return Some(self.read_from_cache(at, buf));
        }
        // Asked first: a read that may not wait still has what is missing fetched, and that is better read past the cache.
        if cached_bytes(&self.file, at, buf.len() as u64)? < buf.len() as u64 {
            return None;
        }
        let mut done = 0;
        while done < buf.len() {
            let from = at + done as u64;
            let part = &mut [IoSliceMut::new(&mut buf[done..])];
            match rustix::io::preadv2(&self.file, part, from, ReadWriteFlags::NOWAIT) {
                Ok(0) => return Some(Err(self.became_shorter("read", from))),
                Ok(n) => done += n,
                Err(Errno::INTR) => {}
                Err(_) => return None, // not there, or a read that may wait tells what is wrong
            }
        }
        Some(Ok(()))
    }

    fn read_from_cache(&self, at: u64, buf: &mut [u8]) -> Result<()> {
        let mut done = 0;
        while done < buf.len() {
            let from = at + done as u64;
            match self.file.read_at(&mut buf[done..], from) {
                Ok(0) => return Err(self.became_shorter("read", from)),
                Ok(n) => done += n,
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) => return Err(self.error("read", from, e)),
            }
        }
        Ok(())
    }

    fn became_shorter(&self, operation: &'static str, at: u64) -> Error {
        Error::new(ErrorKind::Io, operation)
            .on(self.place(at))
            .because(format!(
                "the device became shorter: it ends before byte {}, the length when it was opened",
                self.geometry.length
            ))
    }

    pub(super) fn write(&self, at: u64, data: &[u8]) -> Result<()> {
        let result = self.write_directly(at, data).and_then(|done| {
            self.write_to_cache(at + done as u64, &data[done..])?;
            self.flush_what_gathered((data.len() - done) as u64)
        });
        self.unsynced.store(true, Ordering::Release);
        result
    }

    /// Counts `bytes` more in the cache, and flushes where these made them many. Others may write meanwhile.
    fn flush_what_gathered(&self, bytes: u64) -> Result<()> {
        let before = self.gathered.fetch_add(bytes, Ordering::AcqRel);
        if before < GATHERED && before + bytes >= GATHERED {
            return self.flush();
        }
        Ok(())
    }

    /// Writes what can be written past the cache, and tells how many bytes that was.
    fn write_directly(&self, at: u64, data: &[u8]) -> Result<usize> {
        let Some(direct) = &self.direct_writer else {
            return Ok(0);
        };
        if data.len() < DIRECT_WRITE {
            return Ok(0);
        }
        if self.kind == Kind::Regular {
            // Into a hole, ext4 lets one direct write in at a time; into space that is there already, as many as come.
            // Where this is refused, or there is no space, the write itself tells.
            let _refused =
                rustix::fs::fallocate(&self.file, FallocateFlags::KEEP_SIZE, at, data.len() as u64);
        }
        direct
            .write_head(at, data)
            .map_err(|e| self.error("write", at, e))
    }

    fn write_to_cache(&self, at: u64, data: &[u8]) -> Result<()> {
        let mut done = 0;
        while done < data.len() {
            let to = at + done as u64;
            match self.file.write_at(&data[done..], to) {
                Ok(0) => return Err(self.error("write", to, io::ErrorKind::WriteZero)),
                Ok(n) => done += n,
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) => return Err(self.error("write", to, e)),
            }
        }
        Ok(())
    }

    pub(super) fn write_zeroes(&self, range: ByteRange) -> Result<()> {
        let result = self
            .zeroing
            .zero(&self.file, range)
            .map_err(|(at, e)| self.error("write zeroes", at, e));
        self.unsynced.store(true, Ordering::Release);
        result
    }

    pub(super) fn discard(&self, range: ByteRange) -> Result<()> {
        match self.kind {
            Kind::Regular => {
                let result = self
                    .zeroing
                    .discard(&self.file, range)
                    .map_err(|e| self.error("discard", range.start(), e));
                self.unsynced.store(true, Ordering::Release);
                result
            }
            Kind::Block { .. } => Ok(()),
        }
    }

    /// The length never changes here, so that `fdatasync` is enough: it also writes what is needed to find the data.
    pub(super) fn flush(&self) -> Result<()> {
        if self.flush_failed.load(Ordering::Acquire) {
            return Err(Error::new(ErrorKind::Io, "flush")
                .on(self.path.display())
                .because("an earlier flush failed, and what was written before it may be lost"));
        }
        self.gathered.store(0, Ordering::Release);
        loop {
            match rustix::fs::fdatasync(&self.file) {
                Ok(()) => return Ok(()),
                Err(Errno::INTR) => {}
                Err(e) => {
                    self.flush_failed.store(true, Ordering::Release);
                    return Err(Error::io("flush", self.path.display(), e.into()));
                }
            }
        }
    }

    pub(super) fn allocated(&self, range: ByteRange) -> Result<Vec<Extent>> {
        if !self.believe_holes {
            return Ok(vec![Extent::new(range, ExtentKind::Data)]);
        }
        if self.unsynced.swap(false, Ordering::AcqRel)
            && let Err(e) = self.flush()
        {
            self.unsynced.store(true, Ordering::Release);
            return Err(e);
        }
        let extents = holes::extents(&self.file, range);
        // Past the end everything looks like a hole: a file that was cut would silently become zeroes.
        let length = open::length_of(&self.file, self.kind)
            .map_err(|e| Error::io("find length of", self.path.display(), e))?;
        if length < range.end() {
            return Err(self.became_shorter("find holes", length));
        }
        Ok(extents)
    }
}

#[cfg(test)]
mod tests {
    use backup_core::buffer::Buf;
    use rustix::fs::{Advice, fadvise};

    use super::*;

    #[test]
    fn a_cold_range_is_read_past_the_cache_and_a_warm_one_from_it() {
        const LENGTH: u64 = 4 << 20;
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), [7; 4096].repeat(1024)).unwrap();
        let raw = RawDevice::open(file.path().to_owned(), &DeviceOptions::read_only()).unwrap();
        assert!(!raw.is_cold(0, LENGTH), "just written");
        file.as_file().sync_all().unwrap();
        fadvise(file.as_file(), 0, None, Advice::DontNeed).unwrap();
        if raw.direct_reader.is_none() || cached_bytes(&raw.file, 0, LENGTH) != Some(0) {
            eprintln!("skipped: this filesystem has no direct reads or no cold files");
            return;
        }
        let mut buf = Buf::zeroed(4 << 20);
        raw.read(0, &mut buf).unwrap();
        assert!(buf.iter().all(|&b| b == 7));
        assert_eq!(cached_bytes(&raw.file, 0, LENGTH), Some(0));
    }

    #[test]
    fn what_lies_in_the_cache_is_read_at_once_and_nothing_else() {
        const LENGTH: u64 = 4 << 20;
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), [7; 4096].repeat(1024)).unwrap();
        let open = |options| RawDevice::open(file.path().to_owned(), &options).unwrap();
        let raw = open(DeviceOptions::read_only());
        let mut buf = vec![0; 1 << 20];
        match raw.read_cached(LENGTH - (1 << 20), &mut buf) {
            Some(read) => {
                read.unwrap();
                assert!(buf.iter().all(|&b| b == 7));
            }
            None => eprintln!("skipped: this filesystem does not tell what would wait"),
        }
        let always = open(DeviceOptions::read_only().with_direct_reads(DirectReads::Always));
        assert!(always.read_cached(0, &mut buf).is_none());
        file.as_file().sync_all().unwrap();
        fadvise(file.as_file(), 0, None, Advice::DontNeed).unwrap();
        if raw.in_memory || cached_bytes(&raw.file, 0, LENGTH) != Some(0) {
            eprintln!("skipped: this filesystem has no cold files");
            return;
        }
        assert!(raw.read_cached(0, &mut buf).is_none());
        assert_eq!(
            cached_bytes(&raw.file, 0, 1 << 20),
            Some(0),
            "nor is it fetched"
        );
    }

    #[test]
    fn a_file_that_was_cut_is_told_by_a_read_from_the_cache() {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), [7; 8192]).unwrap();
        let raw = RawDevice::open(file.path().to_owned(), &DeviceOptions::read_only()).unwrap();
        file.as_file().set_len(4096).unwrap();
        let mut buf = vec![0; 8192];
        if let Some(read) = raw.read_cached(0, &mut buf) {
            let e = read.unwrap_err();
            assert!(e.to_string().contains("became shorter"), "{e}");
        }
        let e = raw.read(0, &mut buf).unwrap_err();
        assert!(e.to_string().contains("became shorter"), "{e}");
    }

    #[test]
    fn what_short_writes_gather_is_flushed_along_the_way() {
        const PIECE: usize = 64 << 10;
        let pieces = GATHERED / PIECE as u64;
        let file = tempfile::NamedTempFile::new().unwrap();
        file.as_file().set_len(2 * GATHERED).unwrap();
        let raw = RawDevice::open(file.path().to_owned(), &DeviceOptions::writable()).unwrap();
        let buf = Buf::zeroed(PIECE);
        let write = |n: u64| raw.write(n * PIECE as u64, &buf);
        for n in 0..pieces - 1 {
            write(n).unwrap();
        }
        assert_eq!(
            raw.gathered.load(Ordering::Acquire),
            GATHERED - PIECE as u64
        );
        write(pieces - 1).unwrap();
        assert_eq!(raw.gathered.load(Ordering::Acquire), 0);
        // A failed flush is told by the write that found it, and by every later one that would flush.
        raw.flush_failed.store(true, Ordering::Release);
        for n in pieces..2 * pieces - 1 {
            write(n).unwrap();
        }
        let e = write(2 * pieces - 1).unwrap_err();
        assert!(e.to_string().contains("an earlier flush failed"), "{e}");
    }

    #[test]
    fn a_long_write_leaves_the_cache_alone_and_an_odd_one_is_whole_too() {
        const LENGTH: usize = 4 << 20;
        let file = tempfile::NamedTempFile::new().unwrap();
        file.as_file().set_len(LENGTH as u64).unwrap();
        let raw = RawDevice::open(file.path().to_owned(), &DeviceOptions::writable()).unwrap();
        let mut buf = Buf::zeroed(LENGTH);
        buf.iter_mut()
            .zip(0u32..)
            .for_each(|(b, i)| *b = (i % 251).to_le_bytes()[0]);
        // Neither end is a page's: the first part is written by the cache, then all but a piece of a page directly.
        raw.write(0, &buf[..5000]).unwrap();
        raw.write(4096, &buf[4096..LENGTH - 100]).unwrap();
        raw.write(LENGTH as u64 - 100, &buf[LENGTH - 100..])
            .unwrap();
        raw.flush().unwrap();
        assert!(std::fs::read(file.path()).unwrap() == buf[..]);
        if raw.direct_writer.is_none() {
            eprintln!("skipped: this filesystem has no direct writes");
            return;
        }
        fadvise(file.as_file(), 0, None, Advice::DontNeed).unwrap();
        let before = cached_bytes(&raw.file, 0, LENGTH as u64);
        raw.write(0, &buf).unwrap();
        if before == Some(0) {
            assert_eq!(cached_bytes(&raw.file, 0, LENGTH as u64), Some(0));
        }
        assert!(std::fs::read(file.path()).unwrap() == buf[..]);
    }
}
