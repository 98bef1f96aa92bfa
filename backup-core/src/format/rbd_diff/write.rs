//! Writing difference files.

use std::io::Write;

use sha2::{Digest, Sha256};

use super::{BANNER_1, BANNER_2, DiffHead, DiffVersion, MAX_NAME};
use crate::error::{Error, ErrorKind, Result};
use crate::format::shorten;
use crate::range::ByteRange;

const WRITE: &str = "write difference file";

/// Writes a difference file.
#[derive(Debug)]
pub struct DiffWriter<W> {
    out: W,
    version: DiffVersion,
    size: u64,
    sha256: Sha256,
    written: u64,
}

impl<W: Write> DiffWriter<W> {
    /// Begins one.
    ///
    /// # Errors
    /// Those of `out`; [`InvalidInput`](ErrorKind::InvalidInput) for a name that is too long.
    pub fn new(out: W, version: DiffVersion, head: &DiffHead) -> Result<Self> {
        let mut writer = Self {
            out,
            version,
            size: head.size,
            sha256: Sha256::new(),
            written: 0,
        };
        writer.put(match version {
            DiffVersion::V1 => BANNER_1,
            DiffVersion::V2 => BANNER_2,
        })?;
        for (tag, name) in [(b'f', &head.from), (b't', &head.to)] {
            let Some(name) = name else {
                continue;
            };
            let length = u32::try_from(name.len())
                .ok()
                .filter(|n| *n <= MAX_NAME)
                .ok_or_else(|| {
                    Error::invalid(
                        WRITE,
                        format!("the name {:?} is too long", shorten(name, 80)),
                    )
                })?;
            writer.tag(tag, 4 + u64::from(length))?;
            writer.put(&length.to_le_bytes())?;
            writer.put(name.as_bytes())?;
        }
        writer.tag(b's', 8)?;
        writer.put(&head.size.to_le_bytes())?;
        Ok(writer)
    }

    fn put(&mut self, bytes: &[u8]) -> Result<()> {
        self.out
            .write_all(bytes)
            .map_err(|e| Error::new(ErrorKind::Io, WRITE).caused_by(e))?;
        self.sha256.update(bytes);
        self.written += bytes.len() as u64;
        Ok(())
    }

    fn tag(&mut self, tag: u8, length: u64) -> Result<()> {
        self.put(&[tag])?;
        match self.version {
            DiffVersion::V1 => Ok(()),
            DiffVersion::V2 => self.put(&length.to_le_bytes()),
        }
    }

    fn range(&mut self, tag: u8, range: ByteRange, data: u64) -> Result<()> {
        if range.end() > self.size {
            return Err(Error::internal(
                WRITE,
                format!("{range} reaches past the end at {}", self.size),
            ));
        }
        self.tag(tag, 16 + data)?;
        self.put(&range.start().to_le_bytes())?;
        self.put(&range.len().to_le_bytes())
    }

    /// Adds data at offset `at`.
    pub fn data(&mut self, at: u64, bytes: &[u8]) -> Result<()> {
        let length = bytes.len() as u64;
        let range = ByteRange::at(at, length)
            .ok_or_else(|| Error::internal(WRITE, "a range past all ends"))?;
        if range.is_empty() {
            return Ok(());
        }
        self.range(b'w', range, length)?;
        self.put(bytes)
    }

    /// Adds zeroes.
    pub fn zero(&mut self, range: ByteRange) -> Result<()> {
        if range.is_empty() {
            return Ok(());
        }
        self.range(b'z', range, 0)
    }

    /// Writes the end; gives back what was written to, how many bytes were, and their SHA-256.
    pub fn end(mut self) -> Result<(W, u64, [u8; 32])> {
        self.put(b"e")?;
        self.out
            .flush()
            .map_err(|e| Error::new(ErrorKind::Io, WRITE).caused_by(e))?;
        Ok((self.out, self.written, self.sha256.finalize().into()))
    }
}
