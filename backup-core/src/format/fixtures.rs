//! What real Cinder drivers wrote, for the tests of this module.

use std::fs;
use std::path::{Path, PathBuf};

fn data() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data")
}

/// One file of our own collection.
pub(super) fn file(name: &str) -> String {
    fs::read_to_string(data().join("format").join(name)).unwrap()
}

/// All files of Cinder's repositories whose names end in `ending`, by path.
pub(super) fn cinder(ending: &str) -> Vec<(PathBuf, Vec<u8>)> {
    let mut found = Vec::new();
    let mut folders = vec![data().join("cinder")];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.to_string_lossy().ends_with(ending) {
                let bytes = fs::read(&path).unwrap();
                found.push((path, bytes));
            }
        }
    }
    found.sort();
    assert!(
        found.len() >= 10,
        "too few files *{ending}: {}",
        found.len()
    );
    found
}

/// `backup_service` and `backup_url` of an exported record in YAML.
pub(super) fn record_of(yaml: &str) -> (String, String) {
    let value = |key: &str| {
        let line = yaml.lines().find_map(|line| line.strip_prefix(key));
        line.unwrap().trim_start_matches(':').trim().to_owned()
    };
    (value("backup_service"), value("backup_url"))
}
