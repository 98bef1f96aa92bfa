//! Zstandard: one frame is written, with its content size, by which Cinder's reader allocates; any number of frames in
//! a row is read.

use std::fmt;
use std::ops::RangeInclusive;

use zstd::zstd_safe::zstd_sys::{ZSTD_EndDirective, ZSTD_ErrorCode};
use zstd::zstd_safe::{
    CCtx, CParameter, DCtx, DParameter, InBuffer, OutBuffer, ResetDirective, get_error_name,
    is_error_kind,
};

use super::bounded::{Bounded, Expand};
use super::pool::Pool;
use super::{Algorithm, Compressor, Decoder, Step};
use crate::error::{Error, Result};
use crate::job::CancelToken;

/// Above 19 a compression needs up to a GiB of memory and a reader 128 MiB; below -7 nothing gets faster.
pub(super) const LEVELS: RangeInclusive<i32> = -7..=19;
pub(super) const DEFAULT_LEVEL: i32 = 2;

/// The largest window, as a power of two, that a slice-wise reader makes room for: 128 MiB, which any level of zstd
/// stays within. The room is taken page by page as it is filled, so a small frame with a lying window costs little.
const WINDOW_LOG_MAX: u32 = 27;

/// Bytes between two looks at the cancel token where the call is not taken whole.
const STEP: usize = 256 * 1024;

/// zstd at a level.
pub(super) struct Zstd {
    level: i32,
    compressors: Pool<CCtx<'static>>,
    decompressors: Pool<DCtx<'static>>,
}

impl Zstd {
    /// `level` lies within [`LEVELS`].
    pub(super) fn new(level: i32) -> Self {
        Self {
            level,
            compressors: Pool::new(),
            decompressors: Pool::new(),
        }
    }

    fn context(&self) -> Result<CCtx<'static>> {
        let mut context = CCtx::try_create().ok_or_else(|| no_memory("compress"))?;
        context
            .set_parameter(CParameter::CompressionLevel(self.level))
            .map_err(|code| refused("compress", code))?;
        Ok(context)
    }

    /// The longest input, in bytes, that one call may take: about half a second on the worst data found (ADR 0002).
    fn longest_call(&self) -> usize {
        const MIB: usize = 1024 * 1024;
        match self.level {
            ..=2 => 64 * MIB,
            3..=4 => 40 * MIB,
            5..=9 => 10 * MIB,
            _ => STEP,
        }
    }
}

fn no_memory(operation: &'static str) -> Error {
    Error::internal(operation, "zstd got no memory")
}

fn refused(operation: &'static str, code: usize) -> Error {
    Error::internal(operation, format!("zstd: {}", get_error_name(code)))
}

fn compress_whole(
    context: &mut CCtx<'static>,
    input: &[u8],
    out: &mut [u8],
) -> Result<Option<usize>> {
    match context.compress2(out, input) {
        Ok(filled) => Ok(Some(filled)),
        Err(code) if is_error_kind(code, ZSTD_ErrorCode::ZSTD_error_dstSize_tooSmall) => Ok(None),
        Err(code) => Err(refused("compress", code)),
    }
}

fn compress_in_steps(
    context: &mut CCtx<'static>,
    input: &[u8],
    out: &mut [u8],
    cancel: &CancelToken,
) -> Result<Option<usize>> {
    context
        .set_pledged_src_size(Some(input.len() as u64))
        .map_err(|code| refused("compress", code))?;
    let mut out = OutBuffer::around(out);
    let mut taken = 0;
    loop {
        cancel.check("compress")?;
        let piece = &input[taken..input.len().min(taken + STEP)];
        let last = taken + piece.len() == input.len();
        let directive = if last {
            ZSTD_EndDirective::ZSTD_e_end
        } else {
            ZSTD_EndDirective::ZSTD_e_continue
        };
        let mut source = InBuffer::around(piece);
        let pending = context
            .compress_stream2(&mut out, &mut source, directive)
            .map_err(|code| refused("compress", code))?;
        taken += source.pos();
        if last && pending == 0 {
            return Ok(Some(out.pos()));
        }
        if out.pos() == out.capacity() {
            return Ok(None);
        }
    }
}

impl Compressor for Zstd {
    fn algorithm(&self) -> Algorithm {
        Algorithm::Zstd
    }

    fn compress(
        &self,
        input: &[u8],
        out: &mut [u8],
        cancel: &CancelToken,
    ) -> Result<Option<usize>> {
        cancel.check("compress")?;
        self.compressors.with(
            || self.context(),
            |context| {
                // An earlier call may have left a frame half written.
                context
                    .reset(ResetDirective::SessionOnly)
                    .map_err(|code| refused("compress", code))?;
                if input.len() <= self.longest_call() {
                    compress_whole(context, input, out)
                } else {
                    compress_in_steps(context, input, out, cancel)
                }
            },
        )
    }

    fn decompress(&self, input: &[u8], out: &mut [u8]) -> Result<()> {
        let expected = out.len();
        self.decompressors.with(
            || DCtx::try_create().ok_or_else(|| no_memory("decompress")),
            // The output serves as the window, so a lying one costs nothing here.
            |context| match context.decompress(out, input) {
                Ok(n) if n == expected && !input.is_empty() => Ok(()),
                Ok(_) if input.is_empty() => Err(super::cut(Algorithm::Zstd)),
                Ok(n) => Err(super::wrong_length(Algorithm::Zstd, n as u64, expected)),
                Err(code) if is_error_kind(code, ZSTD_ErrorCode::ZSTD_error_dstSize_tooSmall) => {
                    Err(super::over_limit(Algorithm::Zstd, expected as u64))
                }
                Err(code) if is_error_kind(code, ZSTD_ErrorCode::ZSTD_error_srcSize_wrong) => {
                    Err(super::cut(Algorithm::Zstd))
                }
                Err(code) => Err(damaged(code)),
            },
        )
    }

    fn decoder(&self, limit: u64) -> Result<Box<dyn Decoder>> {
        let mut context = DCtx::try_create().ok_or_else(|| no_memory("decompress"))?;
        context
            .set_parameter(DParameter::WindowLogMax(WINDOW_LOG_MAX))
            .map_err(|code| refused("decompress", code))?;
        let unfolding = Unfolding {
            context,
            within: false,
            any: false,
        };
        Ok(Box::new(Bounded::new(unfolding, limit)))
    }
}

impl fmt::Debug for Zstd {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Zstd")
            .field("level", &self.level)
            .field("compressors", &self.compressors)
            .field("decompressors", &self.decompressors)
            .finish()
    }
}

fn damaged(code: usize) -> Error {
    Error::new(crate::ErrorKind::Corrupt, "decompress").because(format!(
        "the zstd stream is damaged: {}",
        get_error_name(code)
    ))
}

struct Unfolding {
    context: DCtx<'static>,
    /// Whether a frame is begun and not ended.
    within: bool,
    /// Whether a whole frame was read.
    any: bool,
}

impl Expand for Unfolding {
    const ALGORITHM: Algorithm = Algorithm::Zstd;

    fn expand(&mut self, input: &[u8], out: &mut [u8]) -> Result<Step> {
        if input.is_empty() && !self.within {
            return Ok(Step::NOTHING);
        }
        let mut source = InBuffer::around(input);
        let mut target = OutBuffer::around(out);
        let expects = self
            .context
            .decompress_stream(&mut target, &mut source)
            .map_err(damaged)?;
        self.within = expects != 0;
        self.any |= expects == 0;
        Ok(Step {
            consumed: source.pos(),
            produced: target.pos(),
            finished: false,
        })
    }

    fn is_whole(&self) -> bool {
        self.any && !self.within
    }
}

impl fmt::Debug for Unfolding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Unfolding")
            .field("within", &self.within)
            .field("any", &self.any)
            .finish_non_exhaustive()
    }
}
