//! Reading difference files.

use std::io::Read;

use sha2::{Digest, Sha256};

use super::{BANNER_1, BANNER_2, DiffHead, DiffRecord, DiffVersion, MAX_NAME};
use crate::error::{Error, ErrorKind, Result};
use crate::range::ByteRange;

const READ: &str = "read difference file";

/// Longest record of version 2 that is passed over, in bytes.
const MAX_UNKNOWN: u64 = 1 << 20;

/// Reads a difference file, record by record.
#[derive(Debug)]
pub struct DiffReader<R> {
    input: R,
    version: DiffVersion,
    head: DiffHead,
    sha256: Sha256,
    /// The first tag behind the head, until it is asked for.
    next: Option<u8>,
    /// Bytes of data that were not yet read.
    left: u64,
    ended: bool,
}

fn corrupt(why: impl Into<String>) -> Error {
    Error::new(ErrorKind::Corrupt, READ).because(why)
}

impl<R: Read> DiffReader<R> {
    /// Reads the head.
    ///
    /// # Errors
    /// [`Corrupt`](ErrorKind::Corrupt) where it is no difference file, or one that was cut.
    pub fn new(input: R) -> Result<Self> {
        let mut reader = Self {
            input,
            version: DiffVersion::V1,
            head: DiffHead::default(),
            sha256: Sha256::new(),
            next: None,
            left: 0,
            ended: false,
        };
        let mut banner = [0; 12];
        reader.fill(&mut banner)?;
        reader.version = match &banner {
            BANNER_1 => DiffVersion::V1,
            BANNER_2 => DiffVersion::V2,
            _ => return Err(corrupt("it does not begin as `rbd export-diff` writes")),
        };
        let mut size = None;
        let mut seen = Vec::new();
        loop {
            let tag = reader.byte()?;
            // Which of two is meant nobody can tell.
            if matches!(tag, b'f' | b't' | b's') {
                if seen.contains(&tag) {
                    let tag = char::from(tag);
                    return Err(corrupt(format!("it has two records {tag:?} in its head")));
                }
                seen.push(tag);
            }
            match tag {
                b'f' => reader.head.from = Some(reader.name()?),
                b't' => reader.head.to = Some(reader.name()?),
                b's' => {
                    reader.length_is(8)?;
                    size = Some(reader.number()?);
                }
                b'w' | b'z' | b'e' => {
                    reader.next = Some(tag);
                    break;
                }
                _ => reader.pass_over(tag)?,
            }
        }
        reader.head.size = size.ok_or_else(|| corrupt("it does not say how long the image is"))?;
        Ok(reader)
    }

    /// What it is between.
    pub fn head(&self) -> &DiffHead {
        &self.head
    }

    /// Which format it is of.
    pub fn version(&self) -> DiffVersion {
        self.version
    }

    /// The next range; `None` at the end. What was not read of the data before is passed over.
    ///
    /// # Errors
    /// [`Corrupt`](ErrorKind::Corrupt) for a range past the end that the head names, and where the file was cut.
    pub fn next_record(&mut self) -> Result<Option<DiffRecord>> {
        let mut passed = [0; 8192];
        while self.left > 0 {
            self.data(&mut passed)?;
        }
        while !self.ended {
            let tag = match self.next.take() {
                Some(tag) => tag,
                None => self.byte()?,
            };
            match tag {
                b'e' => self.ended = true,
                b'w' | b'z' => {
                    let told = self.length()?;
                    let (at, length) = (self.number()?, self.number()?);
                    let range = ByteRange::at(at, length)
                        .filter(|range| range.end() <= self.head.size)
                        .ok_or_else(|| {
                            corrupt(format!(
                                "{length} bytes at {at} reach past the end at {}",
                                self.head.size
                            ))
                        })?;
                    let data = if tag == b'w' { length } else { 0 };
                    if told.is_some_and(|told| told != 16 + data) {
                        return Err(corrupt(format!("the record at {at} has a wrong length")));
                    }
                    self.left = data;
                    return Ok(Some(if tag == b'w' {
                        DiffRecord::Data(range)
                    } else {
                        DiffRecord::Zero(range)
                    }));
                }
                b'f' | b't' | b's' => return Err(corrupt("a part of the head comes behind data")),
                _ => self.pass_over(tag)?,
            }
        }
        Ok(None)
    }

    /// Fills `buf` with the next bytes of the record's data: how many, 0 where all were read.
    pub fn data(&mut self, buf: &mut [u8]) -> Result<usize> {
        let length = usize::try_from(self.left).map_or(buf.len(), |left| left.min(buf.len()));
        self.fill(&mut buf[..length])?;
        self.left -= length as u64;
        Ok(length)
    }

    /// Behind the end: gives back the input, which may go on with something else, and the SHA-256 of what was read.
    ///
    /// # Errors
    /// [`Internal`](ErrorKind::Internal) before [`next_record`](Self::next_record) has told the end.
    pub fn end(self) -> Result<(R, [u8; 32])> {
        if !self.ended {
            return Err(Error::internal(
                READ,
                "asked for its checksum before its end",
            ));
        }
        Ok((self.input, self.sha256.finalize().into()))
    }

    fn fill(&mut self, buf: &mut [u8]) -> Result<()> {
        self.input.read_exact(buf).map_err(|e| {
            if e.kind() == std::io::ErrorKind::UnexpectedEof {
                corrupt("it ends in the middle").caused_by(e)
            } else {
                Error::new(ErrorKind::Io, READ).caused_by(e)
            }
        })?;
        self.sha256.update(&buf);
        Ok(())
    }

    fn byte(&mut self) -> Result<u8> {
        let mut byte = [0];
        self.fill(&mut byte)?;
        Ok(byte[0])
    }

    fn number(&mut self) -> Result<u64> {
        let mut bytes = [0; 8];
        self.fill(&mut bytes)?;
        Ok(u64::from_le_bytes(bytes))
    }

    /// The length of the record's rest, where the version has one.
    fn length(&mut self) -> Result<Option<u64>> {
        match self.version {
            DiffVersion::V1 => Ok(None),
            DiffVersion::V2 => self.number().map(Some),
        }
    }

    fn length_is(&mut self, expected: u64) -> Result<()> {
        match self.length()? {
            Some(told) if told != expected => Err(corrupt(format!(
                "a record of the head has {told} bytes and not {expected}"
            ))),
            _ => Ok(()),
        }
    }

    fn name(&mut self) -> Result<String> {
        let told = self.length()?;
        let mut bytes = [0; 4];
        self.fill(&mut bytes)?;
        let length = u32::from_le_bytes(bytes);
        let fits = told.is_none_or(|told| told == 4 + u64::from(length));
        if length > MAX_NAME || !fits {
            return Err(corrupt(format!("a name of {length} bytes cannot be right")));
        }
        let mut name = vec![0; usize::try_from(length).unwrap_or(0)];
        self.fill(&mut name)?;
        String::from_utf8(name).map_err(|_| corrupt("a name is not UTF-8"))
    }

    fn pass_over(&mut self, tag: u8) -> Result<()> {
        let mut known = self.length()?.filter(|length| *length <= MAX_UNKNOWN);
        // Whether the snapshot is protected: Ceph writes and reads one byte here, whatever the length before it says.
        if tag == b'p' && known.is_some() {
            known = Some(1);
        }
        let Some(mut left) = known else {
            return Err(corrupt(format!(
                "it has a record of an unknown kind, {tag:#04x}"
            )));
        };
        let mut passed = [0; 4096];
        while left > 0 {
            let length = usize::try_from(left).map_or(passed.len(), |n| n.min(passed.len()));
            self.fill(&mut passed[..length])?;
            left -= length as u64;
        }
        Ok(())
    }
}
