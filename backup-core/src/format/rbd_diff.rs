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

mod read;
mod write;

pub use read::DiffReader;
pub use write::DiffWriter;

use crate::range::ByteRange;

const BANNER_1: &[u8; 12] = b"rbd diff v1\n";
const BANNER_2: &[u8; 12] = b"rbd diff v2\n";

/// Longest name of a state, in bytes: that of a snapshot is shorter.
const MAX_NAME: u32 = 4096;

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

#[cfg(test)]
mod tests;
