//! Objects that hold only zeroes, made without compressing or hashing them.
//!
//! They are stored as one zlib stream, which every Cinder reads, whatever the configured codec. A zlib stream may be
//! put together from blocks that were deflated alone, as long as each ends at a byte's border and refers only to
//! itself; so a stream for any length is a header, a number of copies of one deflated slab, the deflated rest, and the
//! Adler-32 of zeroes, which is arithmetic. MD5 goes on from states kept at each slab.

use std::sync::Mutex;

use bytes::{BufMut, Bytes, BytesMut};
use flate2::{Compress, Compression, FlushCompress, Status};
use md5_lanes::Md5;

use crate::error::{Error, Result};

/// Zeroes that one slab stands for, in bytes.
const SLAB: usize = 256 << 10;

/// Makes zero objects of any length up to a limit.
#[derive(Debug)]
pub struct ZeroStreams {
    slab: Vec<u8>,
    states: Mutex<Vec<Md5>>, // states[i]: after i slabs
}

/// A stored object of zeroes.
#[derive(Debug, Clone)]
pub struct ZeroObject {
    /// The zlib stream.
    pub stored: Bytes,
    /// MD5 of the zeroes.
    pub md5: [u8; 16],
}

impl ZeroStreams {
    /// Deflates the slab.
    pub fn new() -> Result<Self> {
        Ok(Self {
            slab: deflate_zeroes(SLAB, FlushCompress::Full)?,
            states: Mutex::new(vec![Md5::new()]),
        })
    }

    /// The object that holds `length` zeroes.
    pub fn object(&self, length: u64) -> Result<ZeroObject> {
        let slabs = usize::try_from(length / SLAB as u64)
            .map_err(|_| Error::invalid("make zero object", "too long for memory"))?;
        // Below SLAB, so it fits.
        let rest = usize::try_from(length % SLAB as u64).unwrap_or(0);
        let tail = deflate_zeroes(rest, FlushCompress::Finish)?;
        let mut stored = BytesMut::with_capacity(2 + slabs * self.slab.len() + tail.len() + 4);
        // RFC 1950: deflate with a window of 32 KiB, default compression, no dictionary.
        stored.put_slice(&[0x78, 0x9c]);
        for _ in 0..slabs {
            stored.put_slice(&self.slab);
        }
        stored.put_slice(&tail);
        stored.put_u32(adler32_of_zeroes(length));
        Ok(ZeroObject {
            stored: stored.freeze(),
            md5: self.md5(slabs, rest),
        })
    }

    fn md5(&self, slabs: usize, rest: usize) -> [u8; 16] {
        let zeroes = vec![0; SLAB];
        let mut state = {
            let mut states = self
                .states
                .lock()
                .unwrap_or_else(std::sync::PoisonError::into_inner);
            while states.len() <= slabs {
                let mut next = states[states.len() - 1].clone();
                next.update(&zeroes);
                states.push(next);
            }
            states[slabs].clone()
        };
        state.update(&zeroes[..rest]);
        state.finalize()
    }
}

/// Adler-32 of `length` zeroes: the first sum stays 1, the second counts them, both modulo 65521.
fn adler32_of_zeroes(length: u64) -> u32 {
    let count = u32::try_from(length % 65521).unwrap_or(0);
    (count << 16) | 1
}

/// Raw deflate of `length` zeroes, ended as `flush` says.
fn deflate_zeroes(length: usize, flush: FlushCompress) -> Result<Vec<u8>> {
    let input = vec![0; length];
    let mut out = Vec::with_capacity(length / 500 + 128);
    let mut deflate = Compress::new(Compression::new(6), false);
    let status = deflate
        .compress_vec(&input, &mut out, flush)
        .map_err(|e| Error::internal("deflate zeroes", e.to_string()))?;
    let complete = match flush {
        FlushCompress::Finish => status == Status::StreamEnd,
        _ => out.len() < out.capacity(),
    };
    if deflate.total_in() != length as u64 || !complete {
        return Err(Error::internal("deflate zeroes", "the output did not fit"));
    }
    Ok(out)
}

#[cfg(test)]
mod tests {
    use std::io::Read;

    use super::*;

    #[test]
    fn a_zero_object_is_one_valid_zlib_stream_of_its_length() {
        let z = ZeroStreams::new().unwrap();
        for length in [
            1,
            512,
            32768,
            SLAB - 1,
            SLAB,
            SLAB + 1,
            3 * SLAB + 777,
            64 << 20,
        ] {
            let object = z.object(length as u64).unwrap();
            let mut out = Vec::new();
            let mut decoder = flate2::read::ZlibDecoder::new(&object.stored[..]);
            decoder.read_to_end(&mut out).unwrap();
            assert_eq!(
                decoder.total_in(),
                object.stored.len() as u64,
                "no trailing bytes"
            );
            assert_eq!(out.len(), length);
            assert!(crate::diff::is_zero(&out));
            assert_eq!(object.md5, md5_lanes::md5(&out));
            assert!(
                object.stored.len() <= length / 200 + 64,
                "{}",
                object.stored.len()
            );
        }
    }
}
