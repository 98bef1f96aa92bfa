//! No compression: the stored bytes are the bytes themselves.

use super::{Algorithm, Compressor, Decoder, Step};
use crate::error::{Error, Result};
use crate::job::CancelToken;

/// Objects stored as they are.
#[derive(Debug, Clone, Copy)]
pub(super) struct Stored;

impl Compressor for Stored {
    fn algorithm(&self) -> Algorithm {
        Algorithm::None
    }

    fn compress(
        &self,
        input: &[u8],
        out: &mut [u8],
        cancel: &CancelToken,
    ) -> Result<Option<usize>> {
        cancel.check("store")?;
        let Some(out) = out.get_mut(..input.len()) else {
            return Ok(None);
        };
        out.copy_from_slice(input);
        Ok(Some(input.len()))
    }

    fn decompress(&self, input: &[u8], out: &mut [u8]) -> Result<()> {
        if input.len() != out.len() {
            return Err(super::wrong_length(
                Algorithm::None,
                input.len() as u64,
                out.len(),
            ));
        }
        out.copy_from_slice(input);
        Ok(())
    }

    fn decoder(&self, limit: u64) -> Result<Box<dyn Decoder>> {
        Ok(Box::new(Copying { limit, left: limit }))
    }
}

#[derive(Debug)]
struct Copying {
    limit: u64,
    left: u64,
}

impl Decoder for Copying {
    fn step(&mut self, input: &[u8], out: &mut [u8]) -> Result<Step> {
        let room = usize::try_from(self.left)
            .unwrap_or(usize::MAX)
            .min(out.len());
        let n = input.len().min(room);
        if self.left == 0 && !input.is_empty() {
            return Err(super::over_limit(Algorithm::None, self.limit));
        }
        out[..n].copy_from_slice(&input[..n]);
        self.left -= n as u64;
        Ok(Step {
            consumed: n,
            produced: n,
            finished: false,
        })
    }

    fn finish(&mut self) -> Result<()> {
        Ok::<(), Error>(())
    }
}
