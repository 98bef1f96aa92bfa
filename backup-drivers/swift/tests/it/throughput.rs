//! How fast objects go and come, beside what the server takes from plain HTTP alone:
//! `with-servers cargo test --release -p backup-swift --test it -- --ignored --nocapture throughput`

use std::time::Instant;

use backup_core::{PutMode, Repository};
use bytes::Bytes;
use futures::{StreamExt, TryStreamExt, stream};

use crate::servers::{key, noise, open, token, v1};

const SIZE: usize = 52_428_800;
const OBJECTS: u32 = 20;
const AT_ONCE: usize = 4;

async fn rate<F: Future>(what: &str, mut call: impl FnMut(u32) -> F) {
    let start = Instant::now();
    let calls: Vec<_> = (0..OBJECTS).map(&mut call).collect();
    let mut calls = stream::iter(calls).buffer_unordered(AT_ONCE);
    while calls.next().await.is_some() {}
    let mib = f64::from(OBJECTS) * 50.0;
    println!("{what}: {:.0} MiB/s", mib / start.elapsed().as_secs_f64());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "a measurement"]
async fn throughput_of_puts_and_gets() {
    let Some(config) = v1() else { return };
    let (repository, of) = open(&config).await;
    let (plain, token) = (&reqwest::Client::new(), &token(&config).await);
    let account = &repository.account_url().await.unwrap();
    let (repository, of) = (&repository, &of);
    let url = |n: u32| format!("{account}/{of}/{n}");
    let data = &noise(SIZE, 1);
    for _ in 0..3 {
        rate("plain HTTP, no checksum, put", |n| async move {
            let request = plain.put(url(n)).header("x-auth-token", token);
            let answer = request.body(data.clone()).send().await.unwrap();
            assert_eq!(answer.status(), 201);
        })
        .await;
        rate("ours, put", |n| async move {
            let object = key(of, &n.to_string());
            repository
                .put(&object, data.clone(), PutMode::Overwrite)
                .await
                .unwrap();
        })
        .await;
        rate("plain HTTP, get", |n| async move {
            let answer = plain
                .get(url(n))
                .header("x-auth-token", token)
                .send()
                .await
                .unwrap();
            let body = answer.bytes_stream();
            body.try_fold(0, async |sum, piece: Bytes| Ok(sum + piece.len()))
                .await
                .unwrap()
        })
        .await;
        rate("ours, get", |n| async move {
            let body = repository
                .get(&key(of, &n.to_string()), None)
                .await
                .unwrap()
                .body;
            body.try_fold(0, async |sum, piece: Bytes| Ok(sum + piece.len()))
                .await
                .unwrap()
        })
        .await;
    }
    let keys: Vec<_> = (0..OBJECTS).map(|n| key(of, &n.to_string())).collect();
    repository.delete(&keys).await;
}
