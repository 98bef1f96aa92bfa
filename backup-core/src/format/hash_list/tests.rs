use std::io::Read;

use proptest::prelude::*;

use super::*;
use crate::error::{Error, ErrorKind, Result};
use crate::format::fixtures;
use crate::format::guard::Source;

fn read(input: impl Read) -> Result<(HashListHead, Vec<BlockHash>)> {
    let mut hashes = Vec::new();
    let head = read_hash_list(input, &mut |batch| {
        assert!(!batch.is_empty());
        hashes.extend_from_slice(batch);
        Ok(())
    })?;
    Ok((head, hashes))
}

fn write(head: &HashListHead, hashes: &[BlockHash]) -> Vec<u8> {
    let mut out = Vec::new();
    write_head(&mut out, head);
    write_hashes(&mut out, true, hashes);
    write_tail(&mut out, head, !hashes.is_empty());
    out
}

fn head() -> HashListHead {
    HashListHead {
        backup_id: "16a90228-52bb-460a-83e6-77b05c6ded43".parse().unwrap(),
        backup_name: Some("n".to_owned()),
        backup_description: None,
        created_at: Some("2026-11-23 01:22:33.874074+00:00".parse().unwrap()),
        volume_id: "00000070-aaaa-4bbb-8ccc-000000000070".parse().unwrap(),
        block_size: 32768,
    }
}

fn hashes(count: usize) -> Vec<BlockHash> {
    (0..count)
        .map(|i| std::array::from_fn(|j| (i * 31 + j * 7 + (i >> 8)).to_le_bytes()[0]))
        .collect()
}

/// Hands out at most so many bytes a call, so that every border inside of the reader is met.
struct Drip<'a>(&'a [u8], usize);

impl Read for Drip<'_> {
    fn read(&mut self, out: &mut [u8]) -> std::io::Result<usize> {
        let n = self.1.min(out.len()).min(self.0.len());
        out[..n].copy_from_slice(&self.0[..n]);
        self.0 = &self.0[n..];
        Ok(n)
    }
}

#[test]
fn what_cinder_wrote_is_written_again_byte_for_byte() {
    for (path, bytes) in fixtures::cinder("_sha256file") {
        let (head, hashes) = read(&bytes[..]).unwrap();
        assert!(!hashes.is_empty() && head.created_at.is_some());
        assert!(write(&head, &hashes) == bytes, "{}", path.display());
    }
}

#[test]
fn lists_longer_than_any_buffer_are_read_in_whatever_pieces_they_come() {
    let list = hashes(20_000);
    let bytes = write(&head(), &list);
    for piece in [7, 72, 8191, 1 << 20] {
        let (read_head, read_list) = read(Drip(&bytes, piece)).unwrap();
        assert_eq!(read_head, head());
        assert!(read_list == list, "in pieces of {piece}");
    }
}

#[test]
fn hashes_come_in_batches_and_singly_written_ones_are_the_same() {
    let list = hashes(10_000);
    let bytes = write(&head(), &list);
    let mut sizes = Vec::new();
    read_hash_list(&bytes[..], &mut |batch| {
        sizes.push(batch.len());
        Ok(())
    })
    .unwrap();
    assert_eq!(sizes, [4096, 4096, 1808]);
    let mut single = Vec::new();
    for (i, hash) in list.iter().enumerate() {
        write_hash(&mut single, i == 0, hash);
    }
    let mut in_two = Vec::new();
    write_hashes(&mut in_two, true, &list[..7]);
    write_hashes(&mut in_two, false, &list[7..]);
    assert!(single == in_two && bytes.windows(single.len()).any(|w| w == single));
    assert_eq!(single.len() + 1, list.len() * ENTRY_STRIDE);
}

#[test]
fn other_styles_orders_and_cases_are_read_too() {
    let list = hashes(500);
    let cinder = String::from_utf8(write(&head(), &list)).unwrap();
    let value: serde_json::Value = serde_json::from_str(&cinder).unwrap();
    let compact = value.to_string();
    let reversed: serde_json::Map<_, _> = value
        .as_object()
        .unwrap()
        .clone()
        .into_iter()
        .rev()
        .chain([("extra".to_owned(), serde_json::json!([{"a": [1]}]))])
        .collect();
    let upper = list.iter().fold(cinder.clone(), |text, hash| {
        text.replace(&hex::encode(hash), &hex::encode_upper(hash))
    });
    // The fast path takes up again behind an entry in another style.
    let mixed = cinder.replacen(",\n    \"", " , \"", 3);
    for text in [
        compact,
        serde_json::to_string_pretty(&reversed).unwrap(),
        serde_json::to_string(&reversed).unwrap(),
        upper,
        mixed,
        cinder.replace('\n', "\r\n"),
    ] {
        let (read_head, read_list) = read(text.as_bytes()).unwrap();
        assert_eq!(read_head, head());
        assert!(read_list == list, "{}", &text[..200]);
    }
}

/// Counts the entries that come through the parser, and those that can be taken from under it.
struct Counting<'a, R>(&'a Source<R>, &'a mut (usize, usize));

impl<'de, R: Read> serde::de::Visitor<'de> for Counting<'_, R> {
    type Value = ();
    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("a list")
    }
    fn visit_map<A: serde::de::MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        while let Some(key) = map.next_key::<String>()? {
            if key == "sha256s" {
                map.next_value_seed(Counting(self.0, self.1))?;
            } else {
                map.next_value::<serde::de::IgnoredAny>()?;
            }
        }
        Ok(())
    }
    fn visit_seq<A: serde::de::SeqAccess<'de>>(self, mut list: A) -> Result<(), A::Error> {
        while list.next_element::<String>()?.is_some() {
            self.1.0 += 1;
            self.0
                .take_while(b'"', ENTRY_STRIDE, |input| {
                    let taken = input
                        .chunks_exact(ENTRY_STRIDE)
                        .take_while(|entry| entry.starts_with(BEFORE_DIGITS))
                        .count();
                    self.1.1 += taken;
                    Ok(taken * ENTRY_STRIDE)
                })
                .unwrap();
        }
        Ok(())
    }
}

impl<'de, R: Read> serde::de::DeserializeSeed<'de> for Counting<'_, R> {
    type Value = ();
    fn deserialize<D: serde::Deserializer<'de>>(self, parser: D) -> Result<(), D::Error> {
        parser.deserialize_seq(self)
    }
}

#[test]
fn the_usual_style_goes_by_the_fast_path() {
    let bytes = write(&head(), &hashes(5000));
    let source = Source::new("read", &bytes[..]);
    let mut parser = serde_json::Deserializer::from_reader(&source);
    // All but the first entry are taken from under the parser.
    let mut counts = (0, 0);
    serde::Deserializer::deserialize_map(&mut parser, Counting(&source, &mut counts)).unwrap();
    assert_eq!(counts, (1, 4999));
}

#[test]
fn a_file_cut_at_any_byte_is_an_error_and_called_cut() {
    let bytes = write(&head(), &hashes(3));
    for end in 0..bytes.len() {
        let e = read(&bytes[..end]).unwrap_err();
        assert_eq!(e.kind(), ErrorKind::Corrupt);
        assert!(e.to_string().contains("cut short"), "{end}: {e}");
    }
}

#[test]
fn a_changed_digit_is_never_read_as_what_it_was_and_no_change_panics() {
    let bytes = write(&head(), &hashes(3));
    let (_, original) = read(&bytes[..]).unwrap();
    let list = bytes.windows(7).position(|w| w == b"sha256s").unwrap();
    for at in 0..bytes.len() {
        for change in [0x01, 0x20, 0x80] {
            let mut changed = bytes.clone();
            changed[at] ^= change;
            let result = read(&changed[..]);
            if let Ok((_, read)) = result {
                let same_digit = bytes[at].eq_ignore_ascii_case(&changed[at]);
                let is_digit = at > list && at < bytes.len() - 80 && bytes[at].is_ascii_hexdigit();
                assert_eq!(read == original, same_digit || !is_digit, "byte {at}");
            }
        }
    }
}

#[test]
fn hostile_lists_are_refused_with_a_reason() {
    let text = String::from_utf8(write(&head(), &hashes(3))).unwrap();
    let digits = hex::encode(hashes(3)[1]);
    let table: Vec<(String, &str)> = vec![
        ("[]".into(), "expected an object"),
        ("{}".into(), "missing field `version`"),
        (format!("{text},"), "trailing characters"),
        (text.replace("32768", "0"), "chunk_size"),
        (text.replace("32768", "-1"), "invalid value"),
        (text.replace("32768", "1e400"), "number out of range"),
        (text.replace("32768", "67108865"), "not from 1 to 67108864"),
        (
            text.replace("\"chunk_size\"", "\"other\""),
            "missing field `chunk_size`",
        ),
        (
            text.replace("\"sha256s\"", "\"other\""),
            "missing field `sha256s`",
        ),
        (
            text.replace("\"backup_name\"", "\"chunk_size\""),
            "invalid type",
        ),
        (text.replace("\"backup_name\"", "\"backup_id\""), "twice"),
        (
            text.replace("\"backup_name\"", "\"backup_description\""),
            "twice",
        ),
        (
            text.replace(&digits, &digits[1..]),
            "entry 1 is not a SHA-256",
        ),
        (
            text.replace(&digits, &format!("{digits}0")),
            "entry 1 is not a SHA-256",
        ),
        (
            text.replace(&digits, &format!("g{}", &digits[1..])),
            "entry 1 is not a SHA-256",
        ),
        (
            text.replace(&format!("\"{digits}\""), "null"),
            "expected a SHA-256 as entry 1",
        ),
        (text.replace(&format!("\"{digits}\""), ""), "expected value"),
        (
            text.replace(&format!("\"{digits}\","), &format!("\"{digits}\"")),
            "expected `,` or `]`",
        ),
        (text.replace("\"\n  ]", "\",\n  ]"), "trailing comma"),
        (
            text.replace(&digits, &"a".repeat(17 << 20)),
            "a string is longer",
        ),
    ];
    for (text, reason) in table {
        let e = read(text.as_bytes()).unwrap_err();
        assert_eq!(e.kind(), ErrorKind::Corrupt, "{e}");
        assert!(e.to_string().contains(reason), "wanted {reason:?}, got {e}");
    }
    // Where entries were taken from under the parser, the place is told in bytes.
    let e = read(format!("{text}x").as_bytes()).unwrap_err();
    let place = format!("at byte {}", text.len() + 1);
    assert!(e.to_string().ends_with(&place), "{e}");
    let e = read(text.replace("1.0.0", "9").as_bytes()).unwrap_err();
    assert_eq!(e.kind(), ErrorKind::Unsupported);
}

#[test]
fn an_error_of_the_callback_comes_back_as_it_was() {
    for count in [1, 5000] {
        let bytes = write(&head(), &hashes(count));
        let e = read_hash_list(&bytes[..], &mut |_| Err(Error::cancelled("compare"))).unwrap_err();
        assert_eq!((e.kind(), e.operation()), (ErrorKind::Cancelled, "compare"));
    }
}

/// `cargo test --release -- --ignored --nocapture hash_list_speed`
#[test]
#[ignore = "a measurement, not a check"]
fn hash_list_speed() {
    let list = hashes(4_000_000);
    let started = std::time::Instant::now();
    let bytes = write(&head(), &list);
    let wrote = started.elapsed();
    let started = std::time::Instant::now();
    let mut count = 0;
    read_hash_list(&bytes[..], &mut |batch| {
        count += batch.len();
        Ok(())
    })
    .unwrap();
    let took = started.elapsed();
    assert_eq!(count, list.len());
    let rate = |took: std::time::Duration| bytes.len() as u128 / took.as_micros();
    println!(
        "written at {} MB/s, read at {} MB/s",
        rate(wrote),
        rate(took)
    );
}

proptest! {
    #[test]
    fn whatever_is_written_is_read_back(
        name: Option<String>,
        description: Option<String>,
        list: Vec<[u8; 32]>,
        block_size in 1..=MAX_BLOCK_SIZE,
        piece in 1..300usize,
    ) {
        let head = HashListHead { backup_name: name, backup_description: description, block_size, ..head() };
        let bytes = write(&head, &list);
        prop_assert_eq!(read(Drip(&bytes, piece)).unwrap(), (head, list));
    }

    #[test]
    fn no_input_makes_the_reader_panic(bytes: Vec<u8>) {
        prop_assert!(read(&bytes[..]).is_err());
    }
}
