//! bzip2: one stream is written, any number of streams in a row is read.

use std::fmt;
use std::ops::RangeInclusive;

use bzip2::{Action, Compress, Compression, Decompress, Status};

use super::bounded::{Bounded, Expand};
use super::{Algorithm, Compressor, Decoder, Step};
use crate::error::{Error, Result};
use crate::job::CancelToken;

pub(super) const LEVELS: RangeInclusive<i32> = 1..=9;
/// Level 1 is no faster and makes larger objects.
pub(super) const DEFAULT_LEVEL: i32 = 2;

/// Bytes between two looks at the cancel token. The work is done a block (level x 100 000 bytes) at a time, when one
/// is full, so that a call does one block at most.
const STEP: usize = 64 * 1024;

/// bzip2 at a level.
#[derive(Debug)]
pub(super) struct Bzip2 {
    level: u32,
}

impl Bzip2 {
    /// `level` lies within [`LEVELS`].
    pub(super) fn new(level: i32) -> Self {
        Self {
            level: level.unsigned_abs(),
        }
    }
}

impl Compressor for Bzip2 {
    fn algorithm(&self) -> Algorithm {
        Algorithm::Bzip2
    }

    fn compress(
        &self,
        input: &[u8],
        out: &mut [u8],
        cancel: &CancelToken,
    ) -> Result<Option<usize>> {
        cancel.check("compress")?;
        // The library takes no room for a stream of no bytes as a fault of its caller.
        if out.is_empty() || super::probe::is_incompressible(input) {
            return Ok(None);
        }
        let mut stream = Compress::new(Compression::new(self.level), 0);
        let mut filled = 0;
        let mut rest = input;
        loop {
            cancel.check("compress")?;
            let piece = &rest[..rest.len().min(STEP)];
            // `Finish` fixes what is left to come, so it starts with nothing left.
            let action = if rest.is_empty() {
                Action::Finish
            } else {
                Action::Run
            };
            let (taken, made) = (stream.total_in(), stream.total_out());
            let status = stream
                .compress(piece, &mut out[filled..], action)
                .map_err(|e| Error::internal("compress", "bzip2 refused the data").caused_by(e))?;
            rest = &rest[super::advance(taken, stream.total_in())..];
            filled += super::advance(made, stream.total_out());
            match status {
                Status::StreamEnd => return Ok(Some(filled)),
                _ if filled == out.len() => return Ok(None),
                _ => {}
            }
        }
    }

    fn decompress(&self, input: &[u8], out: &mut [u8]) -> Result<()> {
        super::decompress_by_steps(
            Algorithm::Bzip2,
            &mut Bounded::new(Expanding::default(), out.len() as u64),
            input,
            out,
            &CancelToken::new(),
        )
    }

    fn decoder(&self, limit: u64) -> Result<Box<dyn Decoder>> {
        Ok(Box::new(Bounded::new(Expanding::default(), limit)))
    }
}

#[derive(Default)]
struct Expanding {
    /// `None` between streams.
    stream: Option<Decompress>,
    /// Whether a whole stream was read.
    any: bool,
}

impl Expand for Expanding {
    const ALGORITHM: Algorithm = Algorithm::Bzip2;

    fn expand(&mut self, input: &[u8], out: &mut [u8]) -> Result<Step> {
        if input.is_empty() && self.stream.is_none() {
            return Ok(Step::NOTHING);
        }
        let stream = self.stream.get_or_insert_with(|| Decompress::new(false));
        let (taken, made) = (stream.total_in(), stream.total_out());
        let status = stream
            .decompress(input, out)
            .map_err(|e| super::damaged(Algorithm::Bzip2).caused_by(e))?;
        let step = Step {
            consumed: super::advance(taken, stream.total_in()),
            produced: super::advance(made, stream.total_out()),
            finished: false,
        };
        match status {
            Status::StreamEnd => {
                self.stream = None;
                self.any = true;
            }
            Status::MemNeeded => {
                return Err(Error::internal("decompress", "bzip2 got no memory"));
            }
            _ => {}
        }
        Ok(step)
    }

    fn is_whole(&self) -> bool {
        self.any && self.stream.is_none()
    }
}

impl fmt::Debug for Expanding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Expanding")
            .field("within", &self.stream.is_some())
            .field("any", &self.any)
            .finish()
    }
}
