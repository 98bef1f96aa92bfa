//! Backups on an export without a mount, through the binary alone: whole lives, the same backups from the folder on the
//! server's disk, servers that die, and those that refuse. `scripts/servers/nfs/with-servers` starts the server; without
//! it these tests print that they are skipped.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use nfs_servers::{Ganesha, Server, VERSIONS, shared};
use serde_json::Value;

use crate::ashlar::{Home, change, files, finish, noise, wait_until};
use crate::proxy::{Harm, Proxy};

const LENGTH: usize = 12_000_000;
const SERVICE: &str = "cinder.backup.drivers.nfs.NFSBackupDriver";

fn fresh() -> String {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let next = NEXT.fetch_add(1, Ordering::Relaxed);
    format!("cli-{}-{next}", std::process::id())
}

/// A repository's folder in an export, and how it is reached.
struct Place {
    export: &'static str,
    path: String,
    options: String,
    timeout: u64,
    /// On the server's disk.
    folder: PathBuf,
}

fn place_on(server: &Server, version: &str) -> Place {
    let path = fresh();
    let folder = server.folder.join(&path);
    fs::create_dir(&folder).unwrap();
    Place {
        export: "/export",
        path,
        options: server.options(version),
        timeout: 60,
        folder,
    }
}

impl Place {
    fn home(&self) -> Home {
        self.home_with(&format!(
            "type = \"nfs\"\nclient = \"userspace\"\nshare = \"127.0.0.1:{}\"\nfolder = {:?}\n\
             mount_options = {:?}\ntimeout_seconds = {}\n",
            self.export, self.path, self.options, self.timeout
        ))
    }

    /// A home over the same folder without NFS.
    fn home_on_disk(&self) -> Home {
        let path = self.folder.to_str().unwrap();
        self.home_with(&format!(
            "type = \"posix\"\npath = {path:?}\nservice = {SERVICE:?}\n"
        ))
    }

    #[expect(clippy::unused_self)]
    fn home_with(&self, table: &str) -> Home {
        let home = Home::new();
        fs::create_dir_all(home.path()).unwrap();
        let text = format!(
            "[backup]\nrepository = \"remote\"\nchunk_size = \"1MiB\"\n\n[repository.remote]\n{table}"
        );
        fs::write(home.path().join("ashlar.toml"), text).unwrap();
        home
    }

    fn files(&self) -> Vec<PathBuf> {
        files(&self.folder)
    }
}

const SCAN: [&str; 3] = ["volume", "backup", "scan"];

fn create(home: &Home, n: u8) {
    let name = format!("b{n}");
    let kind: &[&str] = if n == 0 { &[] } else { &["--incremental"] };
    let command = [
        &["volume", "backup", "create", "--name", &name],
        kind,
        &["v"],
    ]
    .concat();
    home.good(&command);
}

fn restores(home: &Home, name: &str, expected: &[u8], what: &str) {
    let to = format!("{name}-back");
    home.good(&["volume", "backup", "verify", name]);
    home.good(&["volume", "backup", "restore", "--name", &to, name]);
    assert!(home.data_of(&to) == expected, "{what}: {name}");
    home.good(&["volume", "delete", &to]);
}

#[test]
fn a_chain_lives_and_dies_and_is_the_same_from_the_servers_disk() {
    let Some(server) = shared() else { return };
    for version in VERSIONS {
        let place = place_on(&server, version);
        let (home, disk) = (place.home(), place.home_on_disk());
        let image = home.volume("v", LENGTH);
        let mut contents = Vec::new();
        for n in 0..4 {
            create(&home, n);
            contents.push(fs::read(&image).unwrap());
            change(&image, n);
        }
        for (n, expected) in contents.iter().enumerate() {
            restores(&home, &format!("b{n}"), expected, version);
        }
        // The catalogue is gone, and so is NFS: the folder alone brings everything back.
        let found = disk.json(&[&SCAN[..], &["--import"]].concat());
        assert_eq!(found.as_array().unwrap().len(), 4, "{version}");
        for (n, expected) in contents.iter().enumerate() {
            restores(&disk, &format!("b{n}"), expected, version);
        }
        assert_eq!(
            home.json(&["repository", "orphans"]),
            Value::Array(vec![]),
            "{version}"
        );
        for n in (0..4).rev() {
            home.good(&["volume", "backup", "delete", &format!("b{n}")]);
        }
        assert_eq!(place.files(), [] as [PathBuf; 0], "{version}");

        // And the other way round.
        let image = disk.volume("w", LENGTH);
        let expected = fs::read(&image).unwrap();
        disk.good(&["volume", "backup", "create", "--name", "b9", "w"]);
        let other = place.home();
        let found = other.json(&[&SCAN[..], &["--import"]].concat());
        assert_eq!(found.as_array().unwrap().len(), 1, "{version}");
        restores(&other, "b9", &expected, version);
        other.good(&["volume", "backup", "delete", "b9"]);
        assert_eq!(other.json(&SCAN), Value::Array(vec![]), "{version}");
    }
}

#[test]
fn a_check_of_the_export_finds_all_that_backups_need_and_leaves_nothing() {
    let Some(server) = shared() else { return };
    for version in VERSIONS {
        let place = place_on(&server, version);
        let home = place.home();
        let steps = home.json(&["repository", "check", "remote"]);
        for step in steps.as_array().unwrap() {
            let result = step["result"].as_str().unwrap();
            assert!(["good", "look"].contains(&result), "{version}: {step}");
        }
        assert_eq!(place.files(), [] as [PathBuf; 0], "{version}");
    }
}

#[test]
fn what_cinders_nfs_driver_wrote_restores_from_the_export() {
    let Some(server) = shared() else { return };
    let case = Path::new(env!("CARGO_MANIFEST_DIR")).join("../backup-core/tests/data/cinder/nfs");
    let text = fs::read(case.join("manifest.json")).unwrap();
    let manifest: Value = serde_json::from_slice(&text).unwrap();
    for version in VERSIONS {
        let place = place_on(&server, version);
        let copied = Command::new("cp")
            .args(["-r", "--no-target-directory"])
            .arg(case.join("repo"))
            .arg(&place.folder)
            .status();
        assert!(copied.unwrap().success());
        let home = place.home();
        for backup in manifest["backups"].as_array().unwrap() {
            let record = case.join(backup["record"].as_str().unwrap());
            let record = record.to_str().unwrap();
            home.good(&["volume", "backup", "record", "import", "--file", record]);
        }
        crate::cinder::restore_all(&home, &manifest, version);
    }
}

/// A home whose way to the server crawls, and a volume of noise, so that the server is hit in the middle.
fn crawling(server: &Server, version: &str, timeout: u64) -> (Home, Place, Proxy, PathBuf) {
    let proxy = Proxy::new(&format!("http://127.0.0.1:{}", server.port));
    let mut place = place_on(server, version);
    place.timeout = timeout;
    place.options = Server {
        port: proxy.address.port(),
        ..server.clone()
    }
    .options(version);
    let home = place.home();
    let image = home.dir.path().join("v.img");
    fs::write(&image, noise(LENGTH, 3)).unwrap();
    home.good(&["volume", "create", "--file", image.to_str().unwrap(), "v"]);
    (home, place, proxy, image)
}

/// Waits until a restore has written something. Its target is as long as it will be before that.
fn await_restoring(home: &Home, restoring: Child) -> Child {
    let volumes = home.path().join("volumes");
    let written = |path: &PathBuf| fs::metadata(path).is_ok_and(|found| found.blocks() > 0);
    wait_until(restoring, "the first restored byte", || {
        files(&volumes).iter().any(written)
    })
}

const CREATE: [&str; 6] = ["volume", "backup", "create", "--name", "b", "v"];

#[test]
fn a_server_that_is_killed_in_mid_backup_and_in_mid_restore_is_waited_for() {
    let Some(own) = Ganesha::start(Some("3")) else {
        return;
    };
    let server = own.server();
    for version in VERSIONS {
        let (home, place, proxy, image) = crawling(&server, version, 60);
        proxy.harm(Harm::Slow(3 << 20), u64::MAX);
        let making = home.start(&CREATE);
        let making = wait_until(making, "the first file", || !place.files().is_empty());
        own.kill();
        std::thread::sleep(Duration::from_secs(1));
        own.start_again();
        let made = finish(making, "the backup");
        assert_eq!(made.status, 0, "{version}: {made:?}");

        let restore = ["volume", "backup", "restore", "--name", "first", "b"];
        let restoring = home.start(&restore);
        let restoring = await_restoring(&home, restoring);
        own.kill();
        std::thread::sleep(Duration::from_secs(1));
        own.start_again();
        let restored = finish(restoring, "the restore");
        assert_eq!(restored.status, 0, "{version}: {restored:?}");
        let expected = fs::read(&image).unwrap();
        assert!(home.data_of("first") == expected, "{version}");
        proxy.heal();
        restores(&home, "b", &expected, version);
        home.good(&["volume", "backup", "delete", "b"]);
        assert_eq!(place.files(), [] as [PathBuf; 0], "{version}");
    }
}

#[test]
fn a_server_that_is_gone_for_good_ends_the_job_with_the_reason_and_harms_no_earlier_backup() {
    let Some(own) = Ganesha::start(None) else {
        return;
    };
    let server = own.server();
    for version in VERSIONS {
        let (home, place, proxy, image) = crawling(&server, version, 4);
        home.good(&CREATE);
        let before = place.files().len();
        let expected = fs::read(&image).unwrap();
        change(&image, 1);
        proxy.harm(Harm::Slow(1 << 20), u64::MAX);
        let incremental = [&CREATE[..4], &["i", "--incremental", "v"]].concat();
        let making = home.start(&incremental);
        let making = wait_until(making, "the first file", || place.files().len() != before);
        own.kill();
        let failed = finish(making, "the backup");
        assert_eq!(failed.status, 1, "{version}: {failed:?}");
        assert!(failed.err.contains("NFS server"), "{version}: {failed:?}");
        let shown = home.json(&["volume", "backup", "show", "i"]);
        assert_eq!(shown["status"], "error", "{version}");

        own.start_again();
        proxy.heal();
        home.good(&["volume", "backup", "delete", "i"]);
        restores(&home, "b", &expected, version);
        home.good(&incremental);
        restores(&home, "i", &fs::read(&image).unwrap(), version);

        // And in the middle of a restore.
        proxy.harm(Harm::Slow(1 << 20), u64::MAX);
        let restore = ["volume", "backup", "restore", "--name", "cut", "b"];
        let restoring = home.start(&restore);
        let restoring = await_restoring(&home, restoring);
        own.kill();
        let failed = finish(restoring, "the restore");
        assert_eq!(failed.status, 1, "{version}: {failed:?}");
        assert!(failed.err.contains("NFS server"), "{version}: {failed:?}");
        own.start_again();
        proxy.heal();
        restores(&home, "b", &expected, version);
        home.good(&["volume", "backup", "delete", "i", "b"]);
        assert_eq!(place.files(), [] as [PathBuf; 0], "{version}");
    }
}

#[test]
fn a_killed_job_leaves_nothing_that_the_delete_of_its_backup_does_not_clear() {
    let Some(server) = shared() else { return };
    for version in VERSIONS {
        let place = place_on(&server, version);
        let home = place.home();
        let image = home.dir.path().join("v.img");
        fs::write(&image, noise(LENGTH, 3)).unwrap();
        home.good(&["volume", "create", "--file", image.to_str().unwrap(), "v"]);
        let slowly = [&["-o", "backup.max_bandwidth=3MiB"], &CREATE[..]].concat();
        let making = home.start(&slowly);
        let mut making = wait_until(making, "the first file", || !place.files().is_empty());
        making.kill().unwrap();
        making.wait().unwrap();
        // What the kernel had of it still arrives.
        let mut before = Vec::new();
        while before != place.files() {
            before = place.files();
            std::thread::sleep(Duration::from_millis(300));
        }
        assert_ne!(before, [] as [PathBuf; 0], "{version}");
        home.good(&["volume", "backup", "delete", "b"]);
        assert_eq!(place.files(), [] as [PathBuf; 0], "{version}");
        home.good(&CREATE);
        restores(&home, "b", &fs::read(&image).unwrap(), version);
    }
}

#[test]
fn a_read_only_export_and_a_full_one_end_the_job_with_the_reason() {
    let Some(server) = shared() else { return };
    for version in VERSIONS {
        let mut place = place_on(&server, version);
        let home = place.home();
        let image = home.volume("v", LENGTH);
        home.good(&CREATE);
        place.export = "/readonly";
        let reading = place.home();
        reading.good(&[&SCAN[..], &["--import"]].concat());
        restores(&reading, "b", &fs::read(&image).unwrap(), version);
        reading.volume("w", LENGTH);
        let err = reading.bad(&["volume", "backup", "create", "--name", "c", "w"]);
        assert!(err.contains("read-only"), "{version}: {err}");

        let Some(small) = &server.small else {
            eprintln!("skipped: no small filesystem could be mounted");
            continue;
        };
        let mut full = place_on(&server, version);
        fs::create_dir(small.join(&full.path)).unwrap();
        full.export = "/small";
        full.folder = small.join(&full.path);
        let home = full.home();
        let image = home.dir.path().join("large.img");
        fs::write(&image, noise(40 << 20, 4)).unwrap();
        home.good(&["volume", "create", "--file", image.to_str().unwrap(), "v"]);
        let err = home.bad(&CREATE);
        assert!(err.contains("no space left"), "{version}: {err}");
        assert!(err.contains("free some space"), "{version}: {err}");
        home.good(&["volume", "backup", "delete", "b"]);
        assert_eq!(full.files(), [] as [PathBuf; 0], "{version}");
        let image = home.dir.path().join("short.img");
        fs::write(&image, noise(3 << 20, 4)).unwrap();
        home.good(&["volume", "create", "--file", image.to_str().unwrap(), "s"]);
        home.good(&["volume", "backup", "create", "--name", "s", "s"]);
        restores(&home, "s", &fs::read(&image).unwrap(), version);
        fs::remove_dir_all(&full.folder).unwrap();
    }
}
