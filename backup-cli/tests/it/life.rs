//! The main job from end to end.

use std::fs;

use serde_json::Value;

use crate::ashlar::{Home, noise, overwrite};

const LENGTH: usize = 5_000_000; // no multiple of anything

#[test]
fn a_volume_is_backed_up_changed_backed_up_again_and_both_states_come_back() {
    let home = Home::new();
    let image = home.volume("v", LENGTH);
    let first = fs::read(&image).unwrap();
    home.good(&["volume", "backup", "create", "--name", "full", "v"]);

    overwrite(&image, 700_000, &noise(40_000, 9));
    overwrite(&image, 100, &vec![0; 70_000]);
    let second = fs::read(&image).unwrap();
    let incremental = home.json(&[
        "volume",
        "backup",
        "create",
        "--incremental",
        "--name",
        "inc",
        "v",
    ]);
    assert_eq!(incremental["is_incremental"], true);

    for (backup, expected) in [("full", &first), ("inc", &second)] {
        home.good(&["volume", "backup", "verify", backup]);
        // To a new volume.
        let restored = home.json(&["volume", "backup", "restore", "--name", backup, backup]);
        assert_eq!(restored["volume_name"], *backup);
        assert!(
            home.data_of(backup) == *expected,
            "{backup} to a new volume"
        );
        // Onto a given one, full of other data.
        let target = home.dir.path().join(format!("{backup}.target"));
        fs::write(&target, noise(LENGTH, 77)).unwrap();
        let name = format!("onto-{backup}");
        home.good(&[
            "volume",
            "create",
            "--file",
            target.to_str().unwrap(),
            &name,
        ]);
        home.good(&["volume", "backup", "restore", backup, &name]);
        assert!(
            fs::read(&target).unwrap() == *expected,
            "{backup} onto a given volume"
        );
        // With the other check.
        let name = format!("md5-{backup}");
        home.good(&[
            "volume", "backup", "restore", "--check", "md5", "--name", &name, backup,
        ]);
        assert!(
            home.data_of(&name) == *expected,
            "{backup} with --check md5"
        );
    }
}

#[test]
fn each_compression_is_chosen_by_an_option_and_comes_back() {
    let home = Home::new();
    let image = home.volume("v", LENGTH);
    for codec in ["none", "zlib", "bz2", "zstd"] {
        let option = format!("backup.compression={codec}");
        home.good(&[
            "-o", &option, "volume", "backup", "create", "--name", codec, "v",
        ]);
        home.good(&["volume", "backup", "restore", "--name", codec, codec]);
        assert!(home.data_of(codec) == fs::read(&image).unwrap(), "{codec}");
    }
}

#[test]
fn a_made_volume_is_as_long_as_asked_for_and_goes_when_deleted() {
    let home = Home::new();
    let made = home.json(&["volume", "create", "--size", "1", "new"]);
    assert_eq!(made["size_bytes"], 1 << 30);
    assert_eq!(made["status"], "available");
    let path = made["path"].as_str().unwrap().to_owned();
    assert_eq!(fs::metadata(&path).unwrap().len(), 1 << 30);
    home.good(&["volume", "delete", "new"]);
    assert!(fs::metadata(&path).is_err());
    assert_eq!(home.json(&["volume", "list"]), Value::Array(vec![]));
}

#[test]
fn an_adopted_image_stays_when_its_volume_is_deleted() {
    let home = Home::new();
    let image = home.volume("v", LENGTH);
    home.good(&["volume", "delete", "v"]);
    assert!(image.exists());
}

#[test]
fn a_parent_cannot_go_before_its_children_and_a_chain_goes_in_any_order() {
    let home = Home::new();
    home.volume("v", LENGTH);
    home.good(&["volume", "backup", "create", "--name", "full", "v"]);
    home.good(&[
        "volume",
        "backup",
        "create",
        "--incremental",
        "--name",
        "inc",
        "v",
    ]);
    assert!(
        home.bad(&["volume", "backup", "delete", "full"])
            .contains("ncremental")
    );
    home.good(&["volume", "backup", "delete", "full", "inc"]);
    assert_eq!(
        home.json(&["volume", "backup", "list"]),
        Value::Array(vec![])
    );
    assert!(home.stored().is_empty(), "{:?}", home.stored());
}

#[test]
fn an_incremental_without_a_full_is_refused_with_what_to_do() {
    let home = Home::new();
    home.volume("v", LENGTH);
    let err = home.bad(&["volume", "backup", "create", "--incremental", "v"]);
    assert!(err.contains("hint: "), "{err}");
    assert_eq!(
        home.json(&["volume", "backup", "list"]),
        Value::Array(vec![])
    );
}

#[test]
fn a_volume_in_use_is_refused_without_force() {
    let home = Home::new();
    home.volume("v", LENGTH);
    home.good(&["volume", "set", "--state", "in-use", "v"]);
    assert!(
        home.bad(&["volume", "backup", "create", "v"])
            .contains("--force")
    );
}

#[test]
fn a_snapshot_is_backed_up_as_it_was() {
    let home = Home::new();
    let image = home.volume("v", LENGTH);
    let before = fs::read(&image).unwrap();
    let snapshot = home.json(&["volume", "snapshot", "create", "--volume", "v", "s"]);
    overwrite(&image, 0, &noise(100_000, 3));
    let backup = home.json(&[
        "volume",
        "backup",
        "create",
        "--snapshot",
        "s",
        "--name",
        "b",
        "v",
    ]);
    let shown = home.json(&["volume", "backup", "show", backup["id"].as_str().unwrap()]);
    assert_eq!(shown["snapshot_id"], snapshot["id"]);
    home.good(&["volume", "backup", "restore", "--name", "r", "b"]);
    assert!(home.data_of("r") == before);
    home.good(&["volume", "snapshot", "delete", "s"]);
    assert_eq!(
        home.json(&["volume", "snapshot", "list"]),
        Value::Array(vec![])
    );
}

#[test]
fn names_descriptions_properties_and_states_can_be_set() {
    let home = Home::new();
    home.volume("v", LENGTH);
    home.good(&[
        "volume",
        "set",
        "--name",
        "w",
        "--description",
        "d",
        "--property",
        "k=x=y",
        "v",
    ]);
    let shown = home.json(&["volume", "show", "w"]);
    assert_eq!(
        (&shown["description"], &shown["properties"]["k"]),
        (&"d".into(), &"x=y".into())
    );

    home.good(&[
        "volume",
        "backup",
        "create",
        "--property",
        "a=1",
        "--description",
        "t",
        "--name",
        "b",
        "w",
    ]);
    home.good(&[
        "volume",
        "backup",
        "set",
        "--name",
        "c",
        "--property",
        "b=2",
        "b",
    ]);
    let shown = home.json(&["volume", "backup", "show", "c"]);
    assert_eq!(shown["metadata"], serde_json::json!({"a": "1", "b": "2"}));
    home.good(&["volume", "backup", "set", "--state", "error", "c"]);
    assert_eq!(
        home.json(&["volume", "backup", "show", "c"])["status"],
        "error"
    );
    assert!(
        home.bad(&["volume", "backup", "restore", "c"])
            .contains("error")
    );
}

#[test]
fn an_ambiguous_name_is_an_error_that_lists_the_candidates() {
    let home = Home::new();
    let image = home.volume("v", LENGTH);
    let other = home.dir.path().join("other.img");
    fs::copy(&image, &other).unwrap();
    let second = home.json(&["volume", "create", "--file", other.to_str().unwrap(), "v"]);
    let err = home.bad(&["volume", "show", "v"]);
    assert!(err.contains(second["id"].as_str().unwrap()), "{err}");
}

#[test]
fn damage_is_told_by_verify_and_salvage_restores_the_rest() {
    let home = Home::new();
    let image = home.volume("v", LENGTH);
    let none = "backup.compression=none";
    let small = "backup.chunk_size=1MiB";
    home.good(&[
        "-o", none, "-o", small, "volume", "backup", "create", "--name", "b", "v",
    ]);
    let object = home
        .stored()
        .into_iter()
        .find(|p| p.to_str().unwrap().ends_with("-00001"))
        .unwrap();
    overwrite(&object, 5_000, b"damage");

    let verify = home.run(&["-f", "json", "volume", "backup", "verify", "b"]);
    assert_eq!(verify.status, 1, "{verify:?}");
    let report: Value = serde_json::from_str(&verify.out).unwrap();
    assert_eq!(report["result"], "damaged");
    let name = object.file_name().unwrap().to_str().unwrap();
    let listed = report["problem_list"][0]["object"].as_str().unwrap();
    assert!(listed.contains(name), "{listed}");

    assert!(
        home.bad(&["volume", "backup", "restore", "b"])
            .contains("-00001")
    );
    let salvaged = home.run(&[
        "-f",
        "json",
        "volume",
        "backup",
        "restore",
        "--salvage",
        "--name",
        "r",
        "b",
    ]);
    assert_eq!(salvaged.status, 1, "{salvaged:?}");
    let restored = home.data_of("r");
    let original = fs::read(&image).unwrap();
    assert_eq!(restored.len(), original.len());
    assert!(
        restored[2 << 20..] == original[2 << 20..],
        "what is not damaged is right"
    );
}

/// Without a hash list nothing but its MD5 proves an object; with one, `--check md5` looks at both.
#[test]
fn every_check_and_a_salvage_of_each_kind_of_damage_exits_1_and_names_the_object() {
    let home = Home::new();
    let image = home.volume("v", LENGTH);
    let settings = [
        "-o",
        "backup.compression=zstd",
        "-o",
        "backup.chunk_size=1MiB",
    ];
    let create = ["volume", "backup", "create", "--name", "b", "v"];
    home.good(&[&settings[..], &create[..]].concat());
    let object = |end: &str| {
        let stored = home.stored().into_iter();
        let mut named = stored.filter(|p| p.to_str().unwrap().ends_with(end));
        named.next().unwrap()
    };
    let restore = |more: &[&str]| {
        let words = [&["volume", "backup", "restore"], more, &["b", "t"]].concat();
        home.run(&words)
    };
    let again = || home.good(&["volume", "set", "--state", "available", "t"]);
    let length = LENGTH.to_string();
    let target = home.dir.path().join("t.img");
    fs::write(&target, vec![0xA5; LENGTH]).unwrap();
    home.good(&["volume", "create", "--file", target.to_str().unwrap(), "t"]);
    let original = fs::read(&image).unwrap();
    for check in ["hashes", "md5"] {
        let ran = restore(&["--check", check]);
        assert_eq!(ran.status, 0, "{length} bytes: {ran:?}");
        assert!(fs::read(&target).unwrap() == original);
    }

    let (data, list) = (object("-00001"), object("_sha256file"));
    let sound = fs::read(&data).unwrap();
    let hashes = fs::read(&list).unwrap();
    for without_list in [false, true] {
        if without_list {
            fs::remove_file(&list).unwrap();
        }
        for damage in ["flipped", "cut", "gone"] {
            let mut bytes = sound.clone();
            match damage {
                "flipped" => bytes[sound.len() / 2] ^= 1,
                _ => bytes.truncate(sound.len() - 1),
            }
            fs::write(&data, &bytes).unwrap();
            if damage == "gone" {
                fs::remove_file(&data).unwrap();
            }
            for more in [
                &["--check", "hashes"][..],
                &["--check", "md5"],
                &["--salvage"],
                &["--salvage", "--check", "md5"],
            ] {
                let label = format!("{damage}, {more:?}, without the list: {without_list}");
                let ran = restore(more);
                assert_eq!(ran.status, 1, "{label}: {ran:?}");
                let told = format!("{}{}", ran.out, ran.err);
                assert!(told.contains("-00001"), "{label}: {told}");
                if more[0] == "--salvage" {
                    let restored = fs::read(&target).unwrap();
                    assert!(restored[2 << 20..] == original[2 << 20..], "{label}");
                } else {
                    again();
                }
            }
            let verify = home.run(&["volume", "backup", "verify", "b"]);
            assert_eq!(verify.status, 1, "{damage}: {verify:?}");
        }
        fs::write(&data, &sound).unwrap();
    }
    fs::write(&list, hashes).unwrap();
    assert_eq!(restore(&[]).status, 0);
    assert!(fs::read(&target).unwrap() == original);
}

#[test]
fn the_repository_check_is_good_and_leaves_nothing() {
    let home = Home::new();
    let steps = home.json(&["repository", "check"]);
    for step in steps.as_array().unwrap() {
        assert!(
            step["result"] == "good" || step["step"] == "speed",
            "{step}"
        );
    }
    assert!(home.stored().is_empty());
    let listed = home.json(&["repository", "list"]);
    assert_eq!(
        (&listed[0]["name"], &listed[0]["default"]),
        (&"default".into(), &true.into())
    );
}

#[test]
fn a_repository_that_cannot_be_written_fails_the_check_with_advice() {
    let home = Home::new();
    fs::write(home.dir.path().join("file"), "in the way").unwrap();
    let ran = home.run(&[
        "-o",
        "repository.default.type=posix",
        "-o",
        "repository.default.path=file",
        "repository",
        "check",
    ]);
    assert_eq!(ran.status, 1, "{ran:?}");
}

#[test]
fn the_demo_shows_equal_checksums() {
    let home = Home::new();
    let ran = home.run(&["-f", "json", "demo", "--size", "16", "--dir", "demo"]);
    assert_eq!(ran.status, 0, "{ran:?}");
    let rows: Value = serde_json::from_str(&ran.out).unwrap();
    let sha256 = |step: &str| {
        let row = rows.as_array().unwrap().iter().find(|r| r["step"] == step);
        row.unwrap()["sha256"].as_str().unwrap().to_owned()
    };
    assert_eq!(sha256("sample volume"), sha256("restore of full"));
    assert_eq!(sha256("1 % changed"), sha256("restore of incremental"));
    assert_ne!(sha256("sample volume"), sha256("1 % changed"));
    // A second one does not touch the first.
    assert_eq!(home.run(&["demo", "--dir", "demo"]).status, 2);
}
