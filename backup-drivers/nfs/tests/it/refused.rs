//! Servers that refuse: each ends at once, with the reason and what to do.

use std::time::Duration;

use backup_core::{Error, ErrorKind, ObjectKey, PutMode, Repository};
use bytes::Bytes;

use crate::servers::{VERSIONS, container, files, fresh, ganesha, key, noise, open, put, read};

async fn first_error(repository: &dyn Repository) -> Error {
    let made = repository.ensure_container(&container("c")).await;
    made.unwrap_err()
}

fn hint(error: &Error) -> &str {
    error.hint_text().unwrap_or_default()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_export_for_reading_alone_is_read_and_refuses_writing_with_the_reason() {
    let Some(server) = ganesha() else { return };
    for version in VERSIONS {
        let (config, _folder) = server.place(version);
        let path = config.path.clone().unwrap();
        let (nfs, of) = (open(&config), container("c"));
        nfs.ensure_container(&of).await.unwrap();
        put(&*nfs, &key(&of, "x"), noise(5_000_000, 1)).await;
        let reading = open(&server.config("/readonly", version).with_path(path));
        let got = read(&*reading, &key(&of, "x")).await.unwrap();
        assert!(got == noise(5_000_000, 1), "{version}");
        let put = reading
            .put(&key(&of, "y"), noise(9, 1), PutMode::Overwrite)
            .await;
        for refused in [
            put.unwrap_err(),
            reading.ensure_container(&container("d")).await.unwrap_err(),
            reading
                .delete(&[key(&of, "x")])
                .await
                .pop()
                .unwrap()
                .unwrap_err(),
        ] {
            assert!(
                refused.is(ErrorKind::PermissionDenied),
                "{version}: {refused}"
            );
            assert!(
                refused.to_string().contains("read-only"),
                "{version}: {refused}"
            );
        }
        assert!(read(&*nfs, &key(&of, "x")).await.is_ok(), "{version}");
    }
}

/// Puts an object. Linux's server keeps a file open for a while after the last call on it, and what was removed meanwhile
/// takes its room until then.
async fn once_there_is_room(nfs: &dyn Repository, key: &ObjectKey, data: Bytes) {
    for _ in 0..60 {
        match nfs.put(key, data.clone(), PutMode::Overwrite).await {
            Err(e) if e.is(ErrorKind::NoSpace) => {
                tokio::time::sleep(Duration::from_millis(500)).await;
            }
            done => {
                done.unwrap();
                return;
            }
        }
    }
    panic!("there was no room for 30 s after all had been removed");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_filesystem_is_told_as_such_and_keeps_nothing_of_what_did_not_fit() {
    let Some(server) = ganesha() else { return };
    let Some(small) = &server.small else {
        println!("skipped: no small filesystem could be mounted");
        return;
    };
    for version in VERSIONS {
        let name = fresh();
        let folder = small.join(&name);
        std::fs::create_dir(&folder).unwrap();
        let nfs = open(&server.config("/small", version).with_path(&name));
        let of = container("c");
        nfs.ensure_container(&of).await.unwrap();
        let large = key(&of, "large");
        let put_large = nfs.put(&large, noise(40 << 20, 1), PutMode::Overwrite);
        let full = put_large.await.unwrap_err();
        assert!(full.is(ErrorKind::NoSpace), "{version}: {full}");
        assert!(hint(&full).contains("free some space"), "{version}: {full}");
        let mut upload = nfs.begin(&key(&of, "parts"), None).await.unwrap();
        let mut outcome = Ok(());
        for n in 0..5 {
            outcome = upload.part(noise(9 << 20, n)).await;
            if outcome.is_err() {
                break;
            }
        }
        assert!(outcome.unwrap_err().is(ErrorKind::NoSpace), "{version}");
        let later = upload.part(noise(9, 1)).await.unwrap_err();
        assert!(later.is(ErrorKind::Conflict), "{version}: {later}");
        upload.abort().await.unwrap();
        assert_eq!(files(&folder), [""; 0], "{version}");
        once_there_is_room(&*nfs, &key(&of, "small"), noise(1 << 20, 1)).await;
        let got = read(&*nfs, &key(&of, "small")).await.unwrap();
        assert!(got == noise(1 << 20, 1), "{version}");
        std::fs::remove_dir_all(&folder).unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_takes_no_ports_above_1023_is_explained() {
    let Some(server) = ganesha() else { return };
    for version in VERSIONS {
        let config = server.config("/secure", version);
        let refused = first_error(&*open(&config)).await;
        // ganesha hides such an export from version 4.1.
        let kind = if version == "3" || server.is_linux {
            ErrorKind::PermissionDenied
        } else {
            ErrorKind::NotFound
        };
        assert!(refused.is(kind), "{version}: {refused}");
        assert!(
            hint(&refused).contains("`insecure`"),
            "{version}: {refused:?}"
        );
        let options = server.options(version).replace("noresvport", "resvport");
        let reserved = open(&config.with_mount_options(options).with_path("reserved"));
        let missing = first_error(&*reserved).await;
        assert!(
            missing.is(ErrorKind::NotFound),
            "{version}: it is let in: {missing}"
        );
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_export_or_a_folder_that_is_not_there_is_named() {
    let Some(server) = ganesha() else { return };
    for version in VERSIONS {
        // Nobody is let mount by version 3 what is not exported.
        let nothing = match version {
            "3" => ErrorKind::PermissionDenied,
            _ => ErrorKind::NotFound,
        };
        let inside = server.config("/export", version).with_path("not/there");
        for (config, kind) in [
            (server.config("/nothing", version), nothing),
            (inside, ErrorKind::NotFound),
        ] {
            let nfs = open(&config);
            let refused = first_error(&*nfs).await;
            assert!(refused.is(kind), "{version}: {refused}");
            let told = refused.target().unwrap_or_default().to_owned();
            assert_eq!(told, nfs.describe(), "{version}: {refused}");
            assert!(!hint(&refused).is_empty(), "{version}: {refused}");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn both_versions_are_tried_and_a_server_that_is_not_there_is_given_up() {
    let Some(server) = ganesha() else { return };
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let free = listener.local_addr().unwrap().port();
    drop(listener);
    // Nothing speaks version 4.1 there, but 3 does.
    let (config, folder) = server.place("3");
    let options = format!("port={},mountport={}", server.port, server.mount_port);
    let nfs = open(&config.clone().with_mount_options(options));
    nfs.ensure_container(&container("c")).await.unwrap();
    assert!(folder.join("c").is_dir());

    let options = format!("port={free},mountport={free}");
    let config = config
        .with_mount_options(options)
        .with_timeout(Duration::from_secs(1));
    let gone = first_error(&*open(&config)).await;
    assert!(gone.is(ErrorKind::Unavailable), "{gone}");
    let text = gone.to_string();
    assert!(
        text.contains("version 4.1") && text.contains("version 3"),
        "{text}"
    );
    assert!(hint(&gone).contains("server runs"), "{gone:?}");
}
