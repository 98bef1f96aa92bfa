//! Secrets appear in no output, no log, no file but their own, and no list of processes.

use std::fs;
use std::process::Stdio;

use crate::ashlar::{Home, files};
use crate::servers::{self, Server};

const LENGTH: usize = 3_000_000;

/// How tokens begin: those of Swift's own users, alone and beside Keystone's, and Keystone's.
const TOKENS: [&str; 3] = ["AUTH_tk", "OWN_tk", "gAAAAA"];

/// No secret of the server's, and no token, is in the text.
pub(crate) fn clean(server: &Server, text: &str, place: &str) {
    for secret in server.secrets() {
        // The accounts of test servers have words for secrets; as a word of a name they say nothing.
        let shown = text.match_indices(secret).any(|(at, _)| {
            let around = |c: Option<char>| c.is_none_or(|c| !c.is_ascii_alphanumeric());
            around(text[..at].chars().next_back())
                && around(text[at + secret.len()..].chars().next())
        });
        assert!(!shown, "{}: {place} shows a secret: {text}", server.name);
    }
    for token in TOKENS {
        let shown = text.contains(token);
        assert!(!shown, "{}: {place} shows a token: {text}", server.name);
    }
}

fn run(server: &Server, home: &Home, arguments: &[&str]) -> String {
    let ran = home.run(&[&["-vv", "-f", "json"], arguments].concat());
    clean(server, &ran.out, &format!("{arguments:?}, standard output"));
    clean(server, &ran.err, &format!("{arguments:?}, standard error"));
    ran.out
}

#[test]
fn secrets_are_in_no_output_no_record_no_catalogue_and_no_process_list() {
    for server in servers::all() {
        let home = server.home();
        home.volume("v", LENGTH);
        let running = home
            .command(&["-vv", "volume", "backup", "create", "--name", "b", "v"])
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let line = fs::read(format!("/proc/{}/cmdline", running.id())).unwrap();
        clean(&server, &String::from_utf8_lossy(&line), "its command line");
        let said = crate::ashlar::ran(running.wait_with_output().unwrap());
        assert_eq!(said.status, 0, "{}: {said:?}", server.name);
        clean(&server, &said.out, "create");
        clean(&server, &said.err, "create");
        let record = run(
            &server,
            &home,
            &["volume", "backup", "record", "export", "b"],
        );
        assert!(record.contains("backup_url"), "{record}");
        for arguments in [
            &["volume", "backup", "list", "--long"][..],
            &["volume", "backup", "show", "b"],
            &["volume", "backup", "verify", "b"],
            &["volume", "backup", "restore", "--name", "back", "b"],
            &["volume", "backup", "scan"],
            &["repository", "list"],
            &["repository", "check", "remote"],
            &["repository", "orphans"],
        ] {
            run(&server, &home, arguments);
        }
        for file in files(&home.path()) {
            if file.extension().is_some_and(|e| e == "secret") {
                continue;
            }
            let bytes = fs::read(&file).unwrap();
            clean(
                &server,
                &String::from_utf8_lossy(&bytes),
                &file.display().to_string(),
            );
        }
        run(&server, &home, &["volume", "backup", "delete", "b"]);
    }
}

#[test]
fn a_wrong_secret_is_told_without_showing_it() {
    for server in servers::all() {
        // moto takes any.
        if server.name == "moto" {
            continue;
        }
        let server = server.with_secret("wrong-hush-4711");
        let home = server.home();
        home.volume("v", LENGTH);
        for arguments in [
            &["volume", "backup", "create", "--name", "b", "v"][..],
            &["volume", "backup", "show", "b"],
            &["repository", "check", "remote"],
            &["volume", "backup", "scan"],
            &["repository", "orphans"],
        ] {
            run(&server, &home, arguments);
        }
    }
}
