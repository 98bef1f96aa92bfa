//! Every backend that this CPU has against RFC 1321 and against the md-5 crate.

use std::cell::Cell;

use md5::Digest as _;
use md5_lanes::{Backend, Md5, md5_many, md5_many_into, md5_many_while};
use proptest::collection::vec;
use proptest::prelude::*;

/// RFC 1321, appendix A.5.
const RFC_1321: [(&str, &str); 7] = [
    ("", "d41d8cd98f00b204e9800998ecf8427e"),
    ("a", "0cc175b9c0f1b6a831c399e269772661"),
    ("abc", "900150983cd24fb0d6963f7d28e17f72"),
    ("message digest", "f96b697d7cb7938d525a2f31aaf161d0"),
    (
        "abcdefghijklmnopqrstuvwxyz",
        "c3fcd3d76192e4007dfb496cca67e13b",
    ),
    (
        "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789",
        "d174ab98d277d9f5a5611c2c9f419d9f",
    ),
    (
        "12345678901234567890123456789012345678901234567890123456789012345678901234567890",
        "57edf4a22be3c955ac49da2e2107b67a",
    ),
];

fn reference(message: &[u8]) -> [u8; 16] {
    md5::Md5::digest(message).into()
}

fn with(backend: Backend, messages: &[&[u8]]) -> Vec<[u8; 16]> {
    let mut digests = vec![[0xee; 16]; messages.len()];
    backend.md5_many_into(messages, &mut digests);
    digests
}

fn expected(messages: &[&[u8]]) -> Vec<[u8; 16]> {
    messages.iter().map(|message| reference(message)).collect()
}

fn views(messages: &[Vec<u8>]) -> Vec<&[u8]> {
    messages.iter().map(Vec::as_slice).collect()
}

/// Bytes without a period that a block or a lane could hide behind.
fn noise(seed: u64, length: usize) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()[3]
    };
    std::iter::repeat_with(next).take(length).collect()
}

fn hex(digest: [u8; 16]) -> String {
    format!("{:032x}", u128::from_be_bytes(digest))
}

#[test]
fn the_examples_of_rfc_1321_hold_alone_and_side_by_side_in_every_backend() {
    let messages: Vec<&[u8]> = RFC_1321
        .iter()
        .map(|(message, _)| message.as_bytes())
        .collect();
    let digests = RFC_1321.map(|(_, digest)| digest);
    assert_eq!(
        messages
            .iter()
            .map(|m| hex(md5_lanes::md5(m)))
            .collect::<Vec<_>>(),
        digests
    );
    for backend in Backend::available() {
        let found: Vec<_> = with(backend, &messages).into_iter().map(hex).collect();
        assert_eq!(found, digests, "{}", backend.name());
    }
}

#[test]
fn every_length_around_the_block_borders_is_padded_right_in_every_lane() {
    for backend in Backend::available() {
        // All lengths 0..=257 pass through all lanes, since each start shifts them by one.
        for start in 0..backend.lanes() {
            let messages: Vec<_> = (start..258).map(|length| noise(7, length)).collect();
            let views = views(&messages);
            assert_eq!(
                with(backend, &views),
                expected(&views),
                "{}",
                backend.name()
            );
        }
    }
}

#[test]
fn any_number_of_messages_of_one_length_has_the_digests_in_order() {
    for backend in Backend::available() {
        for count in 0..=backend.lanes() * 2 + 1 {
            let messages: Vec<_> = (0..count).map(|n| noise(n as u64, 1000)).collect();
            let views = views(&messages);
            assert_eq!(
                with(backend, &views),
                expected(&views),
                "{} {count}",
                backend.name()
            );
        }
    }
}

#[test]
fn one_long_message_among_many_short_ones_is_right() {
    let mut messages: Vec<_> = (0..100).map(|n| noise(n as u64, n * 37)).collect();
    messages.insert(50, noise(1, (9 << 20) + 5));
    messages.push(noise(2, 5 << 20));
    messages.push(noise(3, (3 << 20) + 63));
    let views = views(&messages);
    let expected = expected(&views);
    for backend in Backend::available() {
        assert_eq!(with(backend, &views), expected, "{}", backend.name());
    }
    assert_eq!(md5_many(&views), expected);
}

#[test]
fn the_functions_of_the_crate_agree_and_name_their_backend() {
    let messages: Vec<_> = (0..20).map(|n| noise(n as u64, n * 100)).collect();
    let views = views(&messages);
    let digests = md5_many(&views);
    let mut written = vec![[0; 16]; 20];
    md5_many_into(&views, &mut written);
    assert_eq!(digests, expected(&views));
    assert_eq!(digests, written);
    assert_eq!(Some(digests), md5_many_while(&views, &|| true));

    let best = Backend::available()[0];
    assert_eq!(best, Backend::best());
    assert_eq!(
        (best.name(), best.lanes()),
        (md5_lanes::backend(), md5_lanes::lanes())
    );
}

#[test]
#[should_panic(expected = "one digest for each message")]
fn too_few_places_for_digests_are_refused() {
    md5_many_into(&[b"a", b"b"], &mut [[0; 16]; 1]);
}

#[test]
fn the_caller_is_asked_at_least_every_4_mib_and_can_stop_at_any_time() {
    // 16 at once, then one alone: both ways of hashing must ask.
    let mut messages = vec![noise(1, 1 << 20); 16];
    messages.push(noise(2, 24 << 20));
    let views = views(&messages);
    let asked = Cell::new(0);
    let all = md5_many_while(&views, &|| {
        asked.set(asked.get() + 1);
        true
    });
    assert_eq!(all, Some(expected(&views)));
    assert!(
        (10..=30).contains(&asked.get()),
        "asked {} times in 40 MiB",
        asked.get()
    );

    for stop_at in 0..10 {
        let asked = Cell::new(0);
        let stopped = md5_many_while(&views, &|| {
            asked.set(asked.get() + 1);
            asked.get() <= stop_at
        });
        assert_eq!((stopped, asked.get()), (None, stop_at + 1));
    }
}

#[test]
fn a_clone_of_a_stream_keeps_the_digest_of_what_it_has_seen() {
    let message = noise(4, 1000);
    let mut md5 = Md5::default();
    for (at, piece) in message.chunks(10).enumerate() {
        assert_eq!(md5.clone().finalize(), reference(&message[..at * 10]));
        md5.update(piece);
    }
    assert_eq!(md5.finalize(), reference(&message));
}

/// Lengths of messages: those around the ends of blocks and of padding, and any up to 10 KiB.
fn length() -> impl Strategy<Value = usize> {
    let edges = vec![
        0, 1, 54, 55, 56, 57, 62, 63, 64, 65, 119, 120, 127, 128, 129, 4096,
    ];
    prop_oneof![proptest::sample::select(edges), 0_usize..10 << 10]
}

proptest! {
    #[test]
    fn every_backend_agrees_with_the_md_5_crate(
        lengths in vec(length(), 0..40),
        seed: u32,
    ) {
        let messages: Vec<_> =
            (u64::from(seed)..).zip(lengths).map(|(seed, length)| noise(seed, length)).collect();
        let views = views(&messages);
        let expected = expected(&views);
        for backend in Backend::available() {
            prop_assert_eq!(&with(backend, &views), &expected, "{}", backend.name());
        }
    }

    #[test]
    fn pieces_of_any_size_make_the_digest_of_the_whole(
        pieces in vec(prop_oneof![0_usize..200, 0_usize..5000], 0..30),
        seed: u32,
    ) {
        let message = noise(seed.into(), pieces.iter().sum());
        let mut md5 = Md5::new();
        let mut rest = message.as_slice();
        for piece in pieces {
            let (piece, left) = rest.split_at(piece);
            md5.update(piece);
            rest = left;
        }
        prop_assert_eq!(md5.finalize(), reference(&message));
        prop_assert_eq!(md5_lanes::md5(&message), reference(&message));
    }
}
