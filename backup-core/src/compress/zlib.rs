//! zlib (RFC 1950): one stream for each object, as Cinder wants it.
//!
//! Whole objects go through libdeflate (feature `zlib-fast`); slices, and all of it without the feature, through
//! zlib-rs.
//!
//! What follows the stream in an object is ignored, as Cinder's reader ignores it; the length and the checks of the
//! object tell whether something is missing.

#[cfg(feature = "zlib-fast")]
mod seam;
#[cfg(feature = "zlib-fast")]
mod whole;

#[cfg(all(feature = "zlib-fast", feature = "testing"))]
pub(crate) use whole::zlib_of_segments;

use std::ops::RangeInclusive;

#[cfg(not(feature = "zlib-fast"))]
use flate2::{Compress, Compression, FlushCompress};
use flate2::{Decompress, FlushDecompress, Status};

use super::{Algorithm, Compressor, Decoder, Step};
#[cfg(not(feature = "zlib-fast"))]
use crate::error::Error;
use crate::error::Result;
use crate::job::CancelToken;

pub(super) const LEVELS: RangeInclusive<i32> = 1..=9;
/// zlib-rs at level 1 makes objects a third larger, so without libdeflate it takes level 3.
pub(super) const DEFAULT_LEVEL: i32 = if cfg!(feature = "zlib-fast") { 1 } else { 3 };

/// Bytes between two looks at the cancel token of zlib-rs. At level 9 zlib-rs fell to 0.8 MB/s on the worst data found.
#[cfg(not(feature = "zlib-fast"))]
const STEP: usize = 256 * 1024;

/// zlib at a level.
#[derive(Debug)]
pub(super) struct Zlib {
    #[cfg(feature = "zlib-fast")]
    whole: whole::Whole,
    #[cfg(not(feature = "zlib-fast"))]
    level: u32,
}

impl Zlib {
    /// `level` lies within [`LEVELS`].
    pub(super) fn new(level: i32) -> Self {
        Self {
            #[cfg(feature = "zlib-fast")]
            whole: whole::Whole::new(level),
            #[cfg(not(feature = "zlib-fast"))]
            level: level.unsigned_abs(),
        }
    }

    #[cfg(not(feature = "zlib-fast"))]
    fn compress_in_steps(
        &self,
        input: &[u8],
        out: &mut [u8],
        cancel: &CancelToken,
    ) -> Result<Option<usize>> {
        if super::probe::is_incompressible(input) {
            return Ok(None);
        }
        let mut stream = Compress::new(Compression::new(self.level), true);
        let mut filled = 0;
        let mut rest = input;
        loop {
            cancel.check("compress")?;
            let piece = &rest[..rest.len().min(STEP)];
            let flush = if piece.len() == rest.len() {
                FlushCompress::Finish
            } else {
                FlushCompress::None
            };
            let (taken, made) = (stream.total_in(), stream.total_out());
            let status = stream
                .compress(piece, &mut out[filled..], flush)
                .map_err(|e| Error::internal("compress", "zlib refused the data").caused_by(e))?;
            rest = &rest[advance(taken, stream.total_in())..];
            let made = advance(made, stream.total_out());
            filled += made;
            match status {
                Status::StreamEnd => return Ok(Some(filled)),
                _ if filled == out.len() => return Ok(None),
                _ => {}
            }
        }
    }
}

/// What a counter of bytes went up by in one call on a slice.
fn advance(before: u64, after: u64) -> usize {
    usize::try_from(after - before).unwrap_or(usize::MAX)
}

impl Compressor for Zlib {
    fn algorithm(&self) -> Algorithm {
        Algorithm::Zlib
    }

    fn compress(
        &self,
        input: &[u8],
        out: &mut [u8],
        cancel: &CancelToken,
    ) -> Result<Option<usize>> {
        cancel.check("compress")?;
        #[cfg(feature = "zlib-fast")]
        return self.whole.compress(input, out, cancel);
        #[cfg(not(feature = "zlib-fast"))]
        self.compress_in_steps(input, out, cancel)
    }

    #[cfg(feature = "zlib-fast")]
    fn decompress(&self, input: &[u8], out: &mut [u8]) -> Result<()> {
        self.whole.decompress(input, out)
    }

    #[cfg(not(feature = "zlib-fast"))]
    fn decompress(&self, input: &[u8], out: &mut [u8]) -> Result<()> {
        super::decompress_by_steps(
            Algorithm::Zlib,
            &mut *self.decoder(out.len() as u64)?,
            input,
            out,
        )
    }

    fn decoder(&self, limit: u64) -> Result<Box<dyn Decoder>> {
        Ok(Box::new(Inflating {
            stream: Decompress::new(true),
            limit,
            ended: false,
        }))
    }
}

#[derive(Debug)]
struct Inflating {
    stream: Decompress,
    limit: u64,
    ended: bool,
}

impl Inflating {
    fn inflate(&mut self, input: &[u8], out: &mut [u8]) -> Result<Step> {
        let (taken, made) = (self.stream.total_in(), self.stream.total_out());
        let status = self
            .stream
            .decompress(input, out, FlushDecompress::None)
            .map_err(|e| super::damaged(Algorithm::Zlib).caused_by(e))?;
        self.ended = status == Status::StreamEnd;
        Ok(Step {
            consumed: advance(taken, self.stream.total_in()),
            produced: advance(made, self.stream.total_out()),
            finished: self.ended,
        })
    }
}

impl Decoder for Inflating {
    fn step(&mut self, input: &[u8], out: &mut [u8]) -> Result<Step> {
        if self.ended {
            return Ok(Step {
                consumed: input.len(),
                produced: 0,
                finished: true,
            });
        }
        let left = self.limit - self.stream.total_out();
        if left > 0 {
            let room = usize::try_from(left).unwrap_or(usize::MAX).min(out.len());
            return self.inflate(input, &mut out[..room]);
        }
        // All that may come has come; one byte more tells that the stream goes on.
        let step = self.inflate(input, &mut [0])?;
        if step.produced > 0 {
            return Err(super::over_limit(Algorithm::Zlib, self.limit));
        }
        Ok(step)
    }

    fn finish(&mut self) -> Result<()> {
        // The end may lie in what was taken already, behind output that was only just fetched.
        if !self.ended && self.inflate(&[], &mut [0])?.produced > 0 {
            return Err(super::over_limit(
                Algorithm::Zlib,
                self.stream.total_out() - 1,
            ));
        }
        if self.ended {
            Ok(())
        } else {
            Err(super::cut(Algorithm::Zlib))
        }
    }
}
