//! Difference files: what `rbd export-diff` writes and `rbd import-diff` reads, versions 1 and 2.
//!
//! A file says how to come from one state of an image to another: the names of both, the length of the later one, then
//! ranges of data and of zeroes, then an end. Its format is Ceph's (`doc/dev/rbd-diff.rst`): all numbers little-endian,
//!
//! | record | tag | version 1 | version 2 |
//! | --- | --- | --- | --- |
//! | the earlier state's name | `f` | length (4 bytes), name | length of the rest (8), then as version 1 |
//! | the later state's name | `t` | likewise | likewise |
//! | the later state's length | `s` | 8 bytes | likewise |
//! | data | `w` | offset (8), length (8), the bytes | likewise |
//! | zeroes | `z` | offset (8), length (8) | likewise |
//! | the end | `e` | | |
//!
//! Names and length come before data. Version 2 lets a reader pass over records that it does not know; it is what `rbd export
//! --export-format 2` holds for each snapshot. The format has no checksum: writer and reader compute the SHA-256 of the
//! whole file, to be kept beside it.
//!
//! Neither holds more than one record's head in memory.

use std::io::{Read, Write};

use sha2::{Digest, Sha256};

use crate::error::{Error, ErrorKind, Result};
use crate::format::shorten;
use crate::range::ByteRange;

const READ: &str = "read difference file";
const WRITE: &str = "write difference file";

const BANNER_1: &[u8; 12] = b"rbd diff v1\n";
const BANNER_2: &[u8; 12] = b"rbd diff v2\n";

/// Longest name of a state, in bytes: that of a snapshot is shorter.
const MAX_NAME: u32 = 4096;

/// Longest record of version 2 that is passed over, in bytes.
const MAX_UNKNOWN: u64 = 1 << 20;

/// Which of the two formats.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum DiffVersion {
    /// `rbd export-diff`'s own, and the only one that `rbd import-diff` takes.
    #[default]
    V1,
    /// What `rbd export --export-format 2` holds.
    V2,
}

/// What a difference is between.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct DiffHead {
    /// Name of the earlier state; `None` for the beginning, when there was nothing.
    pub from: Option<String>,
    /// Name of the later state; `None` for one without.
    pub to: Option<String>,
    /// Length of the later state in bytes.
    pub size: u64,
}

impl DiffHead {
    /// From `from` to `to`, which is `size` bytes long.
    pub fn new(from: Option<String>, to: Option<String>, size: u64) -> Self {
        Self { from, to, size }
    }
}

/// A range that differs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DiffRecord {
    /// Its bytes follow: [`DiffReader::data`].
    Data(ByteRange),
    /// It is zero now.
    Zero(ByteRange),
}

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
        loop {
            let tag = reader.byte()?;
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

#[cfg(test)]
mod tests {
    use super::*;

    fn range(start: u64, end: u64) -> ByteRange {
        ByteRange::new(start, end).unwrap()
    }

    fn written(version: DiffVersion) -> (Vec<u8>, [u8; 32]) {
        let head = DiffHead::new(Some("one".into()), Some("two".into()), 100);
        let mut writer = DiffWriter::new(Vec::new(), version, &head).unwrap();
        writer.data(10, b"abcde").unwrap();
        writer.zero(range(20, 90)).unwrap();
        writer.data(99, b"z").unwrap();
        writer.data(99, b"").unwrap();
        writer.zero(range(3, 3)).unwrap();
        let (bytes, length, sum) = writer.end().unwrap();
        assert_eq!(bytes.len() as u64, length);
        assert_eq!(sum, <[u8; 32]>::from(Sha256::digest(&bytes)));
        (bytes, sum)
    }

    /// By the table at the head of this file, byte by byte.
    #[test]
    fn the_bytes_are_those_of_cephs_description() {
        let number = |n: u64| n.to_le_bytes().to_vec();
        let one = [
            b"rbd diff v1\n".to_vec(),
            b"f\x03\0\0\0one".to_vec(),
            b"t\x03\0\0\0two".to_vec(),
            b"s".to_vec(),
            number(100),
            b"w".to_vec(),
            number(10),
            number(5),
            b"abcde".to_vec(),
            b"z".to_vec(),
            number(20),
            number(70),
            b"w".to_vec(),
            number(99),
            number(1),
            b"ze".to_vec(),
        ];
        assert_eq!(written(DiffVersion::V1).0, one.concat());
        let two = [
            b"rbd diff v2\n".to_vec(),
            b"f".to_vec(),
            number(7),
            b"\x03\0\0\0one".to_vec(),
            b"t".to_vec(),
            number(7),
            b"\x03\0\0\0two".to_vec(),
            b"s".to_vec(),
            number(8),
            number(100),
            b"w".to_vec(),
            number(21),
            number(10),
            number(5),
            b"abcde".to_vec(),
            b"z".to_vec(),
            number(16),
            number(20),
            number(70),
            b"w".to_vec(),
            number(17),
            number(99),
            number(1),
            b"ze".to_vec(),
        ];
        assert_eq!(written(DiffVersion::V2).0, two.concat());
    }

    #[test]
    fn what_is_written_is_read_again_with_the_same_checksum_and_what_follows_is_left() {
        for version in [DiffVersion::V1, DiffVersion::V2] {
            let (mut bytes, sum) = written(version);
            bytes.extend_from_slice(b"more");
            let mut reader = DiffReader::new(&bytes[..]).unwrap();
            assert_eq!(reader.version(), version);
            let head = DiffHead::new(Some("one".into()), Some("two".into()), 100);
            assert_eq!(*reader.head(), head);
            assert_eq!(
                reader.next_record().unwrap(),
                Some(DiffRecord::Data(range(10, 15)))
            );
            let mut buf = [0; 3];
            assert_eq!(reader.data(&mut buf).unwrap(), 3);
            assert_eq!(&buf, b"abc");
            // The rest of it is passed over.
            assert_eq!(
                reader.next_record().unwrap(),
                Some(DiffRecord::Zero(range(20, 90)))
            );
            assert_eq!(reader.data(&mut buf).unwrap(), 0);
            assert_eq!(
                reader.next_record().unwrap(),
                Some(DiffRecord::Data(range(99, 100)))
            );
            assert_eq!(reader.next_record().unwrap(), None);
            assert_eq!(reader.next_record().unwrap(), None);
            let (rest, read) = reader.end().unwrap();
            assert_eq!((rest, read), (&b"more"[..], sum));
        }
    }

    fn read_all(bytes: &[u8]) -> Result<Vec<DiffRecord>> {
        let mut reader = DiffReader::new(bytes)?;
        let mut records = Vec::new();
        while let Some(record) = reader.next_record()? {
            records.push(record);
        }
        Ok(records)
    }

    #[test]
    fn a_file_that_was_cut_anywhere_or_lies_is_refused() {
        for version in [DiffVersion::V1, DiffVersion::V2] {
            let (bytes, _) = written(version);
            read_all(&bytes).unwrap();
            for end in 0..bytes.len() {
                let e = read_all(&bytes[..end]).unwrap_err();
                assert!(e.is(ErrorKind::Corrupt), "cut at {end}: {e:?}");
            }
        }
        let head = b"rbd diff v1\ns\x0a\0\0\0\0\0\0\0";
        let lies: [&[u8]; 5] = [
            b"z\x05\0\0\0\0\0\0\0\x06\0\0\0\0\0\0\0e", // past the end
            b"w\x01\0\0\0\0\0\0\0\xff\xff\xff\xff\xff\xff\xff\xff", // past all ends
            b"q",                                      // unknown
            b"z\x05\0\0\0\0\0\0\0\x01\0\0\0\0\0\0\0s", // a head behind
            b"f\xff\xff\xff\xff",                      // a name of 4 GiB
        ];
        for lie in lies {
            let e = read_all(&[head, lie].concat()).unwrap_err();
            assert!(e.is(ErrorKind::Corrupt), "{lie:?}: {e:?}");
        }
        assert!(read_all(b"rbd diff v1\ne").is_err(), "no length");
        assert!(read_all(b"rbd diff v3\ne").is_err());
    }

    /// `rbd export --export-format 2` tells whether a snapshot is protected, which is nothing to us: in one byte, though it
    /// says eight.
    #[test]
    fn what_version_2_has_besides_is_passed_over() {
        let mut bytes = b"rbd diff v2\np\x08\0\0\0\0\0\0\0\x01".to_vec();
        bytes.extend(b"q\x03\0\0\0\0\0\0\0abc");
        bytes.extend(b"s\x08\0\0\0\0\0\0\0\x0a\0\0\0\0\0\0\0");
        bytes.extend(b"z\x10\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\x0a\0\0\0\0\0\0\0e");
        assert_eq!(read_all(&bytes).unwrap(), [DiffRecord::Zero(range(0, 10))]);
    }
}
