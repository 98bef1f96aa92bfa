//! Flipped bits, cuts, additions, losses and exchanges, over all objects of small repositories.

use std::collections::BTreeMap;

use backup_core::testing::{MemoryDevice, MemoryRepository};
use backup_core::{Algorithm, Backup, Chain, Layer, Location};
use backup_core::{ContainerName, Prefix};

use super::fields::fields;
use super::read::{Sound, Verdict};
use crate::cinder;
use crate::history::context;

/// Fields of the metadata that nothing else of a backup says again: a change of them is read as it stands. This is the
/// list in docs/promises.md; of the key `ashlar` it is all but length, block size, location, counts and the hash list's
/// SHA-256.
const UNCHECKED: [&str; 11] = [
    "backup_name",
    "backup_description",
    "created_at",
    "volume_meta",
    "ashlar.change_point",
    "ashlar.data_timestamp",
    "ashlar.encryption_key_id",
    "ashlar.project_id",
    "ashlar.snapshot_id",
    "ashlar.user_id",
    "ashlar.version",
];

/// Whether a flip in this field may go unnoticed.
fn may_go_unnoticed(field: &str) -> bool {
    let name = field.trim_end_matches(" (key)");
    // A key that is no longer known is ignored, as one that Cinder would not know.
    let optional = field.ends_with(" (key)")
        && (name.starts_with("ashlar")
            || ["md5", "stored_length", "zero"]
                .iter()
                .any(|k| name == format!("objects.*.{k}"))
            || [
                "backup_name",
                "backup_description",
                "created_at",
                "volume_meta",
                "parent_id",
            ]
            .contains(&name));
    // The hash list says again who it is of, and needs it as little.
    let of_list = name == "volume_id" && !field.ends_with(" (key)");
    optional || of_list || UNCHECKED.contains(&name) || name.starts_with("ashlar.properties")
}

fn flip(at: usize) -> u8 {
    1 << ((at * 5 + 3) % 8)
}

/// Same text to any reader: hexadecimal digits and words in the other case.
fn only_case(old: u8, new: u8) -> bool {
    old.eq_ignore_ascii_case(&new)
}

/// What was done and how often it was noticed.
#[derive(Default)]
struct Count {
    cases: u64,
    restored: u64,
    unnoticed: BTreeMap<String, u64>,
}

impl Count {
    fn add(&mut self, verdict: &Verdict) -> bool {
        self.cases += 1;
        self.restored += u64::from(verdict.restored.is_ok());
        verdict.verified.problems.is_empty()
    }
}

/// Flips a bit of each `step`-th byte of each object that `which` names. Of the metadata, only the newest layer's is
/// asked for: what an older one says of its own backup is that backup's verify to tell.
async fn flips(sound: &Sound, step: usize, which: fn(&str) -> bool) -> Count {
    let mut count = Count::default();
    let newest = sound.chain.newest().location.metadata().to_string();
    let objects = sound.objects().into_iter();
    for name in objects.filter(|n| which(n) && (!is_metadata(n) || *n == newest)) {
        let whole = sound.memory.object(&name).unwrap();
        let of = (!is_data(&name)).then(|| fields(&whole));
        for at in (0..whole.len()).step_by(step) {
            let memory = sound.memory.duplicate();
            memory.damage(&name, |b| b[at] ^= flip(at));
            let label = format!("byte {at} of {name}, bit {:#x}", flip(at));
            let verdict = sound.read(&memory, at % 8 == 0, &label).await;
            if !count.add(&verdict) {
                if !is_metadata(&name) {
                    assert_named(&verdict, &name, &label);
                }
                continue;
            }
            if let Some(of) = &of
                && !only_case(whole[at], whole[at] ^ flip(at))
            {
                *count.unnoticed.entry(of[at].clone()).or_default() += 1;
                assert!(
                    may_go_unnoticed(&of[at]),
                    "{label}: unnoticed in {}",
                    of[at]
                );
            }
        }
    }
    count
}

/// The object is named, by the error and by the report.
fn assert_named(verdict: &Verdict, name: &str, label: &str) {
    if let Err(e) = &verdict.restored {
        assert!(e.to_string().contains(name), "{label}: {e}");
    }
    let problems = &verdict.verified.problems;
    let names = |p: &backup_core::Problem| p.object.contains(name) || p.text.contains(name);
    assert!(problems.iter().any(names), "{label}: {problems:?}");
}

fn is_metadata(name: &str) -> bool {
    name.ends_with("_metadata")
}

fn is_hash_list(name: &str) -> bool {
    name.ends_with("_sha256file")
}

fn is_data(name: &str) -> bool {
    !is_metadata(name) && !is_hash_list(name)
}

#[tokio::test]
async fn a_flipped_bit_of_metadata_is_noticed_or_lies_in_a_field_that_promises_md_names() {
    let mut count = Count::default();
    for sound in Sound::versions(Algorithm::Zlib).await {
        let of_one = flips(&sound, 1, is_metadata).await;
        count.cases += of_one.cases;
        count.restored += of_one.restored;
        for (field, n) in of_one.unnoticed {
            *count.unnoticed.entry(field).or_default() += n;
        }
    }
    println!(
        "metadata: {} bytes flipped, {} restored right all the same, unnoticed by verify: {:?}",
        count.cases, count.restored, count.unnoticed
    );
    assert!(count.cases > 4000 && count.restored < count.cases);
    assert!(count.unnoticed.contains_key("backup_name"));
}

#[tokio::test]
async fn a_flipped_bit_of_our_hash_list_is_always_noticed() {
    let sound = Sound::ours(Algorithm::Zlib).await;
    let count = flips(&sound, 1, is_hash_list).await;
    println!("hash list: {} bytes flipped", count.cases);
    assert!(count.cases > 1500);
    assert_eq!(count.restored, 0);
    assert_eq!(count.unnoticed, BTreeMap::new());
}

#[tokio::test]
async fn a_flipped_bit_of_data_never_gives_a_wrong_byte() {
    let (mut cases, mut restored) = (0, 0);
    for algorithm in [
        Algorithm::None,
        Algorithm::Zlib,
        Algorithm::Bzip2,
        Algorithm::Zstd,
    ] {
        let sound = Sound::ours(algorithm).await;
        let count = flips(&sound, 13, is_data).await;
        cases += count.cases;
        restored += count.restored;
        let count = flips(&sound, 29, |name| !is_data(name)).await;
        cases += count.cases;
        restored += count.restored;
    }
    println!("{cases} bytes flipped, {restored} restored right all the same");
    assert!(cases > 1000 && restored < cases / 2);
}

/// One of Cinder's repositories: the chain of its last backup.
fn cinders(case: &str) -> Sound {
    let folder = cinder::cases()
        .into_iter()
        .find(|c| c.ends_with(case))
        .unwrap();
    let memory = MemoryRepository::new();
    cinder::load(&folder.join("repo"), &folder.join("repo"), &memory);
    let manifest: serde_json::Value =
        serde_json::from_slice(&std::fs::read(folder.join("manifest.json")).unwrap()).unwrap();
    let backups = manifest["backups"].as_array().unwrap();
    let mut layers = Vec::new();
    let mut id = backups.last().unwrap()["id"].as_str();
    while let Some(this) = id {
        let backup = backups.iter().find(|b| b["id"] == this).unwrap();
        let text = |key: &str| backup[key].as_str().unwrap().to_owned();
        layers.insert(
            0,
            Layer {
                id: this.parse().unwrap(),
                location: Location {
                    container: ContainerName::new(text("container")).unwrap(),
                    prefix: Prefix::new(text("prefix")).unwrap(),
                },
            },
        );
        id = backup["parent_id"].as_str();
    }
    let length = backups.last().unwrap()["image_size"].as_u64().unwrap();
    Sound {
        memory,
        chain: Chain::new(layers).unwrap(),
        content: MemoryDevice::new(length),
        cx: context(),
    }
}

#[tokio::test]
async fn a_flipped_bit_of_what_cinder_wrote_never_gives_a_wrong_byte() {
    let (mut cases, mut unnoticed) = (0, BTreeMap::new());
    for case in ["metadata", "container", "allzero", "unaligned"] {
        let mut sound = cinders(case);
        // Restored right once, which the tests of the fixtures hold against Cinder's own digests.
        let content = sound.content.copy();
        let device: std::sync::Arc<dyn backup_core::BlockDevice> =
            std::sync::Arc::new(content.clone());
        sound
            .engine(&sound.memory)
            .restore(&sound.chain, &device, &Default::default(), &sound.cx)
            .await
            .unwrap();
        sound.content = content;
        for (step, which) in [
            (23, is_metadata as fn(&str) -> bool),
            (97, is_hash_list),
            (5003, is_data),
        ] {
            let count = flips(&sound, step, which).await;
            cases += count.cases;
            for (field, n) in count.unnoticed {
                *unnoticed.entry(field).or_insert(0) += n;
            }
        }
    }
    println!("{cases} bytes flipped, unnoticed by verify: {unnoticed:?}");
    assert!(cases > 300);
}

#[tokio::test]
async fn cut_grown_lost_and_exchanged_objects_are_named() {
    let mut cases = 0;
    for algorithm in [
        Algorithm::None,
        Algorithm::Zlib,
        Algorithm::Bzip2,
        Algorithm::Zstd,
    ] {
        let sound = Sound::ours(algorithm).await;
        let objects = sound.objects();
        for (i, name) in objects.iter().enumerate() {
            let whole = sound.memory.object(name).unwrap();
            let mut changes: Vec<(String, Option<Vec<u8>>)> = vec![("gone".into(), None)];
            let step = (whole.len() / 9).max(1);
            for length in (0..whole.len()).step_by(step) {
                changes.push((format!("cut at {length}"), Some(whole[..length].to_vec())));
            }
            for more in [1, 700] {
                let mut grown = whole.to_vec();
                grown.resize(whole.len() + more, b' ');
                changes.push((format!("{more} longer"), Some(grown)));
            }
            for other in [
                &objects[(i + 1) % objects.len()],
                &objects[(i + 5) % objects.len()],
            ] {
                let other = sound.memory.object(other).unwrap();
                if other != whole {
                    changes.push(("another's".into(), Some(other.to_vec())));
                }
            }
            for (what, bytes) in changes {
                let label = format!("{algorithm}, {name}: {what}");
                let memory = sound.memory.duplicate();
                match &bytes {
                    None => assert!(memory.remove(name)),
                    Some(bytes) => assert!(memory.damage(name, |b| b.clone_from(bytes))),
                }
                let verdict = sound.read(&memory, true, &label).await;
                cases += 1;
                // Blanks behind a JSON text mean nothing, but for our hash list's own SHA-256.
                if is_metadata(name) && what.ends_with("longer") {
                    assert!(verdict.restored.is_ok(), "{label}");
                    continue;
                }
                // An object that newer layers hide is not read, so that another one of its length is not seen.
                let hidden = what == "another's" && verdict.restored.is_ok();
                if hidden && verdict.verified.problems.is_empty() {
                    assert!(
                        !name.contains(&sound.chain.newest().id.to_string()),
                        "{label}"
                    );
                    continue;
                }
                assert_named(&verdict, name, &label);
                if is_metadata(name) || (is_hash_list(name) && bytes.is_some()) {
                    assert!(verdict.restored.is_err(), "{label}");
                }
            }
        }
    }
    println!("{cases} objects cut, grown, lost and exchanged");
}
