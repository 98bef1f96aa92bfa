use std::collections::BTreeMap;
use std::io::Read;

use proptest::prelude::*;

use super::*;
use crate::device::ChangePoint;
use crate::error::{Error, ErrorKind, Result};
use crate::format::fixtures;
use crate::id::{ContainerName, Prefix, SnapshotId};

fn read(input: impl Read) -> Result<(Metadata, Vec<ObjectEntry>)> {
    let mut entries = Vec::new();
    let metadata = read_metadata(input, &mut |entry| {
        entries.push(entry);
        Ok(())
    })?;
    Ok((metadata, entries))
}

fn write(m: &Metadata, entries: &[ObjectEntry]) -> Vec<u8> {
    let mut out = Vec::new();
    write_head(&mut out, m);
    for (i, entry) in entries.iter().enumerate() {
        write_entry(&mut out, i == 0, entry);
    }
    write_tail(&mut out, m, !entries.is_empty());
    out
}

fn minimal() -> Metadata {
    Metadata::new(
        "16a90228-52bb-460a-83e6-77b05c6ded43".parse().unwrap(),
        "00000070-aaaa-4bbb-8ccc-000000000070".parse().unwrap(),
        "2026-11-23 01:22:33.874074+00:00".parse().unwrap(),
    )
}

fn full() -> Metadata {
    Metadata {
        backup_name: Some("full".to_owned()),
        backup_description: Some("größe \"😀\"\n".to_owned()),
        parent_id: Some("3c124b2e-bbdd-4f45-8a55-7376957cc53e".parse().unwrap()),
        volume_meta: Some("{\"version\": 2}".to_owned()),
        ashlar: Some(AshlarKey {
            volume_length: Some(10 << 40),
            block_size: Some(32768),
            snapshot_id: Some(SnapshotId::from_bytes([7; 16])),
            data_timestamp: Some("2026-11-23 01:22:33+00:00".parse().unwrap()),
            project_id: Some("p".to_owned()),
            user_id: Some("u".to_owned()),
            encryption_key_id: Some("k".to_owned()),
            container: Some(ContainerName::new("ab/cd").unwrap()),
            prefix: Some(Prefix::new("volume_x").unwrap()),
            change_point: Some(ChangePoint::new("snap").unwrap()),
            hash_list_bytes: Some(66_286),
            hash_list_sha256: Some([0xa5; 32]),
            object_count: Some(2),
            stored_bytes: Some(99),
            properties: BTreeMap::from([("keep".to_owned(), "7".to_owned())]),
            ..AshlarKey::new()
        }),
        ..minimal()
    }
}

fn entry(n: u64) -> ObjectEntry {
    ObjectEntry {
        name: format!("p-{n:05}"),
        offset: n * 4096,
        length: 4096,
        md5: Some([3; 16]),
        compression: Algorithm::Zlib,
        stored_length: Some(17),
        zero: n % 2 == 1,
    }
}

#[test]
fn what_cinder_wrote_is_written_again_byte_for_byte() {
    let mut without_objects = 0;
    for (path, bytes) in fixtures::cinder("_metadata") {
        let (metadata, entries) = read(&bytes[..]).unwrap();
        assert!(metadata.created_at.is_some() && metadata.ashlar.is_none());
        without_objects += usize::from(entries.is_empty());
        // Cinder records its configured alias; we write the one word that every Cinder understands.
        let mut expected = String::from_utf8(bytes).unwrap();
        for (alias, word) in [
            ("bz2", "bzip2"),
            ("gzip", "zlib"),
            ("off", "none"),
            ("no", "none"),
        ] {
            let quoted = |word| format!("\"compression\": \"{word}\"");
            expected = expected.replace(&quoted(alias), &quoted(word));
        }
        let written = String::from_utf8(write(&metadata, &entries)).unwrap();
        assert_eq!(written, expected, "{}", path.display());
    }
    assert!(
        without_objects > 0,
        "no fixture has an empty list of objects"
    );
}

#[test]
fn our_keys_stand_where_python_would_sort_them() {
    let written = String::from_utf8(write(&full(), &[entry(1)])).unwrap();
    let expected = r#"{
  "ashlar": {
    "block_size": 32768,
    "change_point": "snap",
    "container": "ab/cd",
    "data_timestamp": "2026-11-23 01:22:33+00:00",
    "encryption_key_id": "k",
    "hash_list_bytes": 66286,
    "hash_list_sha256": "a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5",
    "object_count": 2,
    "prefix": "volume_x",
    "project_id": "p",
    "properties": {
      "keep": "7"
    },
    "snapshot_id": "07070707-0707-0707-0707-070707070707",
    "stored_bytes": 99,
    "user_id": "u",
    "version": 1,
    "volume_length": 10995116277760
  },
  "backup_description": "gr\u00f6\u00dfe \"\ud83d\ude00\"\n",
  "backup_id": "16a90228-52bb-460a-83e6-77b05c6ded43",
  "backup_name": "full",
  "created_at": "2026-11-23 01:22:33.874074+00:00",
  "objects": [
    {
      "p-00001": {
        "compression": "zlib",
        "length": 4096,
        "md5": "03030303030303030303030303030303",
        "offset": 4096,
        "stored_length": 17,
        "zero": true
      }
    }
  ],
  "parent_id": "3c124b2e-bbdd-4f45-8a55-7376957cc53e",
  "version": "1.0.0",
  "volume_id": "00000070-aaaa-4bbb-8ccc-000000000070",
  "volume_meta": "{\"version\": 2}"
}"#;
    assert_eq!(written, expected);
}

#[test]
fn keys_in_any_order_and_style_and_unknown_ones_are_read() {
    let text = r#"{"volume_id":"00000070-aaaa-4bbb-8ccc-000000000070","extra_metadata":{"a":[1,{"b":null}]},
        "objects":[{"n":{"offset":0,"more":[[]],"length":5,"compression":"GZIP"}}],"volume_meta":null,
        "version":"1.0.0","created_at":"once","ashlar":null,
        "backup_id":"16A90228-52bb-460a-83e6-77b05c6ded43"}  "#;
    let (metadata, entries) = read(text.as_bytes()).unwrap();
    assert_eq!(metadata.created_at, None);
    assert_eq!(metadata.backup_id, minimal().backup_id);
    let expected = ObjectEntry {
        name: "n".to_owned(),
        offset: 0,
        length: 5,
        md5: None,
        compression: Algorithm::Zlib,
        stored_length: None,
        zero: false,
    };
    assert_eq!(entries, [expected]);
}

#[test]
fn a_newer_version_of_our_key_is_kept_as_far_as_it_is_understood() {
    let text = String::from_utf8(write(&full(), &[])).unwrap();
    let newer = text
        .replace("\"version\": 1,", "\"version\": 2,\n    \"way\": [],")
        .replace("\"volume_x\"", "{\"new\": \"form\"}");
    let (metadata, _) = read(newer.as_bytes()).unwrap();
    let ashlar = metadata.ashlar.unwrap();
    assert_eq!((ashlar.version, ashlar.prefix), (2, None));
    assert_eq!(ashlar.volume_length, Some(10 << 40));
    // In our own version the same is damage.
    let damaged = text.replace("\"volume_x\"", "{\"new\": \"form\"}");
    let e = read(damaged.as_bytes()).unwrap_err();
    assert!(e.to_string().contains("ashlar.prefix"), "{e}");
}

#[test]
fn an_error_of_the_callback_comes_back_as_it_was() {
    let bytes = write(&full(), &[entry(1), entry(2)]);
    let mut calls = 0;
    let e = read_metadata(&bytes[..], &mut |_| {
        calls += 1;
        Err(Error::cancelled("restore").on("me"))
    })
    .unwrap_err();
    assert_eq!(
        (e.kind(), e.operation(), e.target()),
        (ErrorKind::Cancelled, "restore", Some("me"))
    );
    assert_eq!(calls, 1);
}

#[test]
fn a_file_cut_at_any_byte_is_an_error_and_called_cut() {
    let bytes = write(&full(), &[entry(1), entry(2)]);
    for end in 0..bytes.len() {
        let e = read(&bytes[..end]).unwrap_err();
        assert_eq!(e.kind(), ErrorKind::Corrupt);
        assert!(e.to_string().contains("cut short"), "{end}: {e}");
    }
}

#[test]
fn a_file_with_any_one_byte_changed_never_panics() {
    let bytes = write(&full(), &[entry(1)]);
    for at in 0..bytes.len() {
        for change in [0x01, 0x20, 0x80, 0xff] {
            let mut changed = bytes.clone();
            changed[at] ^= change;
            let _ = read(&changed[..]);
        }
    }
}

/// A file whose list of objects is `objects`.
fn with_objects(objects: &str) -> String {
    let text = String::from_utf8(write(&minimal(), &[])).unwrap();
    text.replace("\"objects\": []", &format!("\"objects\": {objects}"))
}

fn with_body(body: &str) -> String {
    with_objects(&format!("[{{\"p-00001\": {body}}}]"))
}

#[test]
fn hostile_files_are_refused_with_a_reason() {
    let plain = with_objects("[]");
    assert!(read(plain.as_bytes()).is_ok());
    let body = |length: &str, offset: &str| {
        with_body(&format!(
            r#"{{"compression": "zlib", "length": {length}, "offset": {offset}}}"#
        ))
    };
    assert!(read(body("1", "2").as_bytes()).is_ok());
    let table: Vec<(String, &str)> = vec![
        (String::new(), "cut short"),
        ("[]".into(), "expected an object"),
        ("null".into(), "expected an object"),
        ("{}".into(), "missing field `version`"),
        (format!("{plain}x"), "trailing characters"),
        (format!("{plain}{plain}"), "trailing characters"),
        (
            plain.replace("\"version\": \"1.0.0\",", ""),
            "missing field `version`",
        ),
        (
            plain.replace("\"objects\": [],", ""),
            "missing field `objects`",
        ),
        (plain.replace("\"1.0.0\"", "1"), "invalid type: integer"),
        (
            plain.replace("\"volume_meta\"", "\"version\""),
            "key version stands there twice",
        ),
        (
            plain.replace("\"parent_id\": null", "\"objects\": []"),
            "key objects stands there twice",
        ),
        (plain.replace("\"16a90228-", "\"../../"), "is not a UUID"),
        (
            plain.replace("\"volume_meta\": null", "\"volume_meta\": {}"),
            "invalid type: map",
        ),
        (
            plain.replace("\"volume_meta\": null", "\"volume_meta\": \"\\ud800\""),
            "line",
        ),
        (
            plain.replace(
                "\"backup_name\": null",
                &format!("\"x\": {}", "[".repeat(9999)),
            ),
            "nested deeper",
        ),
        (
            plain.replace(
                "\"backup_name\": null",
                &format!("\"x\": {}", "1".repeat(9999)),
            ),
            "a number is longer",
        ),
        (
            plain.replace(
                "\"backup_name\": null",
                &format!("\"x\": \"{}\"", "x".repeat(17 << 20)),
            ),
            "a string is longer",
        ),
        (
            plain.replace("\"backup_name\": null", "\"ashlar\": 7"),
            "\"ashlar\" is not an object",
        ),
        (
            plain.replace(
                "\"backup_name\": null",
                "\"ashlar\": {\"volume_length\": -1}",
            ),
            "ashlar.volume_length",
        ),
        (
            plain.replace(
                "\"backup_name\": null",
                "\"ashlar\": {\"volume_length\": 9223372036854775808}",
            ),
            "is more than",
        ),
        (
            plain.replace("\"backup_name\": null", "\"ashlar\": {\"block_size\": 0}"),
            "0 is no block size",
        ),
        (
            plain.replace(
                "\"backup_name\": null",
                "\"ashlar\": {\"container\": \"a/../b\"}",
            ),
            "ashlar.container",
        ),
        (
            plain.replace("\"backup_name\": null", "\"ashlar\": {\"version\": \"x\"}"),
            "ashlar.version",
        ),
        (
            plain.replace(
                "\"backup_name\": null",
                &format!("\"ashlar\": [{}1]", "[],".repeat(2 << 20)),
            ),
            "larger than allowed",
        ),
        (with_objects("null"), "expected a list of objects"),
        (with_objects("{}"), "expected a list of objects"),
        (with_objects("[{}]"), "names no object"),
        (with_objects("[[]]"), "expected an object whose one key"),
        (with_objects("[7]"), "expected an object whose one key"),
        (
            with_objects(r#"[{"a": {"compression": "zlib", "length": 1, "offset": 0}, "b": {}}]"#),
            "object \"a\": its entry names another",
        ),
        (
            with_objects(&format!("[{{\"{}\": {{}}}}]", "n".repeat(1025))),
            "has 1025 bytes",
        ),
        (
            with_body("[\"zlib\", 1, 0]"),
            "object \"p-00001\": invalid type: sequence",
        ),
        (
            with_body(r#"{"compression": "zlib", "offset": 0}"#),
            "object \"p-00001\": missing field `length`",
        ),
        (
            with_body(r#"{"compression": "zlib", "length": 0}"#),
            "missing field `offset`",
        ),
        (
            with_body(r#"{"length": 1, "offset": 0}"#),
            "missing field `compression`",
        ),
        (
            with_body(r#"{"compression": "zlib", "length": 1, "length": 1, "offset": 0}"#),
            "twice",
        ),
        (
            with_body(r#"{"compression": "zlib", "length": 1, "offset": 0, "md5": "00"}"#),
            "is not an MD5",
        ),
        (
            with_body(r#"{"compression": "zlib", "length": 1, "offset": 0, "md5": 5}"#),
            "invalid type",
        ),
        (
            with_body(r#"{"compression": "zlib", "length": 1, "offset": 0, "zero": 1}"#),
            "invalid type",
        ),
        (
            with_body(r#"{"compression": "zlib", "length": 1, "offset": 0, "stored_length": -1}"#),
            "invalid value",
        ),
        (body("-1", "0"), "invalid value"),
        (body("1.5", "0"), "floating point"),
        (body("1e3", "0"), "floating point"),
        (body("1e400", "0"), "number out of range"),
        (body("NaN", "0"), "expected value"),
        (body("01", "0"), "invalid number"),
        (body("\"1\"", "0"), "invalid type"),
        (body("null", "0"), "invalid type"),
        (body("18446744073709551616", "0"), "invalid type"),
        (body("1", "18446744073709551615"), "reach past the end"),
        (body("1", "9223372036854775807"), "reach past the end"),
        (body("9223372036854775808", "0"), "reach past the end"),
    ];
    for (text, reason) in table {
        let e = read(text.as_bytes()).unwrap_err();
        let shown = text.chars().take(80).collect::<String>();
        assert_eq!(e.kind(), ErrorKind::Corrupt, "{shown}: {e}");
        assert!(
            e.to_string().contains(reason),
            "wanted {reason:?}, got {e}\nfor {shown}"
        );
        assert!(e.to_string().len() < 1500, "{}", e.to_string().len());
    }
    let mut invalid = plain.into_bytes();
    let at = invalid.windows(4).position(|w| w == b"null").unwrap();
    invalid.splice(at..at + 4, *b"\"\xff\"");
    assert_eq!(read(&invalid[..]).unwrap_err().kind(), ErrorKind::Corrupt);
}

#[test]
fn what_only_a_newer_build_could_read_is_unsupported_and_named() {
    let text = with_objects("[]").replace("\"1.0.0\"", "\"2.0.0\"");
    let e = read(text.as_bytes()).unwrap_err();
    assert_eq!(e.kind(), ErrorKind::Unsupported);
    assert!(e.to_string().contains("\"2.0.0\""), "{e}");
    let text = with_body(r#"{"compression": "lz4", "length": 1, "offset": 0}"#);
    let e = read(text.as_bytes()).unwrap_err();
    assert_eq!(e.kind(), ErrorKind::Unsupported);
    assert!(
        e.to_string().contains("lz4") && e.to_string().contains("p-00001"),
        "{e}"
    );
}

#[test]
fn a_long_list_is_read_without_being_held() {
    let mut head = Vec::new();
    write_head(&mut head, &minimal());
    let mut tail = Vec::new();
    write_tail(&mut tail, &minimal(), true);
    let mut one = Vec::new();
    write_entry(&mut one, true, &entry(1));
    let mut more = Vec::new();
    write_entry(&mut more, false, &entry(1));
    let more = more.repeat(1000);
    let mut count = 0u32;
    read_metadata(
        head.chain(&one[..]).chain(&more[..]).chain(&tail[..]),
        &mut |_| {
            count += 1;
            Ok(())
        },
    )
    .unwrap();
    assert_eq!(count, 1001);
}

fn any_entry() -> impl Strategy<Value = ObjectEntry> {
    (
        ".{1,40}",
        0..1u64 << 62,
        0..1u64 << 62,
        any::<Option<[u8; 16]>>(),
        0..4usize,
        any::<Option<u64>>(),
        any::<bool>(),
    )
        .prop_map(
            |(name, offset, length, md5, codec, stored_length, zero)| ObjectEntry {
                name,
                offset,
                length,
                md5,
                compression: [
                    Algorithm::None,
                    Algorithm::Zlib,
                    Algorithm::Bzip2,
                    Algorithm::Zstd,
                ][codec],
                stored_length,
                zero,
            },
        )
}

proptest! {
    #[test]
    fn whatever_is_written_is_read_back(
        entries in proptest::collection::vec(any_entry(), 0..5),
        name: Option<String>,
        description: Option<String>,
        volume_meta: Option<String>,
        properties: BTreeMap<String, String>,
        micros in 0..4_000_000_000_000_000i64,
        full_key: bool,
    ) {
        let mut metadata = Metadata {
            backup_name: name,
            backup_description: description,
            volume_meta,
            created_at: Some(Timestamp::from_micros(micros).unwrap()),
            ..minimal()
        };
        if full_key {
            metadata.ashlar = full().ashlar.map(|key| AshlarKey { properties, ..key });
        }
        let bytes = write(&metadata, &entries);
        prop_assert!(bytes.is_ascii());
        // As a tree, too, it is what a JSON parser of another make would see.
        prop_assert!(serde_json::from_slice::<serde_json::Value>(&bytes).is_ok());
        prop_assert_eq!(read(&bytes[..]).unwrap(), (metadata, entries));
    }

    #[test]
    fn no_input_makes_the_reader_panic(bytes: Vec<u8>, text in "[\\[\\]{}\",:0-9a-z\\\\ ]{0,200}") {
        prop_assert!(read(&bytes[..]).is_err());
        prop_assert!(read(text.as_bytes()).is_err());
    }
}
