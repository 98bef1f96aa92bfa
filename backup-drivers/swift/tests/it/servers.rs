//! The real servers, and what tests need of a repository.

use std::env;
use std::sync::atomic::{AtomicU32, Ordering};

use backup_core::{ContainerName, Listed, ObjectKey, PutMode, Repository, Result};
use backup_swift::{SwiftConfig, SwiftRepository};
use bytes::{Bytes, BytesMut};
use futures::TryStreamExt;

/// Swift with its own users, where it runs.
pub(crate) fn v1() -> Option<SwiftConfig> {
    let url = named("ASHLAR_TEST_SWIFT_V1")?;
    Some(SwiftConfig::new(url).with_user("test:tester", "testing"))
}

/// Swift with Keystone's users, where it runs.
pub(crate) fn v3() -> Option<SwiftConfig> {
    let url = named("ASHLAR_TEST_SWIFT_V3")?;
    Some(
        SwiftConfig::new(url)
            .with_user("demo", "demopw")
            .with_project("demo"),
    )
}

/// Ceph's gateway with its Swift API, where it runs.
pub(crate) fn radosgw() -> Option<SwiftConfig> {
    let url = env::var("ASHLAR_TEST_SWIFT_RGW")
        .ok()
        .filter(|v| !v.is_empty())?;
    let user = env::var("ASHLAR_TEST_SWIFT_RGW_USER").unwrap_or_default();
    let key = env::var("ASHLAR_TEST_SWIFT_RGW_KEY").unwrap_or_default();
    Some(SwiftConfig::new(url).with_user(user, key))
}

/// All that run, with their names.
pub(crate) fn all() -> Vec<(&'static str, SwiftConfig)> {
    let all = [("v1", v1()), ("v3", v3()), ("radosgw", radosgw())];
    let running = all.into_iter();
    running.filter_map(|(name, c)| Some((name, c?))).collect()
}

pub(crate) fn named(variable: &str) -> Option<String> {
    let value = env::var(variable).ok().filter(|v| !v.is_empty());
    if value.is_none() {
        println!("skipped: {variable} is not set; scripts/servers/swift/with-servers sets it");
    }
    value
}

/// A container name that no other test has.
pub(crate) fn fresh() -> String {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let next = NEXT.fetch_add(1, Ordering::Relaxed);
    let time = backup_core::Timestamp::now().as_micros();
    format!("test-{time}-{next}")
}

pub(crate) fn container(name: &str) -> ContainerName {
    ContainerName::new(name).unwrap()
}

pub(crate) fn key(container: &ContainerName, name: &str) -> ObjectKey {
    ObjectKey::new(container, name).unwrap()
}

/// A repository with a container of its own, made.
pub(crate) async fn open(config: &SwiftConfig) -> (SwiftRepository, ContainerName) {
    let config = config.clone().with_container(fresh());
    let repository = SwiftRepository::open(&config).unwrap();
    let container = container(&config.container);
    let made = repository.ensure_container(&container).await;
    made.unwrap_or_else(|e| panic!("{e}"));
    (repository, container)
}

pub(crate) async fn put(repository: &SwiftRepository, key: &ObjectKey, data: Bytes) {
    let put = repository.put(key, data, PutMode::Overwrite).await;
    put.unwrap_or_else(|e| panic!("{e}"));
}

pub(crate) async fn read(repository: &SwiftRepository, key: &ObjectKey) -> Result<Bytes> {
    let mut body = repository.get(key, None).await?.body;
    let mut all = BytesMut::new();
    while let Some(piece) = body.try_next().await? {
        all.extend_from_slice(&piece);
    }
    Ok(all.freeze())
}

pub(crate) async fn list(
    repository: &SwiftRepository,
    of: &ContainerName,
    prefix: &str,
) -> Vec<Listed> {
    let stream = repository.list(of, prefix, None).await.unwrap();
    let mut all: Vec<Listed> = stream.try_collect().await.unwrap();
    all.sort_by(|a, b| a.name.cmp(&b.name));
    all
}

/// Bytes that no codec and no proxy shortens, the same for each seed.
pub(crate) fn noise(length: usize, seed: u64) -> Bytes {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let words = std::iter::repeat_with(|| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()
    });
    words.flatten().take(length).collect()
}

/// A token of version 1, for what a test does to the account by itself.
pub(crate) async fn token(config: &SwiftConfig) -> String {
    let request = reqwest::Client::new()
        .get(config.auth_url.as_ref().unwrap())
        .header("x-auth-user", "test:tester")
        .header("x-auth-key", "testing");
    let answer = request.send().await.unwrap();
    answer.headers()["x-auth-token"]
        .to_str()
        .unwrap()
        .to_owned()
}
