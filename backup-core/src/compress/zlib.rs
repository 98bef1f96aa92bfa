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

use super::bounded::{Bounded, Expand};
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
            rest = &rest[super::advance(taken, stream.total_in())..];
            let made = super::advance(made, stream.total_out());
            filled += made;
            match status {
                Status::StreamEnd => return Ok(Some(filled)),
                _ if filled == out.len() => return Ok(None),
                _ => {}
            }
        }
    }
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
            &CancelToken::new(),
        )
    }

    fn decoder(&self, limit: u64) -> Result<Box<dyn Decoder>> {
        let inflating = Inflating {
            stream: Decompress::new(true),
            ended: false,
        };
        Ok(Box::new(Bounded::new(inflating, limit)))
    }
}

#[derive(Debug)]
struct Inflating {
    stream: Decompress,
    ended: bool,
}

impl Expand for Inflating {
    const ALGORITHM: Algorithm = Algorithm::Zlib;

    fn expand(&mut self, input: &[u8], out: &mut [u8]) -> Result<Step> {
        if self.ended {
            return Ok(Step {
                consumed: input.len(),
                produced: 0,
                finished: true,
            });
        }
        let (taken, made) = (self.stream.total_in(), self.stream.total_out());
        let status = self
            .stream
            .decompress(input, out, FlushDecompress::None)
            .map_err(|e| super::damaged(Algorithm::Zlib).caused_by(e))?;
        self.ended = status == Status::StreamEnd;
        Ok(Step {
            consumed: super::advance(taken, self.stream.total_in()),
            produced: super::advance(made, self.stream.total_out()),
            finished: self.ended,
        })
    }

    fn is_whole(&self) -> bool {
        self.ended
    }
}
