//! Servers that die.

use std::sync::Arc;
use std::time::Duration;

use backup_core::{ErrorKind, ObjectKey, PutMode, Repository};
use bytes::{Bytes, BytesMut};
use futures::TryStreamExt;
use futures::future::join_all;

use crate::servers::{Ganesha, Server, VERSIONS, container, files, key, noise, open, put, read};

/// Takes a server of its own for what blocks.
async fn blocking(own: &Arc<Ganesha>, work: fn(&Ganesha)) {
    let own = Arc::clone(own);
    tokio::task::spawn_blocking(move || work(&own))
        .await
        .unwrap();
}

async fn die_and_come_back(own: &Arc<Ganesha>) {
    tokio::time::sleep(Duration::from_millis(300)).await;
    blocking(own, Ganesha::kill).await;
    tokio::time::sleep(Duration::from_secs(1)).await;
    blocking(own, Ganesha::start_again).await;
}

async fn put_all(nfs: &dyn Repository, objects: &[(ObjectKey, Bytes)]) {
    for (key, data) in objects {
        put(nfs, key, data.clone()).await;
    }
}

/// Objects that are written side by side, an upload and the reading of it, each with a server that dies and comes back.
async fn a_life_over_deaths(own: Ganesha, version: &str) {
    let (server, own) = (Server(own.server()), Arc::new(own));
    let (config, folder) = server.place(version);
    let (nfs, of) = (open(&config), container("c"));
    nfs.ensure_container(&of).await.unwrap();
    let object = |lane: u64, n: u64| {
        let name = format!("{lane}-{n}");
        (key(&of, &name), noise(1_200_000, lane * 100 + n))
    };
    let lanes: Vec<Vec<(ObjectKey, Bytes)>> = (0..4)
        .map(|lane| (0..12).map(|n| object(lane, n)).collect())
        .collect();
    let large: Vec<Bytes> = (0..6).map(|n| noise(5 << 20, n)).collect();
    let mut upload = nfs.begin(&key(&of, "parts"), None).await.unwrap();
    let parts = async {
        for part in &large {
            upload.part(part.clone()).await.unwrap();
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
        upload.complete().await.unwrap();
    };
    let writing = join_all(lanes.iter().map(|lane| put_all(&*nfs, lane)));
    tokio::join!(writing, parts, die_and_come_back(&own));
    for (key, data) in lanes.iter().flatten() {
        let on_disk = std::fs::read(folder.join("c").join(key.name())).unwrap();
        assert!(on_disk == *data, "{version} {key}");
    }
    assert_eq!(files(&folder).len(), 49, "{version}");

    // The large one comes whole although its server dies in the middle.
    let download = nfs.get(&key(&of, "parts"), None).await.unwrap();
    let reading = async {
        let (mut body, mut got) = (download.body, BytesMut::new());
        while let Some(piece) = body.try_next().await.unwrap() {
            got.extend_from_slice(&piece);
            tokio::time::sleep(Duration::from_millis(30)).await;
        }
        got
    };
    let (got, ()) = tokio::join!(reading, die_and_come_back(&own));
    assert!(got == large.concat(), "{version}");
    blocking(&own, Ganesha::end).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_is_killed_and_comes_back_is_waited_for_and_nothing_is_lost() {
    let lives = VERSIONS.map(|version| async move {
        // With a grace time, in which it serves nobody anew.
        if let Some(own) = Ganesha::start(Some("3")) {
            a_life_over_deaths(own, version).await;
        }
    });
    join_all(lives).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_is_gone_for_good_ends_each_call_by_the_deadline_with_the_reason() {
    let Some(own) = Ganesha::start(None) else {
        return;
    };
    let (server, own) = (Server(own.server()), Arc::new(own));
    let places = VERSIONS.map(|version| {
        let (config, folder) = server.place(version);
        let nfs = open(&config.with_timeout(Duration::from_secs(3)));
        (version, nfs, folder)
    });
    let of = container("c");
    for (_, nfs, _) in &places {
        nfs.ensure_container(&of).await.unwrap();
        put(&**nfs, &key(&of, "x"), noise(9_000_000, 1)).await;
    }
    blocking(&own, Ganesha::kill).await;
    for (version, nfs, _) in &places {
        let object = key(&of, "y");
        let put = nfs.put(&object, noise(9, 1), PutMode::Overwrite).await;
        let get = read(&**nfs, &key(&of, "x")).await;
        let deleted = nfs.delete(&[key(&of, "x"), object]).await;
        let listed = match nfs.list(&of, "", None).await {
            Ok(stream) => stream.try_collect::<Vec<_>>().await.map(|_| ()),
            Err(error) => Err(error),
        };
        let outcomes = [put, get.map(|_| ()), listed].into_iter().chain(deleted);
        for error in outcomes.map(|outcome| outcome.unwrap_err()) {
            assert!(
                matches!(error.kind(), ErrorKind::Unavailable | ErrorKind::Timeout),
                "{version}: {error}"
            );
            let hint = error.hint_text().unwrap_or_default();
            assert!(hint.contains("NFS server"), "{version}: {error:?}");
        }
    }
    // It was not gone for good after all: the same repositories go on.
    blocking(&own, Ganesha::start_again).await;
    for (version, nfs, folder) in &places {
        let got = read(&**nfs, &key(&of, "x")).await;
        assert!(got.unwrap() == noise(9_000_000, 1), "{version}");
        put(&**nfs, &key(&of, "y"), noise(9, 1)).await;
        assert_eq!(files(folder), ["c/x", "c/y"], "{version}");
    }
}
