//! The bound on what a decoder yields, one for all codecs that expand.

use std::fmt;

use super::{Algorithm, Decoder, Step};
use crate::error::Result;

/// A decompression without a bound: what [`Bounded`] makes a [`Decoder`] of.
pub(super) trait Expand: Send + fmt::Debug {
    /// What is read.
    const ALGORITHM: Algorithm;

    /// As [`Decoder::step`], but for the limit. Called again after the end, with or without input.
    fn expand(&mut self, input: &[u8], out: &mut [u8]) -> Result<Step>;

    /// Whether what was taken so far ends with a whole stream.
    fn is_whole(&self) -> bool;
}

/// Yields at most `limit` bytes of what `inner` holds, and an error where there is more.
#[derive(Debug)]
pub(super) struct Bounded<E> {
    inner: E,
    produced: u64,
    limit: u64,
}

impl<E: Expand> Bounded<E> {
    pub(super) fn new(inner: E, limit: u64) -> Self {
        Self {
            inner,
            produced: 0,
            limit,
        }
    }

    fn expand(&mut self, input: &[u8], out: &mut [u8]) -> Result<Step> {
        let step = self.inner.expand(input, out)?;
        self.produced += step.produced as u64;
        Ok(step)
    }
}

impl<E: Expand> Decoder for Bounded<E> {
    fn step(&mut self, input: &[u8], out: &mut [u8]) -> Result<Step> {
        let left = self.limit.saturating_sub(self.produced);
        if left > 0 {
            let room = usize::try_from(left).unwrap_or(usize::MAX).min(out.len());
            return self.expand(input, &mut out[..room]);
        }
        // All that may come has come; one byte more tells that the stream goes on.
        let step = self.expand(input, &mut [0])?;
        if step.produced > 0 {
            return Err(super::over_limit(E::ALGORITHM, self.limit));
        }
        Ok(step)
    }

    fn finish(&mut self) -> Result<()> {
        // The end may lie in what was taken already, behind output that was only just fetched.
        let taken = self.produced;
        if self.expand(&[], &mut [0])?.produced > 0 {
            return Err(super::over_limit(E::ALGORITHM, taken));
        }
        if self.inner.is_whole() {
            Ok(())
        } else {
            Err(super::cut(E::ALGORITHM))
        }
    }
}
