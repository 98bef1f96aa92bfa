//! Making ranges read as zeroes, by the cheapest means that is certain.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::sync::atomic::{AtomicU8, Ordering};

use backup_core::range::ByteRange;
use rustix::fs::FallocateFlags;
use rustix::io::Errno;

use super::Kind;

/// The kernel zeroes block devices by writing where the device cannot do it by itself, and a call cannot be killed
/// meanwhile: so in steps that take a second at most, in bytes.
const DEVICE_STEP: u64 = 64 << 20;
/// Most zeroes that one call writes, in bytes.
const WRITE_STEP: usize = 1 << 20;
/// Zeroing inside block devices keeps to whole pages, so that no page of the cache is written by one call and dropped
/// by another, and every logical block size up to a page fits.
const PAGE: u64 = 4096;

const PUNCH_HOLE: u8 = 0;
const ZERO_RANGE: u8 = 1;
const WRITE: u8 = 2;

type Failure = (u64, io::Error); // at which byte

/// The way that a device was found to support; it only ever moves towards writing.
pub(super) struct Zeroing {
    kind: Kind,
    way: AtomicU8,
}

impl Zeroing {
    pub(super) fn for_kind(kind: Kind) -> Self {
        let first = match kind {
            Kind::Regular => PUNCH_HOLE,
            // On a block device `fallocate` with zero-range calls the kernel function that BLKZEROOUT calls: zeroes
            // for certain, and what is provisioned stays so.
            Kind::Block { .. } => ZERO_RANGE,
        };
        Self {
            kind,
            way: AtomicU8::new(first),
        }
    }

    /// All of `range` reads as zeroes afterwards.
    pub(super) fn zero(&self, file: &File, range: ByteRange) -> Result<(), Failure> {
        match self.kind {
            // Filesystems zero the pieces of blocks at both ends themselves.
            Kind::Regular => self.zero_whole(file, range),
            Kind::Block { .. } => {
                let first = range.start().next_multiple_of(PAGE);
                let (head, rest) = range.split_at(first);
                let (middle, tail) = rest.split_at(range.end() / PAGE * PAGE);
                write_zeroes(file, head)?;
                for piece in middle.pieces(DEVICE_STEP) {
                    self.zero_whole(file, piece)?;
                }
                write_zeroes(file, tail)
            }
        }
    }

    fn zero_whole(&self, file: &File, range: ByteRange) -> Result<(), Failure> {
        loop {
            let way = self.way.load(Ordering::Relaxed);
            let flags = match way {
                PUNCH_HOLE => FallocateFlags::PUNCH_HOLE,
                ZERO_RANGE => FallocateFlags::ZERO_RANGE,
                WRITE.. => return write_zeroes(file, range),
            };
            match fallocate(file, flags, range) {
                Ok(()) => return Ok(()),
                Err(e) if unsupported(e) => {
                    self.way.fetch_max(way + 1, Ordering::Relaxed);
                }
                Err(e) => return Err((range.start(), e.into())),
            }
        }
    }

    /// Gives the space of `range` of a file back, where its filesystem can.
    pub(super) fn discard(&self, file: &File, range: ByteRange) -> Result<(), io::Error> {
        if self.way.load(Ordering::Relaxed) != PUNCH_HOLE {
            return Ok(());
        }
        match fallocate(file, FallocateFlags::PUNCH_HOLE, range) {
            Ok(()) => Ok(()),
            Err(e) if unsupported(e) => {
                self.way.fetch_max(ZERO_RANGE, Ordering::Relaxed);
                Ok(())
            }
            Err(e) => Err(e.into()),
        }
    }

    /// Goes on as if the cheaper ways had been refused.
    #[cfg(test)]
    fn start_at(&self, way: u8) {
        self.way.store(way, Ordering::Relaxed);
    }
}

fn fallocate(file: &File, flags: FallocateFlags, range: ByteRange) -> Result<(), Errno> {
    loop {
        // Keeping the size is needed for punching, and for the rest: nothing here may make a device longer.
        match rustix::fs::fallocate(
            file,
            flags | FallocateFlags::KEEP_SIZE,
            range.start(),
            range.len(),
        ) {
            Err(Errno::INTR) => {}
            other => return other,
        }
    }
}

fn unsupported(e: Errno) -> bool {
    matches!(
        e,
        Errno::OPNOTSUPP | Errno::NOSYS | Errno::INVAL | Errno::NODEV
    )
}

fn write_zeroes(file: &File, range: ByteRange) -> Result<(), Failure> {
    let zeroes = vec![0; usize::try_from(range.len()).map_or(WRITE_STEP, |n| n.min(WRITE_STEP))];
    for piece in range.pieces(WRITE_STEP as u64) {
        let length = usize::try_from(piece.len()).unwrap_or(WRITE_STEP);
        file.write_all_at(&zeroes[..length], piece.start())
            .map_err(|e| (piece.start(), e))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_way_zeroes_the_range_and_nothing_else() {
        for way in [PUNCH_HOLE, ZERO_RANGE, WRITE] {
            let file = tempfile::tempfile().unwrap();
            let length = 5 << 20;
            file.write_all_at(&vec![7; length], 0).unwrap();
            let zeroing = Zeroing::for_kind(Kind::Regular);
            zeroing.start_at(way);
            let range = ByteRange::new(1001, 3_500_003).unwrap();
            zeroing.zero(&file, range).unwrap();
            let mut content = vec![0; length];
            file.read_exact_at(&mut content, 0).unwrap();
            for (at, byte) in (0u64..).zip(&content) {
                let inside = (range.start()..range.end()).contains(&at);
                assert_eq!(*byte == 0, inside, "way {way}, byte {at}");
            }
            assert_eq!(file.metadata().unwrap().len(), length as u64);
        }
    }
}
