use sha2::{Digest, Sha256};

use crate::error::Result;
use crate::job::CancelToken;

/// SHA-256 of a block.
pub type BlockHash = [u8; 32];

/// CPU work looks at the cancel token after this many bytes.
const CANCEL_STEP: usize = 4 << 20;

/// Whether every byte is zero. Folds words, so that it runs at memory speed.
pub fn is_zero(data: &[u8]) -> bool {
    // Content that is not zero mostly shows within the first bytes.
    let (head, _) = data.split_at(data.len().min(32));
    head.iter().all(|&b| b == 0)
        && data
            .chunks(4096)
            .all(|part| part.iter().fold(0, |all, &b| all | b) == 0)
}

/// Hashes a volume's blocks; knows the zero block's hash without computing it again.
#[derive(Debug, Clone)]
pub struct BlockHasher {
    block_size: usize,
    zero_block: BlockHash,
}

impl BlockHasher {
    /// For blocks of `block_size` bytes.
    pub fn new(block_size: usize) -> Self {
        Self {
            block_size,
            zero_block: sha256_of_zeroes(block_size),
        }
    }

    /// The block size in bytes.
    pub fn block_size(&self) -> usize {
        self.block_size
    }

    /// SHA-256 of `length` zero bytes, where `length` is a whole block or the last, short one.
    pub fn zeroes(&self, length: usize) -> BlockHash {
        if length == self.block_size {
            self.zero_block
        } else {
            sha256_of_zeroes(length)
        }
    }

    /// Hash of one block (the last of a volume may be short: it is not padded), and whether it is all zero.
    pub fn block(&self, block: &[u8]) -> (BlockHash, bool) {
        if is_zero(block) {
            (self.zeroes(block.len()), true)
        } else {
            (Sha256::digest(block).into(), false)
        }
    }

    /// Hash and zero test of each block of `data`, which begins at a block's start. Many blocks at once are hashed side
    /// by side in vector lanes where the CPU has them.
    ///
    /// # Errors
    /// [`Cancelled`](crate::ErrorKind::Cancelled).
    pub fn blocks(&self, data: &[u8], cancel: &CancelToken) -> Result<Vec<(BlockHash, bool)>> {
        self.blocks_of(&[data], cancel)
    }

    /// As [`blocks`](Self::blocks), of several pieces of data, each of which begins at a block's start: short pieces fill
    /// the lanes together.
    ///
    /// # Errors
    /// [`Cancelled`](crate::ErrorKind::Cancelled).
    pub fn blocks_of(
        &self,
        pieces: &[&[u8]],
        cancel: &CancelToken,
    ) -> Result<Vec<(BlockHash, bool)>> {
        let block_size = self.block_size.max(1);
        let count = pieces.iter().map(|p| p.len().div_ceil(block_size)).sum();
        let mut out = Vec::with_capacity(count);
        let mut blocks = pieces.iter().flat_map(|piece| piece.chunks(block_size));
        let mut filled: Vec<&[u8]> = Vec::new();
        let mut hashes: Vec<BlockHash> = Vec::new();
        while out.len() < count {
            cancel.check("hash blocks")?;
            let first = out.len();
            filled.clear();
            for block in blocks.by_ref().take(CANCEL_STEP.div_ceil(block_size)) {
                if is_zero(block) {
                    out.push((self.zeroes(block.len()), true));
                } else {
                    out.push(([0; 32], false));
                    filled.push(block);
                }
            }
            hashes.resize(filled.len(), [0; 32]);
            sha256_lanes::sha256_many_into(&filled, &mut hashes);
            let places = out[first..].iter_mut().filter(|(_, zero)| !zero);
            for ((place, _), hash) in places.zip(&hashes) {
                *place = *hash;
            }
        }
        Ok(out)
    }
}

fn sha256_of_zeroes(length: usize) -> BlockHash {
    let page = [0; 4096];
    let mut hash = Sha256::new();
    let mut left = length;
    while left > 0 {
        let n = left.min(page.len());
        hash.update(&page[..n]);
        left -= n;
    }
    hash.finalize().into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_zero_test_finds_a_single_bit_anywhere() {
        for length in [0, 1, 31, 32, 33, 4096, 4097, 10_000] {
            let mut data = vec![0; length];
            assert!(is_zero(&data));
            for at in [0, length / 2, length.saturating_sub(1)] {
                if at < length {
                    data[at] = 0x80;
                    assert!(!is_zero(&data), "{at} of {length}");
                    data[at] = 0;
                }
            }
        }
    }

    #[test]
    fn a_short_last_block_is_hashed_as_it_is() {
        let h = BlockHasher::new(4096);
        let got = h.blocks(&[0; 5000], &CancelToken::new()).unwrap();
        assert_eq!(got[0], (Sha256::digest([0; 4096]).into(), true));
        assert_eq!(got[1], (Sha256::digest([0; 904]).into(), true));
    }

    #[test]
    fn each_block_gets_its_own_hash_among_zeroes_and_in_any_number() {
        let h = BlockHasher::new(512);
        for count in [1, 9, 16, 40, 20_000] {
            let mut data = vec![0; count * 512 - 3];
            for (i, block) in data.chunks_mut(512).enumerate() {
                if i % 5 != 3 {
                    block[..8].copy_from_slice(&(i as u64 + 1).to_le_bytes());
                }
            }
            let got = h.blocks(&data, &CancelToken::new()).unwrap();
            assert_eq!(got.len(), count);
            for (i, (block, got)) in data.chunks(512).zip(&got).enumerate() {
                assert_eq!(
                    *got,
                    (Sha256::digest(block).into(), i % 5 == 3),
                    "{i} of {count}"
                );
            }
        }
    }

    #[test]
    fn several_pieces_are_hashed_as_each_by_itself() {
        let h = BlockHasher::new(512);
        let data: Vec<u8> = (0..=250u8).flat_map(|n| [n; 400]).collect();
        let pieces = [
            &data[..512],
            &data[1024..1024],
            &data[2048..5120],
            &data[9216..],
        ];
        let cancel = CancelToken::new();
        let one_by_one: Vec<_> = pieces
            .iter()
            .flat_map(|p| h.blocks(p, &cancel).unwrap())
            .collect();
        assert_eq!(h.blocks_of(&pieces, &cancel).unwrap(), one_by_one);
        assert_eq!(
            one_by_one[0].0,
            BlockHash::from(Sha256::digest(&data[..512]))
        );
    }

    #[test]
    fn a_cancelled_job_stops_hashing() {
        let cancel = CancelToken::new();
        cancel.cancel();
        assert!(BlockHasher::new(512).blocks(&[1; 512], &cancel).is_err());
    }
}
