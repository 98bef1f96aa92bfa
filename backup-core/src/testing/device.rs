use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use bytes::Bytes;

use super::lock;
use super::pages::Pages;
use crate::buffer::Buf;
use crate::device::{BlockDevice, Geometry};
use crate::error::{Error, ErrorKind, Result};
use crate::range::{ByteRange, Extent, ExtentKind};

/// What a device was asked to do so far.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct DeviceCounters {
    /// Reads.
    pub reads: u64,
    /// Of these, those of what lay in a cache.
    pub cached_reads: u64,
    /// Bytes read.
    pub bytes_read: u64,
    /// Writes.
    pub writes: u64,
    /// Bytes written.
    pub bytes_written: u64,
    /// Bytes zeroed by `write_zeroes`.
    pub bytes_zeroed: u64,
    /// Flushes.
    pub flushes: u64,
}

#[derive(Debug, Default)]
pub(super) struct Counters {
    reads: AtomicU64,
    cached_reads: AtomicU64,
    bytes_read: AtomicU64,
    writes: AtomicU64,
    bytes_written: AtomicU64,
    bytes_zeroed: AtomicU64,
    flushes: AtomicU64,
}

impl Counters {
    pub(super) fn read(&self, bytes: usize) -> u64 {
        self.bytes_read.fetch_add(bytes as u64, Ordering::SeqCst);
        self.reads.fetch_add(1, Ordering::SeqCst)
    }

    pub(super) fn written(&self, bytes: usize) -> u64 {
        self.bytes_written.fetch_add(bytes as u64, Ordering::SeqCst);
        self.writes.fetch_add(1, Ordering::SeqCst)
    }

    pub(super) fn zeroed(&self, bytes: u64) {
        self.bytes_zeroed.fetch_add(bytes, Ordering::SeqCst);
    }

    pub(super) fn flushed(&self) {
        self.flushes.fetch_add(1, Ordering::SeqCst);
    }

    pub(super) fn now(&self) -> DeviceCounters {
        DeviceCounters {
            reads: self.reads.load(Ordering::SeqCst),
            cached_reads: self.cached_reads.load(Ordering::SeqCst),
            bytes_read: self.bytes_read.load(Ordering::SeqCst),
            writes: self.writes.load(Ordering::SeqCst),
            bytes_written: self.bytes_written.load(Ordering::SeqCst),
            bytes_zeroed: self.bytes_zeroed.load(Ordering::SeqCst),
            flushes: self.flushes.load(Ordering::SeqCst),
        }
    }
}

/// A device in RAM that keeps only what is not zero. Clones share the content, [`copy`](Self::copy) does not.
#[derive(Clone)]
pub struct MemoryDevice {
    geometry: Geometry,
    holes: bool,
    cached: Option<u64>, // the length of a stretch
    shared: Arc<Shared>,
}

#[derive(Default)]
struct Shared {
    pages: Mutex<Pages>,
    counters: Counters,
    failing_read: Mutex<Option<u64>>,  // reads until one fails
    failing_write: Mutex<Option<u64>>, // writes until one fails
    vanishing: Mutex<Option<u64>>,     // reads until it is gone
}

impl MemoryDevice {
    /// A device of `length` bytes of zeroes (not told as known to be zero).
    pub fn new(length: u64) -> Self {
        Self {
            geometry: Geometry::new(length),
            holes: true,
            cached: None,
            shared: Arc::default(),
        }
    }

    /// A device with this content.
    pub fn from_bytes(content: &[u8]) -> Self {
        let device = Self::new(content.len() as u64);
        lock(&device.shared.pages).write(0, content);
        device
    }

    /// Tells that every byte is known to read as zero.
    pub fn with_known_zero(mut self, yes: bool) -> Self {
        self.geometry = self.geometry.with_known_zero(yes);
        self
    }

    /// Refuses writes.
    pub fn with_read_only(mut self, yes: bool) -> Self {
        self.geometry = self.geometry.with_read_only(yes);
        self
    }

    /// Tells this preferred alignment in bytes.
    pub fn with_preferred_alignment(mut self, bytes: u32) -> Self {
        self.geometry = self.geometry.with_preferred_alignment(bytes);
        self
    }

    /// Tells no holes: everything is allocated, so that zeroes must be found by reading.
    pub fn without_holes(self) -> Self {
        self.with_holes(false)
    }

    /// Tells its holes, or tells that everything is allocated.
    pub fn with_holes(mut self, yes: bool) -> Self {
        self.holes = yes;
        self
    }

    /// Tells every second stretch of so many bytes, from the first on, as lying in a cache: what lies in one of these is read
    /// at once (`u64::MAX`: everything).
    pub fn with_cached_stretches(mut self, bytes: u64) -> Self {
        self.cached = Some(bytes.max(1));
        self
    }

    /// Another device with the same content as of now, whose counters are at 0.
    pub fn copy(&self) -> Self {
        let shared = Shared {
            pages: Mutex::new(self.pages()),
            ..Shared::default()
        };
        Self {
            shared: Arc::new(shared),
            ..self.clone()
        }
    }

    /// A copy of another length: cut, or with zeroes at its end.
    pub fn resized(&self, length: u64) -> Self {
        let mut copy = self.copy();
        lock(&copy.shared.pages).cut(length);
        copy.geometry.length = length;
        copy
    }

    /// Writes without being counted, refused or failed. What lies behind the end is dropped.
    pub fn poke(&self, at: u64, data: &[u8]) {
        let room = self.geometry.length.saturating_sub(at);
        let length = data.len().min(usize::try_from(room).unwrap_or(usize::MAX));
        lock(&self.shared.pages).write(at, &data[..length]);
    }

    /// Zeroes without being counted, refused or failed.
    pub fn poke_zeroes(&self, range: ByteRange) {
        if let Some(range) = range.intersection(ByteRange::up_to(self.geometry.length)) {
            lock(&self.shared.pages).zero(range);
        }
    }

    /// Reads without being counted or failed. Zeroes behind the end.
    pub fn peek(&self, at: u64, length: usize) -> Vec<u8> {
        let mut out = vec![0; length];
        lock(&self.shared.pages).read(at, &mut out);
        out
    }

    /// Where the content of the two devices differs first: an offset, or the shorter one's length.
    pub fn first_difference(&self, other: &Self) -> Option<u64> {
        let (a, b) = (self.geometry.length, other.geometry.length);
        self.pages()
            .first_difference(&other.pages())
            .or_else(|| (a != b).then_some(a.min(b)))
    }

    /// Bytes of memory that the content takes.
    pub fn held(&self) -> u64 {
        lock(&self.shared.pages).held()
    }

    /// What it was asked to do so far.
    pub fn counters(&self) -> DeviceCounters {
        self.shared.counters.now()
    }

    /// Lets the `n`-th read from now on fail, from 0.
    pub fn fail_read(&self, n: u64) {
        *lock(&self.shared.failing_read) = Some(n);
    }

    /// Lets the `n`-th write or zeroing from now on fail, from 0.
    pub fn fail_write(&self, n: u64) {
        *lock(&self.shared.failing_write) = Some(n);
    }

    /// Lets it be gone from the `n`-th read on, from 0, as an RBD snapshot is that somebody removes: it reads as zeroes,
    /// and no read fails.
    pub fn vanish(&self, n: u64) {
        *lock(&self.shared.vanishing) = Some(n);
    }

    /// Counts a read; whether there is nothing to be read any more.
    fn vanished(&self) -> bool {
        match &mut *lock(&self.shared.vanishing) {
            None => false,
            Some(0) => true,
            Some(left) => {
                *left -= 1;
                false
            }
        }
    }

    pub(super) fn pages(&self) -> Pages {
        lock(&self.shared.pages).clone()
    }

    fn check(&self, operation: &'static str, at: u64, length: u64) -> Result<ByteRange> {
        ByteRange::at(at, length)
            .filter(|range| range.end() <= self.geometry.length)
            .ok_or_else(|| {
                outside(
                    operation,
                    &self.describe(),
                    at,
                    length,
                    self.geometry.length,
                )
            })
    }

    fn check_writable(&self, operation: &'static str) -> Result<()> {
        refuse_writes(self.geometry, operation, &self.describe())?;
        due(&self.shared.failing_write, operation, &self.describe())
    }
}

pub(super) fn refuse_writes(
    geometry: Geometry,
    operation: &'static str,
    device: &str,
) -> Result<()> {
    if geometry.read_only {
        return Err(Error::new(ErrorKind::PermissionDenied, operation)
            .on(device)
            .because("it is read-only"));
    }
    Ok(())
}

pub(super) fn outside(
    operation: &'static str,
    device: &str,
    at: u64,
    length: u64,
    end: u64,
) -> Error {
    Error::invalid(
        operation,
        format!("{length} bytes at {at} reach past its end at {end}"),
    )
    .on(device)
}

fn due(countdown: &Mutex<Option<u64>>, operation: &'static str, device: &str) -> Result<()> {
    let mut countdown = lock(countdown);
    match *countdown {
        Some(0) => {
            *countdown = None;
            Err(Error::new(ErrorKind::Io, operation)
                .on(device)
                .because("failed as the test asked"))
        }
        Some(left) => {
            *countdown = Some(left - 1);
            Ok(())
        }
        None => Ok(()),
    }
}

impl fmt::Debug for MemoryDevice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MemoryDevice")
            .field("geometry", &self.geometry)
            .field("counters", &self.counters())
            .finish_non_exhaustive()
    }
}

#[async_trait]
impl BlockDevice for MemoryDevice {
    fn geometry(&self) -> Geometry {
        self.geometry
    }

    fn describe(&self) -> String {
        "memory device".into()
    }

    async fn read(&self, at: u64, mut buf: Buf) -> (Buf, Result<()>) {
        let done = self.check("read", at, buf.len() as u64).and_then(|_| {
            self.shared.counters.read(buf.len());
            due(&self.shared.failing_read, "read", &self.describe())
        });
        if done.is_ok() {
            if self.vanished() {
                buf.fill(0);
            } else {
                lock(&self.shared.pages).read(at, &mut buf);
            }
        }
        (buf, done)
    }

    fn read_cached(&self, at: u64, buf: &mut [u8]) -> Option<Result<()>> {
        let stretch = self.cached?;
        let last = at + (buf.len() as u64).saturating_sub(1);
        let cold = (at / stretch..=last / stretch).any(|n| n % 2 == 1);
        (!cold).then(|| {
            self.check("read", at, buf.len() as u64)?;
            let counters = &self.shared.counters;
            counters.read(buf.len());
            counters.cached_reads.fetch_add(1, Ordering::SeqCst);
            due(&self.shared.failing_read, "read", &self.describe())?;
            if self.vanished() {
                buf.fill(0);
            } else {
                lock(&self.shared.pages).read(at, buf);
            }
            Ok(())
        })
    }

    async fn write(&self, at: u64, data: Bytes) -> Result<()> {
        self.check("write", at, data.len() as u64)?;
        self.shared.counters.written(data.len());
        self.check_writable("write")?;
        lock(&self.shared.pages).write(at, &data);
        Ok(())
    }

    async fn write_zeroes(&self, range: ByteRange) -> Result<()> {
        self.check("write zeroes", range.start(), range.len())?;
        self.shared.counters.zeroed(range.len());
        self.check_writable("write zeroes")?;
        lock(&self.shared.pages).zero(range);
        Ok(())
    }

    /// Fills the range with 0xDC, so that who takes a discard for zeroing is found out.
    async fn discard(&self, range: ByteRange) -> Result<()> {
        self.check("discard", range.start(), range.len())?;
        self.check_writable("discard")?;
        let mut pages = lock(&self.shared.pages);
        for piece in range.pieces(1 << 20) {
            let length = usize::try_from(piece.len()).unwrap_or(0);
            pages.write(piece.start(), &vec![0xDC; length]);
        }
        Ok(())
    }

    async fn flush(&self) -> Result<()> {
        self.shared.counters.flushed();
        Ok(())
    }

    async fn allocated(&self, range: ByteRange) -> Result<Vec<Extent>> {
        self.check("ask for holes", range.start(), range.len())?;
        if range.is_empty() {
            return Ok(Vec::new());
        }
        if !self.holes {
            return Ok(vec![Extent::new(range, ExtentKind::Data)]);
        }
        Ok(lock(&self.shared.pages).allocated(range))
    }

    async fn still_there(&self) -> Result<()> {
        match *lock(&self.shared.vanishing) {
            Some(0) => Err(
                Error::new(ErrorKind::Conflict, "look whether it is still there")
                    .on(self.describe())
                    .because("it vanished while it was read"),
            ),
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn kinds(extents: &[Extent]) -> Vec<(u64, u64, ExtentKind)> {
        extents
            .iter()
            .map(|e| (e.range.start(), e.range.end(), e.kind))
            .collect()
    }

    #[tokio::test]
    async fn holes_are_told_and_zeroed_pages_become_holes_again() {
        use ExtentKind::{Data, Zero};
        let device = MemoryDevice::new(20_000);
        device
            .write(5000, Bytes::from_static(&[1; 4000]))
            .await
            .unwrap();
        let all = ByteRange::up_to(20_000);
        assert_eq!(
            kinds(&device.allocated(all).await.unwrap()),
            [(0, 4096, Zero), (4096, 12288, Data), (12288, 20_000, Zero)]
        );
        device
            .write_zeroes(ByteRange::new(4500, 9100).unwrap())
            .await
            .unwrap();
        assert_eq!(
            kinds(&device.allocated(all).await.unwrap()),
            [(0, 20_000, Zero)]
        );
        assert_eq!(device.held(), 0);
        assert_eq!(device.counters().bytes_zeroed, 4600);
    }

    #[tokio::test]
    async fn a_read_past_the_end_is_refused_and_a_planned_one_fails() {
        let device = MemoryDevice::new(100);
        let (_, past) = device.read(90, Buf::zeroed(11)).await;
        assert!(past.unwrap_err().is(ErrorKind::InvalidInput));
        device.fail_read(1);
        let results = [
            device.read(0, Buf::zeroed(1)).await.1.is_ok(),
            device.read(0, Buf::zeroed(1)).await.1.is_ok(),
            device.read(0, Buf::zeroed(1)).await.1.is_ok(),
        ];
        assert_eq!(results, [true, false, true]);
    }

    #[tokio::test]
    async fn a_discarded_range_does_not_read_as_zeroes() {
        let device = MemoryDevice::new(8192);
        device.discard(ByteRange::up_to(8192)).await.unwrap();
        assert_ne!(device.peek(0, 8192), vec![0; 8192]);
    }

    proptest! {
        #[test]
        fn a_sparse_device_holds_what_a_plain_vector_holds(
            writes in proptest::collection::vec((0u64..40_000, 0usize..9000, 0u8..3, any::<bool>()), 0..24)
        ) {
            let device = MemoryDevice::new(40_000);
            let mut model = vec![0u8; 40_000];
            for (at, length, byte, by_zeroing) in writes {
                let end = (usize::try_from(at).unwrap() + length).min(model.len());
                let start = usize::try_from(at).unwrap();
                if by_zeroing {
                    model[start..end].fill(0);
                    device.poke_zeroes(ByteRange::new(at, end as u64).unwrap());
                } else {
                    model[start..end].fill(byte);
                    device.poke(at, &vec![byte; length]);
                }
            }
            prop_assert_eq!(device.peek(0, 40_000), model.clone());
            prop_assert_eq!(device.first_difference(&MemoryDevice::from_bytes(&model)), None);
            let cut = device.resized(12_345).resized(40_000);
            model[12_345..].fill(0);
            prop_assert_eq!(cut.peek(0, 40_000), model);
        }
    }
}
