//! A command that is stopped, politely or not.

use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use crate::ashlar::{Home, ran};

/// Long enough for bzip2, the slowest codec, to be stopped in the middle.
const LENGTH: usize = 128 << 20;

/// A home whose volume is being backed up slowly.
fn backing_up(home: &Home) -> Child {
    // Half a byte of noise in each byte: too good to be stored as it is, and slow to compress.
    let path = home.dir.path().join("v.img");
    let bytes: Vec<u8> = crate::ashlar::noise(LENGTH, 4)
        .iter()
        .map(|b| b'a' + b % 16)
        .collect();
    std::fs::write(&path, bytes).unwrap();
    home.good(&["volume", "create", "--file", path.to_str().unwrap(), "v"]);
    let options = [
        "-o",
        "backup.compression=bz2",
        "-o",
        "backup.chunk_size=1MiB",
    ];
    let child = home
        .command(
            &[
                &options[..],
                &["volume", "backup", "create", "--name", "b", "v"],
            ]
            .concat(),
        )
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let deadline = Instant::now() + Duration::from_secs(30);
    while home.stored().len() < 2 {
        assert!(Instant::now() < deadline, "no object was stored");
        std::thread::sleep(Duration::from_millis(5));
    }
    child
}

fn signal(child: &Child, name: &str) {
    let sent = Command::new("kill")
        .args([name, &child.id().to_string()])
        .status()
        .unwrap();
    assert!(sent.success());
}

fn status_of(home: &Home, what: &[&str]) -> String {
    home.json(what)["status"].as_str().unwrap().to_owned()
}

#[test]
fn the_first_ctrl_c_cancels_cleanly() {
    let home = Home::new();
    let child = backing_up(&home);
    signal(&child, "-INT");
    let sent = Instant::now();
    let ran = ran(child.wait_with_output().unwrap());
    assert!(
        sent.elapsed() < Duration::from_secs(10),
        "{:?}",
        sent.elapsed()
    );
    assert_eq!(ran.status, 1, "{ran:?}");
    assert!(
        ran.err.contains("stopping") && ran.err.contains("cancelled"),
        "{ran:?}"
    );
    assert!(home.stored().is_empty(), "{:?}", home.stored());
    assert_eq!(
        status_of(&home, &["volume", "backup", "show", "b"]),
        "error"
    );
    assert_eq!(status_of(&home, &["volume", "show", "v"]), "available");
    home.good(&["volume", "backup", "delete", "b"]);
}

#[test]
fn the_second_ctrl_c_quits_at_once_and_the_next_command_settles() {
    let home = Home::new();
    let child = backing_up(&home);
    signal(&child, "-INT");
    signal(&child, "-INT");
    let ran = ran(child.wait_with_output().unwrap());
    // Two signals that come as one leave it at the clean cancel.
    assert!(ran.status == 130 || ran.status == 1, "{ran:?}");
    let next = home.run(&["-f", "json", "volume", "backup", "show", "b"]);
    assert!(next.out.contains("\"error\""), "{next:?}");
    home.good(&["volume", "backup", "delete", "b"]);
    assert!(home.stored().is_empty(), "{:?}", home.stored());
}

#[test]
fn a_killed_backup_is_settled_by_the_next_command() {
    let home = Home::new();
    let mut child = backing_up(&home);
    child.kill().unwrap(); // SIGKILL
    child.wait().unwrap();
    let next = home.run(&["-f", "json", "volume", "backup", "show", "b"]);
    assert_eq!(next.status, 0, "{next:?}");
    assert_eq!(next.err.lines().count(), 1, "told in one line: {next:?}");
    assert!(next.out.contains("\"error\""), "{next:?}");
    assert_eq!(status_of(&home, &["volume", "show", "v"]), "available");
    // Only once.
    assert_eq!(home.run(&["volume", "list"]).err, "");
    home.good(&["volume", "backup", "delete", "b"]);
    assert!(home.stored().is_empty(), "{:?}", home.stored());
    home.good(&["volume", "backup", "create", "--name", "again", "v"]);
}

#[test]
fn a_running_job_is_left_alone_by_other_commands() {
    let home = Home::new();
    let mut child = backing_up(&home);
    let during = home.run(&["-f", "json", "volume", "backup", "show", "b"]);
    if child.try_wait().unwrap().is_none() {
        assert!(during.out.contains("\"creating\""), "{during:?}");
        assert_eq!(during.err, "");
        signal(&child, "-TERM");
    }
    child.wait().unwrap();
}
