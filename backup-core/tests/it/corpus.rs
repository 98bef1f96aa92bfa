//! The fuzz targets' corpora, replayed, and inputs near them: each seed with a few bytes changed, the same ones each
//! time. What a fuzz run found once is handled ever after.

#[path = "../../../fuzz/src/lib.rs"]
mod bodies;

use std::path::{Path, PathBuf};

use crate::history::noise;

/// Inputs made of each seed, unless `ASHLAR_CORPUS_VARIANTS` says how many.
const VARIANTS: u64 = 24;

fn seeds(target: &str) -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../fuzz/corpus")
        .join(target);
    let mut seeds: Vec<_> = std::fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    seeds.sort();
    assert!(seeds.len() >= 3, "the corpus of {target} is there");
    seeds
}

/// A few bytes of `seed` overwritten, flipped, taken out or doubled.
fn variant(seed: &[u8], number: u64) -> Vec<u8> {
    let mut data = seed.to_vec();
    let dice = noise(number + seed.len() as u64 * 1000, 64);
    for roll in dice
        .chunks(8)
        .take(1 + usize::try_from(number % 8).unwrap())
    {
        let at = usize::from(u16::from_le_bytes([roll[0], roll[1]])) * 31 % (data.len() + 1);
        let end = (at + usize::from(roll[2] % 16)).min(data.len());
        match roll[3] % 5 {
            0 => data[at..end].fill(roll[4]),
            1 => {
                if let Some(byte) = data.get_mut(at) {
                    *byte ^= 1 << (roll[4] % 8);
                }
            }
            2 => drop(data.drain(at..end)),
            3 => {
                let again = data[at..end].to_vec();
                data.splice(at..at, again);
            }
            _ => {
                if let Some(byte) = data.get_mut(at) {
                    // Digits, quotes and brackets do most to JSON.
                    *byte = b"0129-eE.\"\\,:{}[]nt"[usize::from(roll[4]) % 18];
                }
            }
        }
    }
    data
}

fn replay(target: &str, body: fn(&[u8])) {
    let variants = std::env::var("ASHLAR_CORPUS_VARIANTS")
        .ok()
        .and_then(|n| n.parse().ok())
        .unwrap_or(VARIANTS);
    body(&[]);
    for path in seeds(target) {
        let seed = std::fs::read(&path).unwrap();
        // A failure's message is the body's own: say which input it was.
        let run = |input: &[u8], what: &str| {
            let outcome = std::panic::catch_unwind(|| body(input));
            assert!(outcome.is_ok(), "{what} of {}", path.display());
        };
        run(&seed, "the seed");
        for number in 0..variants {
            run(&variant(&seed, number), &format!("variant {number}"));
        }
    }
}

#[test]
fn corpus_of_metadata_is_handled() {
    replay("metadata", bodies::metadata);
}

#[test]
fn corpus_of_hash_list_is_handled() {
    replay("hash_list", bodies::hash_list);
}

#[test]
fn corpus_of_difference_is_handled() {
    replay("difference", bodies::difference);
}

#[test]
fn corpus_of_record_is_handled() {
    replay("record", bodies::record);
}

#[test]
fn corpus_of_volume_metadata_is_handled() {
    replay("volume_metadata", bodies::volume_metadata);
}

#[test]
fn corpus_of_decoders_is_handled() {
    replay("decoders", bodies::decoders);
}

#[test]
fn corpus_of_merge_is_handled() {
    replay("merge", bodies::merge);
}

#[test]
fn corpus_of_pieces_is_handled() {
    replay("pieces", bodies::pieces);
}

#[test]
fn corpus_of_repository_is_handled() {
    replay("repository", bodies::repository);
}

#[test]
fn corpus_of_zlib_join_is_handled() {
    replay("zlib_join", bodies::zlib_join);
}

#[test]
fn corpus_of_zstd_frame_is_handled() {
    replay("zstd_frame", bodies::zstd_frame);
}

#[test]
fn corpus_of_bzip2_stream_is_handled() {
    replay("bzip2_stream", bodies::bzip2_stream);
}
