//! What of a piece must be written: its zeroes, its data, and what is the same as before, in runs.

use std::ops::Range;

use crate::diff::is_zero;
use crate::range::ByteRange;

/// Zeroes and sameness are told in steps of this many bytes, at multiples of it in the volume.
pub(crate) const GRAIN: u64 = 32 << 10;

/// What a run is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum RunKind {
    Data,
    Zero,
    /// As it was before.
    Same,
}

/// A part of a piece.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Run {
    /// Where it lies in the piece.
    pub(crate) part: Range<usize>,
    pub(crate) kind: RunKind,
}

/// Cuts `new`, which lies at `at` of the volume, into runs. `old` is what was there before, as long as `new`.
pub(crate) fn runs(at: u64, new: &[u8], old: Option<&[u8]>) -> Vec<Run> {
    let mut runs: Vec<Run> = Vec::new();
    let Some(whole) = ByteRange::at(at, new.len() as u64) else {
        return runs;
    };
    let mut start = 0;
    for grain in whole.pieces(GRAIN) {
        // Each is at most a grain long.
        let end = start + usize::try_from(grain.len()).unwrap_or(0);
        let bytes = &new[start..end];
        let kind = if old.is_some_and(|old| old[start..end] == *bytes) {
            RunKind::Same
        } else if is_zero(bytes) {
            RunKind::Zero
        } else {
            RunKind::Data
        };
        match runs.last_mut() {
            Some(last) if last.kind == kind => last.part.end = end,
            _ => runs.push(Run {
                part: start..end,
                kind,
            }),
        }
        start = end;
    }
    runs
}

#[cfg(test)]
mod tests {
    use super::*;

    const STEP: usize = 32 << 10;

    fn kinds(runs: &[Run]) -> Vec<(usize, usize, RunKind)> {
        runs.iter()
            .map(|r| (r.part.start, r.part.end, r.kind))
            .collect()
    }

    #[test]
    fn zeroes_and_sameness_are_told_at_the_volumes_multiples_of_a_grain() {
        use RunKind::{Data, Same, Zero};
        // A piece that begins 100 bytes before a grain's end.
        let at = GRAIN - 100;
        let mut new = vec![0; 100 + 2 * STEP + 7];
        new[100 + STEP + 5] = 1;
        assert_eq!(
            kinds(&runs(at, &new, None)),
            [
                (0, 100 + STEP, Zero),
                (100 + STEP, 100 + 2 * STEP, Data),
                (100 + 2 * STEP, 100 + 2 * STEP + 7, Zero)
            ]
        );
        let mut old = new.clone();
        old[0] = 9;
        old[100 + STEP + 6] = 2;
        assert_eq!(
            kinds(&runs(at, &new, Some(&old))),
            [
                (0, 100, Zero),
                (100, 100 + STEP, Same),
                (100 + STEP, 100 + 2 * STEP, Data),
                (100 + 2 * STEP, 100 + 2 * STEP + 7, Same)
            ]
        );
        assert!(runs(0, &[], None).is_empty());
    }
}
