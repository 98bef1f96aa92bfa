//! Objects: odd names, checksums, deletes of many, listings of buckets that others use too.

use std::sync::{Arc, Mutex};

use backup_core::{ErrorKind, PutMode, Repository};
use backup_s3::{ChecksumKind, S3Repository};
use bytes::Bytes;
use futures::TryStreamExt;
use futures::{StreamExt, stream};

use crate::fake::{Fake, Reply, error_body};
use crate::servers::{all, container, key, list, moto, noise, open, put, read};

const ODD: [&str; 14] = [
    "plain",
    "a b",
    "plus+plus",
    "100%",
    "%41",
    "q?x=1&y=2",
    "hash#tag",
    "größe/ümläut",
    "漢字-😀",
    "quote'\"<tag>&amp;",
    "back\\slash",
    "tilde~star*(paren)!,;:@=$",
    "...dots/..x/x..",
    " spaces at both ends ",
];

#[tokio::test]
async fn odd_names_are_kept_as_they_are() {
    for (name, config) in all() {
        let (repository, bucket) = open(&config).await;
        for (seed, odd) in ODD.iter().enumerate() {
            let object = key(&bucket, odd);
            let data = noise(100, seed as u64);
            let put = repository.put(&object, data.clone(), PutMode::Overwrite);
            put.await.unwrap_or_else(|e| panic!("{name} {odd:?}: {e}"));
            assert_eq!(
                read(&repository, &object).await.unwrap(),
                data,
                "{name} {odd:?}"
            );
            let listed = list(&repository, &bucket, odd).await;
            assert_eq!(listed[0].name, *odd, "{name}");
            let copy = key(&bucket, &format!("copy/{odd}"));
            repository.copy(&object, &copy).await.unwrap();
            assert_eq!(
                read(&repository, &copy).await.unwrap(),
                data,
                "{name} {odd:?}"
            );
        }
        let mut names: Vec<_> = ODD.iter().map(ToString::to_string).collect();
        names.extend(ODD.iter().map(|n| format!("copy/{n}")));
        names.sort();
        let listed = list(&repository, &bucket, "").await;
        let listed: Vec<_> = listed.into_iter().map(|l| l.name).collect();
        assert_eq!(listed, names, "{name}");
        let keys: Vec<_> = names.iter().map(|n| key(&bucket, n)).collect();
        for (n, result) in repository.delete(&keys).await.into_iter().enumerate() {
            result.unwrap_or_else(|e| panic!("{name} {}: {e}", names[n]));
        }
        assert!(list(&repository, &bucket, "").await.is_empty(), "{name}");
    }
}

#[tokio::test]
async fn foreign_names_do_not_stop_a_listing() {
    let Some(config) = moto() else { return };
    let (repository, bucket) = open(&config).await;
    let client = backup_s3::object_store::client::HttpClient::new(reqwest::Client::new());
    for foreign in ["folder/", "a//b", "/lead"] {
        let url = format!(
            "{}/{bucket}/{foreign}",
            config.endpoint_url.as_ref().unwrap()
        );
        let request = http::Request::put(url)
            .body(String::from("x").into())
            .unwrap();
        assert!(client.execute(request).await.unwrap().status().is_success());
    }
    put(&repository, &key(&bucket, "ours"), noise(10, 1)).await;
    let listed = list(&repository, &bucket, "").await;
    let names: Vec<_> = listed.iter().map(|l| l.name.as_str()).collect();
    assert!(
        names.contains(&"ours") && names.contains(&"folder/"),
        "{names:?}"
    );
    assert!(names.contains(&"a//b"), "{names:?}");
}

#[tokio::test]
async fn every_checksum_is_taken_by_every_server() {
    for (name, config) in all() {
        for checksum in [
            ChecksumKind::Signature,
            ChecksumKind::ContentMd5,
            ChecksumKind::Sha256,
            ChecksumKind::Crc64nvme,
            ChecksumKind::None,
        ] {
            let mut config = config.clone();
            config.checksum = checksum;
            config.part_size = 5 << 20;
            let (repository, bucket) = open(&config).await;
            let object = key(&bucket, "k");
            let data = noise(300_000, 3);
            let put = repository.put(&object, data.clone(), PutMode::Overwrite);
            put.await
                .unwrap_or_else(|e| panic!("{name} {checksum:?}: {e}"));
            assert_eq!(read(&repository, &object).await.unwrap(), data);
            let data = noise(6 << 20, 4);
            let mut upload = repository.begin(&object, None).await.unwrap();
            upload.part(data.clone()).await.unwrap();
            let done = upload.complete().await;
            done.unwrap_or_else(|e| panic!("{name} {checksum:?} in parts: {e}"));
            assert_eq!(read(&repository, &object).await.unwrap(), data);
        }
    }
}

#[tokio::test]
async fn a_body_that_was_changed_on_the_way_is_refused_and_may_be_tried_again() {
    let fake = Fake::start(|_, head| {
        assert!(head.contains("content-md5: "), "{head}");
        assert!(head.contains("unsigned-payload"), "{head}");
        Reply::Whole(400, "", error_body("BadDigest"))
    })
    .await;
    let mut config = fake.config();
    config.checksum = ChecksumKind::ContentMd5;
    let repository = S3Repository::new(&config).unwrap();
    let object = key(&container("b"), "k");
    let put = repository.put(&object, noise(10, 1), PutMode::Overwrite);
    let error = put.await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Io, "{error}");
    assert!(error.is_retryable());
}

#[tokio::test]
async fn more_than_a_page_is_listed_and_deleted_whole() {
    for (name, config) in all() {
        let (repository, bucket) = open(&config).await;
        let keys: Vec<_> = (0..1005)
            .map(|n| key(&bucket, &format!("many/{n:04}")))
            .collect();
        let puts = stream::iter(&keys)
            .map(|k| repository.put(k, Bytes::from_static(b"x"), PutMode::Overwrite));
        puts.buffer_unordered(16)
            .try_collect::<Vec<_>>()
            .await
            .unwrap();
        assert_eq!(
            list(&repository, &bucket, "many/0").await.len(),
            1000,
            "{name}"
        );
        assert_eq!(
            list(&repository, &bucket, "many").await.len(),
            1005,
            "{name}"
        );
        let results = repository.delete(&keys).await;
        assert_eq!(results.len(), 1005);
        assert!(results.into_iter().all(|r| r.is_ok()), "{name}");
        let again = repository.delete(&keys[..3]).await;
        assert!(
            again.into_iter().all(|r| r.is_ok()),
            "{name}: missing is success"
        );
        assert!(list(&repository, &bucket, "").await.is_empty(), "{name}");
    }
}

#[tokio::test]
async fn each_key_of_a_delete_has_its_own_result() {
    let answer = "<DeleteResult><Deleted><Key>a</Key></Deleted>\
                  <Error><Key>b</Key><Code>AccessDenied</Code></Error>\
                  <Error><Key>c</Key><Code>NoSuchKey</Code></Error></DeleteResult>";
    let fake = Fake::start(move |_, head| match head.split(' ').next() {
        Some("post") => Reply::Whole(200, "", answer.into()),
        // What the answer did not name is deleted by itself.
        _ => Reply::Whole(204, "", String::new()),
    })
    .await;
    let repository = S3Repository::new(&fake.config()).unwrap();
    let bucket = container("bucket");
    let keys: Vec<_> = ["a", "b", "c", "d"]
        .iter()
        .map(|n| key(&bucket, n))
        .collect();
    let results = repository.delete(&keys).await;
    assert!(
        results[0].is_ok() && results[2].is_ok() && results[3].is_ok(),
        "{results:?}"
    );
    let error = results[1].as_ref().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::PermissionDenied);
    assert!(error.to_string().contains("bucket/b"), "{error}");
    assert_eq!(fake.requests(), 2);
}

#[tokio::test]
async fn a_gateway_without_bulk_delete_is_asked_one_by_one() {
    let fake = Fake::start(|_, head| match head.split(' ').next() {
        Some("post") => Reply::Whole(501, "", error_body("NotImplemented")),
        _ => Reply::Whole(204, "", String::new()),
    })
    .await;
    let repository = S3Repository::new(&fake.config()).unwrap();
    let bucket = container("bucket");
    let keys: Vec<_> = ["a", "b"].iter().map(|n| key(&bucket, n)).collect();
    assert!(
        repository
            .delete(&keys)
            .await
            .into_iter()
            .all(|r| r.is_ok())
    );
    assert!(fake.requests() >= 3);
}

#[tokio::test]
async fn create_only_does_not_overwrite_even_where_the_server_ignores_the_condition() {
    for (name, config) in all() {
        for conditional in [true, false] {
            let mut config = config.clone();
            config.conditional_put = conditional;
            let (repository, bucket) = open(&config).await;
            let object = key(&bucket, "k");
            let put = |seed| repository.put(&object, noise(10, seed), PutMode::CreateOnly);
            put(1)
                .await
                .unwrap_or_else(|e| panic!("{name} {conditional}: {e}"));
            let error = put(2).await.unwrap_err();
            assert_eq!(error.kind(), ErrorKind::AlreadyExists, "{name}: {error}");
            assert_eq!(read(&repository, &object).await.unwrap(), noise(10, 1));
        }
    }
}

#[tokio::test]
async fn the_storage_class_of_the_settings_is_asked_for() {
    let classes: Arc<Mutex<Vec<bool>>> = Arc::default();
    let seen = Arc::clone(&classes);
    let fake = Fake::start(move |_, head| {
        let asked = head.contains("x-amz-storage-class: standard_ia");
        seen.lock().unwrap().push(asked);
        Reply::Whole(200, "etag: \"e\"\r\n", String::new())
    })
    .await;
    let mut config = fake.config();
    let object = key(&container("b"), "k");
    put(&S3Repository::new(&config).unwrap(), &object, noise(10, 1)).await;
    config.storage_class = Some("STANDARD_IA".into());
    put(&S3Repository::new(&config).unwrap(), &object, noise(10, 1)).await;
    assert_eq!(*classes.lock().unwrap(), [false, true]);
}
