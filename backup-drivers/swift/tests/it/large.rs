//! Objects too large for one put: in segments, read as one, removed whole, and found where they are lost.

use std::time::Duration;

use backup_core::{ContainerName, ErrorKind, ObjectKey, PutMode, Repository};
use backup_swift::{SwiftConfig, SwiftRepository};
use bytes::Bytes;

use crate::fake::{Harm, harmed};
use crate::servers::{all, container, fresh, key, list, noise, open, put, read, token, v1};
use crate::shaky::Shaky;

const MIB: usize = 1 << 20;

fn small(mut config: SwiftConfig) -> SwiftConfig {
    (config.max_object_size, config.segment_size) = (Some(2 << 20), 1 << 20);
    config
}

fn segments_of(of: &ContainerName) -> ContainerName {
    container(&format!("{of}_segments"))
}

async fn upload(repository: &SwiftRepository, key: &ObjectKey, data: &Bytes) {
    let mut upload = repository.begin(key, None).await.unwrap();
    let mut rest = data.clone();
    while !rest.is_empty() {
        upload
            .part(rest.split_to(rest.len().min(700_000)))
            .await
            .unwrap();
    }
    upload.complete().await.unwrap();
}

async fn unfinished(repository: &SwiftRepository, of: &ContainerName) -> Vec<String> {
    let found = repository.unfinished_uploads(of, "", Duration::ZERO).await;
    found.unwrap().into_iter().map(|u| u.name).collect()
}

#[tokio::test]
async fn what_is_larger_than_the_server_takes_is_stored_in_segments_and_removed_whole() {
    let Some(_turn) = Shaky::take() else { return };
    let mut config = Shaky::v1();
    config.segment_size = 1 << 20;
    let (repository, of) = open(&config).await;
    let (whole, streamed) = (key(&of, "put"), key(&of, "begun"));
    let data = noise(9 * MIB + 5, 1);
    put(&repository, &whole, data.clone()).await;
    upload(&repository, &streamed, &data).await;
    for object in [&whole, &streamed] {
        assert_eq!(read(&repository, object).await.unwrap(), data);
    }
    let listed = list(&repository, &of, "").await;
    let sizes: Vec<_> = listed.iter().map(|l| (l.name.as_str(), l.size)).collect();
    let length = data.len() as u64;
    assert_eq!(sizes, [("begun", length), ("put", length)]);
    let segments = list(&repository, &segments_of(&of), "").await;
    // Of a known length: ten of 1 MiB. Else the first is as long as a single put.
    assert_eq!(segments.len(), 10 + 7, "{segments:?}");
    assert!(unfinished(&repository, &of).await.is_empty());
    let small = key(&of, "small");
    put(&repository, &small, noise(10, 1)).await;
    for result in repository
        .delete(&[whole, small, streamed, key(&of, "absent")])
        .await
    {
        result.unwrap();
    }
    assert!(list(&repository, &of, "").await.is_empty());
    assert_eq!(list(&repository, &segments_of(&of), "").await, []);
}

#[tokio::test]
async fn a_broken_download_of_a_large_object_goes_on_where_it_broke() {
    for (name, config) in all() {
        let config = small(config);
        let (direct, of) = open(&config).await;
        let object = key(&of, "k");
        put(&direct, &object, noise(5 * MIB, 1)).await;
        let repository = harmed(&config, Harm::CutDown(2_000_000), 1).await;
        assert_eq!(
            read(&repository, &object).await.unwrap(),
            noise(5 * MIB, 1),
            "{name}"
        );
    }
}

#[tokio::test]
async fn what_fits_into_one_put_is_one_object() {
    for (name, config) in all() {
        let (repository, of) = open(&small(config)).await;
        let object = key(&of, "k");
        upload(&repository, &object, &noise(2 * MIB, 1)).await;
        assert_eq!(
            read(&repository, &object).await.unwrap(),
            noise(2 * MIB, 1),
            "{name}"
        );
        assert!(
            list(&repository, &segments_of(&of), "").await.is_empty(),
            "{name}"
        );
    }
}

#[tokio::test]
async fn an_abort_leaves_no_segment_and_what_was_there() {
    for (name, config) in all() {
        let (repository, of) = open(&small(config)).await;
        let object = key(&of, "k");
        put(&repository, &object, noise(10, 1)).await;
        let mut upload = repository.begin(&object, None).await.unwrap();
        upload.part(noise(4 * MIB, 2)).await.unwrap();
        assert_eq!(unfinished(&repository, &of).await, ["k"], "{name}");
        upload.abort().await.unwrap();
        assert!(
            list(&repository, &segments_of(&of), "").await.is_empty(),
            "{name}"
        );
        assert_eq!(
            read(&repository, &object).await.unwrap(),
            noise(10, 1),
            "{name}"
        );
    }
}

#[tokio::test]
async fn the_segments_of_what_was_replaced_go() {
    for (name, config) in all() {
        let (repository, of) = open(&small(config)).await;
        let object = key(&of, "k");
        upload(&repository, &object, &noise(4 * MIB, 1)).await;
        upload(&repository, &object, &noise(3 * MIB, 2)).await;
        assert_eq!(
            read(&repository, &object).await.unwrap(),
            noise(3 * MIB, 2),
            "{name}"
        );
        assert!(unfinished(&repository, &of).await.is_empty(), "{name}");
        upload(&repository, &object, &noise(10, 3)).await;
        assert_eq!(
            read(&repository, &object).await.unwrap(),
            noise(10, 3),
            "{name}"
        );
        assert!(
            list(&repository, &segments_of(&of), "").await.is_empty(),
            "{name}"
        );
    }
}

#[tokio::test]
async fn a_copy_of_a_large_object_lives_without_it() {
    for (name, config) in all() {
        let (repository, of) = open(&small(config)).await;
        let (first, copy) = (key(&of, "first"), key(&of, "copy"));
        put(&repository, &first, noise(5 * MIB, 1)).await;
        repository.copy(&first, &copy).await.unwrap();
        repository.delete(&[first]).await.remove(0).unwrap();
        assert_eq!(
            read(&repository, &copy).await.unwrap(),
            noise(5 * MIB, 1),
            "{name}"
        );
    }
}

#[tokio::test]
async fn segments_whose_manifest_another_deleted_are_found_and_dropped() {
    let Some(config) = v1() else { return };
    let (repository, of) = open(&small(config.clone())).await;
    let (lost, kept) = (key(&of, "a/lost"), key(&of, "a/kept"));
    put(&repository, &lost, noise(3 * MIB, 1)).await;
    put(&repository, &kept, noise(3 * MIB, 2)).await;
    // As Cinder does.
    let account = repository.account_url().await.unwrap();
    let request = reqwest::Client::new().delete(format!("{account}/{of}/a/lost"));
    let answer = request
        .header("x-auth-token", token(&config).await)
        .send()
        .await
        .unwrap();
    assert!(answer.status().is_success());

    let old = Duration::from_hours(1);
    assert!(
        repository
            .unfinished_uploads(&of, "", old)
            .await
            .unwrap()
            .is_empty()
    );
    let found = repository
        .unfinished_uploads(&of, "a/", Duration::ZERO)
        .await
        .unwrap();
    assert_eq!(found.len(), 1, "{found:?}");
    assert_eq!(
        (found[0].name.as_str(), found[0].bytes),
        ("a/lost", 3 << 20)
    );
    repository.drop_upload(&found[0]).await.unwrap();
    repository.drop_upload(&found[0]).await.unwrap();
    assert!(unfinished(&repository, &of).await.is_empty());
    assert_eq!(read(&repository, &kept).await.unwrap(), noise(3 * MIB, 2));
}

#[tokio::test]
async fn a_delete_by_name_takes_what_a_killed_upload_left() {
    for (name, config) in all() {
        let (repository, of) = open(&small(config)).await;
        let object = key(&of, "k");
        let mut upload = repository.begin(&object, Some(5 << 20)).await.unwrap();
        upload.part(noise(4 * MIB, 1)).await.unwrap();
        drop(upload);
        assert_eq!(unfinished(&repository, &of).await, ["k"], "{name}");
        repository.delete(&[object]).await.remove(0).unwrap();
        assert!(
            list(&repository, &segments_of(&of), "").await.is_empty(),
            "{name}"
        );
    }
}

#[tokio::test]
async fn a_container_for_segments_of_ones_own_serves_several() {
    for (name, config) in all() {
        let mut config = small(config);
        config.segment_container = Some(fresh());
        let segments = container(config.segment_container.as_ref().unwrap());
        let (repository, first) = open(&config).await;
        let (_, second) = open(&config).await;
        for (seed, of) in [(1, &first), (2, &second)] {
            put(&repository, &key(of, "k"), noise(3 * MIB, seed)).await;
        }
        repository
            .delete(&[key(&first, "k")])
            .await
            .remove(0)
            .unwrap();
        assert_eq!(
            read(&repository, &key(&second, "k")).await.unwrap(),
            noise(3 * MIB, 2),
            "{name}"
        );
        assert!(unfinished(&repository, &first).await.is_empty(), "{name}");
        repository
            .delete(&[key(&second, "k")])
            .await
            .remove(0)
            .unwrap();
        assert!(list(&repository, &segments, "").await.is_empty(), "{name}");
    }
}

#[tokio::test]
async fn a_missing_container_for_segments_is_told_where_making_it_is_forbidden() {
    let Some(config) = v1() else { return };
    let (_, of) = open(&config).await;
    let mut config = small(config);
    config.create_containers = false;
    let repository = SwiftRepository::open(&config).unwrap();
    let object = key(&of, "k");
    let put = repository
        .put(&object, noise(3 * MIB, 1), PutMode::Overwrite)
        .await;
    let error = put.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotFound, "{error}");
    assert!(error.to_string().contains("_segments"), "{error}");
    assert!(
        error.hint_text().unwrap().contains("create_containers"),
        "{error:?}"
    );
}
