//! Both clients of one export, the kernel's and the one without a mount, in turns in one chain: `scripts/nfs-kernel` runs
//! this where a kernel's server and its mounts are; elsewhere it prints that it is skipped.

use std::fs;
use std::path::PathBuf;

use serde_json::Value;

use crate::ashlar::{Home, change, files};

const LENGTH: usize = 5_000_000;
const KERNEL: &str = "kernel";
const USERSPACE: &str = "userspace";
/// A version that both clients speak.
const VERSIONS: [&str; 2] = ["4.1", "3"];

/// Where the export lies on the server's disk, and its name, if there is one that may be mounted.
fn export() -> Option<(PathBuf, String)> {
    let Ok(share) = std::env::var("ASHLAR_TEST_NFS_KERNEL") else {
        eprintln!("skipped: ASHLAR_TEST_NFS_KERNEL names no export; scripts/nfs-kernel does");
        return None;
    };
    let (_, disk) = share.split_once(':').unwrap();
    Some((disk.into(), share))
}

/// A home over `folder` of the export; which client it takes is said with each command.
fn home(share: &str, folder: &str, version: &str) -> Home {
    let home = Home::new();
    fs::create_dir_all(home.path()).unwrap();
    // The same options for both: what concerns the kernel alone, the other passes over.
    let options = format!("vers={version},softerr,timeo=100,retrans=5,nolock");
    let text = format!(
        "[backup]\nrepository = \"nas\"\nchunk_size = \"1MiB\"\n\n[repository.nas]\ntype = \"nfs\"\n\
         share = {share:?}\nfolder = {folder:?}\nmount_options = {options:?}\n\
         mount_point_base = \"/run/mounts-clients-{version}\"\n"
    );
    fs::write(home.path().join("ashlar.toml"), text).unwrap();
    home
}

fn by<'a>(client: &'static str, command: &[&'a str]) -> Vec<&'a str> {
    let option = match client {
        USERSPACE => "repository.nas.client=userspace",
        _ => "repository.nas.client=kernel",
    };
    [&["-o", option], command].concat()
}

fn create(home: &Home, client: &'static str, n: usize) {
    let name = format!("b{n}");
    let kind: &[&str] = if n == 0 { &[] } else { &["--incremental"] };
    let command = [
        &["volume", "backup", "create", "--name", &name],
        kind,
        &["v"],
    ]
    .concat();
    home.good(&by(client, &command));
}

fn restores(home: &Home, client: &'static str, n: usize, expected: &[u8]) {
    let (name, to) = (format!("b{n}"), format!("b{n}-by-{client}"));
    home.good(&by(client, &["volume", "backup", "verify", &name]));
    let restore = ["volume", "backup", "restore", "--name", &to, &name];
    home.good(&by(client, &restore));
    assert!(home.data_of(&to) == expected, "{name} by {client}");
    home.good(&["volume", "delete", &to]);
}

fn scanned(home: &Home, client: &'static str, more: &[&str]) -> usize {
    let command = [&["volume", "backup", "scan"], more].concat();
    let found: Value = home.json(&by(client, &command));
    found.as_array().unwrap().len()
}

#[test]
fn clients_take_turns_in_one_chain_and_each_reads_finds_and_deletes_the_others() {
    let Some((disk, share)) = export() else {
        return;
    };
    for version in VERSIONS {
        let folder = format!("clients-{version}-{}", std::process::id());
        let disk = disk.join(&folder);
        fs::create_dir(&disk).unwrap();
        let home = home(&share, &folder, version);
        let image = home.volume("v", LENGTH);
        let mut contents = Vec::new();
        for (n, client) in (0_u8..).zip([KERNEL, USERSPACE, KERNEL, USERSPACE]) {
            create(&home, client, n.into());
            contents.push(fs::read(&image).unwrap());
            change(&image, n);
        }
        let stored: u64 = files(&disk)
            .iter()
            .map(|f| fs::metadata(f).unwrap().len())
            .sum();
        println!(
            "NFS {version}: a full backup and 3 incrementals of {LENGTH} bytes, {stored} bytes on the share"
        );
        for (n, expected) in contents.iter().enumerate() {
            for client in [KERNEL, USERSPACE] {
                restores(&home, client, n, expected);
            }
        }
        // The catalogue is gone: either brings all back.
        for client in [KERNEL, USERSPACE] {
            let other = self::home(&share, &folder, version);
            assert_eq!(scanned(&other, client, &["--import"]), 4, "{client}");
            restores(&other, client, 3, &contents[3]);
        }
        // Each deletes what the other wrote, and the other sees at once that it is gone.
        for (n, client, other) in [
            (3, KERNEL, USERSPACE),
            (2, USERSPACE, KERNEL),
            (1, KERNEL, USERSPACE),
            (0, USERSPACE, KERNEL),
        ] {
            let name = format!("b{n}");
            home.good(&by(client, &["volume", "backup", "delete", &name]));
            assert_eq!(
                scanned(&home, other, &[]),
                n,
                "after {client} deleted {name}"
            );
        }
        assert_eq!(files(&disk), [] as [PathBuf; 0], "{version}");
    }
}
