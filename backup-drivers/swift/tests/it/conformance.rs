//! The promises of every repository, on every server.

use std::sync::Arc;

use backup_core::testing::{ConformanceOptions, conformance};
use backup_swift::SwiftRepository;

use crate::servers::{all, container, fresh, v1};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_server_keeps_the_promises() {
    for (name, config) in all() {
        let repository = Arc::new(SwiftRepository::open(&config).unwrap());
        let options = ConformanceOptions::default().with_container(container(&fresh()));
        let passed = conformance(repository, options).await;
        let passed = passed.unwrap_or_else(|e| panic!("{name}: {e}"));
        println!("{name}: {} checks", passed.len());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn objects_in_segments_keep_the_promises() {
    let Some(mut config) = v1() else { return };
    (config.max_object_size, config.segment_size) = (Some(1 << 20), 1 << 20);
    let repository = Arc::new(SwiftRepository::open(&config).unwrap());
    let options = ConformanceOptions::default()
        .with_container(container(&fresh()))
        .with_part(1_500_000)
        .with_many(20)
        // Who reads a large object while it is replaced is told so: its segments are gone.
        .without_atomic_overwrite();
    let passed = conformance(repository, options).await;
    println!("in segments: {} checks", passed.unwrap().len());
}
