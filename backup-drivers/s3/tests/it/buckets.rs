//! Buckets: made when missing, or not; listed.

use backup_core::{ErrorKind, PutMode, Repository};
use backup_s3::S3Repository;
use futures::TryStreamExt;

use crate::fake::{Fake, Reply, error_body};
use crate::servers::{all, container, fresh, key, noise, open, put};

#[tokio::test]
async fn a_missing_bucket_is_made_and_one_that_is_there_is_left() {
    for (name, config) in all() {
        let (repository, bucket) = open(&config).await;
        let object = key(&bucket, "k");
        put(&repository, &object, noise(10, 1)).await;
        repository.ensure_container(&bucket).await.unwrap();
        let listed = crate::servers::list(&repository, &bucket, "").await;
        assert_eq!(listed.len(), 1, "{name}");
    }
}

#[tokio::test]
async fn a_missing_bucket_is_told_where_making_it_is_forbidden() {
    for (name, mut config) in all() {
        config.create_containers = false;
        let repository = S3Repository::new(&config).unwrap();
        let missing = container(&fresh());
        let error = repository.ensure_container(&missing).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::NotFound, "{name}: {error}");
        assert!(
            error.hint_text().unwrap().contains("create_containers"),
            "{name}"
        );
        let containers = repository.containers().await.unwrap();
        let containers: Vec<_> = containers.try_collect().await.unwrap();
        assert!(!containers.contains(&missing), "{name}");
    }
}

#[tokio::test]
async fn a_bucket_of_someone_else_is_told() {
    let fake = Fake::start(|_, head| match head.split(' ').next() {
        Some("get") => Reply::Whole(404, "", error_body("NoSuchBucket")),
        _ => Reply::Whole(409, "", error_body("BucketAlreadyExists")),
    })
    .await;
    let repository = S3Repository::new(&fake.config()).unwrap();
    let error = repository
        .ensure_container(&container("taken"))
        .await
        .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::AlreadyExists, "{error}");
    assert!(error.hint_text().unwrap().contains("choose another"));
}

#[tokio::test]
async fn containers_are_the_buckets_that_hold_an_object() {
    for (name, config) in all() {
        let (repository, full) = open(&config).await;
        let (_, empty) = open(&config).await;
        put(&repository, &key(&full, "k"), noise(10, 1)).await;
        let found = repository.containers().await.unwrap();
        let found: Vec<_> = found.try_collect().await.unwrap();
        assert!(found.contains(&full), "{name}");
        assert!(!found.contains(&empty), "{name}");
    }
}

#[tokio::test]
async fn a_key_that_may_not_list_buckets_has_its_own() {
    let fake = Fake::start(|_, head| {
        if head.starts_with("get / ") {
            return Reply::Whole(403, "", error_body("AccessDenied"));
        }
        let object = "<Contents><Key>k</Key><Size>1</Size></Contents>";
        Reply::Whole(
            200,
            "",
            format!("<ListBucketResult>{object}</ListBucketResult>"),
        )
    })
    .await;
    let repository = S3Repository::new(&fake.config().with_bucket("mine")).unwrap();
    let found = repository.containers().await.unwrap();
    let found: Vec<_> = found.try_collect().await.unwrap();
    assert_eq!(found, [container("mine")]);
}

#[tokio::test]
async fn a_refused_listing_of_the_settings_bucket_is_an_error_and_of_others_is_not() {
    for (status, code) in [(403, "AccessDenied"), (404, "NoSuchBucket")] {
        let fake = Fake::start(move |_, head| {
            if head.starts_with("get / ") {
                let names = "<Bucket><Name>other</Name></Bucket>";
                let list = format!(
                    "<ListAllMyBucketsResult><Buckets>{names}</Buckets></ListAllMyBucketsResult>"
                );
                return Reply::Whole(200, "", list);
            }
            if head.starts_with("get /mine?") || head.starts_with("get /mine/?") {
                Reply::Whole(status, "", error_body(code))
            } else {
                Reply::Whole(403, "", error_body("AccessDenied"))
            }
        })
        .await;
        let repository = S3Repository::new(&fake.config().with_bucket("mine")).unwrap();
        let found = repository.containers().await.unwrap();
        let found = found.try_collect::<Vec<_>>().await;
        if status == 403 {
            let error = found.unwrap_err();
            assert_eq!(error.kind(), ErrorKind::PermissionDenied, "{error}");
            assert!(error.to_string().contains("mine"), "{error}");
        } else {
            assert_eq!(found.unwrap(), []);
        }
    }
}

#[tokio::test]
async fn a_container_that_can_be_no_bucket_reaches_no_other() {
    for (name, config) in all() {
        let (repository, bucket) = open(&config).await;
        // In the path style, bucket "x/y" and object "z" would be bucket "x" and object "y/z".
        let within = container(&format!("{bucket}/folder"));
        let object = key(&within, "k");
        let put = repository.put(&object, noise(10, 1), PutMode::Overwrite);
        assert_eq!(
            put.await.unwrap_err().kind(),
            ErrorKind::InvalidInput,
            "{name}"
        );
        assert!(
            crate::servers::list(&repository, &within, "")
                .await
                .is_empty()
        );
        assert!(
            crate::servers::list(&repository, &bucket, "")
                .await
                .is_empty()
        );
    }
}
