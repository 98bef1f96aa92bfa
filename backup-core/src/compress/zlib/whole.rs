//! zlib by libdeflate, which takes a whole input in one call.
//!
//! An input is cut into segments, each compressed by a call of its own, and the streams are joined (see
//! [`seam`](super::seam)):
//! * so that the cancel token is looked at in time, whatever the level and the length of the input;
//! * so that noise, on which libdeflate is slower than on anything else, is copied into stored blocks instead.
//!
//! A segment is long against the window of 32 KiB that is lost at its start.

use std::fmt;

use libdeflater::{CompressionLvl, DecompressionError, Decompressor};

use super::super::pool::Pool;
use super::super::probe;
use super::Algorithm;
use super::seam::LastBlock;
use crate::error::{Error, ErrorKind, Result};
use crate::job::CancelToken;

/// CMF and FLG of RFC 1950: deflate with a window of 32 KiB, no dictionary, a level as most writers tell it.
const HEADER: [u8; 2] = [0x78, 0x9C];
/// The longest stored block.
const STORED: usize = 65_535;

/// Compresses and decompresses by libdeflate, with contexts that are used again.
pub(super) struct Whole {
    level: i32,
    compressors: Pool<libdeflater::Compressor>,
    decompressors: Pool<Decompressor>,
}

impl Whole {
    pub(super) fn new(level: i32) -> Self {
        Self {
            level,
            compressors: Pool::new(),
            decompressors: Pool::new(),
        }
    }

    pub(super) fn compress(
        &self,
        input: &[u8],
        out: &mut [u8],
        cancel: &CancelToken,
    ) -> Result<Option<usize>> {
        let segments = segments(input, longest_call(self.level));
        if let [(_, Kind::Noise)] = segments[..] {
            return Ok(None);
        }
        self.compressors.with(
            || {
                CompressionLvl::new(self.level)
                    .map(libdeflater::Compressor::new)
                    .map_err(|_| Error::internal("compress", "libdeflate has no such level"))
            },
            |compressor| {
                if segments.len() <= 1 {
                    cancel.check("compress")?;
                    // Its only error: the output does not fit.
                    return Ok(compressor.zlib_compress(input, out).ok());
                }
                join(compressor, input, &segments, out, cancel)
            },
        )
    }

    pub(super) fn decompress(&self, input: &[u8], out: &mut [u8]) -> Result<()> {
        let expected = out.len();
        self.decompressors.with(
            || Ok(Decompressor::new()),
            |decompressor| match decompressor.zlib_decompress(input, out) {
                Ok(n) if n == expected => Ok(()),
                Ok(n) => Err(super::super::wrong_length(
                    Algorithm::Zlib,
                    n as u64,
                    expected,
                )),
                Err(DecompressionError::InsufficientSpace) => {
                    Err(super::super::over_limit(Algorithm::Zlib, expected as u64))
                }
                Err(DecompressionError::BadData) => {
                    Err(Error::new(ErrorKind::Corrupt, "decompress")
                        .because("the zlib stream is damaged or cut short"))
                }
            },
        )
    }
}

impl fmt::Debug for Whole {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Whole")
            .field("level", &self.level)
            .field("compressors", &self.compressors)
            .field("decompressors", &self.decompressors)
            .finish()
    }
}

/// The longest input, in bytes, of one call: at most half a second on the worst data found (ADR 0002).
fn longest_call(level: i32) -> usize {
    const MIB: usize = 1024 * 1024;
    match level {
        ..=3 => 16 * MIB,
        4..=6 => 8 * MIB,
        _ => MIB,
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Noise,
    Other,
}

/// Cuts `input` into noise and the rest, and the rest into pieces of at most `longest` bytes. Gives each one's length.
fn segments(input: &[u8], longest: usize) -> Vec<(usize, Kind)> {
    let mut segments = Vec::new();
    for (length, is_noise) in probe::runs_of_noise(input) {
        if is_noise {
            segments.push((length, Kind::Noise));
            continue;
        }
        let pieces = length.div_ceil(longest).max(1);
        let piece = length.div_ceil(pieces);
        let mut left = length;
        while left > 0 {
            segments.push((left.min(piece), Kind::Other));
            left -= left.min(piece);
        }
    }
    segments
}

/// Compresses the segments that are not noise, one by one, into one zlib stream.
fn join(
    compressor: &mut libdeflater::Compressor,
    input: &[u8],
    segments: &[(usize, Kind)],
    out: &mut [u8],
    cancel: &CancelToken,
) -> Result<Option<usize>> {
    let Some(mut stream) = Stream::begin(out) else {
        return Ok(None);
    };
    let mut rest = input;
    for (length, kind) in segments {
        cancel.check("compress")?;
        let (segment, behind) = rest.split_at(*length);
        rest = behind;
        let last = rest.is_empty();
        let fits = match kind {
            Kind::Noise => stream.store(segment, last),
            Kind::Other => stream.deflate(compressor, segment, last)?,
        };
        if fits.is_none() {
            return Ok(None);
        }
    }
    Ok(stream.end(libdeflater::adler32(input)))
}

/// See [`testing::zlib_of_segments`](crate::testing::zlib_of_segments).
#[cfg(feature = "testing")]
pub(crate) fn zlib_of_segments(
    level: i32,
    input: &[u8],
    segments: &[(usize, bool)],
) -> Result<Vec<u8>> {
    let kinds: Vec<(usize, Kind)> = segments
        .iter()
        .map(|&(length, stored)| (length, if stored { Kind::Noise } else { Kind::Other }))
        .collect();
    let level = CompressionLvl::new(level)
        .map_err(|_| Error::internal("compress", "libdeflate has no such level"))?;
    // A segment grows by a few bytes for each 65 535, and by at most ten at its seam.
    let mut out = vec![0; input.len() + input.len() / 1000 + segments.len() * 16 + 64];
    let filled = join(
        &mut libdeflater::Compressor::new(level),
        input,
        &kinds,
        &mut out,
        &CancelToken::new(),
    )?
    .ok_or_else(|| Error::internal("compress", "the joined stream does not fit"))?;
    out.truncate(filled);
    Ok(out)
}

/// A zlib stream that is being written. `None` from its methods: the output is too short.
struct Stream<'a> {
    out: &'a mut [u8],
    /// Whole bytes written.
    at: usize,
    /// Bits at the end of the last of them that are free, and zero.
    free: usize,
}

impl<'a> Stream<'a> {
    fn begin(out: &'a mut [u8]) -> Option<Self> {
        out.get_mut(..2)?.copy_from_slice(&HEADER);
        Some(Self {
            out,
            at: 2,
            free: 0,
        })
    }

    fn put(&mut self, bytes: &[u8]) -> Option<()> {
        self.out
            .get_mut(self.at..self.at + bytes.len())?
            .copy_from_slice(bytes);
        self.at += bytes.len();
        Some(())
    }

    /// A stored block: three bits of header (none set but `last`), up to the next byte, two lengths, the bytes.
    fn stored_block(&mut self, bytes: &[u8], last: bool) -> Option<()> {
        // The header's first bit lies in the last byte where that has any free; with fewer than three, the others
        // take a byte of their own, which padding fills up.
        let first = (self.at.checked_sub(1)?, 8 - self.free);
        if self.free < 3 {
            self.put(&[0])?;
        }
        if last {
            let (byte, bit) = if self.free == 0 {
                (first.0 + 1, 0)
            } else {
                first
            };
            self.out[byte] |= 1 << bit;
        }
        self.free = 0;
        let length = u16::try_from(bytes.len()).unwrap_or(u16::MAX);
        self.put(&length.to_le_bytes())?;
        self.put(&(!length).to_le_bytes())?;
        self.put(bytes)
    }

    fn store(&mut self, segment: &[u8], last: bool) -> Option<()> {
        let mut blocks = segment.chunks(STORED).peekable();
        while let Some(block) = blocks.next() {
            self.stored_block(block, last && blocks.peek().is_none())?;
        }
        Some(())
    }

    fn deflate(
        &mut self,
        compressor: &mut libdeflater::Compressor,
        segment: &[u8],
        last: bool,
    ) -> Result<Option<()>> {
        if self.free > 0 && self.stored_block(&[], false).is_none() {
            return Ok(None);
        }
        let room = self.out.get_mut(self.at..).unwrap_or_default();
        let Ok(made) = compressor.deflate_compress(segment, room) else {
            return Ok(None);
        };
        if !last {
            let block = LastBlock::find(&room[..made]).ok_or_else(|| {
                Error::internal("compress", "libdeflate's output is not understood")
            })?;
            room[block.begin / 8] &= !(1 << (block.begin % 8));
            self.free = made * 8 - block.end;
        }
        self.at += made;
        Ok(Some(()))
    }

    fn end(mut self, adler: u32) -> Option<usize> {
        self.put(&adler.to_be_bytes())?;
        Some(self.at)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn noise(len: usize, seed: u64) -> Vec<u8> {
        let mut state = seed | 1;
        (0..len)
            .map(|_| {
                state ^= state << 13;
                state ^= state >> 7;
                state ^= state << 17;
                state.to_le_bytes()[4]
            })
            .collect()
    }

    fn text(len: usize, seed: u64) -> Vec<u8> {
        noise(len, seed)
            .iter()
            .map(|b| b"etaoin shrdlu\n0123"[usize::from(b % 18)])
            .collect()
    }

    /// Joins `segments` as they are, whatever they hold, and reads them back by libdeflate and by zlib-rs.
    fn there_and_back(input: &[u8], segments: &[(usize, Kind)], level: i32) {
        let mut compressor = libdeflater::Compressor::new(CompressionLvl::new(level).unwrap());
        let mut out = vec![0xA5; input.len() * 2 + 1000];
        let filled = join(
            &mut compressor,
            input,
            segments,
            &mut out,
            &CancelToken::new(),
        )
        .unwrap()
        .unwrap();
        let mut back = vec![0; input.len()];
        Whole::new(1).decompress(&out[..filled], &mut back).unwrap();
        assert!(back == input);
        let mut inflater = flate2::Decompress::new(true);
        let mut back = vec![0; input.len() + 1];
        let status = inflater
            .decompress(&out[..filled], &mut back, flate2::FlushDecompress::Finish)
            .unwrap();
        assert_eq!(status, flate2::Status::StreamEnd);
        assert_eq!(inflater.total_in(), filled as u64);
        assert!(back[..input.len()] == *input);
        // With a byte less it does not fit, and nothing breaks.
        for room in (0..filled).rev().take(20) {
            let joined = join(
                &mut compressor,
                input,
                segments,
                &mut out[..room],
                &CancelToken::new(),
            );
            assert_eq!(joined.unwrap(), None);
        }
    }

    #[test]
    fn noise_between_text_is_stored_and_the_whole_is_one_stream() {
        let input = [
            text(300_000, 1),
            noise(400_000, 2),
            text(100_000, 3),
            noise(300_000, 4),
        ]
        .concat();
        let cut = segments(&input, 1 << 20);
        assert!(cut.iter().filter(|(_, kind)| *kind == Kind::Noise).count() == 2);
        assert_eq!(
            cut.iter().map(|(length, _)| length).sum::<usize>(),
            input.len()
        );
        there_and_back(&input, &cut, 1);
    }

    #[test]
    fn segments_cover_the_input_and_are_never_longer_than_a_call_may_be() {
        for len in [1, 1000, 1 << 20, 5_000_001] {
            let cut = segments(&text(len, 9), 1 << 20);
            assert_eq!(cut.iter().map(|(length, _)| length).sum::<usize>(), len);
            assert!(cut.iter().all(|(length, _)| *length <= 1 << 20));
        }
        assert!(segments(&[], 1 << 20).len() <= 1);
    }

    #[test]
    fn a_cancel_stops_between_two_segments() {
        let cancel = CancelToken::new();
        cancel.cancel();
        let input = text(1000, 1);
        let mut compressor = libdeflater::Compressor::new(CompressionLvl::new(1).unwrap());
        let cut = [(500, Kind::Other), (500, Kind::Other)];
        let result = join(&mut compressor, &input, &cut, &mut [0; 2000], &cancel);
        assert_eq!(result.unwrap_err().kind(), ErrorKind::Cancelled);
    }

    #[test]
    fn the_last_block_of_a_damaged_stream_is_not_found_but_never_panics() {
        let input = text(5000, 8);
        let mut out = vec![0; 6000];
        let made = libdeflater::Compressor::new(CompressionLvl::new(6).unwrap())
            .deflate_compress(&input, &mut out)
            .unwrap();
        assert!(LastBlock::find(&out[..made]).is_some());
        for cut in 0..made {
            let _ = LastBlock::find(&out[..cut]);
        }
        for bit in 0..made * 8 {
            let mut damaged = out[..made].to_vec();
            damaged[bit / 8] ^= 1 << (bit % 8);
            let _ = LastBlock::find(&damaged);
        }
        assert_eq!(LastBlock::find(&[]), None);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(96))]

        #[test]
        fn any_segments_join_into_one_stream(
            runs in proptest::collection::vec((0..4u8, 1..70_000usize, any::<bool>()), 1..8),
            level in 1..=9i32,
        ) {
            let mut input = Vec::new();
            let mut cut = Vec::new();
            for (n, (kind, len, stored)) in (1u64..).zip(runs) {
                match kind {
                    0 => input.resize(input.len() + len, 0),
                    1 => input.extend(text(len, n)),
                    2 => input.extend(noise(len, n)),
                    _ => input.extend(text(len.min(50), n)),
                }
                let len = input.len() - cut.iter().map(|(len, _)| len).sum::<usize>();
                cut.push((len, if stored { Kind::Noise } else { Kind::Other }));
            }
            there_and_back(&input, &cut, level);
        }

        #[test]
        fn arbitrary_bytes_never_make_the_search_panic(
            bytes in proptest::collection::vec(any::<u8>(), 0..400)
        ) {
            let _ = LastBlock::find(&bytes);
        }
    }
}
