//! What an object's bytes are held against: the newest hash list, its MD5. And what of them is then to be written.

use bytes::Bytes;

use super::item::{Handled, Shared};
use super::split::{WholeBlock, cut};
use crate::backup::Problem;
use crate::diff::{BlockHash, is_zero};
use crate::error::{Error, Result};
use crate::format::metadata::ObjectEntry;
use crate::id::ObjectKey;
use crate::range::ByteRange;

/// Zeroes in the middle of data are written as data where they are fewer than this many bytes.
const ZERO_RUN: u64 = 64 << 10;

/// Something to write to the target.
pub(crate) enum Write {
    Data(ByteRange, Bytes),
    Zeroes(ByteRange),
}

#[derive(Default)]
pub(crate) struct Checked {
    pub(crate) writes: Vec<Write>,
    pub(crate) bytes: u64, // proven to be right
    pub(crate) problems: Vec<Problem>,
}

/// The metadata says that the object is all zeroes, and it is not.
pub(crate) fn not_zero(key: &ObjectKey) -> Error {
    Error::corrupt(
        "check object",
        key,
        "the metadata says that it holds only zeroes, and it holds others",
    )
}

/// Checks that `parts` are zero by the hash list.
pub(crate) fn check_zeroes(
    shared: &Shared,
    name: &str,
    parts: &[ByteRange],
    gap: bool,
    handled: &mut Handled,
) -> Result<Vec<Write>> {
    let chain = &shared.chain;
    let Some(list) = &chain.hashes else {
        return Err(Error::corrupt(
            "check",
            name,
            format!(
                "no layer has bytes {} and there is no hash list to tell what they are",
                parts[0]
            ),
        ));
    };
    let block = list.block_size();
    let whole = chain.hasher.zeroes(chain.hasher.block_size());
    let mut out = Checked::default();
    for &all in parts {
        handled.checked += all.len();
        let (split, within) = cut(all, block, chain.length);
        for (block, piece) in split {
            add_piece(shared, name, block, piece, Some(Piece::Zeroes), &mut out)?;
        }
        let Some(part) = within else { continue };
        let first = part.start() / block;
        let count = part.end().div_ceil(block) - first;
        for at in (0..count).step_by(HASHES) {
            let hashes = list.hashes(first + at, (count - at).min(HASHES as u64))?;
            for (i, hash) in (first + at..).zip(&hashes) {
                let expected = match block_length(i, block, chain.length) {
                    n if n == block => whole,
                    n => chain.hasher.zeroes(usize::try_from(n).unwrap_or(0)),
                };
                if *hash != expected {
                    let range = ByteRange::at(i * block, block_length(i, block, chain.length))
                        .unwrap_or(part);
                    let why = if gap {
                        format!(
                            "no layer has bytes {range}, and the hash list says that they are not zero"
                        )
                    } else {
                        format!(
                            "its bytes {range} should be zero, and the hash list says that they are not"
                        )
                    };
                    return Err(Error::corrupt("check", name, why));
                }
            }
        }
        out.writes.push(Write::Zeroes(part));
    }
    handled.problems.append(&mut out.problems);
    Ok(out.writes)
}

/// What a piece of a block holds.
#[derive(Clone, Copy)]
enum Piece<'a> {
    Bytes(&'a [u8]),
    Zeroes,
}

/// Takes in a piece of a block (`None`: it could not be had), and judges the block once it is whole.
fn add_piece(
    shared: &Shared,
    name: &str,
    block: ByteRange,
    piece: ByteRange,
    what: Option<Piece<'_>>,
    out: &mut Checked,
) -> Result<()> {
    let zeroes;
    let bytes = match what {
        Some(Piece::Bytes(bytes)) => Some(bytes),
        Some(Piece::Zeroes) => {
            zeroes = vec![0; usize::try_from(piece.len()).unwrap_or(0)];
            Some(&zeroes[..])
        }
        None => None,
    };
    let Some(whole) = shared.split.add(block, piece, bytes)? else {
        return Ok(());
    };
    let why = match whole {
        WholeBlock::Bytes(bytes) => {
            let list = shared.chain.hashes.as_ref().ok_or_else(|| {
                Error::internal("check", "pieces of blocks are kept without a hash list")
            })?;
            let expected = list.hashes(block.start() / list.block_size(), 1)?;
            let found = shared.chain.hasher.blocks(&bytes, shared.cx.cancel())?;
            if found.first().map(|(hash, _)| hash) == expected.first() {
                out.writes.push(Write::Data(block, Bytes::from(bytes)));
                return Ok(());
            }
            "the SHA-256 of a block that comes in pieces from several objects is not what the hash list says: an offset \
             or a length in the metadata is the suspect"
        }
        WholeBlock::Bad => "a piece of this block could not be had",
    };
    if !shared.tolerant {
        return Err(Error::corrupt(
            "check object",
            name,
            format!("{why} (bytes {block} of the volume)"),
        )
        .hint("the backup is damaged; `volume backup verify` lists all damage, `--salvage` restores the rest"));
    }
    out.problems.push(Problem::new(name, Some(block), why));
    out.writes.push(Write::Zeroes(block));
    Ok(())
}

/// What is written for parts that could not be had, where the job goes on: zeroes, so that nothing old stays there.
pub(crate) fn without(
    shared: &Shared,
    name: &str,
    parts: &[ByteRange],
    handled: &mut Handled,
) -> Result<Vec<Write>> {
    let Some(list) = &shared.chain.hashes else {
        return Ok(parts.iter().map(|&p| Write::Zeroes(p)).collect());
    };
    let mut out = Checked::default();
    for &part in parts {
        let (split, within) = cut(part, list.block_size(), shared.chain.length);
        for (block, piece) in split {
            add_piece(shared, name, block, piece, None, &mut out)?;
        }
        out.writes.extend(within.map(Write::Zeroes));
    }
    handled.problems.append(&mut out.problems);
    Ok(out.writes)
}

/// Hashes looked up at once.
const HASHES: usize = 8192;

fn block_length(index: u64, block: u64, length: u64) -> u64 {
    length.saturating_sub(index * block).min(block)
}

/// Holds an object's MD5 against the metadata's.
pub(crate) fn check_md5(
    shared: &Shared,
    entry: &ObjectEntry,
    key: &ObjectKey,
    data: &[u8],
) -> Result<()> {
    let Some(expected) = entry.md5 else {
        return no_checksum(shared, key);
    };
    if md5_lanes::md5(data) != expected {
        return Err(wrong_md5(key));
    }
    Ok(())
}

pub(crate) fn wrong_md5(key: &ObjectKey) -> Error {
    Error::corrupt("check object", key, "its MD5 is not what the metadata says")
        .hint("the object is damaged; `volume backup verify` lists all that is, `--salvage` restores the rest")
}

/// Without an MD5 only a hash list can prove an object.
pub(crate) fn no_checksum(shared: &Shared, key: &ObjectKey) -> Result<()> {
    if shared.chain.hashes.is_some() {
        return Ok(());
    }
    Err(Error::corrupt(
        "check object",
        key,
        "neither an MD5 nor a hash list is there to check it",
    ))
}

/// Checks `parts` of `data`, which lies at `offset` of the volume, against the hash list where there is one (else its MD5
/// was checked), and tells what is to be written.
#[expect(
    clippy::too_many_arguments,
    reason = "whole objects and slices share it"
)]
pub(crate) fn check_parts(
    shared: &Shared,
    key: &ObjectKey,
    parts: &[ByteRange],
    offset: u64,
    data: &Bytes,
    md5_is_right: bool,
    md5: impl Fn() -> [u8; 16],
    expected_md5: Option<[u8; 16]>,
) -> Result<Checked> {
    let mut out = Checked::default();
    let slice = |part: ByteRange| {
        let from = usize::try_from(part.start() - offset);
        let to = usize::try_from(part.end() - offset);
        match (from, to) {
            (Ok(from), Ok(to)) => Ok(data.slice(from..to)),
            _ => Err(Error::internal("check object", "too long for memory").on(key)),
        }
    };
    let mut pieces: Vec<(ByteRange, Bytes)> = Vec::with_capacity(parts.len());
    for &all in parts {
        out.bytes += all.len();
        let mut part = all;
        if let Some(list) = &shared.chain.hashes {
            let (split, within) = cut(all, list.block_size(), shared.chain.length);
            for (block, piece) in split {
                let bytes = slice(piece)?;
                let what = Some(Piece::Bytes(&bytes));
                add_piece(shared, &key.to_string(), block, piece, what, &mut out)?;
            }
            match within {
                Some(within) => part = within,
                None => continue,
            }
        }
        pieces.push((part, slice(part)?));
    }
    let mut found = match &shared.chain.hashes {
        Some(_) => {
            let pieces: Vec<&[u8]> = pieces.iter().map(|(_, bytes)| &bytes[..]).collect();
            let hasher = &shared.chain.hasher;
            hasher.blocks_of(&pieces, shared.cx.cancel())?.into_iter()
        }
        None => Vec::new().into_iter(),
    };
    for (part, bytes) in pieces {
        let blocks = match &shared.chain.hashes {
            Some(list) => {
                let block = list.block_size();
                let count = part.len().div_ceil(block);
                let expected = list.hashes(part.start() / block, count)?;
                let count = usize::try_from(count).unwrap_or(usize::MAX);
                check_blocks(part, block, found.by_ref().take(count), &expected)
            }
            None => untested(part, &bytes),
        };
        if let Some(bad) = blocks.iter().find(|b| b.bad) {
            let suspect = if md5_is_right || expected_md5.is_some_and(|e| e == md5()) {
                format!(
                    "the SHA-256 of a block is not what the hash list says, though the object's MD5 is right: the \
                     hash list {} is the suspect",
                    shared.chain.hash_list()
                )
            } else {
                "the SHA-256 of a block is not what the hash list says".to_owned()
            };
            if !shared.tolerant {
                return Err(Error::corrupt(
                    "check object",
                    key,
                    format!("{suspect} (bytes {} of the volume)", bad.range),
                )
                .hint("the backup is damaged; `volume backup verify` lists all damage, `--salvage` restores the rest"));
            }
            out.problems.extend(
                joined(&blocks)
                    .filter(|b| b.bad)
                    .map(|b| Problem::new(key.to_string(), Some(b.range), &suspect)),
            );
        }
        add_writes(&mut out.writes, part, &bytes, &blocks);
    }
    Ok(out)
}

/// A block or a run of blocks of one kind.
#[derive(Clone, Copy)]
struct Run {
    range: ByteRange,
    zero: bool,
    bad: bool,
}

fn check_blocks(
    part: ByteRange,
    block: u64,
    found: impl Iterator<Item = (BlockHash, bool)>,
    expected: &[BlockHash],
) -> Vec<Run> {
    part.pieces(block)
        .zip(found)
        .enumerate()
        .map(|(i, (range, (hash, zero)))| {
            let bad = expected.get(i) != Some(&hash);
            Run {
                range,
                zero: zero || bad,
                bad,
            }
        })
        .collect()
}

/// Bytes that their object's MD5 proves: only looked at for zeroes.
fn untested(part: ByteRange, bytes: &[u8]) -> Vec<Run> {
    let mut at = 0;
    part.pieces(ZERO_RUN)
        .map(|range| {
            let end = at + usize::try_from(range.len()).unwrap_or(0);
            let zero = is_zero(&bytes[at..end]);
            at = end;
            Run {
                range,
                zero,
                bad: false,
            }
        })
        .collect()
}

/// Neighbouring runs of one kind as one.
fn joined(runs: &[Run]) -> impl Iterator<Item = Run> {
    runs.chunk_by(|a, b| a.zero == b.zero && a.bad == b.bad)
        .filter_map(|same| {
            let (first, last) = (same.first()?, same.last()?);
            Some(Run {
                range: ByteRange::new(first.range.start(), last.range.end())?,
                ..*first
            })
        })
}

/// Turns runs into writes. What is bad is written as zeroes, so that nothing old or wrong stays there.
fn add_writes(writes: &mut Vec<Write>, part: ByteRange, bytes: &Bytes, blocks: &[Run]) {
    let mut data: Option<ByteRange> = None;
    let flush = |data: &mut Option<ByteRange>, writes: &mut Vec<Write>| {
        if let Some(range) = data.take() {
            let from = usize::try_from(range.start() - part.start()).unwrap_or(0);
            let to = usize::try_from(range.end() - part.start()).unwrap_or(0);
            writes.push(Write::Data(range, bytes.slice(from..to)));
        }
    };
    for run in joined(blocks) {
        if run.zero && (run.bad || run.range.len() >= ZERO_RUN || run.range == part) {
            flush(&mut data, writes);
            writes.push(Write::Zeroes(run.range));
        } else {
            data = match data {
                Some(d) => ByteRange::new(d.start(), run.range.end()),
                None => Some(run.range),
            };
        }
    }
    flush(&mut data, writes);
}
