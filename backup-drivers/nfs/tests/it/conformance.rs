//! The promises of every repository.

use backup_core::testing::{ConformanceOptions, conformance};

use crate::servers::{VERSIONS, files, ganesha, open};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_client_without_a_mount_keeps_the_promises_with_each_version() {
    let Some(server) = ganesha() else { return };
    for version in VERSIONS {
        let (config, folder) = server.place(version);
        let options = ConformanceOptions::default().with_cleared_leftovers();
        let passed = conformance(open(&config), options).await;
        let passed = passed.unwrap_or_else(|e| panic!("version {version}: {e}"));
        println!("version {version}: {} checks", passed.len());
        assert_eq!(files(&folder), [""; 0], "version {version}");
    }
}
