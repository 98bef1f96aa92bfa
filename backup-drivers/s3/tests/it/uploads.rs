//! Objects that come in parts.

use std::time::Duration;

use backup_core::Repository;
use backup_s3::S3Repository;
use bytes::{Bytes, BytesMut};

use crate::servers::{all, key, list, noise, open, read};

const MIB: usize = 1 << 20;

#[tokio::test]
async fn parts_of_any_size_make_one_object() {
    for (name, mut config) in all() {
        config.part_size = 5 << 20;
        let (repository, bucket) = open(&config).await;
        for (n, sizes) in [
            &[7 * MIB, 1, 0, 9 * MIB, 3][..],
            &[23 * MIB],
            &[5 * MIB, 5 * MIB],
            &[10],
            &[],
            &[5 * MIB],
        ]
        .into_iter()
        .enumerate()
        {
            let object = key(&bucket, &format!("parts/{n}"));
            let hint = sizes.iter().sum::<usize>() as u64;
            let mut upload = repository.begin(&object, Some(hint)).await.unwrap();
            let mut whole = BytesMut::new();
            for (seed, size) in sizes.iter().enumerate() {
                let data = noise(*size, seed as u64 + 1);
                whole.extend_from_slice(&data);
                upload
                    .part(data)
                    .await
                    .unwrap_or_else(|e| panic!("{name} {n}: {e}"));
            }
            assert!(list(&repository, &bucket, object.name()).await.is_empty());
            upload
                .complete()
                .await
                .unwrap_or_else(|e| panic!("{name} {n}: {e}"));
            assert_eq!(
                read(&repository, &object).await.unwrap(),
                whole.freeze(),
                "{name} {n}"
            );
        }
        assert!(unfinished(&repository, &bucket).await.is_empty(), "{name}");
    }
}

#[tokio::test]
async fn an_abort_leaves_no_upload_and_what_was_there() {
    for (name, mut config) in all() {
        config.part_size = 5 << 20;
        let (repository, bucket) = open(&config).await;
        let object = key(&bucket, "k");
        let before = Bytes::from_static(b"before");
        let put = repository.put(&object, before.clone(), backup_core::PutMode::Overwrite);
        put.await.unwrap();
        let mut upload = repository.begin(&object, None).await.unwrap();
        upload.part(noise(13 * MIB, 1)).await.unwrap();
        assert_eq!(unfinished(&repository, &bucket).await.len(), 1, "{name}");
        upload.abort().await.unwrap();
        assert!(unfinished(&repository, &bucket).await.is_empty(), "{name}");
        assert_eq!(read(&repository, &object).await.unwrap(), before, "{name}");
    }
}

#[tokio::test]
async fn a_forgotten_upload_is_found_by_its_age_and_dropped() {
    for (name, mut config) in all() {
        config.part_size = 5 << 20;
        let (repository, bucket) = open(&config).await;
        for object in ["a+b/1", "other"] {
            let mut upload = repository.begin(&key(&bucket, object), None).await.unwrap();
            upload.part(noise(6 * MIB, 1)).await.unwrap();
            drop(upload);
        }
        let old = Duration::from_hours(1);
        let found = repository
            .unfinished_uploads(&bucket, "", old)
            .await
            .unwrap();
        // moto gives each upload the same date, of the year 2010.
        assert!(found.is_empty() || name == "moto", "{name}: {found:?}");
        let found = repository
            .unfinished_uploads(&bucket, "a+b", Duration::ZERO)
            .await
            .unwrap();
        assert_eq!(found.len(), 1, "{name}: {found:?}");
        assert_eq!(found[0].name, "a+b/1", "{name}");
        repository.drop_upload(&found[0]).await.unwrap();
        repository.drop_upload(&found[0]).await.unwrap();
        assert_eq!(unfinished(&repository, &bucket).await, ["other"], "{name}");
        assert!(list(&repository, &bucket, "").await.is_empty(), "{name}");
    }
}

async fn unfinished(repository: &S3Repository, bucket: &backup_core::ContainerName) -> Vec<String> {
    let found = repository
        .unfinished_uploads(bucket, "", Duration::ZERO)
        .await;
    found.unwrap().into_iter().map(|u| u.name).collect()
}
