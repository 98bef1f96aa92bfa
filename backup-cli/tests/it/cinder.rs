//! Repositories in a folder that Cinder wrote, and the records that it exported, through the binary alone.

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::Value;
use sha2::{Digest, Sha256};

use crate::ashlar::Home;

fn cases() -> Vec<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../backup-core/tests/data/cinder");
    let mut cases: Vec<_> = fs::read_dir(root)
        .unwrap()
        .map(|case| case.unwrap().path())
        .filter(|case| case.join("repo").is_dir())
        .collect();
    cases.sort();
    assert!(cases.len() >= 14, "the test data is there");
    cases
}

fn manifest(case: &Path) -> Value {
    serde_json::from_slice(&fs::read(case.join("manifest.json")).unwrap()).unwrap()
}

/// A home whose default repository is the one that Cinder wrote.
fn home_over(case: &Path, service: &str) -> Home {
    let home = Home::new();
    fs::create_dir_all(home.path()).unwrap();
    let path = case.join("repo");
    let text = format!(
        "[repository.default]\ntype = \"posix\"\npath = {:?}\nservice = {service:?}\n",
        path.to_str().unwrap()
    );
    fs::write(home.path().join("ashlar.toml"), text).unwrap();
    home
}

fn sha256_of(bytes: &[u8]) -> String {
    Sha256::digest(bytes)
        .iter()
        .fold(String::new(), |text, byte| format!("{text}{byte:02x}"))
}

/// Restores every backup into a new volume and onto one full of other data.
pub(crate) fn restore_all(home: &Home, manifest: &Value, from: &str) {
    for backup in manifest["backups"].as_array().unwrap() {
        let label = format!("{} {} from {from}", manifest["case"], backup["label"]);
        let id = backup["id"].as_str().unwrap();
        let expected = backup["image_sha256"].as_str().unwrap();
        let size = usize::try_from(backup["image_size"].as_u64().unwrap()).unwrap();
        let to_new = home.json(&["volume", "backup", "restore", id]);
        let new = home.data_of(to_new["volume_id"].as_str().unwrap());
        assert_eq!(new.len(), size, "{label}");
        assert_eq!(sha256_of(&new), expected, "{label}, new volume");
        let dirty = home.dir.path().join(format!("{id}.img"));
        fs::write(&dirty, vec![0xA5; size]).unwrap();
        let file = dirty.to_str().unwrap();
        let volume = home.json(&["volume", "create", "--file", file, id]);
        let volume = volume["id"].as_str().unwrap();
        home.good(&["volume", "backup", "restore", id, volume]);
        assert_eq!(
            sha256_of(&fs::read(&dirty).unwrap()),
            expected,
            "{label}, dirty volume"
        );
        home.good(&["volume", "delete", volume]);
        fs::remove_file(dirty).unwrap();
    }
}

#[test]
fn every_backup_that_cinder_wrote_restores_from_its_records() {
    for case in cases() {
        let manifest = manifest(&case);
        let mut home: Option<Home> = None;
        for backup in manifest["backups"].as_array().unwrap() {
            let record = case.join(backup["record"].as_str().unwrap());
            let text = fs::read_to_string(&record).unwrap();
            let service = text
                .lines()
                .find_map(|line| line.strip_prefix("backup_service: "))
                .unwrap();
            let home = home.get_or_insert_with(|| home_over(&case, service));
            let record = record.to_str().unwrap();
            home.good(&["volume", "backup", "record", "import", "--file", record]);
        }
        restore_all(&home.unwrap(), &manifest, "records");
    }
}

#[test]
fn every_backup_that_cinder_wrote_restores_from_a_scan() {
    for case in cases() {
        let home = home_over(&case, "cinder.backup.drivers.posix.PosixBackupDriver");
        home.good(&["volume", "backup", "scan", "--import"]);
        restore_all(&home, &manifest(&case), "a scan");
    }
}
