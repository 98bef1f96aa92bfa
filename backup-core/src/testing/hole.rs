use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;

use super::device::{Counters, DeviceCounters, outside, refuse_writes};
use crate::buffer::Buf;
use crate::device::{BlockDevice, Geometry};
use crate::error::{Error, Result};
use crate::range::{ByteRange, Extent, ExtentKind};

/// A device of any length that holds nothing in memory: holes, and data that a formula makes of its offset.
///
/// As a source it is a huge sparse volume. As a target ([`as_target`](Self::as_target)) it takes only what the
/// formula says, so that a restore of many terabytes is compared byte by byte while it runs.
#[derive(Debug, Clone)]
pub struct HoleDevice {
    geometry: Geometry,
    seed: u64,
    data: Arc<[ByteRange]>, // sorted, apart from each other
    counters: Arc<Counters>,
}

/// SplitMix64: every input gives another, evenly spread number.
fn mixed(number: u64) -> u64 {
    let mut z = number.wrapping_add(0x9E37_79B9_7F4A_7C15);
    z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^ (z >> 31)
}

impl HoleDevice {
    /// A read-only device of `length` bytes, one hole.
    pub fn new(length: u64) -> Self {
        Self {
            geometry: Geometry::new(length).with_read_only(true),
            seed: 0,
            data: Arc::new([]),
            counters: Arc::default(),
        }
    }

    /// With data in `ranges`; what reaches past the end is cut, what overlaps is joined.
    pub fn with_data(mut self, seed: u64, mut ranges: Vec<ByteRange>) -> Self {
        let whole = ByteRange::up_to(self.geometry.length);
        ranges.sort_unstable();
        let mut apart: Vec<ByteRange> = Vec::new();
        for range in ranges.into_iter().filter_map(|r| r.intersection(whole)) {
            match apart.last_mut() {
                Some(last) if range.start() <= last.end() => {
                    let end = last.end().max(range.end());
                    *last = ByteRange::new(last.start(), end).unwrap_or(*last);
                }
                _ => apart.push(range),
            }
        }
        self.seed = seed;
        self.data = apart.into();
        self
    }

    /// With `count` data extents of `length` bytes at places that `seed` chooses, each at a multiple of 512.
    pub fn with_scattered_data(self, seed: u64, count: u64, length: u64) -> Self {
        let places = (self.geometry.length / 512).max(1);
        let ranges = (0..count)
            .filter_map(|i| ByteRange::at(mixed(seed ^ i) % places * 512, length))
            .collect();
        self.with_data(seed, ranges)
    }

    /// The same device as a target: a write of anything else than what it holds is [`Corrupt`](crate::ErrorKind::Corrupt).
    pub fn as_target(&self) -> Self {
        Self {
            geometry: Geometry::new(self.geometry.length),
            counters: Arc::default(),
            ..self.clone()
        }
    }

    /// With every byte told as known to be zero, for a target that was just made.
    pub fn with_known_zero(mut self, yes: bool) -> Self {
        self.geometry = self.geometry.with_known_zero(yes);
        self
    }

    /// Bytes of data.
    pub fn data_bytes(&self) -> u64 {
        self.data.iter().map(|r| r.len()).sum()
    }

    /// What it was asked to do so far.
    pub fn counters(&self) -> DeviceCounters {
        self.counters.now()
    }

    fn touching(&self, range: ByteRange) -> impl Iterator<Item = ByteRange> {
        let first = self.data.partition_point(|d| d.end() <= range.start());
        self.data[first..]
            .iter()
            .map_while(move |d| d.intersection(range))
    }

    fn fill(&self, at: u64, out: &mut [u8]) {
        out.fill(0);
        let Some(range) = ByteRange::at(at, out.len() as u64) else {
            return;
        };
        for data in self.touching(range) {
            for word in data.pieces(8) {
                let bytes = mixed(self.seed ^ (word.start() / 8)).to_le_bytes();
                for offset in word.start()..word.end() {
                    // Inside `out` and inside the word: both indices fit.
                    let to = usize::try_from(offset - at).unwrap_or(usize::MAX);
                    let from = usize::try_from(offset % 8).unwrap_or(0);
                    if let Some(byte) = out.get_mut(to) {
                        *byte = bytes[from];
                    }
                }
            }
        }
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
        refuse_writes(self.geometry, operation, &self.describe())
    }
}

#[async_trait]
impl BlockDevice for HoleDevice {
    fn geometry(&self) -> Geometry {
        self.geometry
    }

    fn describe(&self) -> String {
        "device of holes".into()
    }

    async fn read(&self, at: u64, mut buf: Buf) -> (Buf, Result<()>) {
        let done = self.check("read", at, buf.len() as u64);
        if done.is_ok() {
            self.counters.read(buf.len());
            self.fill(at, &mut buf);
        }
        (buf, done.map(|_| ()))
    }

    async fn write(&self, at: u64, data: Bytes) -> Result<()> {
        self.check("write", at, data.len() as u64)?;
        self.check_writable("write")?;
        self.counters.written(data.len());
        let mut right = vec![0; data.len()];
        self.fill(at, &mut right);
        match right.iter().zip(&data).position(|(a, b)| a != b) {
            None => Ok(()),
            Some(first) => Err(Error::corrupt(
                "write",
                self.describe(),
                format!("wrong byte at {}", at + first as u64),
            )),
        }
    }

    async fn write_zeroes(&self, range: ByteRange) -> Result<()> {
        self.check("write zeroes", range.start(), range.len())?;
        self.check_writable("write zeroes")?;
        self.counters.zeroed(range.len());
        match self.touching(range).next() {
            None => Ok(()),
            Some(data) => Err(Error::corrupt(
                "write zeroes",
                self.describe(),
                format!("there is data in {data}"),
            )),
        }
    }

    async fn discard(&self, range: ByteRange) -> Result<()> {
        self.check("discard", range.start(), range.len())?;
        self.check_writable("discard")
    }

    async fn flush(&self) -> Result<()> {
        self.counters.flushed();
        Ok(())
    }

    async fn allocated(&self, range: ByteRange) -> Result<Vec<Extent>> {
        self.check("ask for holes", range.start(), range.len())?;
        let mut extents = Vec::new();
        let mut rest = range;
        for data in self.touching(range) {
            let (hole, behind) = rest.split_at(data.start());
            extents.extend((!hole.is_empty()).then(|| Extent::new(hole, ExtentKind::Zero)));
            extents.push(Extent::new(data, ExtentKind::Data));
            rest = behind.split_at(data.end()).1;
        }
        extents.extend((!rest.is_empty()).then(|| Extent::new(rest, ExtentKind::Zero)));
        Ok(extents)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TIB: u64 = 1 << 40;

    #[tokio::test]
    async fn what_is_read_is_taken_by_the_target_and_nothing_else_is() {
        let device = HoleDevice::new(16 * TIB).with_scattered_data(7, 1000, 5000);
        let target = device.as_target();
        let whole = ByteRange::up_to(16 * TIB);
        let extents = device.allocated(whole).await.unwrap();
        assert_eq!(extents.iter().map(|e| e.range.len()).sum::<u64>(), 16 * TIB);
        let mut data = 0;
        for extent in extents {
            if extent.kind == ExtentKind::Zero {
                target.write_zeroes(extent.range).await.unwrap();
                continue;
            }
            data += extent.range.len();
            let (buf, read) = device.read(extent.range.start(), Buf::zeroed(5000)).await;
            read.unwrap();
            target
                .write(extent.range.start(), buf.into_bytes())
                .await
                .unwrap();
            let wrong = Bytes::from_static(&[0; 16]);
            assert!(target.write(extent.range.start(), wrong).await.is_err());
            assert!(target.write_zeroes(extent.range).await.is_err());
        }
        assert_eq!(data, device.data_bytes());
    }

    #[tokio::test]
    async fn any_piece_of_it_reads_the_same() {
        let device =
            HoleDevice::new(10_000).with_data(3, vec![ByteRange::new(1003, 7001).unwrap()]);
        let (whole, _) = device.read(0, Buf::zeroed(10_000)).await;
        for at in [0usize, 1000, 1003, 1007, 6990] {
            let (piece, read) = device.read(at as u64, Buf::zeroed(333)).await;
            read.unwrap();
            assert_eq!(piece[..], whole[at..at + 333]);
        }
        assert!(whole[..1003].iter().chain(&whole[7001..]).all(|&b| b == 0));
    }
}
