//! Dead, silent, slow and overloaded servers: every call ends in time, with the right kind, without a storm.

use std::pin::Pin;
use std::time::{Duration, Instant};

use backup_core::{ErrorKind, PutMode, Repository, Result};
use backup_s3::S3Repository;
use futures::future::join_all;
use futures::{StreamExt, TryStreamExt};

use crate::fake::{Fake, Harm, Reply, error_body, proxy, quick};
use crate::servers::{self, container, key, noise, open, put, read};

/// Every call once, with what it ended with.
async fn every_call(repository: &S3Repository) -> Vec<(&'static str, Result<()>)> {
    let bucket = container("bucket");
    let object = key(&bucket, "name");
    let put = |mode| repository.put(&object, noise(100, 1), mode);
    let upload = async {
        let mut upload = repository.begin(&object, None).await?;
        upload.part(noise(20 << 20, 2)).await?;
        upload.complete().await
    };
    let listed = async {
        let names = repository.list(&bucket, "", None).await?;
        names.try_collect::<Vec<_>>().await.map(|_| ())
    };
    let containers = async {
        let names = repository.containers().await?;
        names.try_collect::<Vec<_>>().await.map(|_| ())
    };
    let deleted = async {
        repository
            .delete(std::slice::from_ref(&object))
            .await
            .remove(0)
    };
    let copied = async { repository.copy(&object, &key(&bucket, "other")).await };
    let unfinished = async {
        let age = Duration::ZERO;
        repository
            .unfinished_uploads(&bucket, "", age)
            .await
            .map(|_| ())
    };
    let put_it = put(PutMode::Overwrite);
    let create = put(PutMode::CreateOnly);
    let get = async { read(repository, &object).await.map(|_| ()) };
    let ensure = repository.ensure_container(&bucket);
    // At once, since each waits.
    join_all([
        named("put", put_it),
        named("create", create),
        named("upload", upload),
        named("get", get),
        named("list", listed),
        named("containers", containers),
        named("delete", deleted),
        named("copy", copied),
        named("ensure", ensure),
        named("unfinished", unfinished),
    ])
    .await
}

type Named<'a> = Pin<Box<dyn Future<Output = (&'static str, Result<()>)> + 'a>>;

fn named<'a>(name: &'static str, call: impl Future<Output = Result<()>> + 'a) -> Named<'a> {
    Box::pin(async move { (name, call.await) })
}

#[tokio::test]
async fn a_dead_endpoint_is_unavailable_for_every_call() {
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", free.local_addr().unwrap());
    drop(free);
    let repository = S3Repository::new(&quick(&url)).unwrap();
    let start = Instant::now();
    for (call, result) in every_call(&repository).await {
        let error = result.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unavailable, "{call}: {error}");
        assert!(error.is_retryable(), "{call}");
        assert!(
            error.hint_text().unwrap().contains("endpoint_url"),
            "{call}"
        );
        assert!(error.to_string().contains("refused"), "{call}: {error}");
    }
    assert!(start.elapsed() < Duration::from_secs(10));
}

#[tokio::test]
async fn a_server_that_never_answers_is_a_timeout_for_every_call() {
    let fake = Fake::start(|_, _| Reply::Silence).await;
    let repository = S3Repository::new(&fake.config()).unwrap();
    let start = Instant::now();
    for (call, result) in every_call(&repository).await {
        let error = result.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Timeout, "{call}: {error}");
    }
    assert!(
        start.elapsed() < Duration::from_secs(20),
        "{:?}",
        start.elapsed()
    );
}

#[tokio::test]
async fn a_connection_that_never_stands_ends_in_time() {
    // A listener whose queue nobody empties.
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let repository = S3Repository::new(&quick(&url)).unwrap();
    let start = Instant::now();
    let error = read(&repository, &key(&container("b"), "k"))
        .await
        .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Timeout, "{error}");
    assert!(start.elapsed() < Duration::from_secs(10));
}

#[tokio::test]
async fn a_body_that_stops_coming_is_a_timeout() {
    let fake = Fake::start(|_, _| Reply::Stalled(100, "half".into())).await;
    let repository = S3Repository::new(&fake.config()).unwrap();
    let start = Instant::now();
    let error = read(&repository, &key(&container("b"), "k"))
        .await
        .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Timeout, "{error}");
    assert!(start.elapsed() < Duration::from_secs(10));
}

#[tokio::test]
async fn a_body_that_trickles_is_a_timeout_though_bytes_come() {
    let fake = Fake::start(|_, _| Reply::Trickle(10_000)).await;
    let repository = S3Repository::new(&fake.config()).unwrap();
    let start = Instant::now();
    let error = read(&repository, &key(&container("b"), "k"))
        .await
        .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Timeout, "{error}");
    assert!(start.elapsed() < Duration::from_secs(10));
}

#[tokio::test]
async fn a_reader_may_take_longer_than_the_timeout_for_its_own_work() {
    let body = "x".repeat(4 << 20);
    let fake = Fake::start(move |_, _| Reply::Whole(200, "", body.clone())).await;
    let repository = S3Repository::new(&fake.config()).unwrap();
    let object = key(&container("b"), "k");
    let mut body = repository.get(&object, None).await.unwrap().body;
    let mut length = body.next().await.unwrap().unwrap().len();
    tokio::time::sleep(Duration::from_millis(2500)).await;
    while let Some(piece) = body.next().await {
        length += piece.unwrap().len();
    }
    assert_eq!(length, 4 << 20);
}

#[tokio::test]
async fn a_burst_of_slow_down_is_waited_out() {
    let fake = Fake::start(|n, _| match n {
        0..3 => Reply::Whole(503, "", error_body("SlowDown")),
        _ => Reply::Whole(200, "etag: \"e\"\r\n", String::new()),
    })
    .await;
    let mut config = fake.config();
    config.retries = 5;
    let repository = S3Repository::new(&config).unwrap();
    let object = key(&container("b"), "k");
    put(&repository, &object, noise(1000, 1)).await;
    assert_eq!(fake.requests(), 4);
}

#[tokio::test]
async fn an_overloaded_server_meets_no_storm() {
    let fake = Fake::start(|_, _| Reply::Whole(503, "", error_body("SlowDown"))).await;
    let mut config = fake.config();
    config.retries = 4;
    config.retry_timeout = 60;
    let repository = S3Repository::new(&config).unwrap();
    let bucket = container("b");
    let keys: Vec<_> = (0..16).map(|n| key(&bucket, &n.to_string())).collect();
    let start = Instant::now();
    let puts = keys
        .iter()
        .map(|k| repository.put(k, noise(1000, 1), PutMode::Overwrite));
    for result in join_all(puts).await {
        let error = result.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unavailable, "{error}");
        assert!(error.to_string().contains("SlowDown"), "{error}");
    }
    assert_eq!(fake.requests(), 16 * 5);
    assert!(start.elapsed() > Duration::from_millis(400));
}

#[tokio::test]
async fn a_server_that_asks_for_time_is_given_it() {
    let fake = Fake::start(|n, _| match n {
        0 => Reply::Whole(503, "retry-after: 2\r\n", error_body("SlowDown")),
        _ => Reply::Whole(200, "", "<ListBucketResult></ListBucketResult>".into()),
    })
    .await;
    let repository = S3Repository::new(&fake.config()).unwrap();
    let start = Instant::now();
    repository.ensure_container(&container("b")).await.unwrap();
    assert!(start.elapsed() >= Duration::from_secs(2));
}

#[tokio::test]
async fn a_redirect_is_not_followed_with_our_signature() {
    let other = Fake::start(|_, _| Reply::Whole(200, "", String::new())).await;
    let fake = Fake::start(|_, _| {
        Reply::Whole(
            301,
            "location: http://127.0.0.1:1/\r\n",
            error_body("PermanentRedirect"),
        )
    })
    .await;
    let repository = S3Repository::new(&fake.config()).unwrap();
    for (call, result) in every_call(&repository).await {
        let error = result.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidInput, "{call}: {error}");
        assert!(error.hint_text().unwrap().contains("region"), "{call}");
    }
    assert_eq!(other.requests(), 0);
}

#[tokio::test]
async fn a_body_cut_by_a_proxy_comes_whole_by_itself() {
    for (name, config) in servers::all() {
        let (direct, bucket) = open(&config).await;
        let object = key(&bucket, "cut");
        let data = noise(3_000_000, 7);
        direct
            .put(&object, data.clone(), PutMode::Overwrite)
            .await
            .unwrap();
        let target = config.endpoint_url.clone().unwrap();
        let mut cut = config.clone();
        cut.endpoint_url = Some(proxy(&target, Harm::CutDown(1_000_000), 2).await);
        let repository = S3Repository::new(&cut).unwrap();
        assert_eq!(read(&repository, &object).await.unwrap(), data, "{name}");

        // One that is always cut ends as an error, not short and not in a circle.
        let mut cut = config.clone();
        cut.endpoint_url = Some(proxy(&target, Harm::CutDown(100_000), usize::MAX).await);
        (cut.retries, cut.retry_timeout) = (3, 5);
        let repository = S3Repository::new(&cut).unwrap();
        let start = Instant::now();
        let error = read(&repository, &object).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unavailable, "{name}: {error}");
        assert!(start.elapsed() < Duration::from_secs(30), "{name}");
    }
}

#[tokio::test]
async fn a_put_that_a_proxy_cuts_or_stalls_arrives_whole() {
    for (name, config) in servers::all() {
        for harm in [
            Harm::CutUp(300_000),
            Harm::StallUp(300_000),
            Harm::CutDown(0),
            Harm::StallDown(0),
        ] {
            let (direct, bucket) = open(&config).await;
            let mut harmed = config.clone();
            let target = config.endpoint_url.clone().unwrap();
            harmed.endpoint_url = Some(proxy(&target, harm, 2).await);
            (harmed.timeout, harmed.min_rate) = (1, 1 << 20);
            let repository = S3Repository::new(&harmed).unwrap();
            let data = noise(1_000_000, 9);
            let object = key(&bucket, "k");
            let start = Instant::now();
            put(&repository, &object, data.clone()).await;
            assert!(start.elapsed() < Duration::from_secs(20), "{name} {harm:?}");
            assert_eq!(
                read(&direct, &object).await.unwrap(),
                data,
                "{name} {harm:?}"
            );
        }
    }
}
