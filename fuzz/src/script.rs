//! Volume content out of a short script: a fuzzer finds its way through a few bytes of instructions sooner than to
//! hundreds of kilobytes of noise, text and zeroes in turns.

use super::bytes::Bytes;

/// Instructions that a script has at most.
const INSTRUCTIONS: usize = 64;

/// One piece of the content that one instruction made, by its length.
pub struct Content {
    pub bytes: Vec<u8>,
    pub pieces: Vec<usize>,
}

/// Runs the instructions of `input` until it ends or `limit` bytes are made. An instruction is a byte that says what,
/// two for a length, whose unit the first byte picks too, and one that the content depends on.
pub fn content(input: &mut Bytes<'_>, limit: usize) -> Content {
    let mut bytes = Vec::new();
    let mut pieces = Vec::new();
    for number in 0..INSTRUCTIONS {
        if input.is_empty() || bytes.len() >= limit {
            break;
        }
        let before = bytes.len();
        let what = input.byte();
        let unit = [1, 1, 7, 64][usize::from(what >> 6)];
        let length = (usize::from(input.short()) * unit).min(limit - before);
        let with = input.byte();
        let seed = u64::from(with) << 8 | number as u64;
        match what % 8 {
            0 => bytes.extend_from_slice(input.take(length)),
            1 => bytes.extend(noise(seed, length)),
            2 => bytes.resize(before + length, with),
            // Text: few letters, some far more frequent than others.
            3 => bytes.extend(noise(seed, length).map(|b| (b & (b >> 4)) % (with | 1))),
            // What came before once more: a repetition at any distance.
            4 => {
                let from = before.saturating_sub(usize::from(input.short()) + 1);
                for at in from..from + length {
                    let again = bytes.get(at).copied().unwrap_or(with);
                    bytes.push(again);
                }
            }
            // Noise with a zero here and there.
            5 => bytes.extend(noise(seed, length).enumerate().map(|(at, b)| {
                if at % (usize::from(with) + 1) == 0 {
                    0
                } else {
                    b
                }
            })),
            // A ramp: long matches, few literals.
            6 => {
                bytes.extend((0..length).map(|at| (at / (usize::from(with) + 1)).to_le_bytes()[0]));
            }
            _ => bytes.extend(noise(seed, length).map(|b| b & with)),
        }
        pieces.push(bytes.len() - before);
    }
    Content { bytes, pieces }
}

/// Bytes without a pattern.
fn noise(seed: u64, length: usize) -> impl Iterator<Item = u8> {
    let mut state = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
    (0..length).map(move |_| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()[4]
    })
}
