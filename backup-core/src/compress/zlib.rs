//! zlib (RFC 1950): one stream for each object, as Cinder wants it.
//!
//! Whole objects go through libdeflate (feature `zlib-fast`), which has no streaming form: it is used where a call is
//! known to be short enough to wait for on a cancel. Longer ones, slices, and all of it without the feature, go through
//! zlib-rs.
//!
//! What follows the stream in an object is ignored, as Cinder's reader ignores it; the length and the checks of the
//! object tell whether something is missing.

use std::ops::RangeInclusive;

use flate2::{Compress, Compression, Decompress, FlushCompress, FlushDecompress, Status};

use super::{Algorithm, Compressor, Decoder, Step};
use crate::error::{Error, ErrorKind, Result};
use crate::job::CancelToken;

pub(super) const LEVELS: RangeInclusive<i32> = 1..=9;
pub(super) const DEFAULT_LEVEL: i32 = 1;

/// Bytes between two looks at the cancel token. At level 9 zlib-rs fell to 0.8 MB/s on the worst data found.
const STEP: usize = 256 * 1024;

/// zlib at a level.
#[derive(Debug)]
pub(super) struct Zlib {
    level: i32,
    #[cfg(feature = "zlib-fast")]
    whole: whole::Whole,
}

impl Zlib {
    /// `level` lies within [`LEVELS`].
    pub(super) fn new(level: i32) -> Self {
        Self {
            level,
            #[cfg(feature = "zlib-fast")]
            whole: whole::Whole::new(),
        }
    }

    fn compress_in_steps(
        &self,
        input: &[u8],
        out: &mut [u8],
        cancel: &CancelToken,
    ) -> Result<Option<usize>> {
        let mut stream = Compress::new(Compression::new(self.level.unsigned_abs()), true);
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
        if super::probe::is_incompressible(input) {
            return Ok(None);
        }
        #[cfg(feature = "zlib-fast")]
        if input.len() <= whole::longest_call(self.level) {
            return self.whole.compress(self.level, input, out);
        }
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

#[cfg(feature = "zlib-fast")]
mod whole {
    //! libdeflate, the whole object in one call.

    use std::fmt;

    use libdeflater::{CompressionLvl, DecompressionError, Decompressor};

    use super::super::pool::Pool;
    use super::{Algorithm, Error, ErrorKind, Result};

    pub(super) struct Whole {
        compressors: Pool<libdeflater::Compressor>,
        decompressors: Pool<Decompressor>,
    }

    impl Whole {
        pub(super) fn new() -> Self {
            Self {
                compressors: Pool::new(),
                decompressors: Pool::new(),
            }
        }

        pub(super) fn compress(
            &self,
            level: i32,
            input: &[u8],
            out: &mut [u8],
        ) -> Result<Option<usize>> {
            self.compressors.with(
                || {
                    CompressionLvl::new(level)
                        .map(libdeflater::Compressor::new)
                        .map_err(|_| Error::internal("compress", "libdeflate has no such level"))
                },
                // Its only error: the output does not fit.
                |c| Ok(c.zlib_compress(input, out).ok()),
            )
        }

        pub(super) fn decompress(&self, input: &[u8], out: &mut [u8]) -> Result<()> {
            let expected = out.len();
            self.decompressors.with(
                || Ok(Decompressor::new()),
                |d| match d.zlib_decompress(input, out) {
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
                .field("compressors", &self.compressors)
                .field("decompressors", &self.decompressors)
                .finish()
        }
    }

    /// The longest input, in bytes, that one call may take: about half a second on the worst data found (ADR 0002).
    pub(super) fn longest_call(level: i32) -> usize {
        const MIB: usize = 1024 * 1024;
        match level {
            ..=2 => 56 * MIB,
            3 => 32 * MIB,
            4 => 22 * MIB,
            5 => 18 * MIB,
            6 => 8 * MIB,
            _ => MIB,
        }
    }
}
