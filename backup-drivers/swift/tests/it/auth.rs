//! Tokens: fetched once, renewed once, by however many are in need of one.

use std::time::Duration;

use backup_core::{ErrorKind, PutMode, Repository};
use backup_swift::SwiftRepository;
use futures::future::join_all;

use crate::fake::{Fake, Reply};
use crate::servers::{container, key, noise, put, v1};

fn stored() -> Reply {
    Reply::Whole(201, "", String::new())
}

async fn put_many(repository: &SwiftRepository, many: usize) -> Vec<backup_core::Result<()>> {
    let of = container("c");
    let keys: Vec<_> = (0..many).map(|n| key(&of, &n.to_string())).collect();
    let puts = keys
        .iter()
        .map(|k| repository.put(k, noise(1000, 1), PutMode::Overwrite));
    join_all(puts).await
}

#[tokio::test]
async fn one_signs_in_for_all_who_wait() {
    let fake = Fake::start(|_, _| stored()).await;
    let repository = SwiftRepository::open(&fake.config()).unwrap();
    for result in put_many(&repository, 16).await {
        result.unwrap();
    }
    assert_eq!((fake.sign_ins(), fake.requests()), (1, 16));
}

#[tokio::test]
async fn a_refused_token_is_renewed_once_for_all_whom_it_served() {
    let fake = Fake::start(|_, head| {
        if head.contains("x-auth-token: hush-token-1\r\n") {
            Reply::Whole(401, "", String::new())
        } else {
            stored()
        }
    })
    .await;
    let repository = SwiftRepository::open(&fake.config()).unwrap();
    for result in put_many(&repository, 16).await {
        result.unwrap();
    }
    assert_eq!((fake.sign_ins(), fake.requests()), (2, 32));
}

#[tokio::test]
async fn who_is_refused_with_a_new_token_too_is_told() {
    let fake = Fake::start(|_, _| Reply::Whole(401, "", String::new())).await;
    let repository = SwiftRepository::open(&fake.config()).unwrap();
    let result = put_many(&repository, 1).await.remove(0);
    let error = result.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unauthenticated, "{error}");
    assert!(error.hint_text().unwrap().contains("token"), "{error:?}");
    assert_eq!((fake.sign_ins(), fake.requests()), (2, 2));
}

#[tokio::test]
async fn tokens_that_end_at_once_are_not_fetched_for_ever() {
    let fake = Fake::raw(|n, head| {
        if !head.starts_with("get /auth") {
            return Reply::Whole(401, "", String::new());
        }
        let host = head.lines().find_map(|l| l.strip_prefix("host: ")).unwrap();
        let headers = format!(
            "x-storage-url: http://{host}/v1/AUTH_me\r\nx-auth-token: t{n}\r\nx-auth-token-expires: 0\r\n"
        );
        Reply::Headers(200, headers, String::new())
    })
    .await;
    let repository = SwiftRepository::open(&fake.config()).unwrap();
    let error = put_many(&repository, 1).await.remove(0).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unauthenticated, "{error}");
    assert_eq!(fake.requests(), 6);
}

#[tokio::test]
async fn a_failure_to_sign_in_is_shared_by_all_who_wait() {
    let fake = Fake::raw(|_, _| Reply::Whole(503, "", String::new())).await;
    let repository = SwiftRepository::open(&fake.config()).unwrap();
    for result in put_many(&repository, 16).await {
        let error = result.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unavailable, "{error}");
        assert!(error.to_string().contains("signing in at"), "{error}");
    }
    // One who signs in, and two repeats; none for each of the others.
    assert_eq!(fake.requests(), 3);
}

#[tokio::test]
async fn a_token_is_renewed_before_it_ends() {
    // Each lasts a second; the one who signs in is not refused with any of them.
    let fake = Fake::raw(move |n, head| {
        if !head.starts_with("get /auth") {
            return stored();
        }
        let host = head.lines().find_map(|l| l.strip_prefix("host: ")).unwrap();
        let headers = format!(
            "x-storage-url: http://{host}/v1/AUTH_me\r\nx-auth-token: t{n}\r\nx-auth-token-expires: 1\r\n"
        );
        Reply::Headers(200, headers, String::new())
    })
    .await;
    let repository = SwiftRepository::open(&fake.config()).unwrap();
    let object = key(&container("c"), "k");
    put(&repository, &object, noise(10, 1)).await;
    put(&repository, &object, noise(10, 1)).await;
    assert_eq!(fake.requests(), 3);
    tokio::time::sleep(Duration::from_millis(1100)).await;
    put(&repository, &object, noise(10, 1)).await;
    assert_eq!(fake.requests(), 5);
}

#[tokio::test]
async fn a_wrong_key_is_told_in_words() {
    let Some(config) = v1() else { return };
    for (user, word) in [("test:tester", "password"), ("nobody:here", "username")] {
        let config = config.clone().with_user(user, "hush-wrong");
        let repository = SwiftRepository::open(&config).unwrap();
        let error = repository.account_url().await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unauthenticated, "{error}");
        assert!(error.hint_text().unwrap().contains(word), "{error:?}");
        assert!(error.to_string().contains(user), "{error}");
        assert!(!format!("{error:?}").contains("hush"), "{error:?}");
    }
}

#[tokio::test]
async fn a_user_without_rights_is_told() {
    let Some(config) = v1() else { return };
    let config = config.with_user("test:reader", "readerkey");
    let repository = SwiftRepository::open(&config).unwrap();
    let object = key(&container("c"), "k");
    let error = repository
        .put(&object, noise(10, 1), PutMode::Overwrite)
        .await
        .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::PermissionDenied, "{error}");
    assert!(error.hint_text().unwrap().contains("role"), "{error:?}");
}
