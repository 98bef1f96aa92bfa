//! The hash list, `P_sha256file`: SHA-256 of every block of the whole volume, which the next incremental compares with
//! and a restore checks against.
//!
//! 72 bytes a block, so 2.25 GiB for each TiB at 32 KiB a block: it is written and read as a stream. In Cinder's style
//! every entry has the same length, so entry `n` of a list begins at a fixed distance from the first.

mod read;
#[cfg(test)]
mod tests;

pub use read::read_hash_list;

use super::json::{push_key, push_line, push_number, push_optional, push_string};
use crate::id::{BackupId, VolumeId};
use crate::timestamp::Timestamp;

/// A block's SHA-256.
pub type BlockHash = [u8; 32];

/// Bytes that one entry takes in Cinder's style: comma, new line, indent, quotes and 64 digits.
pub const ENTRY_STRIDE: usize = 72;

/// Largest block that is accepted, in bytes: 64 MiB. A reader holds a block or two.
pub const MAX_BLOCK_SIZE: u64 = 64 << 20;

/// Between two entries' digits.
const BEFORE_DIGITS: &[u8; 7] = b",\n    \"";

/// All that the hash list says, but for the hashes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HashListHead {
    /// ID of the backup.
    pub backup_id: BackupId,
    /// Name of the backup.
    pub backup_name: Option<String>,
    /// Description of the backup.
    pub backup_description: Option<String>,
    /// When the backup was made; `None` where the text there is no time.
    pub created_at: Option<Timestamp>,
    /// ID of the volume.
    pub volume_id: VolumeId,
    /// Bytes that each hash is of; the last one may be of fewer. The format calls it `chunk_size`.
    pub block_size: u64,
}

/// Appends everything that stands before the first hash.
pub fn write_head(out: &mut Vec<u8>, head: &HashListHead) {
    out.push(b'{');
    let mut first = true;
    push_key(out, 2, &mut first, "backup_description");
    push_optional(out, head.backup_description.as_deref());
    push_key(out, 2, &mut first, "backup_id");
    push_string(out, &head.backup_id.to_string());
    push_key(out, 2, &mut first, "backup_name");
    push_optional(out, head.backup_name.as_deref());
    push_key(out, 2, &mut first, "chunk_size");
    push_number(out, head.block_size);
    push_key(out, 2, &mut first, "created_at");
    push_optional(out, head.created_at.map(Timestamp::python).as_deref());
    push_key(out, 2, &mut first, "sha256s");
    out.push(b'[');
}

/// Appends one hash. `first`: whether it is the list's first one.
pub fn write_hash(out: &mut Vec<u8>, first: bool, hash: &BlockHash) {
    let mut entry = [b'"'; ENTRY_STRIDE];
    let (before, rest) = entry.split_at_mut(BEFORE_DIGITS.len());
    before.copy_from_slice(BEFORE_DIGITS);
    for (pair, byte) in rest.as_chunks_mut().0.iter_mut().zip(hash) {
        *pair = DIGITS[usize::from(*byte)];
    }
    // The first entry has no comma before it.
    out.extend_from_slice(&entry[usize::from(first)..]);
}

/// Appends many hashes, in order. `first`: whether the first of them is the list's first one.
pub fn write_hashes(out: &mut Vec<u8>, first: bool, hashes: &[BlockHash]) {
    out.reserve(hashes.len() * ENTRY_STRIDE);
    for (i, hash) in hashes.iter().enumerate() {
        write_hash(out, first && i == 0, hash);
    }
}

/// Appends everything that stands behind the last hash. `any`: whether there was one.
pub fn write_tail(out: &mut Vec<u8>, head: &HashListHead, any: bool) {
    if any {
        push_line(out, 2);
    }
    out.push(b']');
    let mut first = false;
    push_key(out, 2, &mut first, "version");
    push_string(out, super::FORMAT_VERSION);
    push_key(out, 2, &mut first, "volume_id");
    push_string(out, &head.volume_id.to_string());
    out.extend_from_slice(b"\n}");
}

/// Both hexadecimal digits of each byte.
const DIGITS: [[u8; 2]; 256] = {
    let digits = b"0123456789abcdef";
    let mut table = [[0; 2]; 256];
    let mut byte = 0;
    while byte < 256 {
        table[byte] = [digits[byte >> 4], digits[byte & 15]];
        byte += 1;
    }
    table
};

/// No digit: sets a bit that no nibble has.
const NO_DIGIT: u8 = 0x80;

/// The value of each hexadecimal digit, in either case.
const NIBBLES: [u8; 256] = {
    let mut table = [NO_DIGIT; 256];
    let mut value = 0u8;
    while value < 16 {
        let digit = DIGITS[value as usize][1];
        table[digit as usize] = value;
        table[digit.to_ascii_uppercase() as usize] = value;
        value += 1;
    }
    table
};

/// The hash that 64 digits stand for.
fn decode(digits: &[u8; 64]) -> Option<BlockHash> {
    let mut hash = [0; 32];
    let mut wrong = 0;
    for (byte, pair) in hash.iter_mut().zip(digits.as_chunks::<2>().0) {
        let (high, low) = (NIBBLES[usize::from(pair[0])], NIBBLES[usize::from(pair[1])]);
        wrong |= high | low;
        *byte = (high << 4) | low;
    }
    // Checked once for all digits, so that the loop has no branch.
    (wrong & NO_DIGIT == 0).then_some(hash)
}
