//! How fast objects go and come, beside what the server takes from nfs-rs alone with as many requests in flight:
//! `with-servers cargo test --release -p backup-nfs --test it -- --ignored --nocapture throughput`

use std::sync::Arc;
use std::time::Instant;

use backup_core::{PutMode, Repository};
use bytes::Bytes;
use futures::{StreamExt, TryStreamExt, stream};
use nfs_rs::{Mount, parse_url_and_mount};

use crate::servers::{VERSIONS, container, ganesha, key, noise, open};

const SIZE: usize = 50 << 20;
const OBJECTS: u32 = 12;
const ROUNDS: usize = 5;
/// READs of the library in flight: as many as ours.
const REQUESTS: usize = 8;

async fn rate<F: Future>(mut call: impl FnMut(u32) -> F) -> f64 {
    let start = Instant::now();
    for n in 0..OBJECTS {
        call(n).await;
    }
    let mib = f64::from(OBJECTS) * 50.0;
    mib / start.elapsed().as_secs_f64()
}

fn median(mut rates: Vec<f64>) -> f64 {
    rates.sort_by(f64::total_cmp);
    rates[rates.len() / 2]
}

/// The library's own way: create, write with up to 8 requests in flight, commit, close, rename.
async fn plain_put(mount: &dyn Mount, n: u32, data: Bytes) {
    let root = mount.getfh().await;
    let temporary = format!("plain-{n}.part");
    let made = mount
        .create(root.clone(), &temporary, Some(0o660))
        .await
        .unwrap();
    nfs_rs::write_all(mount, made.fh.clone(), 0, data)
        .await
        .unwrap();
    mount.close(made.fh).await.unwrap();
    let name = format!("plain-{n}");
    let renamed = mount.rename(root.clone(), &temporary, root, &name);
    renamed.await.unwrap();
}

async fn plain_get(mount: &dyn Mount, n: u32) -> usize {
    let root = mount.getfh().await;
    let found = mount.lookup(root, &format!("plain-{n}")).await.unwrap();
    let size = mount.get_max_read_size().min(1 << 20);
    let reads = (0..SIZE).step_by(size as usize).map(|at| {
        let (handle, left) = (found.fh.clone(), SIZE - at);
        let count = size.min(u32::try_from(left).unwrap_or(size));
        async move { mount.read(handle, at as u64, count).await.unwrap().len() }
    });
    let lengths = stream::iter(reads).buffered(REQUESTS);
    lengths.fold(0, async |sum, n| sum + n).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "a measurement"]
async fn throughput_of_puts_and_gets() {
    let Some(server) = ganesha() else { return };
    let data = noise(SIZE, 1);
    for version in VERSIONS {
        let (config, _folder) = server.place(version);
        let nfs: Arc<dyn Repository> = open(&config);
        let of = container("c");
        nfs.ensure_container(&of).await.unwrap();
        let (port, mount_port) = (server.port, server.mount_port);
        let url = format!(
            "nfs://127.0.0.1/export?version={version}&nfsport={port}&mountport={mount_port}&noresvport=true"
        );
        let mount = parse_url_and_mount(&url).await.unwrap();
        let (mut puts, mut gets) = ((vec![], vec![]), (vec![], vec![]));
        for _ in 0..ROUNDS {
            puts.0
                .push(rate(|n| plain_put(&*mount, n, data.clone())).await);
            let ours = rate(|n| {
                let (data, object) = (data.clone(), key(&of, &n.to_string()));
                let nfs = &nfs;
                async move { nfs.put(&object, data, PutMode::Overwrite).await.unwrap() }
            });
            puts.1.push(ours.await);
            gets.0.push(rate(|n| plain_get(&*mount, n)).await);
            let ours = rate(|n| {
                let (nfs, object) = (&nfs, key(&of, &n.to_string()));
                async move {
                    let body = nfs.get(&object, None).await.unwrap().body;
                    let got = body.try_fold(0, async |sum, piece: Bytes| Ok(sum + piece.len()));
                    assert_eq!(got.await.unwrap(), SIZE);
                }
            });
            gets.1.push(ours.await);
        }
        for (what, (plain, ours)) in [("put", puts), ("get", gets)] {
            let (plain, ours) = (median(plain), median(ours));
            println!(
                "version {version}, {what}: nfs-rs alone {plain:.0} MiB/s, ours {ours:.0} MiB/s, {:.2} of it",
                ours / plain
            );
        }
        for n in 0..OBJECTS {
            let root = mount.getfh().await;
            mount.remove(root, &format!("plain-{n}")).await.unwrap();
        }
        mount.umount().await.unwrap();
    }
}
