//! Where the keys for S3 come from: the configuration, a file, the environment, a profile, the container's and the
//! instance's metadata.

use std::fs;
use std::process::Command;

use crate::ashlar::{Home, ran};
use crate::http::Recorder;
use crate::servers;

fn home(settings: &str) -> Home {
    let home = Home::new();
    fs::create_dir_all(home.path()).unwrap();
    let text = format!("[repository.remote]\ntype = \"s3\"\n{settings}");
    fs::write(home.path().join("ashlar.toml"), text).unwrap();
    home
}

fn works(mut command: Command, how: &str) {
    let done = ran(command.output().unwrap());
    assert_eq!(done.status, 0, "{how}: {done:?}");
}

#[test]
fn keys_come_from_the_configuration_a_file_the_environment_and_a_profile() {
    let Some(server) = servers::radosgw() else {
        return;
    };
    server.make();
    let key = server.setting("access_key").to_owned();
    let secret = server.secrets().next().unwrap().to_owned();
    let place = format!(
        "endpoint_url = {:?}\nbucket = {:?}\n",
        server.setting("endpoint_url"),
        server.container
    );
    let check = ["repository", "check", "remote"];

    let written = home(&format!(
        "{place}access_key = {key:?}\nsecret_key = {secret:?}\n"
    ));
    works(written.command(&check), "the configuration");

    let filed = home(&format!(
        "{place}access_key = {key:?}\nsecret_key_file = \"s3.secret\"\n"
    ));
    fs::write(filed.path().join("s3.secret"), format!("{secret}\n")).unwrap();
    works(filed.command(&check), "a file");

    let bare = home(&place);
    let mut command = bare.command(&check);
    command
        .env("AWS_ACCESS_KEY_ID", &key)
        .env("AWS_SECRET_ACCESS_KEY", &secret);
    works(command, "the environment");

    let profiled = home(&format!("{place}profile = \"backups\"\n"));
    let folder = profiled.dir.path().join(".aws");
    fs::create_dir(&folder).unwrap();
    let file = format!(
        "[default]\naws_access_key_id = WRONG\naws_secret_access_key = wrong\n\
         [backups]\naws_access_key_id = {key}\naws_secret_access_key = {secret}\n"
    );
    fs::write(folder.join("credentials"), &file).unwrap();
    // A profile that is named goes before the environment.
    let mut command = profiled.command(&check);
    command
        .env("AWS_ACCESS_KEY_ID", "WRONG")
        .env("AWS_SECRET_ACCESS_KEY", "wrong");
    works(command, "a profile");
    let elsewhere = profiled.dir.path().join("elsewhere");
    fs::rename(folder.join("credentials"), &elsewhere).unwrap();
    let mut command = profiled.command(&check);
    command.env("AWS_SHARED_CREDENTIALS_FILE", &elsewhere);
    works(command, "a profile in a file elsewhere");
}

const KEYS: &str = "{\"Code\": \"Success\", \"AccessKeyId\": \"AKOFTHISMACHINE\", \
    \"SecretAccessKey\": \"hush-secret\", \"Token\": \"hush-token\", \"Expiration\": \"2099-01-01T00:00:00Z\"}";

/// A server of S3 that refuses everything, so that only what it was sent is looked at.
fn refusing() -> Recorder {
    Recorder::answering(|_| ("403 Forbidden", String::new()))
}

/// The server was asked with the keys that the metadata gave, which nobody saw.
fn asked_with_those_keys(server: &Recorder, mut command: Command) {
    let done = ran(command.output().unwrap());
    assert_eq!(done.status, 1, "{done:?}");
    assert!(!format!("{done:?}").contains("hush"), "{done:?}");
    let heads = server.heads().join("\n");
    assert!(heads.contains("Credential=AKOFTHISMACHINE/"), "{heads}");
    assert!(
        heads
            .to_ascii_lowercase()
            .contains("x-amz-security-token: hush-token"),
        "{heads}"
    );
}

#[test]
fn keys_come_from_the_instances_metadata() {
    let metadata = Recorder::answering(|head| {
        let line = head.lines().next().unwrap_or_default();
        match line.split(' ').nth(1).unwrap_or_default() {
            "/latest/api/token" if line.starts_with("PUT ") => ("200 OK", "hush-session".into()),
            _ if !head
                .to_ascii_lowercase()
                .contains("x-aws-ec2-metadata-token: hush-session") =>
            {
                ("401 Unauthorized", String::new())
            }
            "/latest/meta-data/iam/security-credentials/" => ("200 OK", "backups".into()),
            "/latest/meta-data/iam/security-credentials/backups" => ("200 OK", KEYS.into()),
            _ => ("404 Not Found", String::new()),
        }
    });
    let server = refusing();
    let home = home(&format!("endpoint_url = {:?}\n", server.url));
    let mut command = home.command(&["-vv", "repository", "check", "remote"]);
    command.env("AWS_EC2_METADATA_SERVICE_ENDPOINT", &metadata.url);
    asked_with_those_keys(&server, command);
    // One provider for all buckets and requests: the keys are fetched once.
    assert_eq!(metadata.heads().len(), 3);
}

#[test]
fn keys_come_from_the_containers_metadata() {
    let metadata = Recorder::answering(|head| {
        if head.contains("hush-of-the-pod") {
            ("200 OK", KEYS.into())
        } else {
            ("401 Unauthorized", String::new())
        }
    });
    let server = refusing();
    let home = home(&format!("endpoint_url = {:?}\n", server.url));
    let token = home.dir.path().join("token");
    fs::write(&token, "hush-of-the-pod").unwrap();
    let mut command = home.command(&["-vv", "repository", "check", "remote"]);
    command
        .env(
            "AWS_CONTAINER_CREDENTIALS_FULL_URI",
            format!("{}/v1/credentials", metadata.url),
        )
        .env("AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE", &token);
    asked_with_those_keys(&server, command);
}

#[test]
fn where_no_keys_are_it_is_told_what_to_set() {
    let metadata = Recorder::answering(|_| ("404 Not Found", String::new()));
    let server = refusing();
    let home = home(&format!("endpoint_url = {:?}\nretries = 1\n", server.url));
    let mut command = home.command(&["repository", "check", "remote"]);
    command.env("AWS_EC2_METADATA_SERVICE_ENDPOINT", &metadata.url);
    let done = ran(command.output().unwrap());
    assert_eq!(done.status, 1, "{done:?}");
    assert!(
        done.err.contains("set access_key and secret_key"),
        "{done:?}"
    );
    assert_eq!(server.heads(), [""; 0], "nothing is asked without keys");
}

#[test]
fn a_bucket_may_be_a_part_of_the_hosts_name_and_a_proxy_stand_before_it() {
    let Some(server) = servers::radosgw() else {
        return;
    };
    let proxy = Recorder::forwarding(server.setting("endpoint_url"));
    let server = server
        .with("endpoint_url", "http://s3.test")
        .with("virtual_host_style", "true");
    let home = server.home();
    let run = |arguments: &[&str]| {
        let mut command = home.command(arguments);
        command.env("HTTP_PROXY", &proxy.url);
        works(command, &format!("{arguments:?}"));
    };
    home.volume("v", 3_000_000);
    run(&["repository", "check", "remote"]);
    run(&["volume", "backup", "create", "--name", "b", "v"]);
    run(&["volume", "backup", "verify", "b"]);
    run(&["volume", "backup", "delete", "b"]);
    let host = format!("http://{}.s3.test/", server.container);
    let heads = proxy.heads();
    assert!(heads.len() > 20, "{heads:?}");
    for head in heads {
        let first = head.lines().next().unwrap();
        assert!(first.contains(&host), "{first}");
    }
}
