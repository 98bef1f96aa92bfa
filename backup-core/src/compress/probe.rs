//! Tells data that no codec can shrink, without trying: codecs that are slow on such data ask first.
//!
//! About a third of a typical volume is compressed or encrypted already. zlib and bzip2 spend more time on it than on
//! anything else, only to find that it does not fit. Sampled bytes tell, for a thirtieth of that time: one sample that
//! is not like noise is enough to have the input compressed, so that what is stored by mistake is at most what lies
//! unseen between two samples. Zstandard needs no probe; it runs through such data at memory speed.

/// One sample of [`SAMPLE`] bytes is taken from each stretch of this many bytes.
const STRETCH: usize = 8 * 1024;
const SAMPLE: usize = 1024;

/// The sum of the squared counts of the 256 byte values in a sample of noise is 5116 with a standard deviation of 90.
/// Up to this sum a code for single bytes saves less than 2 %.
const NOISE: u32 = 5840;

/// The unit in which noise within an input is told from the rest. It is twice zlib's window, so that a search for
/// repetitions in it shows any period that zlib could use.
const PIECE: usize = 64 * 1024;

/// In a run of noise one piece in this many bytes is searched for repetitions, the first one always.
const SEARCH_STRETCH: usize = 1024 * 1024;

/// Inputs shorter than this are compressed rather than probed: there is too little to judge by.
const SHORTEST: usize = 4 * 1024;

/// Shorter runs of noise are not worth a break in a stream.
const SHORTEST_RUN: usize = 2 * PIECE;

/// Whether `input` looks like noise everywhere, so that compressing it is a waste.
pub(super) fn is_incompressible(input: &[u8]) -> bool {
    matches!(runs_of_noise(input)[..], [(_, true)])
}

/// Cuts `input` into runs of noise (`true`) and of the rest, in turns: their lengths. Looks at about a fifth of it.
pub(super) fn runs_of_noise(input: &[u8]) -> Vec<(usize, bool)> {
    let mut runs: Vec<(usize, bool)> = Vec::new();
    let mut since_search = SEARCH_STRETCH;
    let mut repeating = false;
    for piece in input.chunks(PIECE) {
        let even = input.len() >= SHORTEST
            && piece
                .chunks(STRETCH)
                .all(|stretch| has_even_bytes(&stretch[..stretch.len().min(SAMPLE)]));
        if !even {
            since_search = SEARCH_STRETCH;
        } else if since_search >= SEARCH_STRETCH {
            repeating = repeats(piece);
            since_search = piece.len();
        } else {
            since_search += piece.len();
        }
        let noise = even && !repeating;
        match runs.last_mut() {
            Some((length, kind)) if *kind == noise => *length += piece.len(),
            _ => runs.push((piece.len(), noise)),
        }
    }
    let all_noise = runs.len() == 1;
    let mut joined: Vec<(usize, bool)> = Vec::with_capacity(runs.len());
    for (length, noise) in runs {
        let noise = noise && (all_noise || length >= SHORTEST_RUN);
        match joined.last_mut() {
            Some((before, kind)) if *kind == noise => *before += length,
            _ => joined.push((length, noise)),
        }
    }
    joined
}

/// Whether no byte value is notably more frequent in `sample` than another. Too short a sample has no say.
fn has_even_bytes(sample: &[u8]) -> bool {
    if sample.len() < SAMPLE {
        return true;
    }
    // Four tables, so that equal bytes in a row do not wait for each other.
    let mut counts = [[0u16; 256]; 4];
    for four in sample.chunks_exact(4) {
        for (counts, byte) in counts.iter_mut().zip(four) {
            counts[usize::from(*byte)] += 1;
        }
    }
    let [a, b, c, d] = &counts;
    let squares: u32 = (0..256)
        .map(|i| u32::from(a[i] + b[i] + c[i] + d[i]).pow(2))
        .sum();
    squares <= NOISE
}

/// Whether more than one in 128 of the byte quadruples looked at came up before in `region`. In noise next to none do.
fn repeats(region: &[u8]) -> bool {
    const SLOTS_LOG: u32 = 14;
    let mut seen = vec![0u32; 1 << SLOTS_LOG];
    let mut again = 0;
    let mut looked = 0;
    for four in region.windows(4) {
        let quad = u32::from_le_bytes([four[0], four[1], four[2], four[3]]);
        // Only quadruples of a certain look (one in four) are kept, wherever they lie: so all of a region's fit in the
        // table, and a repetition is found at whatever distance it starts.
        let hash = quad.wrapping_mul(0x9E37_79B1);
        if hash & 3 != 0 {
            continue;
        }
        looked += 1;
        let slot = &mut seen[(hash >> (32 - SLOTS_LOG)) as usize];
        if *slot == quad {
            again += 1;
        }
        *slot = quad;
    }
    again * 128 > looked
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// The same noise on every run.
    fn noise(len: usize, seed: u64) -> Vec<u8> {
        let mut state = seed | 1;
        let mut bytes = Vec::with_capacity(len + 8);
        while bytes.len() < len {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            bytes.extend_from_slice(&state.wrapping_mul(0x2545_F491_4F6C_DD1D).to_le_bytes());
        }
        bytes.truncate(len);
        bytes
    }

    #[test]
    fn noise_of_any_length_is_told() {
        for len in [SHORTEST, 32 * 1024, 100_001, 3 << 20] {
            assert!(is_incompressible(&noise(len, len as u64)), "{len}");
        }
    }

    #[test]
    fn text_zeroes_and_little_input_are_not_taken_for_noise() {
        let text = b"the quick brown fox jumps over the lazy dog. ".repeat(1000);
        assert!(!is_incompressible(&text));
        assert!(!is_incompressible(&vec![0; 1 << 20]));
        assert!(!is_incompressible(&noise(SHORTEST - 1, 7)));
        assert!(!is_incompressible(&[]));
    }

    #[test]
    fn noise_in_hexadecimal_or_base64_is_not_taken_for_noise() {
        for alphabet in [16, 64] {
            let coded: Vec<u8> = noise(64 * 1024, 3)
                .iter()
                .map(|b| b'0' + b % alphabet)
                .collect();
            assert!(!is_incompressible(&coded));
        }
    }

    #[test]
    fn a_stretch_of_text_within_noise_is_seen() {
        let bytes = noise(4 << 20, 5);
        for at in [0, 123_456, (4 << 20) - 2 * STRETCH] {
            let mut bytes = bytes.clone();
            bytes[at..at + STRETCH + SAMPLE].fill(b'x');
            assert!(!is_incompressible(&bytes), "text at {at}");
        }
    }

    #[test]
    fn noise_that_repeats_within_the_reach_of_zlib_is_seen() {
        for period in [300, 4096, 20_000, 32_000] {
            let once = noise(period, 11);
            let bytes: Vec<u8> = once.iter().copied().cycle().take(1 << 20).collect();
            assert!(!is_incompressible(&bytes), "period {period}");
        }
    }

    proptest! {
        #[test]
        fn what_is_taken_for_noise_hardly_shrinks(
            seed: u64, len in 4096usize..200_000, mask: u8, every in 1usize..64
        ) {
            let mut bytes = noise(len, seed);
            for byte in bytes.iter_mut().step_by(every) {
                *byte &= mask;
            }
            if is_incompressible(&bytes) {
                let mut stream = flate2::Compress::new(flate2::Compression::new(6), true);
                let mut out = vec![0; len + 1000];
                stream.compress(&bytes, &mut out, flate2::FlushCompress::Finish).unwrap();
                prop_assert!(stream.total_out() * 25 > len as u64 * 24);
            }
        }
    }
}
