//! How fast objects go and come, beside what the server takes from object_store alone:
//! `with-servers cargo test -p backup-s3 --test it -- --ignored --nocapture throughput`

use std::sync::Arc;
use std::time::Instant;

use backup_core::{PutMode, Repository};
use backup_s3::object_store::ObjectStoreExt as _;
use backup_s3::object_store::aws::AmazonS3Builder;
use backup_s3::object_store::path::Path;
use backup_s3::{ChecksumKind, S3Repository};
use bytes::Bytes;
use futures::{StreamExt, TryStreamExt, stream};

use crate::servers::{key, noise, open, radosgw};

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
    let Some(config) = radosgw() else { return };
    let (repository, bucket) = open(&config).await;
    let secret = std::env::var("ASHLAR_TEST_S3_RGW_SECRET").unwrap();
    let plain = AmazonS3Builder::new()
        .with_endpoint(config.endpoint_url.as_ref().unwrap())
        .with_bucket_name(bucket.as_str())
        .with_access_key_id(config.access_key.as_ref().unwrap())
        .with_secret_access_key(secret)
        .with_unsigned_payload(true)
        .with_allow_http(true);
    let plain = Arc::new(plain.build().unwrap());
    let data = noise(SIZE, 1);
    for _ in 0..2 {
        rate("object_store alone, unsigned, put", |n| {
            let (plain, data) = (Arc::clone(&plain), data.clone());
            async move {
                plain
                    .put(&Path::from(n.to_string()), data.into())
                    .await
                    .unwrap()
            }
        })
        .await;
        for checksum in [
            ChecksumKind::Signature,
            ChecksumKind::ContentMd5,
            ChecksumKind::None,
        ] {
            let mut config = config.clone();
            config.checksum = checksum;
            let repository = &S3Repository::new(&config).unwrap();
            rate(&format!("ours, {checksum:?}, put"), |n| {
                let data = data.clone();
                let object = key(&bucket, &n.to_string());
                async move {
                    let put = repository.put(&object, data, PutMode::Overwrite);
                    put.await.unwrap();
                }
            })
            .await;
        }
        rate("object_store alone, get", |n| {
            let plain = Arc::clone(&plain);
            async move {
                let path = Path::from(n.to_string());
                let body = plain.get(&path).await.unwrap().into_stream();
                body.try_fold(0, async |sum, piece: Bytes| Ok(sum + piece.len()))
                    .await
                    .unwrap()
            }
        })
        .await;
        rate("ours, get", |n| {
            let repository = &repository;
            let object = key(&bucket, &n.to_string());
            async move {
                let body = repository.get(&object, None).await.unwrap().body;
                body.try_fold(0, async |sum, piece: Bytes| Ok(sum + piece.len()))
                    .await
                    .unwrap()
            }
        })
        .await;
    }
}
