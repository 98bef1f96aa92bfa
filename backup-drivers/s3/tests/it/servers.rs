//! The real servers, and what tests need of a repository.

use std::env;
use std::sync::atomic::{AtomicU32, Ordering};

use backup_core::{ContainerName, Listed, ObjectKey, PutMode, Repository, Result};
use backup_s3::{S3Config, S3Repository};
use bytes::{Bytes, BytesMut};
use futures::TryStreamExt;

/// Ceph's gateway, where it runs.
pub(crate) fn radosgw() -> Option<S3Config> {
    let url = named("ASHLAR_TEST_S3_RGW")?;
    let key = env::var("ASHLAR_TEST_S3_RGW_KEY").unwrap_or_default();
    let secret = env::var("ASHLAR_TEST_S3_RGW_SECRET").unwrap_or_default();
    Some(S3Config::new(url).with_keys(key, secret))
}

/// moto, where it runs. It takes any key.
pub(crate) fn moto() -> Option<S3Config> {
    Some(S3Config::new(named("ASHLAR_TEST_S3_MOTO")?).with_keys("any", "any"))
}

/// All that run, with their names.
pub(crate) fn all() -> Vec<(&'static str, S3Config)> {
    let both = [("radosgw", radosgw()), ("moto", moto())];
    let running = both.into_iter();
    running.filter_map(|(name, c)| Some((name, c?))).collect()
}

pub(crate) fn named(variable: &str) -> Option<String> {
    let value = env::var(variable).ok().filter(|v| !v.is_empty());
    if value.is_none() {
        println!("skipped: {variable} is not set; scripts/servers/s3/with-servers sets it");
    }
    value
}

/// A bucket name that no other test has.
pub(crate) fn fresh() -> String {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let next = NEXT.fetch_add(1, Ordering::Relaxed);
    let time = backup_core::Timestamp::now().as_micros();
    format!("test-{time}-{next}")
}

/// A repository with a bucket of its own, made.
pub(crate) async fn open(config: &S3Config) -> (S3Repository, ContainerName) {
    let config = config.clone().with_bucket(fresh());
    let repository = S3Repository::new(&config).unwrap();
    let container = container(&config.bucket);
    repository.ensure_container(&container).await.unwrap();
    (repository, container)
}

pub(crate) fn container(name: &str) -> ContainerName {
    ContainerName::new(name).unwrap()
}

pub(crate) fn key(container: &ContainerName, name: &str) -> ObjectKey {
    ObjectKey::new(container, name).unwrap()
}

pub(crate) async fn put(repository: &S3Repository, key: &ObjectKey, data: Bytes) {
    let put = repository.put(key, data, PutMode::Overwrite).await;
    put.unwrap_or_else(|e| panic!("{e}"));
}

pub(crate) async fn read(repository: &S3Repository, key: &ObjectKey) -> Result<Bytes> {
    let mut body = repository.get(key, None).await?.body;
    let mut all = BytesMut::new();
    while let Some(piece) = body.try_next().await? {
        all.extend_from_slice(&piece);
    }
    Ok(all.freeze())
}

pub(crate) async fn list(
    repository: &S3Repository,
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
