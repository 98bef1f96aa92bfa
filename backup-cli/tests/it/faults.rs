//! A bad line between the binary and real servers, and servers that die: a backup completes, or ends in `error` with
//! the reason and the next one succeeds; what was committed restores; nothing hangs; requests stay few.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use serde_json::Value;

use crate::ashlar::{Home, Ran, finish, noise, overwrite, wait_until};
use crate::proxy::{Harm, Proxy};
use crate::servers::{self, Server};

const LENGTH: usize = 12_000_000;

/// The lines to a server.
struct Lines {
    /// To the objects.
    objects: Proxy,
    /// To Keystone, which sends its users elsewhere for the objects.
    keystone: Option<Proxy>,
}

impl Lines {
    /// Harms the next four connections to the objects, and the next two to Keystone.
    fn harm(&self, harm: Harm) {
        self.objects.harm(harm, 4);
        if let Some(keystone) = &self.keystone {
            keystone.harm(harm.of_few_bytes(), 2);
        }
    }

    fn heal(&self) {
        self.all().for_each(Proxy::heal);
    }

    fn requests(&self) -> u64 {
        self.all().map(Proxy::requests).sum()
    }

    fn harmed(&self) -> u64 {
        self.all().map(Proxy::harmed).sum()
    }

    /// Whether each of them was harmed.
    fn were_harmed(&self) -> bool {
        self.all().all(|line| line.harmed() > 0)
    }

    fn all(&self) -> impl Iterator<Item = &Proxy> {
        [&self.objects].into_iter().chain(&self.keystone)
    }
}

/// A home whose backups go through proxies, with short deadlines, and a volume of noise.
fn through_proxies(server: &Server) -> (Home, Lines, PathBuf) {
    let url = server.setting(server.address());
    let first = Proxy::new(url);
    let mut harmed = server.clone().with(server.address(), first.instead_of(url));
    let lines = if server.name == "swift v3" {
        let account = server.account_url();
        let objects = Proxy::new(&account);
        harmed = harmed.with("storage_url", objects.instead_of(&account));
        Lines {
            objects,
            keystone: Some(first),
        }
    } else {
        Lines {
            objects: first,
            keystone: None,
        }
    };
    let harmed = harmed
        .with("timeout", "2")
        .with("connect_timeout", "2")
        .with("min_rate", "1048576")
        .with("retries", "6")
        .with("retry_timeout", "15");
    let home = harmed.home();
    let image = home.dir.path().join("v.img");
    fs::write(&image, noise(LENGTH, 3)).unwrap();
    home.good(&["volume", "create", "--file", image.to_str().unwrap(), "v"]);
    (home, lines, image)
}

fn run(home: &Home, arguments: &[&str]) -> Ran {
    finish(home.start(arguments), &format!("{arguments:?}"))
}

const CREATE: [&str; 5] = ["volume", "backup", "create", "--name", "b"];

/// A backup that completed, or ended in `error` with its reason and is then made again.
fn completed(home: &Home, made: &Ran, what: &str) {
    if made.status != 0 {
        assert_eq!(made.status, 1, "{what}: {made:?}");
        assert!(made.err.contains("error: "), "{what}: {made:?}");
        let shown = home.json(&["volume", "backup", "show", "b"]);
        assert_eq!(shown["status"], "error", "{what}");
        assert!(
            shown["fail_reason"].as_str().unwrap().len() > 10,
            "{what}: {shown}"
        );
        home.good(&["volume", "backup", "delete", "b"]);
        let again = run(home, &[&CREATE[..], &["v"]].concat());
        assert_eq!(again.status, 0, "{what}, again: {again:?}");
    }
}

fn restores(home: &Home, image: &Path, what: &str) {
    let restored = run(
        home,
        &["volume", "backup", "restore", "--name", "back", "b"],
    );
    assert_eq!(restored.status, 0, "{what}: {restored:?}");
    assert!(home.data_of("back") == fs::read(image).unwrap(), "{what}");
    home.good(&["volume", "delete", "back"]);
}

#[test]
fn a_backup_and_a_restore_come_right_over_lines_that_break_stall_crawl_and_refuse() {
    for server in servers::all() {
        for harm in [
            Harm::ResetUp(300_000),
            Harm::StallUp(300_000),
            Harm::ResetDown(100_000),
            Harm::Slow(4 << 20),
            Harm::Refuse,
        ] {
            let what = format!("{} {harm:?}", server.name);
            let (home, lines, image) = through_proxies(&server);
            lines.harm(harm);
            let made = run(&home, &[&CREATE[..], &["v"]].concat());
            let (requests, refused) = (lines.requests(), lines.harmed());
            println!("{what}: {requests} requests, status {}", made.status);
            // 12 objects, hash list, metadata, container and sign-in, and a few tries more for each broken one.
            assert!(requests <= 150, "{what}: {requests} requests");
            lines.heal();
            completed(&home, &made, &what);
            lines.harm(harm);
            let restored = run(
                &home,
                &["volume", "backup", "restore", "--name", "first", "b"],
            );
            assert!(lines.were_harmed(), "{what}: a line was never harmed");
            lines.heal();
            if restored.status == 0 {
                assert!(home.data_of("first") == fs::read(&image).unwrap(), "{what}");
            } else {
                assert!(restored.err.contains("error: "), "{what}: {restored:?}");
            }
            restores(&home, &image, &what);
            home.good(&["volume", "backup", "delete", "b"]);
            assert_eq!(server.objects(), [], "{what}");
            if harm == Harm::Refuse {
                let before = lines.requests();
                run(&home, &["volume", "backup", "create", "--name", "c", "v"]);
                let clean = lines.requests() - before;
                // Each refusal costs one request more; the first backup made the container, too.
                println!("{what}: {clean} requests without, {refused} refused");
                assert!(requests <= clean + refused + 4, "{what}");
                home.good(&["volume", "backup", "delete", "c"]);
            }
        }
    }
}

#[test]
fn a_line_that_stays_dead_ends_in_error_with_few_requests_and_harms_no_earlier_backup() {
    for server in servers::all() {
        let what = server.name;
        let (home, lines, image) = through_proxies(&server);
        home.good(&[&CREATE[..], &["v"]].concat());
        let first = fs::read(&image).unwrap();
        overwrite(&image, 1_000_000, &noise(3_000_000, 8));
        let before = lines.requests();
        lines.objects.harm(Harm::ResetUp(100_000), u64::MAX);
        let failed = run(
            &home,
            &[
                "volume",
                "backup",
                "create",
                "--incremental",
                "--name",
                "i",
                "v",
            ],
        );
        let requests = lines.requests() - before;
        println!("{what}: {requests} requests");
        assert_eq!(failed.status, 1, "{what}: {failed:?}");
        // Some 4 objects and the looks that remove them, each with at most 6 repeats.
        assert!(requests <= 150, "{what}: {requests} requests");
        lines.heal();
        let shown = home.json(&["volume", "backup", "show", "i"]);
        assert_eq!(shown["status"], "error", "{what}");
        assert!(
            shown["fail_reason"].as_str().unwrap().len() > 10,
            "{what}: {shown}"
        );
        home.good(&["volume", "backup", "delete", "i"]);
        home.good(&[
            "volume",
            "backup",
            "create",
            "--incremental",
            "--name",
            "i",
            "v",
        ]);
        home.good(&["volume", "backup", "restore", "--name", "one", "b"]);
        assert!(home.data_of("one") == first, "{what}");
        home.good(&["volume", "backup", "restore", "--name", "two", "i"]);
        assert!(home.data_of("two") == fs::read(&image).unwrap(), "{what}");
        home.good(&["volume", "backup", "delete", "i", "b"]);
        assert_eq!(server.objects(), [], "{what}");
    }
}

/// A gateway of this test's own, ended with it.
struct Gateway {
    folder: tempfile::TempDir,
}

impl Gateway {
    /// `None` where radosgw is not installed: then the others do not run either.
    fn start() -> Option<Self> {
        servers::radosgw()?;
        let gateway = Self {
            folder: tempfile::tempdir().unwrap(),
        };
        gateway.script("start", None);
        Some(gateway)
    }

    fn script(&self, command: &str, daemon: Option<&str>) {
        let script = concat!(env!("CARGO_MANIFEST_DIR"), "/../scripts/servers/s3/radosgw");
        let done = Command::new(script)
            .arg(command)
            .arg(self.folder.path().join("rgw"))
            .args(daemon)
            .env("CEPH_STORE", "memstore")
            .env("CEPH_SIZE", "1073741824")
            .output()
            .unwrap();
        assert!(done.status.success(), "{command}: {done:?}");
    }

    fn url(&self) -> String {
        let env = fs::read_to_string(self.folder.path().join("rgw/env.sh")).unwrap();
        let line = env
            .lines()
            .find_map(|l| l.strip_prefix("export ASHLAR_TEST_S3_RGW="));
        line.unwrap().to_owned()
    }

    /// Stops (`STOP`) or wakes (`CONT`) the gateway.
    fn signal(&self, signal: &str) {
        let pid = fs::read_to_string(self.folder.path().join("rgw/run/rgw.pid")).unwrap();
        let pid = pid.split_whitespace().next().unwrap().to_owned();
        let sent = Command::new("kill").args(["-s", signal, &pid]).status();
        assert!(sent.unwrap().success());
    }
}

impl Drop for Gateway {
    fn drop(&mut self) {
        let script = concat!(env!("CARGO_MANIFEST_DIR"), "/../scripts/servers/s3/radosgw");
        let _ended = Command::new(script)
            .arg("destroy")
            .arg(self.folder.path().join("rgw"))
            .output();
    }
}

#[test]
fn a_gateway_that_is_killed_or_stopped_in_mid_transfer_costs_time_and_nothing_else() {
    let Some(gateway) = Gateway::start() else {
        return;
    };
    let server = servers::radosgw()
        .unwrap()
        .with("endpoint_url", gateway.url());
    for harm in ["killed", "stopped"] {
        let (home, lines, image) = through_proxies(&server);
        // Slow enough that it is hit in the middle.
        lines.objects.harm(Harm::Slow(2 << 20), u64::MAX);
        let making = home.start(&[&CREATE[..], &["v"]].concat());
        let making = wait_until(making, "the first object", || !server.objects().is_empty());
        if harm == "killed" {
            gateway.script("kill", Some("rgw"));
            std::thread::sleep(Duration::from_secs(2));
            gateway.script("run", Some("rgw"));
        } else {
            gateway.signal("STOP");
            std::thread::sleep(Duration::from_secs(4));
            gateway.signal("CONT");
        }
        lines.heal();
        let made = finish(making, harm);
        completed(&home, &made, harm);
        restores(&home, &image, harm);
        home.good(&["volume", "backup", "delete", "b"]);
        assert_eq!(server.objects(), [], "{harm}");
        assert_eq!(
            home.json(&["volume", "backup", "list"]),
            Value::Array(vec![])
        );
    }
}
