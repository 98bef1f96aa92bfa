//! Users of the real servers who may do less: what is refused is told in words, and what the pages name as the least
//! rights is enough.

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};

use serde_json::{Value, json};

use crate::ashlar::{Home, overwrite};
use crate::servers::{self, Server};

const LENGTH: usize = 3_000_000;

/// Runs curl, which must succeed, and gives the answer with its headers.
fn curl(arguments: &[&str]) -> String {
    let mut curl = Command::new("curl");
    let done = curl
        .args(["-sSi", "--fail", "--max-time", "30"])
        .args(arguments)
        .stdin(Stdio::null())
        .output()
        .unwrap();
    assert!(done.status.success(), "{arguments:?}: {done:?}");
    String::from_utf8(done.stdout).unwrap()
}

fn header(answer: &str, name: &str) -> String {
    let found = answer.lines().find_map(|line| {
        let (key, value) = line.split_once(':')?;
        key.eq_ignore_ascii_case(name)
            .then(|| value.trim().to_owned())
    });
    found.unwrap_or_else(|| panic!("no {name} in {answer}"))
}

/// Signs in at Swift's own users: the account's address and a token.
pub(crate) fn swift_v1(server: &Server, user: &str, key: &str) -> (String, String) {
    let (user, key) = (format!("X-Auth-User: {user}"), format!("X-Auth-Key: {key}"));
    let answer = curl(&["-H", &user, "-H", &key, server.setting("auth_url")]);
    (
        header(&answer, "X-Storage-Url"),
        header(&answer, "X-Auth-Token"),
    )
}

/// Signs in at Keystone as the server's own user: the account's address and a token.
pub(crate) fn swift_v3(server: &Server) -> (String, String) {
    let in_default =
        |kind: &str| json!({ "name": server.setting(kind), "domain": { "id": "default" } });
    let mut user = in_default("username");
    user["password"] = json!(server.secrets().next().unwrap());
    let asked = json!({ "auth": {
        "identity": { "methods": ["password"], "password": { "user": user } },
        "scope": { "project": in_default("project_name") },
    }});
    let answer = curl(&[
        "-H",
        "Content-Type: application/json",
        "-d",
        &asked.to_string(),
        &format!("{}/auth/tokens", server.setting("auth_url")),
    ]);
    (server.account_url(), header(&answer, "X-Subject-Token"))
}

/// Sets headers of an account's or a container's of Swift's.
pub(crate) fn swift_post(url: &str, token: &str, headers: &[&str]) {
    let token = format!("X-Auth-Token: {token}");
    let mut arguments = vec!["-X", "POST", "-H", &token, url];
    for header in headers {
        arguments.extend(["-H", header]);
    }
    curl(&arguments);
}

/// Asks Ceph's gateway's own administration.
pub(crate) fn radosgw_admin(arguments: &[&str]) {
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/../scripts/servers/ceph/ceph");
    let folder = std::env::var("ASHLAR_TEST_S3_RGW_DIR").unwrap();
    let done = Command::new(script)
        .args(["admin", &folder])
        .args(arguments)
        .output()
        .unwrap();
    assert!(done.status.success(), "{arguments:?}: {done:?}");
}

/// Another user of Ceph's gateway, with nothing of its own, and the server as that user sees it.
pub(crate) fn radosgw_user(server: &Server) -> (String, Server) {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let next = NEXT.fetch_add(1, Ordering::Relaxed);
    let user = format!("user-{}-{next}", std::process::id());
    let (key, secret) = (format!("KEYOF{user}"), format!("secret-of-{user}-4711"));
    radosgw_admin(&[
        "user",
        "create",
        &format!("--uid={user}"),
        &format!("--display-name={user}"),
        &format!("--access-key={key}"),
        &format!("--secret-key={secret}"),
    ]);
    let theirs = server
        .clone()
        .with("access_key", key)
        .with_secret(&secret)
        .with("create_containers", "false");
    (user, theirs)
}

/// Gives the user a bucket's policy, by the bucket's owner.
fn put_policy(server: &Server, policy: &Value) {
    let file = tempfile::NamedTempFile::new().unwrap();
    fs::write(file.path(), policy.to_string()).unwrap();
    let pair = format!(
        "{}:{}",
        server.setting("access_key"),
        server.secrets().next().unwrap()
    );
    curl(&[
        "--aws-sigv4",
        "aws:amz:us-east-1:s3",
        "--user",
        &pair,
        "-H",
        "x-amz-content-sha256: UNSIGNED-PAYLOAD",
        "-T",
        file.path().to_str().unwrap(),
        &format!(
            "{}/{}?policy=",
            server.setting("endpoint_url"),
            server.container
        ),
    ]);
}

/// The policy of docs/s3.md, for a user and a bucket.
fn policy_of_the_page(user: &str, bucket: &str) -> Value {
    let page = fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/s3.md")).unwrap();
    let (_, rest) = page.split_once("```json\n").unwrap();
    let (text, _) = rest.split_once("```").unwrap();
    let text = text.replace("volumebackups", bucket);
    let mut policy: Value = serde_json::from_str(&text).unwrap();
    for statement in policy["Statement"].as_array_mut().unwrap() {
        // A bucket's own policy says whom it is for; a user's does not.
        statement["Principal"] = json!({ "AWS": [format!("arn:aws:iam:::user/{user}")] });
        // Ceph's gateway takes lists only.
        statement["Resource"] = json!([statement["Resource"]]);
    }
    policy
}

/// Makes a backup of a volume and an incremental, and does whatever else one does with backups but deleting them.
fn whole_life(server: &Server, home: &Home) {
    let image = home.volume("v", LENGTH);
    home.good(&["volume", "backup", "create", "--name", "full", "v"]);
    overwrite(&image, 1_000_000, &vec![7; 100_000]);
    home.good(&[
        "volume",
        "backup",
        "create",
        "--incremental",
        "--name",
        "inc",
        "v",
    ]);
    restores(home, &image, "inc");
    let steps = home.json(&["repository", "check", "remote"]);
    for step in steps.as_array().unwrap() {
        let result = step["result"].as_str().unwrap();
        assert!(
            ["good", "look"].contains(&result),
            "{}: {step}",
            server.name
        );
    }
    let orphans = home.json(&["repository", "orphans", "--older-than", "0"]);
    assert_eq!(orphans, Value::Array(vec![]), "{}", server.name);
}

fn restores(home: &Home, image: &Path, backup: &str) {
    home.good(&["volume", "backup", "verify", backup]);
    home.good(&["volume", "backup", "restore", "--name", "back", backup]);
    assert!(home.data_of("back") == fs::read(image).unwrap());
}

/// Finds all by a scan alone, without being told the container, restores, and is refused everything else.
fn only_reads(server: &Server, image: &Path) {
    let home = server.home();
    let found = home.json(&["volume", "backup", "scan", "--import"]);
    assert_eq!(found.as_array().unwrap().len(), 2, "{}", server.name);
    restores(&home, image, "inc");
    let before = server.objects().len();
    let err = home.bad(&["volume", "backup", "delete", "inc"]);
    assert!(
        err.contains("403") && err.contains(" lacks "),
        "{}: {err}",
        server.name
    );
    home.volume("w", LENGTH);
    let err = home.bad(&["volume", "backup", "create", "--name", "mine", "w"]);
    assert!(
        err.contains("403") && err.contains(" lacks "),
        "{}: {err}",
        server.name
    );
    assert_eq!(server.objects().len(), before, "{}", server.name);
}

#[test]
fn the_policy_of_the_page_is_all_that_backups_on_s3_need() {
    let Some(owner) = servers::radosgw() else {
        return;
    };
    owner.make();
    let (user, server) = radosgw_user(&owner);
    put_policy(&owner, &policy_of_the_page(&user, &owner.container));
    let home = server.home();
    whole_life(&server, &home);

    // One who may only read.
    let (reading, reader) = radosgw_user(&owner);
    let bucket = format!("arn:aws:s3:::{}", owner.container);
    let may = |user: &str, actions: Value, resource: &str| {
        json!({
            "Effect": "Allow",
            "Principal": { "AWS": [format!("arn:aws:iam:::user/{user}")] },
            "Action": actions,
            "Resource": [resource],
        })
    };
    let mut policy = policy_of_the_page(&user, &owner.container);
    let statements = policy["Statement"].as_array_mut().unwrap();
    statements.push(may(&reading, json!(["s3:ListBucket"]), &bucket));
    statements.push(may(
        &reading,
        json!(["s3:GetObject"]),
        &format!("{bucket}/*"),
    ));
    put_policy(&owner, &policy);
    only_reads(&reader, &home.dir.path().join("v.img"));

    home.good(&["volume", "backup", "delete", "inc", "full"]);
    assert_eq!(owner.objects(), []);
}

#[test]
fn a_containers_lists_of_rights_are_all_that_backups_on_swift_need() {
    let Some(owner) = servers::swift_v1() else {
        return;
    };
    owner.make();
    let (account, token) = swift_v1(&owner, "test:tester", "testing");
    let theirs = owner
        .clone()
        .with("username", "test:reader")
        .with_secret("readerkey")
        .with("create_containers", "false");
    let url = format!("{account}/{}", owner.container);
    swift_post(
        &url,
        &token,
        &[
            "X-Container-Read: test:reader",
            "X-Container-Write: test:reader",
        ],
    );
    let home = theirs.home();
    whole_life(&theirs, &home);

    // One who may only read.
    swift_post(&url, &token, &["X-Container-Write;"]);
    only_reads(&theirs, &home.dir.path().join("v.img"));

    swift_post(&url, &token, &["X-Container-Write: test:reader"]);
    home.good(&["volume", "backup", "delete", "inc", "full"]);
    assert_eq!(owner.objects(), []);
}

#[test]
fn a_user_without_rights_is_told_so_by_a_check_and_by_a_backup() {
    let mut refused = Vec::new();
    if let Some(owner) = servers::radosgw() {
        owner.make();
        refused.push((radosgw_user(&owner).1, "the key lacks this right"));
    }
    let lacks = "the user lacks a role";
    for (server, user, key) in [
        (servers::swift_v1(), "test:reader", "readerkey"),
        (servers::swift_v3(), "reader", "readerpw"),
    ] {
        if let Some(owner) = server {
            owner.make();
            let reader = owner.with("username", user).with_secret(key);
            refused.push((reader, lacks));
        }
    }
    for (server, words) in refused {
        let home = server.home();
        let checked = home.run(&["repository", "check", "remote"]);
        assert_eq!(checked.status, 1, "{}: {checked:?}", server.name);
        assert!(
            checked.err.contains("failed: ") && checked.err.contains(words),
            "{}: {checked:?}",
            server.name
        );
        home.volume("v", LENGTH);
        let err = home.bad(&["volume", "backup", "create", "--name", "b", "v"]);
        assert!(
            err.contains("403") && err.contains(words),
            "{}: {err}",
            server.name
        );
    }
}
