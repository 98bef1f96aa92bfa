use crate::range::ByteRange;

/// What is known of a block after it was compared with the parent's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BlockState {
    /// The parent has the same content: nothing to store.
    Same,
    /// All zero, and the parent has other content (or there is no parent).
    Zero,
    /// Other content than the parent's (or there is no parent).
    Data,
}

/// What a piece holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PieceKind {
    /// Bytes to be compressed and stored.
    Data,
    /// Zeroes only.
    Zero,
}

/// A range of the volume that becomes an object (zeroes are first joined with their neighbours).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Piece {
    /// Where it lies in the volume.
    pub range: ByteRange,
    /// What it holds.
    pub kind: PieceKind,
}

/// When neighbouring runs of blocks become one piece.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct JoinRules {
    /// Two changed runs with at most this many unchanged bytes between them are stored as one, since an object costs
    /// more than the bytes. 0: never.
    pub join_gap: u64,
    /// Zeroes that touch changed data stay part of it where they are fewer bytes than this.
    pub zero_run: u64,
}

/// A run of blocks of one state, as block indexes.
#[derive(Clone, Copy)]
struct Run {
    state: BlockState,
    start: u64,
    end: u64,
}

/// Turns the states of the blocks of `range` (which starts at a block's start) into pieces, in order.
///
/// Every changed block is in exactly one piece; a piece of zeroes holds only blocks that are zero; a piece of data
/// begins and ends with a changed block.
pub fn pieces(
    range: ByteRange,
    block_size: u64,
    states: &[BlockState],
    rules: JoinRules,
) -> Vec<Piece> {
    let mut runs: Vec<Run> = Vec::new();
    for (i, &state) in (0..).zip(states) {
        match runs.last_mut() {
            Some(run) if run.state == state => run.end = i + 1,
            _ => runs.push(Run {
                state,
                start: i,
                end: i + 1,
            }),
        }
    }
    join_short_zeroes(&mut runs, rules.zero_run / block_size.max(1));
    let mut out: Vec<Piece> = Vec::new();
    let place = |run: Run| {
        let at = |i: u64| {
            range
                .start()
                .saturating_add(i.saturating_mul(block_size))
                .min(range.end())
        };
        ByteRange::new(at(run.start), at(run.end))
    };
    for run in runs {
        let Some(bytes) = place(run) else { continue };
        let kind = match run.state {
            BlockState::Same => continue,
            BlockState::Zero => PieceKind::Zero,
            BlockState::Data => PieceKind::Data,
        };
        let joined = match out.last_mut() {
            Some(last)
                if kind == PieceKind::Data
                    && last.kind == PieceKind::Data
                    && bytes.start() - last.range.end() <= rules.join_gap =>
            {
                ByteRange::new(last.range.start(), bytes.end()).map(|r| last.range = r)
            }
            _ => None,
        };
        if joined.is_none() {
            out.push(Piece { range: bytes, kind });
        }
    }
    out
}

/// A zero run of fewer than `limit` blocks that touches data becomes data.
fn join_short_zeroes(runs: &mut Vec<Run>, limit: u64) {
    let is_data = |run: Option<&Run>| run.is_some_and(|r| r.state == BlockState::Data);
    for i in 0..runs.len() {
        let run = runs[i];
        if run.state == BlockState::Zero
            && run.end - run.start < limit
            && (is_data(i.checked_sub(1).and_then(|p| runs.get(p))) || is_data(runs.get(i + 1)))
        {
            runs[i].state = BlockState::Data;
        }
    }
    runs.dedup_by(|next, run| {
        let same = next.state == run.state;
        if same {
            run.end = next.end;
        }
        same
    });
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const RULES: JoinRules = JoinRules {
        join_gap: 0,
        zero_run: 8,
    };

    /// One letter a block of one byte: `.` same, `0` zero, `x` data.
    fn run(text: &str, rules: JoinRules) -> String {
        let states: Vec<_> = text.bytes().map(state).collect();
        pieces(ByteRange::up_to(states.len() as u64), 1, &states, rules)
            .iter()
            .map(|p| format!("{:?}{}", p.kind, p.range))
            .collect::<Vec<_>>()
            .join(" ")
    }

    fn state(c: u8) -> BlockState {
        match c {
            b'.' => BlockState::Same,
            b'0' => BlockState::Zero,
            _ => BlockState::Data,
        }
    }

    #[test]
    fn runs_of_changed_blocks_become_pieces() {
        assert_eq!(run("..xx..x", RULES), "Data2..4 Data6..7");
        assert_eq!(run("", RULES), "");
        assert_eq!(run("....", RULES), "");
    }

    #[test]
    fn a_short_zero_run_joins_its_data_and_a_long_one_stands_alone() {
        assert_eq!(run("x000x", RULES), "Data0..5");
        assert_eq!(run("x00000000x", RULES), "Data0..1 Zero1..9 Data9..10");
        assert_eq!(run(".00.", RULES), "Zero1..3");
    }

    #[test]
    fn near_runs_are_joined_over_unchanged_blocks() {
        let near = JoinRules {
            join_gap: 2,
            zero_run: 8,
        };
        assert_eq!(run("x..x...x", near), "Data0..4 Data7..8");
    }

    #[test]
    fn the_last_piece_ends_with_the_range() {
        let got = pieces(
            ByteRange::new(4096, 9000).unwrap(),
            4096,
            &[BlockState::Same, BlockState::Data],
            RULES,
        );
        assert_eq!(got[0].range, ByteRange::new(8192, 9000).unwrap());
    }

    proptest! {
        #[test]
        fn every_changed_block_is_in_exactly_one_piece(
            text in "[.0x]{0,60}", join_gap in 0u64..6, zero_run in 0u64..6,
        ) {
            let states: Vec<_> = text.bytes().map(state).collect();
            let got = pieces(
                ByteRange::up_to(states.len() as u64), 1, &states, JoinRules { join_gap, zero_run });
            let mut covered = vec![0; states.len()];
            for p in &got {
                for i in p.range.start()..p.range.end() {
                    let i = usize::try_from(i).unwrap();
                    covered[i] += 1;
                    if p.kind == PieceKind::Zero {
                        prop_assert_eq!(states[i], BlockState::Zero);
                    }
                }
            }
            for (s, c) in states.iter().zip(&covered) {
                prop_assert!(*c <= 1);
                prop_assert!(*s == BlockState::Same || *c == 1);
            }
            prop_assert!(got.windows(2).all(|w| w[0].range.end() <= w[1].range.start()));
        }
    }
}
