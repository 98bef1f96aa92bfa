//! Dead, silent, slow and overloaded servers: every call ends in time, with the right kind, without a storm.

use std::pin::Pin;
use std::time::{Duration, Instant};

use backup_core::{ErrorKind, PutMode, Repository, Result};
use backup_swift::SwiftRepository;
use futures::future::join_all;
use futures::{StreamExt, TryStreamExt};

use crate::fake::{Fake, Harm, Reply, harmed, quick};
use crate::servers::{self, container, key, noise, open, put, read};

/// Every call once, with what it ended with.
async fn every_call(repository: &SwiftRepository) -> Vec<(&'static str, Result<()>)> {
    let of = container("of");
    let object = key(&of, "name");
    let put = |mode| repository.put(&object, noise(100, 1), mode);
    let upload = async {
        let mut upload = repository.begin(&object, None).await?;
        upload.part(noise(1 << 20, 2)).await?;
        upload.complete().await
    };
    let listed = async {
        let names = repository.list(&of, "", None).await?;
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
    let copied = async { repository.copy(&object, &key(&of, "other")).await };
    let unfinished = async {
        let age = Duration::ZERO;
        repository
            .unfinished_uploads(&of, "", age)
            .await
            .map(|_| ())
    };
    let put_it = put(PutMode::Overwrite);
    let create = put(PutMode::CreateOnly);
    let get = async { read(repository, &object).await.map(|_| ()) };
    let ensure = repository.ensure_container(&of);
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
    let repository = SwiftRepository::open(&quick(&format!("{url}/auth/v1.0"))).unwrap();
    let start = Instant::now();
    for (call, result) in every_call(&repository).await {
        let error = result.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unavailable, "{call}: {error}");
        assert!(error.is_retryable(), "{call}");
        assert!(error.hint_text().unwrap().contains("auth_url"), "{call}");
        assert!(error.to_string().contains("refused"), "{call}: {error}");
    }
    assert!(start.elapsed() < Duration::from_secs(10));
}

#[tokio::test]
async fn a_server_that_never_answers_is_a_timeout_for_every_call() {
    let fake = Fake::start(|_, _| Reply::Silence).await;
    let repository = SwiftRepository::open(&fake.config()).unwrap();
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
    let repository = SwiftRepository::open(&quick(&format!("{url}/auth/v1.0"))).unwrap();
    let start = Instant::now();
    let error = read(&repository, &key(&container("b"), "k"))
        .await
        .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Timeout, "{error}");
    assert!(start.elapsed() < Duration::from_secs(10));
}

#[tokio::test]
async fn a_body_that_stops_coming_is_a_timeout() {
    let fake = Fake::start(|_, _| Reply::Stalled(100, String::new())).await;
    let repository = SwiftRepository::open(&fake.config()).unwrap();
    let start = Instant::now();
    let error = read(&repository, &key(&container("b"), "k"))
        .await
        .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Timeout, "{error}");
    assert!(start.elapsed() < Duration::from_secs(10));
}

#[tokio::test]
async fn a_body_that_trickles_is_a_timeout_though_bytes_come() {
    let fake = Fake::start(|n, _| match n {
        0 => Reply::Trickle(10_000),
        _ => Reply::Silence,
    })
    .await;
    let repository = SwiftRepository::open(&fake.config()).unwrap();
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
    let repository = SwiftRepository::open(&fake.config()).unwrap();
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
        0..3 => Reply::Whole(503, "", String::new()),
        _ => Reply::Whole(201, "", String::new()),
    })
    .await;
    let mut config = fake.config();
    config.retries = 5;
    let repository = SwiftRepository::open(&config).unwrap();
    let object = key(&container("b"), "k");
    put(&repository, &object, noise(1000, 1)).await;
    assert_eq!(fake.requests(), 4);
}

#[tokio::test]
async fn an_overloaded_server_meets_no_storm() {
    let fake = Fake::start(|_, _| Reply::Whole(503, "", String::new())).await;
    let mut config = fake.config();
    config.retries = 4;
    config.retry_timeout = 60;
    let repository = SwiftRepository::open(&config).unwrap();
    let of = container("b");
    let keys: Vec<_> = (0..16).map(|n| key(&of, &n.to_string())).collect();
    let start = Instant::now();
    let puts = keys
        .iter()
        .map(|k| repository.put(k, noise(1000, 1), PutMode::Overwrite));
    for result in join_all(puts).await {
        let error = result.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unavailable, "{error}");
        assert!(error.to_string().contains("503"), "{error}");
    }
    assert_eq!(fake.requests(), 16 * 5);
    assert!(start.elapsed() > Duration::from_millis(400));
}

#[tokio::test]
async fn a_server_that_asks_for_time_is_given_it() {
    let fake = Fake::start(|n, _| match n {
        0 => Reply::Whole(503, "retry-after: 2\r\n", String::new()),
        _ => Reply::Whole(200, "", String::new()),
    })
    .await;
    let repository = SwiftRepository::open(&fake.config()).unwrap();
    let start = Instant::now();
    repository.ensure_container(&container("b")).await.unwrap();
    assert!(start.elapsed() >= Duration::from_secs(2));
}

#[tokio::test]
async fn a_body_cut_by_a_proxy_comes_whole_by_itself() {
    for (name, config) in servers::all() {
        let (direct, of) = open(&config).await;
        let object = key(&of, "cut");
        let data = noise(3_000_000, 7);
        put(&direct, &object, data.clone()).await;
        let repository = harmed(&config, Harm::CutDown(1_000_000), 2).await;
        assert_eq!(read(&repository, &object).await.unwrap(), data, "{name}");

        // One that is always cut ends as an error, not short and not in a circle.
        let mut cut = config.clone();
        (cut.retries, cut.retry_timeout) = (3, 5);
        let repository = harmed(&cut, Harm::CutDown(100_000), usize::MAX).await;
        let start = Instant::now();
        let error = read(&repository, &object).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unavailable, "{name}: {error}");
        assert!(start.elapsed() < Duration::from_mins(1), "{name}");
    }
}

#[tokio::test]
async fn an_object_replaced_in_the_middle_of_a_broken_download_is_no_mixture() {
    for (name, config) in servers::all() {
        let (direct, of) = open(&config).await;
        let object = key(&of, "k");
        put(&direct, &object, noise(8_000_000, 1)).await;
        let repository = harmed(&config, Harm::CutDown(1_000_000), 1).await;
        let mut body = repository.get(&object, None).await.unwrap().body;
        body.next().await.unwrap().unwrap();
        put(&direct, &object, noise(8_000_000, 2)).await;
        let rest: Result<Vec<_>> = body.try_collect().await;
        let error = rest.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Conflict, "{name}: {error}");
        assert!(error.to_string().contains("replaced"), "{name}: {error}");
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
            let (direct, of) = open(&config).await;
            let repository = harmed(&config, harm, 2).await;
            let data = noise(1_000_000, 9);
            let object = key(&of, "k");
            put(&repository, &object, data.clone()).await;
            assert_eq!(
                read(&direct, &object).await.unwrap(),
                data,
                "{name} {harm:?}"
            );
        }
    }
}
