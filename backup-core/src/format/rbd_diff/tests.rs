#![allow(clippy::unwrap_used, reason = "tests")]

use sha2::{Digest, Sha256};

use super::*;
use crate::error::{ErrorKind, Result};

fn range(start: u64, end: u64) -> ByteRange {
    ByteRange::new(start, end).unwrap()
}

fn written(version: DiffVersion) -> (Vec<u8>, [u8; 32]) {
    let head = DiffHead::new(Some("one".into()), Some("two".into()), 100);
    let mut writer = DiffWriter::new(Vec::new(), version, &head).unwrap();
    writer.data(10, b"abcde").unwrap();
    writer.zero(range(20, 90)).unwrap();
    writer.data(99, b"z").unwrap();
    writer.data(99, b"").unwrap();
    writer.zero(range(3, 3)).unwrap();
    let (bytes, length, sum) = writer.end().unwrap();
    assert_eq!(bytes.len() as u64, length);
    assert_eq!(sum, <[u8; 32]>::from(Sha256::digest(&bytes)));
    (bytes, sum)
}

/// By the table at the head of this file, byte by byte.
#[test]
fn the_bytes_are_those_of_cephs_description() {
    let number = |n: u64| n.to_le_bytes().to_vec();
    let one = [
        b"rbd diff v1\n".to_vec(),
        b"f\x03\0\0\0one".to_vec(),
        b"t\x03\0\0\0two".to_vec(),
        b"s".to_vec(),
        number(100),
        b"w".to_vec(),
        number(10),
        number(5),
        b"abcde".to_vec(),
        b"z".to_vec(),
        number(20),
        number(70),
        b"w".to_vec(),
        number(99),
        number(1),
        b"ze".to_vec(),
    ];
    assert_eq!(written(DiffVersion::V1).0, one.concat());
    let two = [
        b"rbd diff v2\n".to_vec(),
        b"f".to_vec(),
        number(7),
        b"\x03\0\0\0one".to_vec(),
        b"t".to_vec(),
        number(7),
        b"\x03\0\0\0two".to_vec(),
        b"s".to_vec(),
        number(8),
        number(100),
        b"w".to_vec(),
        number(21),
        number(10),
        number(5),
        b"abcde".to_vec(),
        b"z".to_vec(),
        number(16),
        number(20),
        number(70),
        b"w".to_vec(),
        number(17),
        number(99),
        number(1),
        b"ze".to_vec(),
    ];
    assert_eq!(written(DiffVersion::V2).0, two.concat());
}

#[test]
fn what_is_written_is_read_again_with_the_same_checksum_and_what_follows_is_left() {
    for version in [DiffVersion::V1, DiffVersion::V2] {
        let (mut bytes, sum) = written(version);
        bytes.extend_from_slice(b"more");
        let mut reader = DiffReader::new(&bytes[..]).unwrap();
        assert_eq!(reader.version(), version);
        let head = DiffHead::new(Some("one".into()), Some("two".into()), 100);
        assert_eq!(*reader.head(), head);
        assert_eq!(
            reader.next_record().unwrap(),
            Some(DiffRecord::Data(range(10, 15)))
        );
        let mut buf = [0; 3];
        assert_eq!(reader.data(&mut buf).unwrap(), 3);
        assert_eq!(&buf, b"abc");
        // The rest of it is passed over.
        assert_eq!(
            reader.next_record().unwrap(),
            Some(DiffRecord::Zero(range(20, 90)))
        );
        assert_eq!(reader.data(&mut buf).unwrap(), 0);
        assert_eq!(
            reader.next_record().unwrap(),
            Some(DiffRecord::Data(range(99, 100)))
        );
        assert_eq!(reader.next_record().unwrap(), None);
        assert_eq!(reader.next_record().unwrap(), None);
        let (rest, read) = reader.end().unwrap();
        assert_eq!((rest, read), (&b"more"[..], sum));
    }
}

fn read_all(bytes: &[u8]) -> Result<Vec<DiffRecord>> {
    let mut reader = DiffReader::new(bytes)?;
    let mut records = Vec::new();
    while let Some(record) = reader.next_record()? {
        records.push(record);
    }
    Ok(records)
}

#[test]
fn a_file_that_was_cut_anywhere_or_lies_is_refused() {
    for version in [DiffVersion::V1, DiffVersion::V2] {
        let (bytes, _) = written(version);
        read_all(&bytes).unwrap();
        for end in 0..bytes.len() {
            let e = read_all(&bytes[..end]).unwrap_err();
            assert!(e.is(ErrorKind::Corrupt), "cut at {end}: {e:?}");
        }
    }
    let head = b"rbd diff v1\ns\x0a\0\0\0\0\0\0\0";
    let lies: [&[u8]; 6] = [
        b"z\x05\0\0\0\0\0\0\0\x06\0\0\0\0\0\0\0e", // past the end
        b"w\x01\0\0\0\0\0\0\0\xff\xff\xff\xff\xff\xff\xff\xff", // past all ends
        b"q",                                      // unknown
        b"z\x05\0\0\0\0\0\0\0\x01\0\0\0\0\0\0\0s", // a head behind
        b"f\xff\xff\xff\xff",                      // a name of 4 GiB
        b"s\x0a\0\0\0\0\0\0\0e",                   // its length twice
    ];
    for lie in lies {
        let e = read_all(&[head, lie].concat()).unwrap_err();
        assert!(e.is(ErrorKind::Corrupt), "{lie:?}: {e:?}");
    }
    for twice in [
        &b"f\x01\0\0\0af\x01\0\0\0be"[..],
        b"t\x01\0\0\0at\x01\0\0\0ae",
    ] {
        let e = read_all(&[&head[..], twice].concat()).unwrap_err();
        assert!(e.is(ErrorKind::Corrupt), "{twice:?}: {e:?}");
    }
    // Of version 2: lengths that the rest does not have.
    let n = |n: u64| n.to_le_bytes().to_vec();
    let head = [b"rbd diff v2\ns".to_vec(), n(8), n(10)].concat();
    let lies = [
        [b"z".to_vec(), n(17), n(0), n(1), b"e".to_vec()].concat(),
        [b"w".to_vec(), n(16), n(0), n(1), b"xe".to_vec()].concat(),
        [b"w".to_vec(), n(u64::MAX), n(0), n(1), b"xe".to_vec()].concat(),
        [b"f".to_vec(), n(9), b"\x01\0\0\0ae".to_vec()].concat(),
        [b"q".to_vec(), n(2 << 20), vec![0; 3 << 20]].concat(),
        [b"q".to_vec(), n(5), b"abe".to_vec()].concat(),
    ];
    for lie in lies {
        let e = read_all(&[&head[..], &lie].concat()).unwrap_err();
        assert!(e.is(ErrorKind::Corrupt), "{:?}: {e:?}", &lie[..9]);
    }
    assert!(read_all(&[b"rbd diff v2\ns".to_vec(), n(9), n(10), b"e".to_vec()].concat()).is_err());
    assert!(read_all(b"rbd diff v1\ne").is_err(), "no length");
    assert!(read_all(b"rbd diff v3\ne").is_err());
}

/// `rbd export --export-format 2` tells whether a snapshot is protected, which is nothing to us: in one byte, though it
/// says eight.
#[test]
fn what_version_2_has_besides_is_passed_over() {
    let mut bytes = b"rbd diff v2\np\x08\0\0\0\0\0\0\0\x01".to_vec();
    bytes.extend(b"q\x03\0\0\0\0\0\0\0abc");
    bytes.extend(b"s\x08\0\0\0\0\0\0\0\x0a\0\0\0\0\0\0\0");
    bytes.extend(b"z\x10\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\x0a\0\0\0\0\0\0\0e");
    assert_eq!(read_all(&bytes).unwrap(), [DiffRecord::Zero(range(0, 10))]);
}
