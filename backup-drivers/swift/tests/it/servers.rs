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
