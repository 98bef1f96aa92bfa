//! Both ways with Cinder's own swift driver, on the same servers.

use std::sync::Arc;
use std::time::Duration;

use backup_core::{ChunkedBackup, ChunkedConfig, ContainerName, VolumeId};
use backup_swift::{AuthKind, Secret, SwiftConfig, SwiftRepository};
use cinder_chains::{Cinder, LENGTH, back_up, content, noise, python, scan, take_turns};

use crate::keystone::demo_token;
use crate::life::engine;
use crate::servers::{container, list, open, v1, v3};

/// How Cinder gets at each account: by version 1 and by Keystone as one user for all, and as each user by itself, with
/// that user's token.
async fn accounts() -> Vec<(&'static str, SwiftConfig, Vec<String>)> {
    let mut all = Vec::new();
    let set = |options: &[(&str, &str)]| {
        let option = |(name, value): &(&str, &str)| format!("--set=backup_swift_{name}={value}");
        options.iter().map(option).collect::<Vec<_>>()
    };
    if let Some(config) = v1() {
        let url = config.auth_url.clone().unwrap();
        let options = [
            ("auth", "single_user"),
            ("auth_version", "1"),
            ("auth_url", &url),
            ("user", "test:tester"),
            ("key", "testing"),
        ];
        all.push(("v1", config, set(&options)));
    }
    if let Some(config) = v3() {
        let url = config.auth_url.clone().unwrap();
        let options = [
            ("auth", "single_user"),
            ("auth_version", "3"),
            ("auth_url", &url),
            ("user", "demo"),
            ("key", "demopw"),
            ("project", "demo"),
            ("project_domain", "Default"),
            ("user_domain", "Default"),
        ];
        all.push(("v3", config.clone(), set(&options)));
        let account = SwiftRepository::open(&config)
            .unwrap()
            .account_url()
            .await
            .unwrap();
        let (endpoint, project) = account.rsplit_once('_').unwrap();
        let token = demo_token(&url).await;
        let options = vec![
            format!("--endpoint={endpoint}_"),
            format!("--project={project}"),
            format!("--auth-token={token}"),
        ];
        let mut own = SwiftConfig::default();
        own.auth = AuthKind::PerUser;
        own.storage_url = Some(account);
        own.token = Some(Secret::new(token));
        all.push(("per_user", own, options));
    }
    all
}

/// Cinder with Python and the options for an account, in a container.
fn cinder(python: &str, account: &[String], of: &ContainerName) -> Cinder {
    let container = [format!("--bucket={of}")];
    Cinder::new(
        python,
        "swift",
        container.into_iter().chain(account.iter().cloned()),
    )
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_chain_of_ours_and_cinders_restores_by_both() {
    let Some(python) = python() else {
        println!("skipped: ASHLAR_TEST_CINDER_PYTHON is not set");
        return;
    };
    for (name, config, account) in accounts().await {
        let (_, of) = open(&config).await;
        let config = config.with_container(of.as_str());
        let engine = engine(SwiftRepository::open(&config).unwrap());
        let cinder = cinder(&python, &account, &of);
        take_turns(name, &engine, Some(&of), &cinder).await;
        let left = SwiftRepository::open(&config).unwrap();
        assert_eq!(list(&left, &of, "").await, [], "{name}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_chain_of_ours_and_cinders_objects_in_segments_are_restored_by_cinder() {
    let Some(python) = python() else {
        println!("skipped: ASHLAR_TEST_CINDER_PYTHON is not set");
        return;
    };
    for (name, config, account) in accounts().await {
        let (_, of) = open(&config).await;
        let mut config = config.with_container(of.as_str());
        // Each chunk of 4 MiB becomes a manifest and its segments.
        (config.max_object_size, config.segment_size) = (Some(1 << 20), 1 << 20);
        let large = ChunkedConfig::zlib().unwrap();
        let large = large.with_chunk_size(4 << 20).with_block_size(32 << 10);
        let repository = Arc::new(SwiftRepository::open(&config).unwrap());
        let engine = ChunkedBackup::new(repository, large).unwrap();
        let volume = cinder_chains::volume();
        volume.poke(0, &noise(usize::try_from(LENGTH).unwrap(), 1));
        back_up(&engine, VolumeId::generate(), &volume, None).await;
        let direct = SwiftRepository::open(&config).unwrap();
        let segments = list(&direct, &container(&format!("{of}_segments")), "").await;
        assert!(segments.len() >= 4, "{name}: {segments:?}");

        let records = scan(&engine, Some(&of)).await;
        let cinder = cinder(&python, &account, &of);
        let restored = cinder.restore(&records);
        assert!(restored == content(&volume), "{name} by Cinder");

        // Cinder deletes the manifest only; what it leaves behind is found.
        cinder.delete(&records);
        let found = direct.unfinished_uploads(&of, "", Duration::ZERO).await;
        assert!(!found.unwrap().is_empty(), "{name}");
    }
}
