//! Objects: checksums, deletes of many, listings in pages, conditions.

use backup_core::{ErrorKind, PutMode, Repository};
use backup_swift::SwiftRepository;
use bytes::Bytes;
use futures::{StreamExt, TryStreamExt, stream};

use crate::fake::{Fake, Reply};
use crate::servers::{all, container, key, list, open, put};

const BULK: &str =
    r#"{"swift": {"max_file_size": 1000000}, "bulk_delete": {"max_deletes_per_request": 2}}"#;
/// The MD5 of "data".
const MD5: &str = "8d777f385d3dfec8815d20f7496026dc";

#[tokio::test]
async fn the_md5_is_sent_with_a_put_and_what_was_damaged_is_sent_again() {
    let fake = Fake::start(|n, head| {
        assert!(head.contains(&format!("etag: {MD5}\r\n")), "{head}");
        assert!(head.contains("content-length: 4\r\n"), "{head}");
        match n {
            0 => Reply::Whole(422, "", String::new()),
            _ => Reply::Headers(201, format!("etag: {MD5}\r\n"), String::new()),
        }
    })
    .await;
    let repository = SwiftRepository::open(&fake.config()).unwrap();
    put(
        &repository,
        &key(&container("c"), "k"),
        Bytes::from_static(b"data"),
    )
    .await;
    assert_eq!(fake.requests(), 2);
}

#[tokio::test]
async fn an_answer_with_another_md5_is_an_error() {
    let fake = Fake::start(|_, _| Reply::Whole(201, "etag: \"0123\"\r\n", String::new())).await;
    let repository = SwiftRepository::open(&fake.config()).unwrap();
    let object = key(&container("c"), "k");
    let put = repository.put(&object, Bytes::from_static(b"data"), PutMode::Overwrite);
    let error = put.await.unwrap_err();
    assert!(error.to_string().contains("ETag"), "{error}");
    assert_eq!(fake.requests(), 3, "it is sent again, a few times");
}

#[tokio::test]
async fn a_create_whose_answer_was_lost_knows_its_own_bytes() {
    for (etag, ours) in [(MD5, true), ("0123", false)] {
        let fake = Fake::start(move |n, head| match (n, head.split(' ').next()) {
            (0, _) => Reply::Whole(404, "", String::new()),
            (1, _) => {
                assert!(head.contains("if-none-match: *"), "{head}");
                Reply::Whole(503, "", String::new())
            }
            (_, Some("put")) => Reply::Whole(412, "", String::new()),
            _ => Reply::Headers(200, format!("etag: {etag}\r\n"), "four".into()),
        })
        .await;
        let repository = SwiftRepository::open(&fake.config()).unwrap();
        let object = key(&container("c"), "k");
        let put = repository.put(&object, Bytes::from_static(b"data"), PutMode::CreateOnly);
        let result = put.await;
        assert_eq!(result.is_ok(), ours, "{result:?}");
        assert_eq!(fake.requests(), 4);
    }
}

#[tokio::test]
async fn more_than_a_page_is_listed_whole() {
    let page = |names: &[&str]| {
        let entries: Vec<_> = names
            .iter()
            .map(|n| format!("{{\"name\": \"{n}\", \"bytes\": 7, \"last_modified\": \"2026-11-27T10:00:00.123456\"}}"))
            .collect();
        Reply::Whole(200, "", format!("[{}]", entries.join(",")))
    };
    let fake = Fake::start(move |_, head| {
        assert!(head.contains("prefix=p%2f%20"), "{head}");
        let marker = head
            .split("marker=")
            .nth(1)
            .map(|m| m.split(['&', ' ']).next().unwrap());
        match marker {
            None => page(&["p/ 1", "p/ 2"]),
            // A short page need not be the last.
            Some("p%2f%202") => page(&["p/ 3"]),
            Some("p%2f%203") => page(&[]),
            Some(other) => panic!("{other}"),
        }
    })
    .await;
    let repository = SwiftRepository::open(&fake.config()).unwrap();
    let listed = list(&repository, &container("c"), "p/ ").await;
    let names: Vec<_> = listed.iter().map(|l| l.name.as_str()).collect();
    assert_eq!(names, ["p/ 1", "p/ 2", "p/ 3"]);
    assert_eq!(listed[0].size, 7);
    assert_eq!(
        listed[0].modified.unwrap().openstack(),
        "2026-11-27T10:00:00.123456"
    );
}

#[tokio::test]
async fn a_listing_that_does_not_get_on_is_an_error() {
    let fake = Fake::start(|_, _| Reply::Whole(200, "", "[{\"name\": \"a\"}]".into())).await;
    let repository = SwiftRepository::open(&fake.config()).unwrap();
    let stream = repository.list(&container("c"), "", None).await.unwrap();
    let listed: backup_core::Result<Vec<_>> = stream.try_collect().await;
    assert!(listed.unwrap_err().to_string().contains("get on"));
}

#[tokio::test]
async fn each_key_of_a_bulk_delete_has_its_own_result() {
    let fake = Fake::with_info(BULK, |_, head| match head.split(' ').next() {
        // There is no container for segments.
        Some("head") => Reply::Whole(404, "", String::new()),
        Some("post") if head.contains("content-length: 9\r\n") => {
            let answer = r#"{"Number Deleted": 1, "Number Not Found": 0, "Response Status": "400 Bad Request",
                            "Response Body": "", "Errors": [["/c/b", "403 Forbidden"]]}"#;
            Reply::Whole(200, "", answer.into())
        }
        // One that says less than it was asked.
        Some("post") => Reply::Whole(200, "", r#"{"Number Deleted": 1, "Response Status": "200 OK"}"#.into()),
        _ => Reply::Whole(if head.starts_with("delete /v1/auth_me/c/dd") { 404 } else { 204 }, "", String::new()),
    })
    .await;
    let repository = SwiftRepository::open(&fake.config()).unwrap();
    let of = container("c");
    let keys: Vec<_> = ["a", "b", "cc", "dd"].iter().map(|n| key(&of, n)).collect();
    let results = repository.delete(&keys).await;
    assert!(
        results[0].is_ok() && results[2].is_ok() && results[3].is_ok(),
        "{results:?}"
    );
    let error = results[1].as_ref().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::PermissionDenied);
    assert!(error.to_string().contains("c/b"), "{error}");
    // The container for segments; two bulk deletes; two that the second left open.
    assert_eq!(fake.requests(), 5);
}

#[tokio::test]
async fn a_server_without_bulk_delete_is_asked_one_by_one() {
    for info in ["{\"swift\": {}}", BULK] {
        let fake = Fake::with_info(info, |_, head| match head.split(' ').next() {
            Some("head") => Reply::Whole(404, "", String::new()),
            Some("post") => Reply::Whole(405, "", String::new()),
            _ => Reply::Whole(204, "", String::new()),
        })
        .await;
        let repository = SwiftRepository::open(&fake.config()).unwrap();
        let of = container("c");
        let keys: Vec<_> = ["a", "b"].iter().map(|n| key(&of, n)).collect();
        assert!(repository.delete(&keys).await.iter().all(Result::is_ok));
        assert!(fake.requests() >= 3);
    }
}

#[tokio::test]
async fn a_server_in_trouble_is_not_asked_for_each_key() {
    let fake = Fake::with_info(BULK, |_, _| Reply::Whole(503, "", String::new())).await;
    let repository = SwiftRepository::open(&fake.config()).unwrap();
    let of = container("c");
    let keys: Vec<_> = (0..50).map(|n| key(&of, &n.to_string())).collect();
    for result in repository.delete(&keys).await {
        assert_eq!(result.unwrap_err().kind(), ErrorKind::Unavailable);
    }
    assert_eq!(fake.requests(), 3);
}

#[tokio::test]
async fn many_are_deleted_and_missing_ones_are_success() {
    for (name, config) in all() {
        for bulk in [true, false] {
            let mut config = config.clone();
            config.bulk_delete = bulk;
            let (repository, of) = open(&config).await;
            let keys: Vec<_> = (0..40)
                .map(|n| key(&of, &format!("größe %/{n:02}")))
                .collect();
            let puts = stream::iter(&keys)
                .map(|k| repository.put(k, Bytes::from_static(b"x"), PutMode::Overwrite));
            puts.buffer_unordered(16)
                .try_collect::<Vec<_>>()
                .await
                .unwrap();
            let results = repository.delete(&keys[1..]).await;
            assert!(results.iter().all(Result::is_ok), "{name} {results:?}");
            assert_eq!(list(&repository, &of, "").await.len(), 1, "{name}");
            let results = repository.delete(&keys).await;
            assert!(results.iter().all(Result::is_ok), "{name} {results:?}");
            assert!(list(&repository, &of, "").await.is_empty(), "{name}");
        }
    }
}

#[tokio::test]
async fn a_copy_that_a_server_did_not_make_is_made_by_hand() {
    // One that does not know the header has stored an empty object.
    let fake = Fake::start(|_, head| match head.split(' ').next() {
        Some("head") if head.contains("/from ") => {
            Reply::Headers(200, format!("etag: {MD5}\r\n"), "data".into())
        }
        Some("head") => Reply::Whole(404, "", String::new()),
        Some("get") => Reply::Headers(200, format!("etag: {MD5}\r\n"), "data".into()),
        _ if head.contains("x-copy-from: /c/from") => Reply::Whole(
            201,
            "etag: d41d8cd98f00b204e9800998ecf8427e\r\n",
            String::new(),
        ),
        _ => {
            assert!(head.contains("content-length: 4\r\n"), "{head}");
            Reply::Headers(201, format!("etag: {MD5}\r\n"), String::new())
        }
    })
    .await;
    let repository = SwiftRepository::open(&fake.config()).unwrap();
    let of = container("c");
    repository
        .copy(&key(&of, "from"), &key(&of, "to"))
        .await
        .unwrap();
    assert_eq!(fake.requests(), 5);
}
