//! Backups as difference files, and volumes made of those, by the binary. Ceph's own tools have their turn in `rbd`.

use std::fs;
use std::path::{Path, PathBuf};

use backup_core::format::rbd_diff::{DiffReader, DiffVersion};
use sha2::{Digest, Sha256};

use crate::ashlar::{Home, noise, overwrite};

const MIB: usize = 1 << 20;

/// A home with a chain of three backups of a volume that grew and shrank: names, and what each holds.
fn chain() -> (Home, Vec<(&'static str, Vec<u8>)>) {
    let home = Home::new();
    let image = home.volume("v", 3 * MIB + 512);
    let mut held = Vec::new();
    let mut back_up = |name: &'static str, more: &[&str]| {
        let create = ["volume", "backup", "create", "--name", name];
        home.good(&[&create[..], more, &["v"]].concat());
        held.push((name, fs::read(&image).unwrap()));
    };
    back_up("full", &[]);
    overwrite(&image, 100_000, &noise(50_000, 2));
    // Data that becomes zero, and a longer volume.
    overwrite(&image, 40_000, &vec![0; 200_000]);
    let file = fs::File::options().write(true).open(&image).unwrap();
    file.set_len(5 * MIB as u64).unwrap();
    overwrite(&image, 4 * MIB as u64 + 7, &noise(70_000, 3));
    back_up("grown", &["--incremental"]);
    file.set_len(2 * MIB as u64 + 1024).unwrap();
    overwrite(&image, 5, &noise(10, 4));
    back_up("shrunk", &["--incremental"]);
    (home, held)
}

fn export(home: &Home, backup: &str, file: &Path, more: &[&str]) -> serde_json::Value {
    let words = ["volume", "backup", "export-diff"];
    home.json(&[&words[..], more, &[backup, file.to_str().unwrap()]].concat())
}

fn import(home: &Home, name: &str, files: &[PathBuf]) -> crate::ashlar::Ran {
    let mut words = vec!["volume", "import-diff", "--name", name];
    words.extend(files.iter().map(|f| f.to_str().unwrap()));
    home.run(&words)
}

#[test]
fn each_backup_goes_out_as_a_difference_and_comes_back_as_a_volume() {
    let (home, held) = chain();
    for (version, number) in [("1", DiffVersion::V1), ("2", DiffVersion::V2)] {
        let mut files = Vec::new();
        for (backup, content) in &held {
            let file = home.dir.path().join(format!("{backup}.{version}.diff"));
            let told = export(&home, backup, &file, &["--rbd-format", version]);
            let bytes = fs::read(&file).unwrap();
            assert_eq!(told["file_bytes"], bytes.len());
            assert_eq!(told["size_bytes"], content.len());
            let sum = hex::encode(Sha256::digest(&bytes));
            assert_eq!(told["sha256"], sum.as_str());
            let name = file.file_name().unwrap().to_str().unwrap();
            let beside = fs::read_to_string(format!("{}.sha256", file.display())).unwrap();
            assert_eq!(
                beside,
                format!("{sum}  {name}\n"),
                "as sha256sum -c takes it"
            );
            assert_eq!(DiffReader::new(&bytes[..]).unwrap().version(), number);
            files.push(file);
            let volume = format!("{backup}-{version}");
            let ran = import(&home, &volume, &files);
            assert_eq!((ran.status, ran.err.as_str()), (0, ""), "{ran:?}");
            assert!(home.data_of(&volume) == *content, "{backup}");
        }
        // A difference is about as long as what differs.
        let length = |n: usize| fs::metadata(&files[n]).unwrap().len();
        assert!(length(1) < 600_000, "{}", length(1));
        assert!(length(2) < 70_000, "{}", length(2));
    }
}

#[test]
fn a_difference_is_since_any_backup_or_since_nothing() {
    let (home, held) = chain();
    let [full, all, jump] = ["full", "all", "jump"].map(|name| home.dir.path().join(name));
    export(&home, "full", &full, &[]);
    export(&home, "shrunk", &all, &["--whole"]);
    export(&home, "shrunk", &jump, &["--since", "full"]);
    for (volume, files) in [("a", vec![all]), ("b", vec![full, jump.clone()])] {
        let ran = import(&home, volume, &files);
        assert_eq!(ran.status, 0, "{ran:?}");
        assert!(home.data_of(volume) == held[2].1, "{volume}");
    }
    // To the standard output, byte for byte the same.
    let words = [
        "volume",
        "backup",
        "export-diff",
        "--since",
        "full",
        "shrunk",
        "-",
    ];
    let output = home.command(&words).output().unwrap();
    assert!(output.status.success(), "{output:?}");
    assert!(output.stdout == fs::read(&jump).unwrap());
}

#[test]
fn files_that_do_not_follow_each_other_or_are_damaged_make_no_volume() {
    let (home, _) = chain();
    let [full, grown, shrunk] = ["full", "grown", "shrunk"].map(|name| {
        let file = home.dir.path().join(name);
        export(&home, name, &file, &[]);
        file
    });
    let refused = |files: &[&PathBuf], why: &str| {
        let files: Vec<_> = files.iter().map(|f| (*f).clone()).collect();
        let ran = import(&home, "no", &files);
        assert_eq!(ran.status, 1, "{ran:?}");
        assert!(ran.err.contains(why), "{why} is not in {ran:?}");
        assert_eq!(
            home.json(&["volume", "list", "--name", "no"]),
            serde_json::json!([])
        );
        let left = crate::ashlar::files(&home.path().join("volumes"));
        assert_eq!(left, Vec::<PathBuf>::new());
    };
    refused(&[&grown], "that comes first");
    refused(&[&full, &shrunk], "is none");
    refused(&[&full, &full], "another file comes before");

    let words = [
        "volume",
        "backup",
        "export-diff",
        "full",
        full.to_str().unwrap(),
    ];
    assert!(home.bad(&words).contains("remove it first"));

    let bytes = fs::read(&grown).unwrap();
    let mut flipped = bytes.clone();
    *flipped.iter_mut().rev().nth(1000).unwrap() ^= 1;
    for (wrong, why) in [
        (flipped, "SHA-256"),
        (bytes[..bytes.len() - 1].to_vec(), "ends in the middle"),
        ([&bytes[..], b"x"].concat(), "behind its end"),
    ] {
        fs::write(&grown, wrong).unwrap();
        refused(&[&full, &grown], why);
    }
    fs::write(&grown, &bytes).unwrap();
    // Without a checksum it is said.
    fs::remove_file(format!("{}.sha256", grown.display())).unwrap();
    let ran = import(&home, "yes", &[full, grown]);
    assert_eq!(ran.status, 0, "{ran:?}");
    assert!(ran.err.contains("grown.sha256"), "{ran:?}");
}
