//! Where the keys for S3 come from: the configuration, a file, the environment, a profile, the container's and the
//! instance's metadata.

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::process::Command;
use std::sync::{Arc, Mutex};

use crate::ashlar::{Home, ran};
use crate::servers;

/// A server that keeps the heads of all requests and answers each as it is told. It ends with the process.
#[derive(Clone)]
struct Recorder {
    url: String,
    heads: Arc<Mutex<Vec<String>>>,
}

impl Recorder {
    /// `answer` gives the status line and the body of a request's head.
    fn new(answer: impl Fn(&str) -> (&'static str, String) + Send + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let this = Self {
            url: format!("http://{}", listener.local_addr().unwrap()),
            heads: Arc::default(),
        };
        let heads = Arc::clone(&this.heads);
        std::thread::spawn(move || {
            for client in listener.incoming().flatten() {
                let head = read(&client);
                let (status, body) = answer(&head);
                heads.lock().unwrap().push(head);
                let length = body.len();
                let _gone = (&client).write_all(
                    format!(
                        "HTTP/1.1 {status}\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n{body}"
                    )
                    .as_bytes(),
                );
            }
        });
        this
    }

    fn heads(&self) -> String {
        self.heads.lock().unwrap().join("\n")
    }
}

/// A request's head; its body is read and forgotten.
fn read(client: &TcpStream) -> String {
    let mut request = BufReader::new(client);
    let (mut head, mut line, mut length) = (String::new(), String::new(), 0);
    while let Ok(3..) = request.read_line(&mut line) {
        if let Some(told) = line.to_ascii_lowercase().strip_prefix("content-length:") {
            length = told.trim().parse().unwrap_or(0);
        }
        head.push_str(&line);
        line.clear();
    }
    let _body = std::io::copy(&mut request.take(length), &mut std::io::sink());
    head
}

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
    Recorder::new(|_| ("403 Forbidden", String::new()))
}

/// The server was asked with the keys that the metadata gave, which nobody saw.
fn asked_with_those_keys(server: &Recorder, mut command: Command) {
    let done = ran(command.output().unwrap());
    assert_eq!(done.status, 1, "{done:?}");
    assert!(!format!("{done:?}").contains("hush"), "{done:?}");
    let heads = server.heads();
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
    let metadata = Recorder::new(|head| {
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
    assert_eq!(metadata.heads.lock().unwrap().len(), 3);
}

#[test]
fn keys_come_from_the_containers_metadata() {
    let metadata = Recorder::new(|head| {
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
    let metadata = Recorder::new(|_| ("404 Not Found", String::new()));
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
    assert_eq!(server.heads(), "", "nothing is asked without keys");
}
