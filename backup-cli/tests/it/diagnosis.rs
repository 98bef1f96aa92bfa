//! `repository check` says in words what is wrong and what to do.

use std::fs;
use std::io::{Read, Write};
use std::net::TcpListener;

use crate::ashlar::{Home, Ran};
use crate::servers;

/// A server that answers every request so. It ends with the process.
fn answering(status: &str, body: &str) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let answer = format!(
        "HTTP/1.1 {status}\r\nContent-Type: application/xml\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}",
        body.len()
    );
    std::thread::spawn(move || {
        for mut client in listener.incoming().flatten() {
            let mut head = Vec::new();
            let mut buffer = [0; 4096];
            while !head.windows(4).any(|w| w == b"\r\n\r\n") {
                match client.read(&mut buffer) {
                    Ok(n @ 1..) => head.extend_from_slice(&buffer[..n]),
                    _ => break,
                }
            }
            // HEAD has no body.
            let end = if head.starts_with(b"HEAD") {
                answer.len() - answer.split("\r\n\r\n").nth(1).map_or(0, str::len)
            } else {
                answer.len()
            };
            let _gone = client.write_all(&answer.as_bytes()[..end]);
        }
    });
    url
}

fn check(settings: &str) -> Ran {
    let home = Home::new();
    fs::create_dir_all(home.path()).unwrap();
    let text =
        format!("[repository.r]\n{settings}\nretries = 1\ntimeout = 2\nconnect_timeout = 2\n");
    fs::write(home.path().join("ashlar.toml"), text).unwrap();
    let ran = home.run(&["repository", "check", "r"]);
    assert_eq!(ran.status, 1, "{ran:?}");
    assert!(ran.err.contains("failed: open the container: "), "{ran:?}");
    ran
}

fn s3(url: &str) -> String {
    format!("type = \"s3\"\nendpoint_url = \"{url}\"\naccess_key = \"AK\"\nsecret_key = \"hush\"\n")
}

#[test]
fn what_an_s3_server_refuses_is_told_in_words() {
    let error = |code: &str| {
        format!("<?xml version=\"1.0\"?><Error><Code>{code}</Code><Message>m</Message></Error>")
    };
    for (status, code, words) in [
        ("403 Forbidden", "InvalidAccessKeyId", "check access_key"),
        (
            "403 Forbidden",
            "SignatureDoesNotMatch",
            "the secret key is wrong",
        ),
        ("403 Forbidden", "AccessDenied", "the key lacks this right"),
        ("403 Forbidden", "RequestTimeTooSkewed", "set the clock"),
        ("403 Forbidden", "QuotaExceeded", "quota is used up"),
        (
            "507 Insufficient Storage",
            "XMinioStorageFull",
            "the storage is full",
        ),
        ("301 Moved Permanently", "PermanentRedirect", "set region"),
    ] {
        let ran = check(&s3(&answering(status, &error(code))));
        assert!(ran.err.contains(words), "{code}: {ran:?}");
        assert!(!format!("{ran:?}").contains("hush"), "{ran:?}");
    }
    let ran = check(&format!(
        "{}create_containers = false\n",
        s3(&answering("404 Not Found", &error("NoSuchBucket")))
    ));
    assert!(ran.err.contains("make the bucket"), "{ran:?}");
}

/// A port where nobody listens.
fn nobody() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    format!("http://{}", listener.local_addr().unwrap())
}

#[test]
fn an_address_where_nobody_is_or_somebody_else_is_told_in_words() {
    let ran = check(&s3(&nobody()));
    assert!(ran.err.contains("check endpoint_url"), "{ran:?}");
    let swift = |url: &str| {
        format!(
            "type = \"swift\"\nauth_url = \"{url}/v3\"\nusername = \"u\"\npassword = \"hush\"\nproject_name = \"p\"\n"
        )
    };
    let ran = check(&swift(&nobody()));
    assert!(ran.err.contains("auth_url"), "{ran:?}");
    for url in [
        answering("401 Unauthorized", "{}"),
        answering("200 OK", "<html>hello</html>"),
    ] {
        let ran = check(&swift(&url));
        let advice = ran
            .err
            .lines()
            .find(|l| l.starts_with("failed: open the container: "));
        let told = ["auth_url", "username", "password"];
        assert!(
            told.iter().any(|word| advice.unwrap().contains(word)),
            "{ran:?}"
        );
        assert!(!format!("{ran:?}").contains("hush"), "{ran:?}");
    }
}

#[test]
fn real_servers_refusals_are_told_in_words() {
    for server in servers::all() {
        let refused = |server: servers::Server| {
            let ran = server.home().run(&["repository", "check", "remote"]);
            assert_eq!(ran.status, 1, "{}: {ran:?}", server.name);
            ran.err
        };
        let err = refused(server.clone().with("create_containers", "false"));
        assert!(err.contains("create_containers"), "{}: {err}", server.name);
        // moto takes any key.
        if server.name != "moto" {
            let err = refused(server.clone().with_secret("wrong"));
            let word = if server.is_s3() { "secret" } else { "password" };
            assert!(err.contains(word), "{}: {err}", server.name);
        }
        let missing = format!(
            "{}-there-is-none",
            server.setting(server.address()).trim_end_matches('/')
        );
        if !server.is_s3() {
            let err = refused(server.clone().with("auth_url", missing));
            assert!(err.contains("auth_url"), "{}: {err}", server.name);
        }
    }
}
