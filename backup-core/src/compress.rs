//! Compression of objects: the trait, Cinder's names, and the codecs none, zlib, bzip2 and zstd.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::job::CancelToken;

/// What an object is compressed with.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Algorithm {
    /// Stored as it is.
    None,
    /// One zlib stream (RFC 1950).
    Zlib,
    /// One or more bzip2 streams.
    Bzip2,
    /// Zstandard frames that carry their content size.
    Zstd,
}

impl Algorithm {
    /// The word that is recorded in metadata and that every Cinder understands.
    pub fn word(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Zlib => "zlib",
            Self::Bzip2 => "bzip2",
            Self::Zstd => "zstd",
        }
    }
}

impl FromStr for Algorithm {
    type Err = Error;

    /// Any of Cinder's words, in any case: none off no zlib gzip bz2 bzip2 zstd (`gzip` is a zlib stream there).
    fn from_str(word: &str) -> Result<Self> {
        match word.to_ascii_lowercase().as_str() {
            "none" | "off" | "no" => Ok(Self::None),
            "zlib" | "gzip" => Ok(Self::Zlib),
            "bz2" | "bzip2" => Ok(Self::Bzip2),
            "zstd" => Ok(Self::Zstd),
            _ => Err(
                Error::new(crate::ErrorKind::Unsupported, "choose compression")
                    .because(format!(
                        "{:?} is not a compression algorithm",
                        word.chars().take(40).collect::<String>()
                    ))
                    .hint("use none, zlib, bzip2 or zstd"),
            ),
        }
    }
}

impl fmt::Display for Algorithm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.word())
    }
}

/// Compresses and decompresses whole objects, and decompresses large ones slice by slice.
///
/// All calls are synchronous and run on the CPU pool. Output is always bounded by the caller's slice: a lying length
/// or a decompression bomb cannot make them allocate.
pub trait Compressor: Send + Sync + fmt::Debug + 'static {
    /// What it writes and reads.
    fn algorithm(&self) -> Algorithm;

    /// Compresses `input` into `out` and tells how many bytes of `out` it filled, or `None` where they do not fit:
    /// the caller hands in an `out` shorter than `input` and stores the input as it is on `None`.
    ///
    /// # Errors
    /// [`Cancelled`](crate::ErrorKind::Cancelled) soon (well below a second) after `cancel` was cancelled.
    fn compress(&self, input: &[u8], out: &mut [u8], cancel: &CancelToken)
    -> Result<Option<usize>>;

    /// Decompresses all of `input` into exactly `out`.
    ///
    /// # Errors
    /// [`Corrupt`](crate::ErrorKind::Corrupt) where the input is damaged or holds more or fewer bytes than `out`.
    fn decompress(&self, input: &[u8], out: &mut [u8]) -> Result<()>;

    /// Decompresses slice by slice, for objects too large to hold; refuses to yield more than `limit` bytes.
    fn decoder(&self, limit: u64) -> Result<Box<dyn Decoder>>;
}

/// What one step of a [`Decoder`] did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Step {
    /// Bytes of the input that were taken.
    pub consumed: usize,
    /// Bytes of the output that were filled.
    pub produced: usize,
    /// Whether the compressed stream is complete: what follows is not part of it.
    pub finished: bool,
}

/// A decompression in progress.
pub trait Decoder: Send + fmt::Debug {
    /// Takes some of `input` and fills some of `out`. With room in `out` and input at hand it always gets on; a step
    /// that neither consumes nor produces, and is not finished, wants more input.
    ///
    /// # Errors
    /// [`Corrupt`](crate::ErrorKind::Corrupt) where the input is damaged or yields more than the limit.
    fn step(&mut self, input: &[u8], out: &mut [u8]) -> Result<Step>;

    /// Called at the end of the input: [`Corrupt`](crate::ErrorKind::Corrupt) where the stream is cut.
    fn finish(&mut self) -> Result<()>;
}
