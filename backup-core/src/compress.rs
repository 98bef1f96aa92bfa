//! Compression of objects: the trait, Cinder's names, and the codecs none, zlib, bzip2 and zstd.
//!
//! [`compressor`] gives a codec at a level, [`decompressor`] one to read with. Every codec reads whatever Cinder reads
//! of its kind, at any level. The default levels are the fastest whose objects stay within a tenth of the size of
//! Cinder's; ADR 0002 has the measurements.
//!
//! | codec | levels | default | what is read |
//! | --- | --- | --- | --- |
//! | none | | | the bytes themselves |
//! | zlib | 1 to 9 | 1 | one stream; bytes behind it are ignored, as Cinder ignores them |
//! | bzip2 | 1 to 9 | 2 | one or more streams, nothing else |
//! | zstd | -7 to 19 | 2 | one or more frames whose windows are at most 128 MiB, nothing else |
//!
//! ```
//! use backup_core::compress::{Algorithm, compressor, decompressor};
//! use backup_core::CancelToken;
//!
//! let chunk = b"the quick brown fox ".repeat(100);
//! let mut stored = vec![0; chunk.len() - 1];
//! let filled = compressor(Algorithm::Zlib, None)?.compress(&chunk, &mut stored, &CancelToken::new())?;
//! let stored = &stored[..filled.expect("text shrinks")];
//!
//! let mut restored = vec![0; chunk.len()];
//! decompressor(Algorithm::Zlib)?.decompress(stored, &mut restored)?;
//! assert_eq!(restored, chunk);
//! # Ok::<(), backup_core::Error>(())
//! ```

mod bounded;
mod bzip2;
mod none;
#[cfg(any(feature = "zlib-fast", feature = "zstd"))]
mod pool;
mod probe;
#[cfg(test)]
mod tests;
mod zlib;
#[cfg(feature = "zstd")]
mod zstd;

#[cfg(all(feature = "zlib-fast", feature = "testing"))]
pub(crate) use zlib::zlib_of_segments;

use std::fmt;
use std::ops::RangeInclusive;
use std::str::FromStr;
use std::sync::{Arc, OnceLock};

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

/// A codec at a level, as it is configured.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Codec {
    /// What objects are compressed with.
    pub algorithm: Algorithm,
    /// The codec's own level; `None`: its default.
    pub level: Option<i32>,
}

impl Codec {
    /// `algorithm` at its default level.
    pub fn new(algorithm: Algorithm) -> Self {
        Self {
            algorithm,
            level: None,
        }
    }

    /// What does the work; see [`compressor`].
    pub fn compressor(self) -> Result<Arc<dyn Compressor>> {
        compressor(self.algorithm, self.level)
    }
}

impl Default for Codec {
    /// zlib, as Cinder's.
    fn default() -> Self {
        Self::new(Algorithm::Zlib)
    }
}

/// A codec that writes at `level` (`None`: the default level) and reads any level.
///
/// One instance serves any number of threads at once. It keeps a working memory for each thread that was inside it at
/// the same time: at the default levels below 2 MiB a thread, zstd at level 19 about 90 MiB.
///
/// # Errors
/// [`InvalidInput`](crate::ErrorKind::InvalidInput) where the codec has no such level: the error tells the range.
/// [`Unsupported`](crate::ErrorKind::Unsupported) where the codec was not built in.
pub fn compressor(algorithm: Algorithm, level: Option<i32>) -> Result<Arc<dyn Compressor>> {
    let pick = |levels: RangeInclusive<i32>, default: i32| match level {
        None => Ok(default),
        Some(level) if levels.contains(&level) => Ok(level),
        Some(level) => Err(Error::invalid(
            "choose compression level",
            format!(
                "{algorithm} has no level {level}: its levels are {} to {}",
                levels.start(),
                levels.end()
            ),
        )
        .hint(format!("leave the level out to use the default, {default}"))),
    };
    match algorithm {
        Algorithm::None => match level {
            None => Ok(Arc::new(none::Stored)),
            Some(level) => Err(Error::invalid(
                "choose compression level",
                format!("level {level} is set, but compression is none, which has no levels"),
            )
            .hint("leave the level out, or choose zlib, bzip2 or zstd")),
        },
        Algorithm::Zlib => Ok(Arc::new(zlib::Zlib::new(pick(
            zlib::LEVELS,
            zlib::DEFAULT_LEVEL,
        )?))),
        Algorithm::Bzip2 => Ok(Arc::new(bzip2::Bzip2::new(pick(
            bzip2::LEVELS,
            bzip2::DEFAULT_LEVEL,
        )?))),
        #[cfg(feature = "zstd")]
        Algorithm::Zstd => Ok(Arc::new(zstd::Zstd::new(pick(
            zstd::LEVELS,
            zstd::DEFAULT_LEVEL,
        )?))),
        #[cfg(not(feature = "zstd"))]
        Algorithm::Zstd => Err(
            Error::new(crate::ErrorKind::Unsupported, "choose compression")
                .because("zstd is not built in")
                .hint("build backup-core with its feature `zstd`"),
        ),
    }
}

/// A codec to read with. All readers share one of each algorithm, and so the memory that it works with.
///
/// # Errors
/// [`Unsupported`](crate::ErrorKind::Unsupported) where the codec was not built in.
pub fn decompressor(algorithm: Algorithm) -> Result<Arc<dyn Compressor>> {
    static SHARED: [OnceLock<Arc<dyn Compressor>>; 4] = [const { OnceLock::new() }; 4];
    let shared = match algorithm {
        Algorithm::None => &SHARED[0],
        Algorithm::Zlib => &SHARED[1],
        Algorithm::Bzip2 => &SHARED[2],
        Algorithm::Zstd => &SHARED[3],
    };
    if let Some(codec) = shared.get() {
        return Ok(Arc::clone(codec));
    }
    let codec = compressor(algorithm, None)?;
    Ok(Arc::clone(shared.get_or_init(|| codec)))
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
    /// Whether the compressed stream is complete: what follows is not part of it. Never set by codecs whose objects
    /// may hold several streams in a row, or none: only the end of the input ends those.
    pub finished: bool,
}

impl Step {
    /// Nothing taken, nothing yielded: it wants more input.
    const NOTHING: Self = Self {
        consumed: 0,
        produced: 0,
        finished: false,
    };
}

/// A decompression in progress.
///
/// Hand in the object's bytes in pieces of any size and call [`step`](Self::step) until it has taken the piece; at the
/// end of the object, `step` with no input until it produces nothing more, then [`finish`](Self::finish).
pub trait Decoder: Send + fmt::Debug {
    /// Takes some of `input` and fills some of `out`. With room in `out` and input at hand it always gets on; a step
    /// that neither consumes nor produces, and is not finished, wants more input.
    ///
    /// # Errors
    /// [`Corrupt`](crate::ErrorKind::Corrupt) where the input is damaged or yields more than the limit.
    fn step(&mut self, input: &[u8], out: &mut [u8]) -> Result<Step>;

    /// Called once all input was taken.
    ///
    /// # Errors
    /// [`Corrupt`](crate::ErrorKind::Corrupt) where the stream is cut (bytes of no codec carry no end of their own:
    /// there the caller compares the length), or where more output waits than the caller took.
    fn finish(&mut self) -> Result<()>;
}

/// What a codec's counter of bytes went up by in one call on a slice.
fn advance(before: u64, after: u64) -> usize {
    usize::try_from(after - before).unwrap_or(usize::MAX)
}

fn damaged(algorithm: Algorithm) -> Error {
    Error::new(crate::ErrorKind::Corrupt, "decompress")
        .because(format!("the {algorithm} stream is damaged"))
}

fn cut(algorithm: Algorithm) -> Error {
    Error::new(crate::ErrorKind::Corrupt, "decompress")
        .because(format!("the {algorithm} stream is cut short"))
}

fn over_limit(algorithm: Algorithm, limit: u64) -> Error {
    Error::new(crate::ErrorKind::Corrupt, "decompress").because(format!(
        "the {algorithm} object holds more than the {limit} bytes that it should"
    ))
}

fn wrong_length(algorithm: Algorithm, holds: u64, expected: usize) -> Error {
    Error::new(crate::ErrorKind::Corrupt, "decompress").because(format!(
        "the {algorithm} object holds {holds} bytes where {expected} were expected"
    ))
}

/// Decompresses all of `input` into exactly `out`, unless `cancel` is cancelled.
///
/// # Errors
/// As [`Compressor::decompress`]; [`Cancelled`](crate::ErrorKind::Cancelled) well below a second after `cancel` was
/// cancelled. Codecs that take no longer than that for the longest object that is held in memory are not interrupted:
/// bzip2, which reads some 20 MB/s, is.
pub(crate) fn decompress_until_cancelled(
    algorithm: Algorithm,
    input: &[u8],
    out: &mut [u8],
    cancel: &CancelToken,
) -> Result<()> {
    cancel.check("decompress")?;
    let codec = decompressor(algorithm)?;
    match algorithm {
        Algorithm::Bzip2 => {
            let mut decoder = codec.decoder(out.len() as u64)?;
            decompress_by_steps(algorithm, &mut *decoder, input, out, cancel)
        }
        Algorithm::None | Algorithm::Zlib | Algorithm::Zstd => codec.decompress(input, out),
    }
}

/// Most bytes that a decoder makes between two looks at the cancel token.
const STEP: usize = 1 << 20;

/// Runs `decoder`, whose limit is `out`'s length, over a whole object. Bytes behind its end are not looked at.
fn decompress_by_steps(
    algorithm: Algorithm,
    decoder: &mut dyn Decoder,
    mut input: &[u8],
    out: &mut [u8],
    cancel: &CancelToken,
) -> Result<()> {
    let mut filled = 0;
    loop {
        cancel.check("decompress")?;
        let room = out.len().min(filled + STEP);
        let step = decoder.step(input, &mut out[filled..room])?;
        input = &input[step.consumed..];
        filled += step.produced;
        if step.finished || (step.consumed == 0 && step.produced == 0) {
            break;
        }
    }
    decoder.finish()?;
    if filled != out.len() {
        return Err(wrong_length(algorithm, filled as u64, out.len()));
    }
    Ok(())
}
