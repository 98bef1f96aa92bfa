//! The lanes against the sha2 crate and the standard's own examples.

use proptest::prelude::*;
use sha2::{Digest, Sha256};
use sha256_lanes::{Backend, sha256, sha256_many_into};

fn byte(number: usize) -> u8 {
    number.to_le_bytes()[0]
}

fn expected(messages: &[&[u8]]) -> Vec<[u8; 32]> {
    messages.iter().map(|m| Sha256::digest(m).into()).collect()
}

#[test]
fn the_standard_s_example_comes_out_in_every_lane_and_alone() {
    // FIPS 180-4's "abc", and 64 bytes, whose padding fills a block of its own.
    let abc = [
        0xba, 0x78, 0x16, 0xbf, 0x8f, 0x01, 0xcf, 0xea, 0x41, 0x41, 0x40, 0xde, 0x5d, 0xae, 0x22,
        0x23, 0xb0, 0x03, 0x61, 0xa3, 0x96, 0x17, 0x7a, 0x9c, 0xb4, 0x10, 0xff, 0x61, 0xf2, 0x00,
        0x15, 0xad,
    ];
    assert_eq!(sha256(b"abc"), abc);
    let messages = [&b"abc"[..]; 20];
    for backend in Backend::available() {
        let mut digests = [[0; 32]; 20];
        backend.sha256_many_into(&messages, &mut digests);
        assert_eq!(digests, [abc; 20], "{}", backend.name());
    }
}

#[test]
fn every_lane_hashes_its_own_message() {
    for length in [64, 4096, 32 << 10] {
        for count in [0, 1, 9, 10, 15, 16, 17, 33, 48] {
            let data: Vec<Vec<u8>> = (0..count)
                .map(|n: usize| (0..length).map(|i| byte(i * (2 * n + 1) + n)).collect())
                .collect();
            let messages: Vec<&[u8]> = data.iter().map(|d| &d[..]).collect();
            for backend in Backend::available() {
                let mut digests = vec![[0; 32]; count];
                backend.sha256_many_into(&messages, &mut digests);
                assert_eq!(
                    digests,
                    expected(&messages),
                    "{} of {length} bytes, {}",
                    count,
                    backend.name()
                );
            }
        }
    }
}

proptest! {
    #[test]
    fn messages_of_any_lengths_are_hashed_as_sha2_hashes_them(
        runs in prop::collection::vec((0usize..700, 1usize..24, any::<u8>()), 0..6),
    ) {
        let data: Vec<Vec<u8>> = runs
            .iter()
            .flat_map(|&(length, count, seed)| {
                // Whole blocks more often than chance has them.
                let length = if seed % 2 == 0 { length / 64 * 64 } else { length };
                (0..count).map(move |n| {
                    (0..length).map(|i| byte(i * 31 + n * 7) ^ seed).collect::<Vec<u8>>()
                })
            })
            .collect();
        let messages: Vec<&[u8]> = data.iter().map(|d| &d[..]).collect();
        let mut digests = vec![[0; 32]; messages.len()];
        sha256_many_into(&messages, &mut digests);
        prop_assert_eq!(digests, expected(&messages));
    }
}
