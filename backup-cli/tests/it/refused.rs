//! What real servers refuse though every setting is right: a clock that is wrong, an account that is full.

use std::path::{Path, PathBuf};

use crate::ashlar::{Home, Ran, ran};
use crate::rights::{radosgw_admin, radosgw_user, swift_post, swift_v1, swift_v3};
use crate::servers::{self, Server};

const LENGTH: usize = 3_000_000;
const CREATE: [&str; 6] = ["volume", "backup", "create", "--name", "b", "v"];

/// The library that shows a program another time.
fn libfaketime() -> Option<PathBuf> {
    let folders = std::fs::read_dir("/usr/lib").ok()?;
    let found = folders
        .flatten()
        .map(|folder| folder.path().join("faketime/libfaketime.so.1"))
        .find(|library| library.exists());
    if found.is_none() {
        eprintln!("skipped: libfaketime is missing (Debian, Ubuntu: apt-get install libfaketime)");
    }
    found
}

/// Runs the binary with a clock that is `off`.
fn with_clock(home: &Home, library: &Path, off: &str, arguments: &[&str]) -> Ran {
    let output = home
        .command(arguments)
        .env("LD_PRELOAD", library)
        .env("FAKETIME", off)
        // What is waited for takes as long as ever.
        .env("FAKETIME_DONT_FAKE_MONOTONIC", "1")
        .output();
    ran(output.unwrap())
}

#[test]
fn a_clock_that_is_an_hour_off_is_told_by_a_check_and_by_a_backup() {
    let (Some(server), Some(library)) = (servers::radosgw(), libfaketime()) else {
        return;
    };
    server.make();
    let home = server.home();
    home.volume("v", LENGTH);
    for off in ["+1h", "-1h"] {
        let checked = with_clock(&home, &library, off, &["repository", "check", "remote"]);
        assert_eq!(checked.status, 1, "{off}: {checked:?}");
        assert!(
            checked.err.contains("failed: open the container: ")
                && checked.out.contains("RequestTimeTooSkewed")
                && checked.err.contains("set the clock"),
            "{off}: {checked:?}"
        );
        let made = with_clock(&home, &library, off, &CREATE);
        assert_eq!(made.status, 1, "{off}: {made:?}");
        assert!(made.err.contains("set the clock"), "{off}: {made:?}");
        let shown = home.json(&["volume", "backup", "show", "b"]);
        assert_eq!(shown["status"], "error", "{off}");
        let reason = shown["fail_reason"].as_str().unwrap();
        assert!(reason.contains("RequestTimeTooSkewed"), "{off}: {reason}");
        home.good(&["volume", "backup", "delete", "b"]);
    }
    home.good(&CREATE);
    home.good(&["volume", "backup", "verify", "b"]);
}

#[test]
fn a_clock_that_is_hours_off_does_swifts_tokens_no_harm() {
    let servers = [servers::swift_v1(), servers::swift_v3()];
    let Some(library) = libfaketime() else { return };
    for server in servers.into_iter().flatten() {
        let home = server.home();
        home.volume("v", LENGTH);
        for off in ["+30h", "-30h"] {
            let checked = with_clock(&home, &library, off, &["repository", "check", "remote"]);
            assert_eq!(checked.status, 0, "{} {off}: {checked:?}", server.name);
            let made = with_clock(&home, &library, off, &CREATE);
            assert_eq!(made.status, 0, "{} {off}: {made:?}", server.name);
            home.good(&["volume", "backup", "verify", "b"]);
            home.good(&["volume", "backup", "delete", "b"]);
        }
    }
}

/// Sets a limit of bytes, or none.
type Limit = Box<dyn Fn(Option<u64>)>;

/// Servers whose account, or container, can be limited.
fn limited() -> Vec<(Server, Limit)> {
    let mut all: Vec<(Server, Limit)> = Vec::new();
    if let Some(server) = servers::radosgw() {
        let (user, theirs) = radosgw_user(&server);
        let user = format!("--uid={user}");
        all.push((
            theirs.with("create_containers", "true"),
            Box::new(move |bytes| {
                let size = format!("--max-size={}", bytes.unwrap_or(1 << 40));
                radosgw_admin(&["quota", "set", "--quota-scope=user", &user, &size]);
                radosgw_admin(&["quota", "enable", "--quota-scope=user", &user]);
            }),
        ));
    }
    if let Some(server) = servers::swift_v1() {
        let server = server.with("username", "full:tester");
        let (account, _) = swift_v1(&server, "full:tester", "testing");
        let (_, token) = swift_v1(&server, "admin:admin", "adminkey");
        all.push((
            server,
            Box::new(move |bytes| {
                let limit = bytes.unwrap_or(1 << 40);
                let limit = format!("X-Account-Meta-Quota-Bytes: {limit}");
                swift_post(&account, &token, &[&limit]);
            }),
        ));
    }
    if let Some(server) = servers::swift_v3() {
        server.make();
        let (account, token) = swift_v3(&server);
        let url = format!("{account}/{}", server.container);
        all.push((
            server,
            Box::new(move |bytes| {
                let limit = bytes.unwrap_or(1 << 40);
                let limit = format!("X-Container-Meta-Quota-Bytes: {limit}");
                swift_post(&url, &token, &[&limit]);
            }),
        ));
    }
    all
}

#[test]
fn a_full_account_is_told_and_once_there_is_room_a_second_run_succeeds() {
    for (server, limit) in limited() {
        server.make();
        let home = server.home();
        home.volume("v", LENGTH);
        limit(Some(300_000));
        let checked = home.run(&["repository", "check", "remote"]);
        assert_eq!(checked.status, 1, "{}: {checked:?}", server.name);
        assert!(
            checked.err.contains("failed: write: ") && checked.err.contains("quota is used up"),
            "{}: {checked:?}",
            server.name
        );
        let made = home.run(&CREATE);
        assert_eq!(made.status, 1, "{}: {made:?}", server.name);
        assert!(
            made.err.contains("quota is used up"),
            "{}: {made:?}",
            server.name
        );
        let shown = home.json(&["volume", "backup", "show", "b"]);
        assert_eq!(shown["status"], "error", "{}", server.name);
        let reason = shown["fail_reason"].as_str().unwrap().to_lowercase();
        assert!(reason.contains("quota"), "{}: {reason}", server.name);
        assert_eq!(server.objects(), [], "{}", server.name);

        limit(None);
        home.good(&["volume", "backup", "delete", "b"]);
        home.good(&CREATE);
        home.good(&["volume", "backup", "verify", "b"]);
        home.good(&["volume", "backup", "delete", "b"]);
    }
}
