//! The promises of every repository, on every server.

use std::sync::Arc;

use backup_core::testing::{ConformanceOptions, conformance};
use backup_core::{ContainerName, Error, ErrorKind, Repository};
use backup_s3::S3Repository;
use backup_s3::object_store::ObjectStore;
use backup_s3::object_store::memory::InMemory;

use crate::servers::{all, container, fresh};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_server_keeps_the_promises() {
    for (name, mut config) in all() {
        config.part_size = 5 << 20;
        let repository = Arc::new(S3Repository::new(&config).unwrap());
        let bucket = container(&fresh());
        let options = ConformanceOptions::default()
            .with_container(bucket)
            .with_part(5 << 20);
        let passed = conformance(repository, options).await;
        let passed = passed.unwrap_or_else(|e| panic!("{name}: {e}"));
        println!("{name}: {} checks", passed.len());
    }
}

#[tokio::test]
async fn a_store_that_was_handed_in_keeps_the_promises() {
    let open = |container: &ContainerName| match container.as_str() {
        "volumebackups" => Ok(Arc::new(InMemory::new()) as Arc<dyn ObjectStore>),
        other => Err(Error::new(ErrorKind::NotFound, "open store").on(other)),
    };
    let repository = S3Repository::from_stores(open).unwrap();
    let repository: Arc<dyn Repository> = Arc::new(repository);
    let options = ConformanceOptions::default()
        .with_container(container("volumebackups"))
        .without_making_containers();
    let passed = conformance(repository, options).await;
    println!("in memory: {} checks", passed.unwrap().len());
}
