//! The arithmetic of extents against models of a byte or a block at a time.

use backup_core::diff::{
    BlockState, Coverage, JoinRules, Piece, PieceKind, Surviving, merge_newest_wins,
    pieces as pieces_of,
};
use backup_core::{ByteRange, ErrorKind, Result};

use super::bytes::Bytes;

struct Objects(Vec<ByteRange>);

impl Coverage for Objects {
    fn count(&self) -> u64 {
        self.0.len() as u64
    }

    fn range(&self, index: u64) -> Result<ByteRange> {
        // The merge asks only for objects below the count.
        Ok(self.0[usize::try_from(index).expect("few objects")])
    }
}

/// Two bytes the length; then for each layer a byte that counts its objects, and for each object a gap and a length. A
/// gap of 255 steps back instead, so that the layer overlaps.
pub fn merge(data: &[u8]) {
    let mut input = Bytes(data);
    let length = u64::from(input.short() % 2048);
    let mut layers = Vec::new();
    let mut overlap = false;
    while !input.is_empty() && layers.len() < 8 {
        let (mut objects, mut end) = (Vec::new(), 0u64);
        for _ in 0..input.byte() % 32 {
            let (gap, len) = (input.byte(), u64::from(input.byte()));
            let start = if gap == 255 {
                end.saturating_sub(3)
            } else {
                end + u64::from(gap)
            };
            overlap |= start < end && len > 0;
            let range = ByteRange::at(start, len).expect("small numbers");
            end = end.max(range.end());
            objects.push(range);
        }
        layers.push(objects);
    }

    // Newest layer and object that cover each byte.
    let mut model = vec![None; usize::try_from(length).expect("a small length")];
    for (layer, objects) in layers.iter().enumerate() {
        for (index, range) in (0u64..).zip(objects) {
            for at in range.start()..range.end().min(length) {
                model[usize::try_from(at).expect("below the length")] = Some((layer, index));
            }
        }
    }

    let mut got = vec![None; model.len()];
    let mut seen = vec![false; model.len()];
    let mut last_start = 0;
    for item in merge_newest_wins(layers.iter().cloned().map(Objects).collect(), length) {
        let item = match item {
            Ok(item) => item,
            Err(e) => {
                assert!(overlap, "layers that fit together merge: {e}");
                assert_eq!(e.kind(), ErrorKind::Corrupt);
                return;
            }
        };
        let (parts, from, start) = match item {
            Surviving::Gap(range) => (vec![range], None, range.start()),
            Surviving::Object {
                layer,
                index,
                parts,
            } => {
                let object = layers[layer][usize::try_from(index).expect("an index")];
                assert!(!parts.is_empty());
                assert!(parts.iter().all(|&p| object.contains(p)));
                (parts, Some((layer, index)), object.start())
            }
        };
        if from.is_some() {
            assert!(start >= last_start, "objects come in order of offsets");
            last_start = start;
        }
        for part in parts {
            assert!(!part.is_empty() && part.end() <= length);
            for at in part.start()..part.end() {
                let at = usize::try_from(at).expect("below the length");
                assert!(
                    !std::mem::replace(&mut seen[at], true),
                    "byte {at} comes once"
                );
                got[at] = from;
            }
        }
    }
    // Where a layer overlaps itself beyond the volume's end, the merge may not have come across it.
    assert!(seen.iter().all(|&s| s), "every byte comes");
    if !overlap {
        assert_eq!(got, model);
    }
}

/// Block size, join gap, zero run, how short the last block is, then a byte for each block.
pub fn pieces(data: &[u8]) {
    let mut input = Bytes(data);
    let block = u64::from(input.byte() % 64) + 1;
    let rules = JoinRules {
        join_gap: u64::from(input.byte()),
        zero_run: u64::from(input.short() % 1024),
    };
    let short = u64::from(input.byte()) % block;
    let states: Vec<BlockState> = input
        .take(4096)
        .iter()
        .map(|b| match b % 3 {
            0 => BlockState::Same,
            1 => BlockState::Zero,
            _ => BlockState::Data,
        })
        .collect();
    let start = block * 7;
    let end = start + (states.len() as u64 * block).saturating_sub(short);
    let range = ByteRange::new(start, end).expect("start before end");

    let found = pieces_of(range, block, &states, rules);
    let mut covered = vec![0; states.len()];
    for piece in &found {
        assert!(range.contains(piece.range) && !piece.range.is_empty());
        assert!((piece.range.start() - start).is_multiple_of(block));
        assert!(piece.range.end() == end || (piece.range.end() - start).is_multiple_of(block));
        let first = usize::try_from((piece.range.start() - start) / block).expect("an index");
        let behind =
            usize::try_from((piece.range.end() - start).div_ceil(block)).expect("an index");
        for at in first..behind {
            covered[at] += 1;
            if piece.kind == PieceKind::Zero {
                assert_eq!(
                    states[at],
                    BlockState::Zero,
                    "a piece of zeroes has only those"
                );
            }
        }
        assert_ne!(
            states[first],
            BlockState::Same,
            "a piece begins with a change"
        );
        assert_ne!(
            states[behind - 1],
            BlockState::Same,
            "a piece ends with a change"
        );
    }
    for (state, times) in states.iter().zip(covered) {
        assert!(times <= 1, "no block is stored twice");
        assert!(
            times == 1 || *state == BlockState::Same,
            "every change is stored"
        );
    }
    assert!(
        found
            .windows(2)
            .all(|pair| pair[0].range.end() <= pair[1].range.start()),
        "pieces come in order"
    );
    follow_the_rules(&found, range, block, &states, rules);
}

/// What joins and what does not, told by the blocks within and between the pieces.
fn follow_the_rules(
    found: &[Piece],
    range: ByteRange,
    block: u64,
    states: &[BlockState],
    rules: JoinRules,
) {
    let index = |at: u64| usize::try_from((at - range.start()).div_ceil(block)).expect("an index");
    for piece in found.iter().filter(|p| p.kind == PieceKind::Data) {
        let within = &states[index(piece.range.start())..index(piece.range.end())];
        for run in within.chunk_by(|a, b| a == b) {
            let bytes = run.len() as u64 * block;
            match run[0] {
                BlockState::Same => assert!(bytes <= rules.join_gap, "a gap of {bytes} is joined"),
                BlockState::Zero => assert!(
                    (run.len() as u64) < rules.zero_run / block,
                    "{bytes} zeroes are stored as data"
                ),
                BlockState::Data => {}
            }
        }
    }
    for pair in found.windows(2) {
        let gap = pair[1].range.start() - pair[0].range.end();
        if pair.iter().all(|p| p.kind == PieceKind::Data) {
            assert!(gap > rules.join_gap, "a gap of {gap} is not joined");
        }
        // A short run of zeroes beside data belongs to it.
        if gap == 0
            && let Some(zero) = pair.iter().find(|p| p.kind == PieceKind::Zero)
        {
            let blocks = (index(zero.range.end()) - index(zero.range.start())) as u64;
            assert!(
                blocks >= rules.zero_run / block,
                "{blocks} blocks of zeroes stand alone"
            );
        }
    }
}
