//! Difference files beside Ceph's own tools: `rbd import-diff` takes ours, and we take those of `rbd export-diff`; of version
//! 2, which only `rbd export` and `rbd import` speak, likewise.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use backup_core::format::rbd_diff::DiffReader;

use super::{Ceph, MIB};
use crate::ashlar::noise;

const LENGTH: usize = 9 * MIB + 512;

/// Ceph's tool.
fn rbd(c: &Ceph, arguments: &[&str]) -> Output {
    let output = Command::new("rbd")
        .args(["--conf", &c.conf, "--id", "cinder"])
        .args(arguments)
        .output()
        .unwrap();
    assert!(
        output.status.success(),
        "{arguments:?}: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    output
}

/// A volume, and what it held at each of three backups, the names of which are numbers. Each is a snapshot too.
fn three_states(c: &Ceph) -> (String, Vec<Vec<u8>>) {
    let image = c.adopt("v", LENGTH);
    let mut held = Vec::new();
    for n in 0..3_u8 {
        let name = n.to_string();
        c.write(
            "v",
            usize::from(n) * 2 * MIB + 777,
            noise(MIB + 5, u64::from(n) + 1),
        );
        let opened = c.image("v");
        let zeroes = backup_core::ByteRange::at(u64::from(n) * 3_000_000, 900_000).unwrap();
        c.runtime.block_on(async {
            opened.write_zeroes(zeroes).await.unwrap();
            opened.create_snapshot(&format!("s{n}")).await.unwrap();
            opened.close().await.unwrap();
        });
        held.push(c.content("v", LENGTH));
        let kind: &[&str] = if n > 0 { &["--incremental"] } else { &[] };
        let create = ["-o", "backup.repository=pool", "volume", "backup", "create"];
        c.home
            .good(&[&create[..], kind, &["--name", &name, "v"]].concat());
    }
    (image, held)
}

fn export(c: &Ceph, number: usize, format: &str) -> PathBuf {
    let file = c.home.dir.path().join(format!("{number}.{format}"));
    let (name, path) = (number.to_string(), file.to_str().unwrap());
    let words = ["volume", "backup", "export-diff", "--rbd-format", format];
    c.home.good(&[&words[..], &[&name, path]].concat());
    file
}

fn import(c: &Ceph, name: &str, files: &[PathBuf]) {
    let mut words = vec!["volume", "import-diff", "--name", name];
    words.extend(files.iter().map(|f| f.to_str().unwrap()));
    c.home.good(&words);
}

/// The head of an `rbd export --export-format 2`, and its difference files.
fn parts(whole: &[u8]) -> (&[u8], Vec<&[u8]>) {
    let mut at = b"rbd image v2\n".len();
    assert_eq!(&whole[..at], b"rbd image v2\n");
    let number = |at: usize| {
        let bytes: [u8; 8] = whole[at..at + 8].try_into().unwrap();
        usize::try_from(u64::from_le_bytes(bytes)).unwrap()
    };
    while whole[at] != b'E' {
        at += 9 + number(at + 1);
    }
    let banner = b"Erbd image diffs v2\n";
    assert_eq!(&whole[at..at + banner.len()], banner);
    at += banner.len();
    let count = number(at);
    let (head, mut rest) = (&whole[..at], &whole[at + 8..]);
    let mut differences = Vec::new();
    for _ in 0..count {
        let mut reader = DiffReader::new(rest)
            .unwrap_or_else(|e| panic!("{e}: {:02x?}", &rest[..rest.len().min(120)]));
        while reader.next_record().unwrap().is_some() {}
        let (left, _) = reader.end().unwrap();
        differences.push(&rest[..rest.len() - left.len()]);
        rest = left;
    }
    assert_eq!(rest.len(), 0);
    (head, differences)
}

#[test]
fn ceph_takes_our_difference_files_and_we_take_its() {
    let Some(c) = Ceph::new() else {
        return;
    };
    let (image, held) = three_states(&c);
    let source = format!("volumes/{image}");

    // Ours into an image of theirs, step by step.
    let target = format!("volumes/diff-{}", std::process::id());
    rbd(&c, &["create", "--size", "1M", &target]);
    let mut ours = Vec::new();
    for (n, content) in held.iter().enumerate() {
        let file = export(&c, n, "1");
        rbd(
            &c,
            &[
                "import-diff",
                "--no-progress",
                file.to_str().unwrap(),
                &target,
            ],
        );
        let now = rbd(&c, &["export", "--no-progress", &target, "-"]).stdout;
        assert!(now == *content, "state {n} by rbd import-diff");
        ours.push(file);
    }
    // Theirs, of the same states, into volumes of ours; and our own as well.
    let mut theirs = Vec::new();
    for (n, content) in held.iter().enumerate() {
        let file = c.home.dir.path().join(format!("theirs.{n}"));
        let (snapshot, path) = (format!("{source}@s{n}"), file.to_str().unwrap());
        let from = format!("s{}", n.wrapping_sub(1));
        let since: &[&str] = if n > 0 { &["--from-snap", &from] } else { &[] };
        let words = ["export-diff", "--no-progress"];
        rbd(&c, &[&words[..], since, &[&snapshot, path]].concat());
        theirs.push(file);
        for (whose, files) in [("theirs", &theirs), ("ours", &ours[..=n].to_vec())] {
            let volume = format!("{whose}-{n}");
            import(&c, &volume, files);
            assert!(c.content(&volume, LENGTH) == *content, "{volume}");
            c.home.good(&["volume", "delete", &volume]);
        }
        let size = |path: &Path| fs::metadata(path).unwrap().len();
        println!(
            "state {n}: {} bytes of ours, {} of Ceph's",
            size(&ours[n]),
            size(&theirs[n])
        );
    }
    rbd(&c, &["snap", "purge", "--no-progress", &target]);
    rbd(&c, &["rm", "--no-progress", &target]);
}

#[test]
fn ceph_takes_our_difference_files_of_version_2_and_we_take_its() {
    let Some(c) = Ceph::new() else {
        return;
    };
    let (image, held) = three_states(&c);
    let source = format!("volumes/{image}");
    // Snapshots of our backups are among them, each right behind one of the states' own.
    let whole = rbd(
        &c,
        &[
            "export",
            "--no-progress",
            "--export-format",
            "2",
            &source,
            "-",
        ],
    )
    .stdout;
    let (head, differences) = parts(&whole);
    let files: Vec<_> = differences
        .iter()
        .enumerate()
        .map(|(n, bytes)| {
            let file = c.home.dir.path().join(format!("theirs.{n}"));
            fs::write(&file, bytes).unwrap();
            file
        })
        .collect();
    assert!(
        files.len() >= 4,
        "three states and the head: {}",
        files.len()
    );
    import(&c, "theirs", &files);
    assert!(c.content("theirs", LENGTH) == held[2]);
    c.home.good(&["volume", "delete", "theirs"]);

    // Ours, with the head of theirs before them, make an image with a snapshot for each.
    let mut ours = head.to_vec();
    ours.extend_from_slice(&3_u64.to_le_bytes());
    for n in 0..3 {
        ours.extend_from_slice(&fs::read(export(&c, n, "2")).unwrap());
    }
    let file = c.home.dir.path().join("ours");
    fs::write(&file, &ours).unwrap();
    let target = format!("volumes/diff2-{}", std::process::id());
    let words = ["import", "--no-progress", "--export-format", "2"];
    rbd(
        &c,
        &[&words[..], &[file.to_str().unwrap(), &target]].concat(),
    );
    let listed = rbd(&c, &["snap", "ls", "--format", "json", &target]).stdout;
    let listed: serde_json::Value = serde_json::from_slice(&listed).unwrap();
    let snapshots = listed.as_array().unwrap();
    assert_eq!(snapshots.len(), 3, "{listed}");
    for (snapshot, content) in snapshots.iter().zip(&held) {
        let name = format!("{target}@{}", snapshot["name"].as_str().unwrap());
        let now = rbd(&c, &["export", "--no-progress", &name, "-"]).stdout;
        assert!(now == *content, "{name}");
    }
    rbd(&c, &["snap", "purge", "--no-progress", &target]);
    rbd(&c, &["rm", "--no-progress", &target]);
}
