//! What goes wrong, in words.

use backup_core::{ErrorKind, PutMode, Repository};
use backup_swift::SwiftRepository;

use crate::fake::{Fake, Reply, quick};
use crate::servers::{container, key, noise, open, put, read, token, v1};

#[tokio::test]
async fn an_address_where_nobody_answers_is_told() {
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/v3", free.local_addr().unwrap());
    drop(free);
    let repository = SwiftRepository::open(&quick(&url)).unwrap();
    let error = repository.account_url().await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable, "{error}");
    assert!(error.to_string().contains(&url), "{error}");
    assert!(error.to_string().contains("refused"), "{error}");
    assert!(error.hint_text().unwrap().contains("auth_url"), "{error:?}");
}

#[tokio::test]
async fn an_address_that_is_no_openstack_server_is_told() {
    let page = "<!doctype html><html><body>Welcome</body></html>";
    let fake = Fake::raw(move |_, _| Reply::Whole(200, "", page.into())).await;
    for path in ["/v3", "/auth/v1.0"] {
        let repository = SwiftRepository::open(&quick(&format!("{}{path}", fake.url))).unwrap();
        let error = repository.account_url().await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Io, "{error}");
        assert!(error.hint_text().unwrap().contains("auth_url"), "{error:?}");
    }
}

#[tokio::test]
async fn a_redirect_is_not_followed_with_our_token() {
    let other = Fake::raw(|_, _| Reply::Whole(200, "", String::new())).await;
    let location = format!("location: {}/\r\n", other.url);
    let fake = Fake::start(move |_, _| Reply::Headers(301, location.clone(), String::new())).await;
    let repository = SwiftRepository::open(&fake.config()).unwrap();
    let error = read(&repository, &key(&container("c"), "k"))
        .await
        .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidInput, "{error}");
    assert!(
        error.hint_text().unwrap().contains("storage_url"),
        "{error:?}"
    );
    assert_eq!(other.requests(), 0);
}

#[tokio::test]
async fn a_full_container_is_told() {
    let Some(config) = v1() else { return };
    let (repository, of) = open(&config).await;
    let account = repository.account_url().await.unwrap();
    let request = reqwest::Client::new()
        .post(format!("{account}/{of}"))
        .header("x-auth-token", token(&config).await)
        .header("x-container-meta-quota-bytes", "100000");
    assert!(request.send().await.unwrap().status().is_success());
    let object = key(&of, "k");
    // The proxy remembers a container's settings for a minute, unless they changed by itself.
    put(&repository, &object, noise(1000, 1)).await;
    let put = repository
        .put(&object, noise(200_000, 1), PutMode::Overwrite)
        .await;
    let error = put.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::QuotaExceeded, "{error}");
    assert!(error.hint_text().unwrap().contains("quota"), "{error:?}");
    assert_eq!(read(&repository, &object).await.unwrap(), noise(1000, 1));
}

#[tokio::test]
async fn a_full_store_is_told() {
    let fake = Fake::start(|_, _| Reply::Whole(507, "", String::new())).await;
    let repository = SwiftRepository::open(&fake.config()).unwrap();
    let object = key(&container("c"), "k");
    let put = repository
        .put(&object, noise(10, 1), PutMode::Overwrite)
        .await;
    let error = put.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NoSpace, "{error}");
    assert!(error.hint_text().unwrap().contains("full"), "{error:?}");
    assert_eq!(fake.requests(), 1, "a refusal is not repeated");
}

#[tokio::test]
async fn a_missing_object_is_told_with_its_name() {
    let Some(config) = v1() else { return };
    let (repository, of) = open(&config).await;
    let error = read(&repository, &key(&of, "absent")).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotFound, "{error}");
    assert!(error.to_string().contains("absent"), "{error}");
    assert_eq!(error.hint_text(), None);
}

#[tokio::test]
async fn a_ca_file_without_a_certificate_is_told() {
    let file = tempfile::NamedTempFile::new().unwrap();
    let mut config = quick("https://127.0.0.1:1/v3");
    config.ca_file = Some(file.path().into());
    let error = SwiftRepository::open(&config).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidInput, "{error}");
    config.ca_file = Some("/nonexistent/ca.pem".into());
    let error = SwiftRepository::open(&config).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotFound, "{error}");
}
