//! What a wrong setting looks like, and that no secret is ever told.

use backup_core::{ErrorKind, PutMode, Repository};
use backup_s3::S3Repository;

use crate::fake::{Fake, Reply, error_body};
use crate::servers::{container, fresh, key, noise, open, put, radosgw, read};

#[tokio::test]
async fn a_wrong_key_and_a_wrong_secret_are_not_authenticated() {
    let Some(config) = radosgw() else { return };
    let (repository, bucket) = open(&config).await;
    let object = key(&bucket, "k");
    put(&repository, &object, noise(10, 1)).await;
    let right = config.access_key.clone().unwrap();
    for (access, secret, hint) in [
        ("NOSUCHKEY", "hush-secret", "access_key"),
        (right.as_str(), "hush-secret", "secret_key"),
    ] {
        let wrong = S3Repository::new(&config.clone().with_keys(access, secret)).unwrap();
        let put = wrong.put(&object, noise(10, 1), PutMode::Overwrite).await;
        let listed = wrong.ensure_container(&bucket).await;
        let got = read(&wrong, &object).await.map(|_| ());
        let deleted = wrong.delete(std::slice::from_ref(&object)).await.remove(0);
        for result in [put, listed, got, deleted] {
            let error = result.unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Unauthenticated, "{error}");
            assert!(!error.is_retryable());
            assert!(error.hint_text().unwrap().contains(hint), "{error:?}");
            assert!(!format!("{error} {error:?}").contains("hush"), "{error:?}");
        }
    }
    assert_eq!(read(&repository, &object).await.unwrap().len(), 10);
}

#[tokio::test]
async fn a_missing_right_is_permission_denied_and_told_with_the_object() {
    let fake = Fake::start(|_, _| Reply::Whole(403, "", error_body("AccessDenied"))).await;
    let repository = S3Repository::new(&fake.config()).unwrap();
    let object = key(&container("bucket"), "name");
    let put = repository.put(&object, noise(10, 1), PutMode::Overwrite);
    let error = put.await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::PermissionDenied);
    let text = error.to_string();
    assert!(
        text.contains("bucket/name") && text.contains("AccessDenied"),
        "{text}"
    );
    assert!(!format!("{error:?}").contains("hush"), "{error:?}");
    assert_eq!(fake.requests(), 1, "a refusal is not retried");
}

#[tokio::test]
async fn a_skewed_clock_and_a_full_account_are_told_in_words() {
    for (code, kind, word) in [
        ("RequestTimeTooSkewed", ErrorKind::Unauthenticated, "clock"),
        ("QuotaExceeded", ErrorKind::QuotaExceeded, "quota"),
        ("XMinioStorageFull", ErrorKind::NoSpace, "full"),
        ("ExpiredToken", ErrorKind::Unauthenticated, "token"),
    ] {
        let fake = Fake::start(move |_, _| Reply::Whole(403, "", error_body(code))).await;
        let repository = S3Repository::new(&fake.config()).unwrap();
        let object = key(&container("b"), "k");
        let put = repository.put(&object, noise(10, 1), PutMode::Overwrite);
        let error = put.await.unwrap_err();
        assert_eq!(error.kind(), kind, "{error}");
        assert!(error.hint_text().unwrap().contains(word), "{error:?}");
    }
}

#[tokio::test]
async fn an_endpoint_that_is_no_s3_server_is_told() {
    let page = "<!doctype html><html><body>Welcome</body></html>";
    let fake = Fake::start(move |_, _| Reply::Whole(200, "", page.into())).await;
    let repository = S3Repository::new(&fake.config()).unwrap();
    let error = repository
        .ensure_container(&container("b"))
        .await
        .unwrap_err();
    assert!(
        error.hint_text().unwrap().contains("endpoint_url"),
        "{error:?}"
    );
}

#[tokio::test]
async fn a_missing_bucket_and_a_missing_object_are_not_found() {
    for (name, config) in crate::servers::all() {
        let (repository, bucket) = open(&config).await;
        let error = read(&repository, &key(&bucket, "absent"))
            .await
            .unwrap_err();
        assert_eq!(error.kind(), ErrorKind::NotFound, "{name}: {error}");
        assert!(error.to_string().contains("absent"), "{name}: {error}");
        let nowhere = key(&container(&fresh()), "k");
        let error = read(&repository, &nowhere).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::NotFound, "{name}: {error}");
        assert!(error.hint_text().unwrap().contains("bucket"), "{name}");
        let put = repository.put(&nowhere, noise(10, 1), PutMode::Overwrite);
        assert_eq!(put.await.unwrap_err().kind(), ErrorKind::NotFound, "{name}");
    }
}
