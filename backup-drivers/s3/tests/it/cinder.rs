//! Both ways with Cinder's own s3 driver, on the same servers.

use backup_s3::S3Repository;
use cinder_chains::{Cinder, python, take_turns};

use crate::life::engine;
use crate::servers::{all, list, open};

/// The secret of the servers of these tests: moto takes any.
fn secret() -> String {
    std::env::var("ASHLAR_TEST_S3_RGW_SECRET").unwrap_or_else(|_| "any".into())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_chain_of_ours_and_cinders_restores_by_both() {
    let Some(python) = python() else {
        println!("skipped: ASHLAR_TEST_CINDER_PYTHON is not set");
        return;
    };
    for (name, config) in all() {
        let (_, bucket) = open(&config).await;
        let config = config.with_bucket(bucket.as_str());
        let settings = [
            format!("--endpoint={}", config.endpoint_url.as_ref().unwrap()),
            format!("--access-key={}", config.access_key.as_ref().unwrap()),
            format!("--secret-key={}", secret()),
            format!("--bucket={bucket}"),
        ];
        let cinder = Cinder::new(&python, "s3", settings);
        let engine = engine(S3Repository::new(&config).unwrap());
        take_turns(name, &engine, Some(&bucket), &cinder).await;
        let left = S3Repository::new(&config).unwrap();
        assert_eq!(list(&left, &bucket, "").await, [], "{name}");
    }
}
