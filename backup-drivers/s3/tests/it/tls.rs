//! TLS, and the encryption that needs it.

use std::path::PathBuf;

use backup_core::{ErrorKind, Repository};
use backup_s3::{Encryption, S3Config, S3Repository, Secret};

use crate::servers::{container, key, named, noise, open, put, read};

fn settings() -> Option<(S3Config, PathBuf)> {
    let url = named("ASHLAR_TEST_S3_TLS")?;
    let ca = named("ASHLAR_TEST_S3_TLS_CA")?;
    let mut config = S3Config::new(url).with_keys("any", "any");
    (config.retries, config.retry_timeout) = (1, 5);
    Some((config, ca.into()))
}

#[tokio::test]
async fn a_certificate_of_ones_own_needs_ca_file() {
    let Some((mut config, ca)) = settings() else {
        return;
    };
    let repository = S3Repository::new(&config).unwrap();
    let error = repository
        .ensure_container(&container("b"))
        .await
        .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::PermissionDenied, "{error}");
    assert!(error.hint_text().unwrap().contains("ca_file"), "{error:?}");
    config.ca_file = Some(ca);
    let (repository, bucket) = open(&config).await;
    let object = key(&bucket, "k");
    put(&repository, &object, noise(10, 1)).await;
    assert_eq!(read(&repository, &object).await.unwrap(), noise(10, 1));
}

#[tokio::test]
async fn insecure_takes_any_certificate() {
    let Some((mut config, _)) = settings() else {
        return;
    };
    config.insecure = true;
    open(&config).await;
}

#[tokio::test]
async fn a_ca_file_without_a_certificate_is_told() {
    let file = tempfile::NamedTempFile::new().unwrap();
    let mut config = S3Config::new("https://127.0.0.1:1");
    config.ca_file = Some(file.path().into());
    let error = S3Repository::new(&config).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidInput, "{error}");
    config.ca_file = Some("/nonexistent/ca.pem".into());
    let error = S3Repository::new(&config).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotFound, "{error}");
}

#[tokio::test]
async fn objects_encrypted_by_the_server_come_back() {
    let Some((mut config, ca)) = settings() else {
        return;
    };
    config.ca_file = Some(ca);
    config.part_size = 5 << 20;
    config.sse_customer_key = Some(Secret::new("AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8="));
    for sse in [Encryption::S3, Encryption::Kms, Encryption::Customer] {
        config.sse = Some(sse);
        let (repository, bucket) = open(&config).await;
        for (name, size) in [("small", 1000), ("large", 6 << 20)] {
            let object = key(&bucket, name);
            let data = noise(size, 5);
            let mut upload = repository.begin(&object, None).await.unwrap();
            upload.part(data.clone()).await.unwrap();
            let done = upload.complete().await;
            done.unwrap_or_else(|e| panic!("{sse:?} {name}: {e}"));
            let got = read(&repository, &object).await;
            assert_eq!(got.unwrap_or_else(|e| panic!("{sse:?} {name}: {e}")), data);
            let copy = key(&bucket, &format!("copy-{name}"));
            repository
                .copy(&object, &copy)
                .await
                .unwrap_or_else(|e| panic!("{sse:?} {name}: {e}"));
        }
    }
}
