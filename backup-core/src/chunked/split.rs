//! Blocks that come in pieces: of objects that begin or end within a block.
//!
//! No writer makes such objects on purpose (chunks are whole blocks, and so are the changes that an incremental finds),
//! but a wrong offset or length in a metadata object does, and each piece's MD5 may be right all the same. So pieces
//! are kept until their block is whole, and the hash list judges that. Nothing of it is written before.

use std::collections::{HashMap, HashSet};
use std::sync::{Mutex, PoisonError};

use crate::error::{Error, Result};
use crate::range::ByteRange;

/// Bytes of such blocks that are kept at the same time.
const KEPT: u64 = 64 << 20;

/// The blocks of a job of which some pieces have come.
#[derive(Debug, Default)]
pub(crate) struct SplitBlocks {
    blocks: Mutex<Blocks>,
}

#[derive(Debug, Default)]
struct Blocks {
    waiting: HashMap<u64, Split>,
    /// Those that were answered: an object that fails behind such a piece brings it once more.
    answered: HashSet<u64>,
}

#[derive(Debug, Default)]
struct Split {
    /// Of the block's length; empty until a piece brings bytes, and once the block is bad.
    bytes: Vec<u8>,
    pieces: Vec<ByteRange>,
    bad: bool,
}

/// A block all of whose pieces have come.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum WholeBlock {
    Bytes(Vec<u8>),
    /// A piece of it could not be had.
    Bad,
}

impl SplitBlocks {
    /// Takes in `piece` of `block`, a range of the volume; `None`: its bytes could not be had. Answers the block once all
    /// of it came.
    ///
    /// # Errors
    /// [`Corrupt`](crate::ErrorKind::Corrupt) where more blocks come in pieces than are to be kept.
    pub(crate) fn add(
        &self,
        block: ByteRange,
        piece: ByteRange,
        bytes: Option<&[u8]>,
    ) -> Result<Option<WholeBlock>> {
        let mut blocks = self.blocks.lock().unwrap_or_else(PoisonError::into_inner);
        if blocks.answered.contains(&block.start()) {
            return Ok(None);
        }
        let held: u64 = blocks.waiting.values().map(|b| b.bytes.len() as u64).sum();
        let split = blocks.waiting.entry(block.start()).or_default();
        match bytes {
            Some(bytes) if !split.bad => {
                if split.bytes.is_empty() {
                    if held > 0 && held + block.len() > KEPT {
                        return Err(Error::corrupt(
                            "check",
                            format!("bytes {block} of the volume"),
                            "too many blocks come in pieces from several objects: the metadata's offsets are wrong",
                        ));
                    }
                    split.bytes = vec![0; in_memory(block.len())?];
                }
                let from = in_memory(piece.start() - block.start())?;
                let to = in_memory(piece.end() - block.start())?;
                match split.bytes.get_mut(from..to) {
                    Some(place) if place.len() == bytes.len() => place.copy_from_slice(bytes),
                    _ => return Err(Error::internal("check", "a piece lies outside its block")),
                }
            }
            Some(_) => {}
            None => {
                split.bad = true;
                split.bytes = Vec::new();
            }
        }
        // One that failed after it had brought some of its bytes comes again.
        if !split.pieces.contains(&piece) {
            split.pieces.push(piece);
        }
        if split.pieces.iter().map(|p| p.len()).sum::<u64>() < block.len() {
            return Ok(None);
        }
        blocks.answered.insert(block.start());
        Ok(blocks.waiting.remove(&block.start()).map(|split| {
            if split.bad {
                WholeBlock::Bad
            } else {
                WholeBlock::Bytes(split.bytes)
            }
        }))
    }

    /// Whether no block waits for a piece.
    pub(crate) fn is_empty(&self) -> bool {
        let blocks = self.blocks.lock().unwrap_or_else(PoisonError::into_inner);
        blocks.waiting.is_empty()
    }
}

fn in_memory(bytes: u64) -> Result<usize> {
    usize::try_from(bytes).map_err(|_| Error::internal("check", "block too long for memory"))
}

/// `part` cut where whole blocks of a volume of `length` bytes begin and end: pieces of blocks with their blocks, and
/// the whole blocks.
pub(crate) fn cut(
    part: ByteRange,
    block: u64,
    length: u64,
) -> (Vec<(ByteRange, ByteRange)>, Option<ByteRange>) {
    let first = part.start().next_multiple_of(block).min(part.end());
    let last = match part.end() {
        end if end == length => end,
        end => (end / block * block).max(first),
    };
    let around = |piece: ByteRange| {
        let start = piece.start() / block * block;
        Some((
            ByteRange::new(start, start.saturating_add(block).min(length))?,
            piece,
        ))
    };
    let some = |from: u64, to: u64| ByteRange::new(from, to).filter(|r| !r.is_empty());
    // The last block may be short, and still lack its beginning: then its only piece is at the front.
    let split = [some(part.start(), first), some(last.max(first), part.end())];
    (
        split.into_iter().flatten().filter_map(around).collect(),
        some(first, last),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn range(start: u64, end: u64) -> ByteRange {
        ByteRange::new(start, end).unwrap()
    }

    #[test]
    fn parts_are_cut_where_whole_blocks_begin_and_end() {
        let at = |start, end| cut(range(start, end), 10, 95);
        assert_eq!(at(10, 30), (vec![], Some(range(10, 30))));
        assert_eq!(at(90, 95), (vec![], Some(range(90, 95))));
        assert_eq!(at(91, 95), (vec![(range(90, 95), range(91, 95))], None));
        assert_eq!(at(12, 17), (vec![(range(10, 20), range(12, 17))], None));
        assert_eq!(
            at(12, 47),
            (
                vec![
                    (range(10, 20), range(12, 20)),
                    (range(40, 50), range(40, 47))
                ],
                Some(range(20, 40))
            )
        );
        assert_eq!(
            at(18, 22),
            (
                vec![
                    (range(10, 20), range(18, 20)),
                    (range(20, 30), range(20, 22))
                ],
                None
            )
        );
        assert_eq!(at(10, 12), (vec![(range(10, 20), range(10, 12))], None));
    }

    #[test]
    fn a_block_is_whole_with_its_last_piece_whatever_the_order() {
        let blocks = SplitBlocks::default();
        let block = range(10, 20);
        let add = |start, end, bytes| blocks.add(block, range(start, end), bytes).unwrap();
        assert_eq!(add(15, 20, Some(b"fghij")), None);
        assert!(!blocks.is_empty());
        assert_eq!(add(10, 12, Some(b"ab")), None);
        assert_eq!(
            add(12, 15, Some(b"cde")),
            Some(WholeBlock::Bytes(b"abcdefghij".to_vec()))
        );
        assert!(blocks.is_empty());
    }

    #[test]
    fn a_piece_that_could_not_be_had_makes_its_block_bad() {
        let blocks = SplitBlocks::default();
        let block = range(10, 20);
        assert_eq!(blocks.add(block, range(10, 12), Some(b"ab")).unwrap(), None);
        assert_eq!(blocks.add(block, range(10, 12), None).unwrap(), None);
        let whole = blocks.add(block, range(12, 20), Some(b"cdefghij")).unwrap();
        assert_eq!(whole, Some(WholeBlock::Bad));
    }

    #[test]
    fn a_piece_that_comes_again_after_its_block_was_whole_is_left() {
        let blocks = SplitBlocks::default();
        let block = range(10, 20);
        blocks.add(block, range(10, 12), Some(b"ab")).unwrap();
        let whole = blocks.add(block, range(12, 20), Some(b"cdefghij")).unwrap();
        assert!(whole.is_some());
        assert_eq!(blocks.add(block, range(10, 12), None).unwrap(), None);
        assert!(blocks.is_empty());
    }

    #[test]
    fn only_so_many_pieces_are_kept() {
        let blocks = SplitBlocks::default();
        let mut refused = 0;
        for n in 0..100 {
            let block = ByteRange::at(n << 20, 1 << 20).unwrap();
            let piece = ByteRange::at(n << 20, 1).unwrap();
            refused += u64::from(blocks.add(block, piece, Some(b"x")).is_err());
        }
        assert_eq!(refused, 100 - (KEPT >> 20));
    }
}
