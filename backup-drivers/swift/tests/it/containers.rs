//! Containers: made when missing, or not; with a policy; listed.

use backup_core::{ErrorKind, PutMode, Repository};
use backup_swift::SwiftRepository;
use futures::TryStreamExt;

use crate::fake::{Fake, Reply};
use crate::servers::{all, container, fresh, key, list, noise, open, put, v1};

#[tokio::test]
async fn a_missing_container_is_made_and_one_that_is_there_is_left() {
    for (name, config) in all() {
        let (repository, of) = open(&config).await;
        let object = key(&of, "k");
        put(&repository, &object, noise(10, 1)).await;
        repository.ensure_container(&of).await.unwrap();
        assert_eq!(list(&repository, &of, "").await.len(), 1, "{name}");
    }
}

#[tokio::test]
async fn a_missing_container_is_told_where_making_it_is_forbidden() {
    for (name, mut config) in all() {
        config.create_containers = false;
        let repository = SwiftRepository::open(&config).unwrap();
        let missing = container(&fresh());
        let error = repository.ensure_container(&missing).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::NotFound, "{name}: {error}");
        assert!(
            error.hint_text().unwrap().contains("create_containers"),
            "{name}"
        );
        let object = key(&missing, "k");
        let error = repository
            .put(&object, noise(10, 1), PutMode::Overwrite)
            .await
            .unwrap_err();
        assert!(
            error.hint_text().unwrap().contains("create_containers"),
            "{name}"
        );
        let error = crate::servers::read(&repository, &object)
            .await
            .unwrap_err();
        assert!(
            error.hint_text().unwrap().contains("create_containers"),
            "{name}"
        );
    }
}

#[tokio::test]
async fn a_container_has_the_policy_of_the_settings() {
    let Some(mut config) = v1() else { return };
    config.storage_policy = Some("second".into());
    let (repository, of) = open(&config).await;
    let account = repository.account_url().await.unwrap();
    let token = crate::servers::token(&config).await;
    let request = reqwest::Client::new().head(format!("{account}/{of}"));
    let answer = request.header("x-auth-token", token).send().await.unwrap();
    assert_eq!(answer.headers()["x-storage-policy"], "second");

    config.storage_policy = Some("third".into());
    let repository = SwiftRepository::open(&config).unwrap();
    let error = repository
        .ensure_container(&container(&fresh()))
        .await
        .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidInput, "{error}");
    assert!(
        error.hint_text().unwrap().contains("storage_policy"),
        "{error:?}"
    );
}

#[tokio::test]
async fn containers_are_those_that_hold_objects_but_not_segments() {
    for (name, mut config) in all() {
        (config.max_object_size, config.segment_size) = (Some(2 << 20), 1 << 20);
        let (repository, full) = open(&config).await;
        let (_, empty) = open(&config).await;
        put(&repository, &key(&full, "k"), noise(3 << 20, 1)).await;
        let found = repository.containers().await.unwrap();
        let found: Vec<_> = found.try_collect().await.unwrap();
        assert!(found.contains(&full), "{name}");
        assert!(!found.contains(&empty), "{name}");
        assert!(
            !found.contains(&container(&format!("{full}_segments"))),
            "{name}"
        );
    }
}

#[tokio::test]
async fn a_user_who_may_not_list_containers_has_its_own() {
    let fake = Fake::start(|_, head| {
        if head.starts_with("get /v1/auth_me?") {
            return Reply::Whole(403, "", String::new());
        }
        Reply::Whole(200, "", "[{\"name\": \"k\", \"bytes\": 1}]".into())
    })
    .await;
    let repository = SwiftRepository::open(&fake.config().with_container("mine")).unwrap();
    let found = repository.containers().await.unwrap();
    let found: Vec<_> = found.try_collect().await.unwrap();
    assert_eq!(found, [container("mine")]);
}

#[tokio::test]
async fn a_refused_listing_of_the_settings_container_is_an_error_and_of_others_is_not() {
    for status in [403, 404] {
        let fake = Fake::start(move |_, head| {
            if head.starts_with("get /v1/auth_me?") {
                let names = if head.contains("marker=") {
                    "[]"
                } else {
                    "[{\"name\": \"mine\"}, {\"name\": \"other\"}]"
                };
                return Reply::Whole(200, "", names.into());
            }
            Reply::Whole(status, "", String::new())
        })
        .await;
        let found = async |own: &str| {
            let config = fake.config().with_container(own);
            let repository = SwiftRepository::open(&config).unwrap();
            let found = repository.containers().await.unwrap();
            found.try_collect::<Vec<_>>().await
        };
        match status {
            403 => {
                let error = found("mine").await.unwrap_err();
                assert_eq!(error.kind(), ErrorKind::PermissionDenied, "{error}");
                assert!(error.to_string().contains("mine"), "{error}");
            }
            _ => assert_eq!(found("mine").await.unwrap(), []),
        }
        assert_eq!(found("third").await.unwrap(), []);
    }
}

#[tokio::test]
async fn a_container_with_a_slash_reaches_no_other() {
    for (name, config) in all() {
        let (repository, of) = open(&config).await;
        // Container "x/y" and object "z" would be container "x" and object "y/z".
        let within = container(&format!("{of}/folder"));
        let object = key(&within, "k");
        let put = repository
            .put(&object, noise(10, 1), PutMode::Overwrite)
            .await;
        assert_eq!(put.unwrap_err().kind(), ErrorKind::InvalidInput, "{name}");
        assert!(list(&repository, &within, "").await.is_empty(), "{name}");
        assert!(list(&repository, &of, "").await.is_empty(), "{name}");
        repository.delete(&[object]).await.remove(0).unwrap();
    }
}
