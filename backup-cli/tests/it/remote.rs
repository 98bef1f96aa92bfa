//! Whole lives of backups on real servers, through the binary alone.

use std::fs;
use std::path::Path;
use std::sync::Arc;

use backup_core::{ObjectKey, PutMode};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use futures::StreamExt;
use serde_json::Value;

use crate::ashlar::{Home, change, files, noise, overwrite};
use crate::proxy::Proxy;
use crate::rights::swift_v3;
use crate::secrets::clean;
use crate::servers::{self, Server};

const LENGTH: usize = 5_000_000;

/// Other tests have their containers on the same server.
fn scan_of<'a>(server: &'a Server, more: &[&'a str]) -> Vec<&'a str> {
    let scan = ["volume", "backup", "scan", "--container", &server.container];
    [&scan[..], more].concat()
}

fn create(home: &Home, name: &str) {
    let kind: &[&str] = if name == "b0" {
        &[]
    } else {
        &["--incremental"]
    };
    let command = [
        &["volume", "backup", "create", "--name", name],
        kind,
        &["v"],
    ]
    .concat();
    home.good(&command);
}

#[test]
fn a_chain_lives_and_dies_on_each_server_and_survives_the_catalogue() {
    for server in servers::with_shares() {
        let name = server.name;
        let home = server.home();
        let image = home.volume("v", LENGTH);
        let mut contents = Vec::new();
        for n in 0..4 {
            create(&home, &format!("b{n}"));
            contents.push(fs::read(&image).unwrap());
            change(&image, n);
        }
        let restore_all = |home: &Home, when: &str| {
            for (n, expected) in contents.iter().enumerate() {
                let backup = format!("b{n}");
                let to = format!("{backup}-{when}");
                home.good(&["volume", "backup", "verify", &backup]);
                home.good(&["volume", "backup", "restore", "--name", &to, &backup]);
                assert!(home.data_of(&to) == *expected, "{name} {backup} {when}");
            }
        };
        restore_all(&home, "first");

        // The catalogue is gone: the server alone brings everything back.
        let other = server.home();
        let found = other.json(&scan_of(&server, &["--import"]));
        let states: Vec<_> = found
            .as_array()
            .unwrap()
            .iter()
            .map(|f| &f["state"])
            .collect();
        assert_eq!(states, ["imported"; 4], "{name}");
        restore_all(&other, "found");
        assert_eq!(
            other.json(&["repository", "orphans", "--container", &server.container]),
            Value::Array(vec![])
        );

        for n in (0..4).rev() {
            other.good(&["volume", "backup", "delete", &format!("b{n}")]);
        }
        assert_eq!(server.objects(), [], "{name}");
        assert_eq!(other.json(&scan_of(&server, &[])), Value::Array(vec![]));
    }
}

#[test]
fn a_check_of_each_server_finds_all_that_backups_need_and_leaves_nothing() {
    for server in servers::with_shares() {
        let home = server.home();
        let steps = home.json(&["repository", "check", "remote"]);
        for step in steps.as_array().unwrap() {
            assert!(
                ["good", "look"].contains(&step["result"].as_str().unwrap()),
                "{}: {step}",
                server.name
            );
        }
        assert_eq!(server.objects(), [], "{}", server.name);
        let listed = home.json(&["repository", "list"]);
        let remote = listed
            .as_array()
            .unwrap()
            .iter()
            .find(|r| r["name"] == "remote");
        let place = remote.unwrap()["place"].as_str().unwrap().to_owned();
        assert!(place.contains(&server.container), "{place}");
    }
}

#[test]
fn a_users_own_account_is_in_the_record_and_the_users_token_is_not() {
    let Some(one_user) = servers::swift_v3() else {
        return;
    };
    let (account, token) = swift_v3(&one_user);
    let server = one_user.per_user(&account, &token);
    let home = server.home();
    let image = home.volume("v", LENGTH);
    create(&home, "b0");
    let shown = home.json(&["volume", "backup", "show", "b0"]);
    assert_eq!(shown["account"], account);
    let record = home.json(&["volume", "backup", "record", "export", "b0"]);
    let told = STANDARD
        .decode(record["backup_url"].as_str().unwrap())
        .unwrap();
    let told = String::from_utf8(told).unwrap();
    assert!(told.contains(&account), "{told}");
    clean(&server, &told, "the record");
    for file in files(&home.path()) {
        if file.extension().is_none_or(|e| e != "secret") {
            let bytes = fs::read(&file).unwrap();
            let text = String::from_utf8_lossy(&bytes);
            clean(&server, &text, &file.display().to_string());
        }
    }

    // A scan of the account knows it, too.
    let other = server.home();
    other.good(&scan_of(&server, &["--import"]));
    let shown = other.json(&["volume", "backup", "show", "b0"]);
    assert_eq!(shown["account"], account);
    other.good(&["volume", "backup", "restore", "--name", "back", "b0"]);
    assert!(other.data_of("back") == fs::read(&image).unwrap());

    // Where the settings name another account, what is not there is not taken for gone.
    let moved = server.clone().with("storage_url", format!("{account}0"));
    moved.configure(&home);
    let err = home.bad(&["volume", "backup", "delete", "b0"]);
    assert!(
        err.contains(&format!("lies in the account {account}")),
        "{err}"
    );
    let err = home.bad(&[
        "volume",
        "backup",
        "record",
        "import",
        record["backup_service"].as_str().unwrap(),
        record["backup_url"].as_str().unwrap(),
    ]);
    assert!(err.contains(&account), "{err}");

    // With one user for all again, the account that signing in tells is compared.
    let moved = one_user.clone().with("storage_url", format!("{account}0"));
    moved.configure(&home);
    let err = home.bad(&["volume", "backup", "delete", "b0"]);
    assert!(
        err.contains(&format!("lies in the account {account}")),
        "{err}"
    );
    one_user.configure(&home);
    home.good(&["volume", "backup", "verify", "b0"]);
    home.good(&["volume", "backup", "delete", "b0"]);
    assert_eq!(server.objects(), []);
}

#[test]
fn records_find_the_repository_of_their_service_among_several() {
    for server in servers::with_shares() {
        let home = server.home();
        let image = home.volume("v", LENGTH);
        create(&home, "b0");
        let record = home.json(&["volume", "backup", "record", "export", "b0"]);
        // Another home backs up to a folder, and knows the server too.
        let other = server.home();
        let option = ["-o", "backup.repository=default"];
        other.volume("w", LENGTH);
        other.good(
            &[
                &option[..],
                &["volume", "backup", "create", "--name", "here", "w"],
            ]
            .concat(),
        );
        other.good(&[
            "volume",
            "backup",
            "record",
            "import",
            record["backup_service"].as_str().unwrap(),
            record["backup_url"].as_str().unwrap(),
        ]);
        let shown = other.json(&["volume", "backup", "show", "b0"]);
        assert_eq!(shown["repository"], "remote", "{}", server.name);
        other.good(&["volume", "backup", "restore", "--name", "back", "b0"]);
        assert!(other.data_of("back") == fs::read(&image).unwrap());
        other.good(&["volume", "backup", "restore", "--name", "back2", "here"]);
        other.good(&["volume", "backup", "delete", "here", "b0"]);
        assert_eq!(server.objects(), [], "{}", server.name);
    }
}

/// Uploads a folder's files under their names.
fn upload(server: &Server, root: &Path, folder: &Path) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            upload(server, root, &path);
        } else {
            let name = path.strip_prefix(root).unwrap().to_str().unwrap();
            server.put(name, fs::read(&path).unwrap());
        }
    }
}

/// Copies a folder's files.
fn copy(from: &Path, to: &Path) {
    for entry in fs::read_dir(from).unwrap() {
        let path = entry.unwrap().path();
        let copied = to.join(path.file_name().unwrap());
        if path.is_dir() {
            fs::create_dir(&copied).unwrap();
            copy(&path, &copied);
        } else {
            fs::copy(&path, &copied).unwrap();
        }
    }
}

#[test]
fn what_cinders_driver_wrote_restores_from_each_server() {
    for server in servers::with_shares() {
        let case = Path::new(env!("CARGO_MANIFEST_DIR"))
            .join("../backup-core/tests/data/cinder")
            .join(server.fixture());
        let scan = if let Some(disk) = &server.disk {
            // There each backup has a container of its own.
            copy(&case.join("repo"), disk);
            vec!["volume", "backup", "scan", "--import"]
        } else {
            let objects = case.join("objects/volumebackups");
            upload(&server, &objects, &objects);
            scan_of(&server, &["--import"])
        };
        let manifest: Value =
            serde_json::from_slice(&fs::read(case.join("manifest.json")).unwrap()).unwrap();
        let home = server.home();
        let found = home.json(&scan);
        let backups = manifest["backups"].as_array().unwrap();
        assert_eq!(found.as_array().unwrap().len(), backups.len());
        crate::cinder::restore_all(&home, &manifest, server.name);
        assert_eq!(
            home.json(&["repository", "orphans", "--container", &server.container]),
            Value::Array(vec![])
        );
    }
}

/// So many small objects that belong to no backup that is complete.
fn fill(server: &Server, count: usize) {
    const OF_NOBODY: &str = "volume_6841e3d1-8a1a-4496-bc51-f7c04b787e8f/20260101000000/az_nova_backup_83dadb43-2aa9-4c0b-bc05-a12203a8f4cb";
    let (repository, container) = (server.open(), server.container());
    servers::run(async move {
        let puts = (0..count).map(|n| {
            let key = ObjectKey::new(&container, format!("{OF_NOBODY}-{n:06}")).unwrap();
            let repository = Arc::clone(&repository);
            async move {
                let put = repository.put(&key, "x".into(), PutMode::Overwrite);
                put.await.unwrap();
            }
        });
        futures::stream::iter(puts)
            .buffer_unordered(32)
            .collect::<()>()
            .await;
    });
}

#[test]
#[ignore = "stores 100 000 objects on each server: half an hour; ASHLAR_TEST_OBJECTS says how many"]
fn a_container_of_100_000_objects_is_scanned_by_its_listing_and_the_ends_of_metadata() {
    let count = std::env::var("ASHLAR_TEST_OBJECTS").ok();
    let count: usize = count.map_or(100_000, |count| count.parse().unwrap());
    for server in servers::all() {
        let name = server.name;
        let home = server.home();
        let image = home.volume("v", 24 << 20);
        // 384 objects of 64 KiB: metadata of more than 64 KiB, which is read by its ends.
        overwrite(&image, 0, &noise(24 << 20, 5));
        let small = ["-o", "backup.chunk_size=64KiB"];
        let make = ["volume", "backup", "create", "--name", "b0", "v"];
        home.good(&[&small[..], &make].concat());
        fill(&server, count);

        let (setting, url) = if server.is_s3() {
            ("endpoint_url", server.setting("endpoint_url").to_owned())
        } else {
            ("storage_url", server.account_url())
        };
        let line = Proxy::new(&url);
        let through = server.with(setting, line.instead_of(&url));
        scanned(&through, &line, count, name);
    }
}

/// Scans through the line, and looks how much went over it.
fn scanned(server: &Server, line: &Proxy, count: usize, name: &str) {
    let other = server.home();
    let begun = std::time::Instant::now();
    let found = other.json(&scan_of(server, &["--import"]));
    let seconds = begun.elapsed().as_secs_f64();
    let (requests, bytes) = (line.requests(), line.received());
    eprintln!(
        "{name}: {count} objects scanned in {seconds:.1} s, {requests} requests, {bytes} bytes"
    );
    assert_eq!(found.as_array().unwrap().len(), 1, "{name}");
    // Pages of at least 1000 names, two ends of one metadata object, a sign-in, a look at the hash list.
    let pages = u64::try_from(count / 1000).unwrap();
    assert!(requests <= pages + 12, "{name}: {requests} requests");
}
