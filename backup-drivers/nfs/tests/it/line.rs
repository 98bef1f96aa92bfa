//! Lines that break at any point, stall, or crawl: what was asked for is done, once, and whole.

use std::fs;
use std::path::{Path, PathBuf};

use backup_core::{PutMode, Repository};
use backup_nfs::NfsConfig;
use futures::future::join_all;

use crate::proxy::{Harm, Proxy};
use crate::servers::{
    Server, VERSIONS, container, files, ganesha, key, list, noise, open, put, read,
};

/// A folder that is reached through a proxy.
async fn place(server: &Server, version: &str, harm: Harm) -> (NfsConfig, PathBuf, Proxy) {
    let proxy = Proxy::new(server.port, harm).await;
    let (config, folder) = server.place(version);
    let through = nfs_servers::Server {
        port: proxy.port,
        ..server.0.clone()
    };
    let config = config.with_mount_options(through.options(version));
    (config, folder, proxy)
}

/// Every kind of call that changes something, and what must hold after each.
async fn a_life(nfs: &dyn Repository, folder: &Path, what: &str) {
    let of = container("a/b");
    nfs.ensure_container(&of)
        .await
        .unwrap_or_else(|e| panic!("{what}: {e}"));
    let created = key(&of, "created");
    let data = noise(3000, 1);
    nfs.put(&created, data.clone(), PutMode::CreateOnly)
        .await
        .unwrap_or_else(|e| panic!("{what}: {e}"));
    put(nfs, &created, noise(2000, 2)).await;
    let mut upload = nfs
        .begin(&key(&of, "parts"), None)
        .await
        .unwrap_or_else(|e| panic!("{what}: {e}"));
    upload.part(data.clone()).await.unwrap();
    upload.part(data.clone()).await.unwrap();
    upload
        .complete()
        .await
        .unwrap_or_else(|e| panic!("{what}: {e}"));
    let below = key(&of, "sub/folder/object");
    put(nfs, &below, data.clone()).await;
    assert_eq!(
        files(folder),
        ["a/b/created", "a/b/parts", "a/b/sub/folder/object"],
        "{what}"
    );
    assert_eq!(
        fs::read(folder.join("a/b/created")).unwrap(),
        noise(2000, 2),
        "{what}"
    );
    assert_eq!(
        fs::read(folder.join("a/b/parts")).unwrap(),
        [&data[..], &data[..]].concat(),
        "{what}"
    );
    assert_eq!(read(nfs, &below).await.unwrap(), data, "{what}");
    assert_eq!(list(nfs, &of).await.len(), 3, "{what}");
    let deleted = nfs.delete(&[created, key(&of, "parts"), below]).await;
    for result in deleted {
        result.unwrap_or_else(|e| panic!("{what}: {e}"));
    }
    assert_eq!(files(folder), [""; 0], "{what}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_line_that_breaks_at_any_point_of_a_life_costs_time_and_nothing_else() {
    let Some(server) = ganesha() else { return };
    let lives = VERSIONS.iter().flat_map(|version| {
        // Past the mount, which takes some hundred bytes, to the end of the life.
        let points = (0..24_u64).map(|n| 300 + n * 230);
        let server = &server;
        points.flat_map(move |at| {
            [Harm::CutDown(at), Harm::CutUp(at * 3)].map(|harm| async move {
                let what = format!("version {version}, {harm:?}");
                let (config, folder, proxy) = place(server, version, harm).await;
                a_life(&*open(&config), &folder, &what).await;
                proxy.harmed()
            })
        })
    });
    let harmed = join_all(lives).await;
    let harmed = harmed.iter().filter(|h| **h).count();
    assert!(harmed >= 60, "only {harmed} lines of 96 broke");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_line_that_stalls_is_left_for_another() {
    let Some(server) = ganesha() else { return };
    let lives = VERSIONS.map(|version| {
        let server = &server;
        async move {
            let harm = Harm::StallDown(2500);
            let (config, folder, proxy) = place(server, version, harm).await;
            a_life(&*open(&config), &folder, version).await;
            assert!(proxy.harmed(), "{version}");
        }
    });
    join_all(lives).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn large_objects_come_and_go_over_a_line_that_crawls() {
    let Some(server) = ganesha() else { return };
    let lives = VERSIONS.map(|version| {
        let server = &server;
        async move {
            let harm = Harm::Slow(8 << 20);
            let (config, folder, proxy) = place(server, version, harm).await;
            let (nfs, of) = (open(&config), container("c"));
            nfs.ensure_container(&of).await.unwrap();
            let data = noise(12 << 20, 5);
            let keys = [key(&of, "one"), key(&of, "two")];
            join_all(keys.iter().map(|k| put(&*nfs, k, data.clone()))).await;
            for key in &keys {
                assert!(read(&*nfs, key).await.unwrap() == data, "{version} {key}");
            }
            assert_eq!(files(&folder).len(), 2, "{version}");
            assert!(proxy.harmed());
        }
    });
    join_all(lives).await;
}

/// A body that nobody takes from must not hold up others, however many there are.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bodies_that_nobody_reads_do_not_hold_up_the_others() {
    let Some(server) = ganesha() else { return };
    for version in VERSIONS {
        let (config, _folder) = server.place(version);
        let (nfs, of) = (open(&config), container("c"));
        nfs.ensure_container(&of).await.unwrap();
        let (object, data) = (key(&of, "x"), noise(20 << 20, 7));
        put(&*nfs, &object, data.clone()).await;
        let waiting = join_all((0..40).map(|_| nfs.get(&object, None))).await;
        assert!(read(&*nfs, &object).await.unwrap() == data, "{version}");
        put(&*nfs, &key(&of, "y"), data.clone()).await;
        assert_eq!(
            waiting.iter().filter(|w| w.is_ok()).count(),
            40,
            "{version}"
        );
    }
}
