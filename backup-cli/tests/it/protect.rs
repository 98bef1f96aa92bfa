//! Backups outlive the catalogue, the home and the host.

use std::fs;

use serde_json::Value;

use crate::ashlar::{Home, noise, overwrite};

const LENGTH: usize = 3_000_000;

/// A home with a chain of two in the repository that both homes of a test share.
fn chain(home: &Home, repository: &str) -> Vec<u8> {
    let image = home.volume("v", LENGTH);
    let option = format!("repository.default.path={repository}");
    home.good(&[
        "-o",
        "repository.default.type=posix",
        "-o",
        &option,
        "volume",
        "backup",
        "create",
        "--name",
        "full",
        "v",
    ]);
    overwrite(&image, 1_000_000, &noise(200_000, 5));
    home.good(&[
        "-o",
        "repository.default.type=posix",
        "-o",
        &option,
        "volume",
        "backup",
        "create",
        "--incremental",
        "--name",
        "inc",
        "v",
    ]);
    fs::read(image).unwrap()
}

fn configured(home: &Home, repository: &str) {
    fs::create_dir_all(home.path()).unwrap();
    fs::write(
        home.path().join("ashlar.toml"),
        format!("[repository.default]\ntype = \"posix\"\npath = {repository:?}\n"),
    )
    .unwrap();
}

#[test]
fn exported_records_restore_in_another_home() {
    let shared = tempfile::tempdir().unwrap();
    let repository = shared.path().join("r");
    fs::create_dir(&repository).unwrap();
    let repository = repository.to_str().unwrap();
    let home = Home::new();
    let expected = chain(&home, repository);
    configured(&home, repository);
    let yaml = home.good(&["volume", "backup", "record", "export", "-f", "yaml", "full"]);
    assert!(
        yaml.starts_with(
            "backup_service: cinder.backup.drivers.posix.PosixBackupDriver\nbackup_url: "
        ),
        "{yaml}"
    );
    let json = home.json(&["volume", "backup", "record", "export", "inc"]);

    let other = Home::new();
    configured(&other, repository);
    // The order is free: the child first, by its words.
    let ran = other.run(&[
        "volume",
        "backup",
        "record",
        "import",
        json["backup_service"].as_str().unwrap(),
        json["backup_url"].as_str().unwrap(),
    ]);
    assert_eq!(ran.status, 0, "{ran:?}");
    assert!(ran.err.contains("stands on"), "{ran:?}");
    let file = other.dir.path().join("full.yaml");
    fs::write(&file, yaml).unwrap();
    other.good(&[
        "volume",
        "backup",
        "record",
        "import",
        "--file",
        file.to_str().unwrap(),
    ]);
    other.good(&["volume", "backup", "restore", "--name", "r", "inc"]);
    assert!(other.data_of("r") == expected);
}

#[test]
fn a_scan_brings_everything_back_after_the_catalogue_is_gone() {
    let home = Home::new();
    let image = home.volume("v", LENGTH);
    home.good(&[
        "volume",
        "backup",
        "create",
        "--name",
        "full",
        "--description",
        "d",
        "v",
    ]);
    overwrite(&image, 1_000_000, &noise(200_000, 5));
    home.good(&[
        "volume",
        "backup",
        "create",
        "--incremental",
        "--name",
        "inc",
        "v",
    ]);
    let before: Vec<Value> = ["full", "inc"]
        .map(|b| home.json(&["volume", "backup", "show", b]))
        .into();

    for entry in fs::read_dir(home.path()).unwrap() {
        let path = entry.unwrap().path();
        if path
            .file_name()
            .unwrap()
            .to_str()
            .unwrap()
            .starts_with("catalogue")
        {
            fs::remove_file(path).unwrap();
        }
    }
    assert_eq!(
        home.json(&["volume", "backup", "list"]),
        Value::Array(vec![])
    );
    let found = home.json(&["volume", "backup", "scan"]);
    assert_eq!(found.as_array().unwrap().len(), 2);
    assert!(
        found
            .as_array()
            .unwrap()
            .iter()
            .all(|f| f["state"] == "new"),
        "{found}"
    );
    assert_eq!(
        home.json(&["volume", "backup", "list"]),
        Value::Array(vec![]),
        "nothing is taken in unasked"
    );

    home.good(&["volume", "backup", "scan", "--import"]);
    for (before, name) in before.iter().zip(["full", "inc"]) {
        let after = home.json(&["volume", "backup", "show", name]);
        for key in [
            "id",
            "name",
            "description",
            "size_bytes",
            "parent_id",
            "container",
            "prefix",
            "object_count",
            "stored_bytes",
            "volume_id",
            "is_incremental",
            "data_timestamp",
            "status",
        ] {
            assert_eq!(before[key], after[key], "{key} of {name}");
        }
    }
    home.good(&["volume", "backup", "restore", "--name", "r", "inc"]);
    assert!(home.data_of("r") == fs::read(&image).unwrap());
    let again = home.json(&["volume", "backup", "scan"]);
    assert!(
        again
            .as_array()
            .unwrap()
            .iter()
            .all(|f| f["state"] == "known"),
        "{again}"
    );
}

#[test]
fn a_record_of_nothing_is_refused() {
    let home = Home::new();
    let service = "cinder.backup.drivers.posix.PosixBackupDriver";
    for wrong in ["not base64!", "bm90IGpzb24=", "e30="] {
        home.bad(&["volume", "backup", "record", "import", service, wrong]);
    }
    assert_eq!(
        home.json(&["volume", "backup", "list"]),
        Value::Array(vec![])
    );
}
