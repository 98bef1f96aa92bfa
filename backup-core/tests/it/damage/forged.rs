//! Metadata and hash lists that are well-formed and lie.

use backup_core::testing::MemoryRepository;
use backup_core::{Algorithm, ErrorKind};
use serde_json::{Value, json};

use super::read::Sound;

/// What must come of a lie.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Must {
    /// Restore fails.
    Fail,
    /// Verify tells it; a restore fails or gives right bytes.
    Tell,
    /// It is no lie: restored, and nothing is told.
    Pass,
    /// A restore fails or gives right bytes.
    Hold,
}

fn edited(sound: &Sound, name: &str, edit: impl FnOnce(&mut Value)) -> MemoryRepository {
    let memory = sound.memory.duplicate();
    assert!(memory.damage(name, |bytes| {
        let mut value: Value = serde_json::from_slice(bytes).unwrap();
        edit(&mut value);
        *bytes = serde_json::to_vec_pretty(&value).unwrap();
    }));
    memory
}

fn body(entry: &mut Value) -> &mut Value {
    entry.as_object_mut().unwrap().values_mut().next().unwrap()
}

fn entries(metadata: &mut Value) -> &mut Vec<Value> {
    metadata["objects"].as_array_mut().unwrap()
}

/// The place of an entry that holds data, for each layer.
fn data_entry(metadata: &Value) -> usize {
    let entries = metadata["objects"].as_array().unwrap();
    entries
        .iter()
        .position(|e| e.as_object().unwrap().values().next().unwrap()["zero"] != json!(true))
        .unwrap()
}

async fn check(sound: &Sound, memory: &MemoryRepository, named: &str, must: Must, label: &str) {
    let verdict = sound.read(memory, true, label).await;
    match must {
        Must::Pass => {
            verdict
                .restored
                .unwrap_or_else(|e| panic!("{label}: {e:?}"));
            assert_eq!(verdict.verified.problems, [], "{label}");
        }
        Must::Fail => {
            let e = verdict.restored.expect_err(label);
            assert!(e.to_string().contains(named), "{label}: {e}");
        }
        Must::Tell => assert!(!verdict.verified.problems.is_empty(), "{label}"),
        Must::Hold => {}
    }
}

/// Values that the bodies of entries must not have.
fn body_lies() -> Vec<(&'static str, Value, Must)> {
    use Must::{Fail, Hold, Pass, Tell};
    let mut lies = vec![
        ("compression", json!("lzma"), Fail),
        ("compression", json!(""), Fail),
        ("compression", json!(null), Fail),
        ("compression", json!(7), Fail),
        ("compression", json!("none"), Fail),
        ("compression", json!("zstd"), Fail),
        ("compression", json!("bz2"), Fail),
        ("md5", json!("00000000000000000000000000000000"), Tell),
        ("md5", json!("zz"), Fail),
        ("md5", json!("00"), Fail),
        ("md5", json!(5), Fail),
        ("md5", json!(null), Pass),
        ("stored_length", json!(null), Pass),
        ("zero", json!(true), Fail),
        ("zero", json!("yes"), Fail),
        ("something", json!({"else": [1, 2, {}]}), Pass),
    ];
    for key in ["length", "offset", "stored_length"] {
        for value in [
            json!(-1),
            json!(1.5),
            json!("512"),
            json!(1e300),
            json!(u64::MAX),
            json!([]),
            json!({}),
            json!(true),
        ] {
            lies.push((key, value, Fail));
        }
        let large = if key == "offset" { Fail } else { Hold };
        for value in [0, 1, 511, 513, 1 << 20, 1 << 33, 1 << 40, (1 << 62) - 1] {
            lies.push((key, json!(value), large.min_for(key, value)));
        }
    }
    lies
}

/// Whether a reader of the format must refuse the value, whatever it is of.
fn is_no_value(key: &str, value: &Value) -> bool {
    match key {
        "length" | "offset" => value.as_u64().is_none_or(|n| n == u64::MAX),
        "stored_length" => value.as_u64().is_none() && !value.is_null(),
        "zero" => value.as_bool().is_none(),
        _ => value
            .as_str()
            .is_none_or(|text| ["lzma", "", "zz", "00"].contains(&text)),
    }
}

impl Must {
    /// A number that the entry may really have is no lie, so only right bytes are asked for.
    fn min_for(self, key: &str, value: u64) -> Self {
        match key {
            // The first data entry may lie at 0.
            "offset" if value == 0 => Self::Hold,
            _ => self,
        }
    }
}

#[tokio::test]
async fn entries_that_lie_are_refused_or_restore_right_bytes() {
    let sound = Sound::ours(Algorithm::Zlib).await;
    let mut cases = 0;
    for layer in sound.chain.layers() {
        let name = layer.location.metadata().to_string();
        for (key, value, must) in body_lies() {
            let label = format!("{name}: {key} = {value}");
            let value_of = value.clone();
            let memory = edited(&sound, &name, |m| {
                let at = data_entry(m);
                body(&mut entries(m)[at])[key] = value;
            });
            // What newer layers hide is not read: only what no reader can take is refused there.
            let shows = layer.id == sound.chain.newest().id;
            let must = if shows || is_no_value(key, &value_of) {
                must
            } else {
                Must::Hold
            };
            check(&sound, &memory, &layer.location.to_string(), must, &label).await;
            cases += 1;
        }
        for key in ["length", "offset", "compression"] {
            let memory = edited(&sound, &name, |m| {
                let at = data_entry(m);
                body(&mut entries(m)[at])
                    .as_object_mut()
                    .unwrap()
                    .remove(key);
            });
            let label = format!("{name}: no {key}");
            check(&sound, &memory, &name, Must::Fail, &label).await;
            cases += 1;
        }
    }
    println!("{cases} entries that lie");
}

#[tokio::test]
async fn overlapping_double_and_unsorted_entries_are_refused_or_put_in_order() {
    let sound = Sound::ours(Algorithm::Zlib).await;
    for layer in sound.chain.layers() {
        let name = layer.location.metadata().to_string();
        let reversed = edited(&sound, &name, |m| entries(m).reverse());
        check(&sound, &reversed, &name, Must::Pass, "reversed").await;

        let double = edited(&sound, &name, |m| {
            let first = entries(m)[0].clone();
            entries(m).insert(0, first);
        });
        check(&sound, &double, &name, Must::Fail, "an entry twice").await;
        let double = edited(&sound, &name, |m| {
            let first = entries(m)[0].clone();
            entries(m).push(first);
        });
        check(
            &sound,
            &double,
            &name,
            Must::Fail,
            "an entry twice, far off",
        )
        .await;

        let overlapping = edited(&sound, &name, |m| {
            let mut longer = entries(m)[0].clone();
            let body = body(&mut longer);
            body["length"] = json!(body["length"].as_u64().unwrap() + 512);
            entries(m).push(longer);
            entries(m).remove(0);
        });
        check(
            &sound,
            &overlapping,
            &name,
            Must::Tell,
            "longer than there is",
        )
        .await;

        let behind = edited(&sound, &name, |m| {
            let mut far = entries(m)[0].clone();
            body(&mut far)["offset"] = json!(1u64 << 40);
            entries(m).push(far);
        });
        check(&sound, &behind, &name, Must::Hold, "behind the end").await;

        let lost = edited(&sound, &name, |m| drop(entries(m).remove(0)));
        check(&sound, &lost, &name, Must::Tell, "an entry is lost").await;
        let none = edited(&sound, &name, |m| entries(m).clear());
        check(&sound, &none, &name, Must::Tell, "no entries").await;
        for (what, entry) in [
            ("an empty entry", json!({})),
            ("an entry of text", json!("x")),
            ("an entry that is null", json!(null)),
            ("an entry of nothing", json!({"x": null})),
        ] {
            let memory = edited(&sound, &name, |m| entries(m)[0] = entry);
            check(&sound, &memory, &name, Must::Fail, what).await;
        }
        let two = edited(&sound, &name, |m| {
            let body = body(&mut entries(m)[0]).clone();
            entries(m)[0]["another"] = body;
        });
        check(&sound, &two, &name, Must::Fail, "an entry of two objects").await;
    }
}

#[tokio::test]
async fn names_that_climb_or_belong_to_others_are_refused_and_the_metadata_is_named() {
    let sound = Sound::ours(Algorithm::None).await;
    let layer = sound.chain.newest();
    let (name, prefix) = (
        layer.location.metadata().to_string(),
        layer.location.prefix.to_string(),
    );
    let older = sound.chain.layers()[0].location.prefix.data_object(1);
    for bad in [
        "../../../etc/passwd".to_owned(),
        "/etc/passwd".to_owned(),
        format!("{prefix}/../../../etc/passwd"),
        format!("{prefix}/..\u{0}"),
        format!("{prefix}-00001\u{0}"),
        format!("{prefix}-00001\n"),
        format!("{prefix}//x"),
        format!("{prefix}/./x"),
        format!("{prefix}/"),
        format!("..\\{prefix}"),
        format!("{prefix}{}", "x".repeat(2000)),
        String::new(),
        ".".to_owned(),
        older,
    ] {
        let memory = edited(&sound, &name, |m| {
            let at = data_entry(m);
            let body = body(&mut entries(m)[at]).clone();
            entries(m)[at] = json!({ bad.as_str(): body });
        });
        let label = format!("an object called {bad:?}");
        let verdict = sound.read(&memory, true, &label).await;
        let e = verdict.restored.expect_err(&label);
        assert_eq!(e.kind(), ErrorKind::Corrupt, "{label}: {e:?}");
        assert!(e.to_string().contains(&name), "{label}: {e}");
        assert!(
            verdict.verified.problems[0].object.contains(&name),
            "{label}: {:?}",
            verdict.verified.problems
        );
    }
    // A backslash is a letter like others; there is no such object.
    let memory = edited(&sound, &name, |m| {
        let at = data_entry(m);
        let body = body(&mut entries(m)[at]).clone();
        entries(m)[at] = json!({ format!("{prefix}\\..\\x"): body });
    });
    let verdict = sound.read(&memory, true, "a backslash").await;
    assert!(verdict.restored.unwrap_err().is(ErrorKind::NotFound));
}

#[tokio::test]
async fn heads_that_lie_are_refused() {
    use Must::{Fail, Hold, Pass, Tell};
    let sound = Sound::ours(Algorithm::Zstd).await;
    let [full, _, newest] = sound.chain.layers() else {
        panic!("three layers")
    };
    let name = newest.location.metadata().to_string();
    let other = full.id.to_string();
    let cases: Vec<(&str, Value, Must)> = vec![
        ("/version", json!("2.0.0"), Fail),
        ("/version", json!("1.0.1"), Fail),
        ("/version", json!(1), Fail),
        ("/version", json!(null), Fail),
        ("/backup_id", json!(other), Fail),
        ("/backup_id", json!("x"), Fail),
        ("/backup_id", json!(null), Fail),
        ("/parent_id", json!(other), Fail),
        ("/parent_id", json!(null), Fail),
        ("/parent_id", json!("x"), Fail),
        ("/volume_id", json!(other), Fail),
        ("/volume_id", json!("x"), Fail),
        ("/objects", json!(null), Fail),
        ("/objects", json!({}), Fail),
        ("/backup_name", json!(5), Fail),
        ("/backup_name", json!(null), Pass),
        ("/created_at", json!("yesterday"), Pass),
        ("/volume_meta", json!("no JSON"), Hold),
        ("/ashlar", json!([]), Fail),
        ("/ashlar", json!("x"), Fail),
        ("/ashlar", json!(null), Hold),
        ("/ashlar/volume_length", json!(10_306), Fail),
        ("/ashlar/volume_length", json!(10_308), Fail),
        ("/ashlar/volume_length", json!(10_307 + 512), Fail),
        ("/ashlar/volume_length", json!(0), Fail),
        ("/ashlar/volume_length", json!(i64::MAX), Fail),
        ("/ashlar/volume_length", json!(u64::MAX), Fail),
        ("/ashlar/volume_length", json!(-5), Fail),
        ("/ashlar/block_size", json!(1024), Fail),
        ("/ashlar/block_size", json!(0), Fail),
        ("/ashlar/hash_list_sha256", json!("00".repeat(32)), Fail),
        ("/ashlar/hash_list_sha256", json!("0"), Fail),
        ("/ashlar/hash_list_sha256", json!(null), Hold),
        ("/ashlar/container", json!("../.."), Fail),
        ("/ashlar/container", json!("another"), Tell),
        ("/ashlar/prefix", json!("/etc/passwd"), Fail),
        ("/ashlar/prefix", json!("another"), Tell),
        ("/ashlar/object_count", json!(7_000_000), Fail),
        ("/ashlar/stored_bytes", json!(3), Tell),
        ("/ashlar/hash_list_bytes", json!(3), Tell),
        ("/ashlar/version", json!("x"), Fail),
        ("/ashlar/version", json!(99), Pass),
    ];
    for (at, value, must) in cases {
        let label = format!("{at} = {value}");
        let memory = edited(&sound, &name, |m| *m.pointer_mut(at).unwrap() = value);
        let named = if at.ends_with("sha256") {
            newest.location.to_string()
        } else if at.ends_with("volume_length") {
            // Its last block then is another one, whoever has it.
            String::new()
        } else {
            name.clone()
        };
        check(&sound, &memory, &named, must, &label).await;
    }
    for key in ["version", "backup_id", "volume_id", "objects", "parent_id"] {
        let memory = edited(&sound, &name, |m| {
            m.as_object_mut().unwrap().remove(key);
        });
        check(&sound, &memory, &name, Fail, &format!("no {key}")).await;
    }
}

#[tokio::test]
async fn hash_lists_that_lie_are_refused() {
    let sound = Sound::ours(Algorithm::Bzip2).await;
    let newest = sound.chain.newest();
    let (list, metadata) = (
        newest.location.hash_list().to_string(),
        newest.location.metadata().to_string(),
    );
    let cases: Vec<(&str, Value)> = vec![
        ("/chunk_size", json!(0)),
        ("/chunk_size", json!(1)),
        ("/chunk_size", json!(256)),
        ("/chunk_size", json!(1024)),
        ("/chunk_size", json!(1u64 << 30)),
        ("/chunk_size", json!(u64::MAX)),
        ("/chunk_size", json!("512")),
        ("/sha256s", json!([])),
        ("/sha256s", json!({})),
        ("/sha256s/0", json!("00")),
        ("/sha256s/3", json!("00".repeat(32))),
        ("/sha256s/20", json!(null)),
        ("/version", json!("2.0.0")),
        ("/backup_id", json!(newest.location.prefix)),
        ("/backup_id", json!(sound.chain.layers()[0].id.to_string())),
    ];
    for (at, value) in cases {
        // Ours has its SHA-256 in the metadata; without that, as of Cinder's, the rest must do.
        for known in [true, false] {
            let label = format!("{at} = {value}, its SHA-256 known: {known}");
            let memory = edited(&sound, &list, |m| {
                *m.pointer_mut(at).unwrap() = value.clone()
            });
            if !known {
                memory.damage(&metadata, |bytes| {
                    let mut m: Value = serde_json::from_slice(bytes).unwrap();
                    m["ashlar"]["hash_list_sha256"] = json!(null);
                    *bytes = serde_json::to_vec(&m).unwrap();
                });
            }
            let verdict = sound.read(&memory, true, &label).await;
            assert!(verdict.restored.is_err(), "{label}");
            assert!(!verdict.verified.data_is_right(), "{label}");
        }
    }
    let twice = sound.memory.duplicate();
    twice.damage(&list, |b| {
        let text = String::from_utf8(b.clone()).unwrap();
        *b = text
            .replacen(
                "\"chunk_size\": 512,",
                "\"chunk_size\": 512, \"chunk_size\": 1024,",
                1,
            )
            .into_bytes();
    });
    let verdict = sound.read(&twice, true, "a key twice").await;
    assert!(verdict.restored.unwrap_err().to_string().contains("twice"));
}

/// Its MD5 is right, and so is every block that it covers whole: only the hashes of the blocks that it covers in part
/// tell that it lies elsewhere.
#[tokio::test]
async fn an_object_whose_offset_changed_within_a_block_is_never_written() {
    let sound = Sound::ours(Algorithm::None).await;
    let newest = sound.chain.newest();
    let name = newest.location.metadata().to_string();
    for by in [1i64, -1, 100, -400, 511] {
        let memory = edited(&sound, &name, |m| {
            let last = entries(m).last_mut().unwrap();
            let offset = body(last)["offset"].as_i64().unwrap() + by;
            assert!(offset > 512);
            body(last)["offset"] = json!(offset);
        });
        let label = format!("moved by {by}");
        // The one that moved, or one that shows where it was.
        check(&sound, &memory, "", Must::Fail, &label).await;
    }
}
