//! Backups of a volume that another client writes all the time: each is of one moment, that of its snapshot, as the
//! cluster's own `rbd export` tells it.

use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use backup_core::{Backup, ByteRange, ChunkedBackup, ChunkedConfig};
use backup_posix::{PosixConfig, PosixRepository};
use bytes::Bytes;

use crate::ceph::{Ceph, Random, conf, noise, until, volumes_config};
use crate::repository::engine;
use crate::subject::Subject;

const MIB: u64 = 1 << 20;

/// Not a whole number of objects, blocks or pages.
const LENGTH: u64 = 16 * MIB + 512;

/// How many incrementals are made, where a test makes `few`: more in a soak.
fn incrementals(few: usize) -> usize {
    let asked = std::env::var("ASHLAR_MODEL_CASES").ok();
    asked.and_then(|n| n.parse().ok()).unwrap_or(0).max(few)
}

/// What the cluster's own tool says that a snapshot holds.
fn exported(conf: &str, image: &str, snapshot: &str) -> Vec<u8> {
    let output = Command::new("rbd")
        .args(["--conf", conf, "--id", "cinder", "export", "--no-progress"])
        .arg(format!("volumes/{image}@{snapshot}"))
        .arg("-")
        .output()
        .unwrap();
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    output.stdout
}

/// Writes, zeroes and discards at random, by a connection of its own, until it is aborted.
async fn write_for_ever(image: String, written: Arc<AtomicUsize>) {
    let other = Ceph::connect().await.unwrap();
    let image = other.pool.open_image(&image).await.unwrap();
    let mut random = Random(3);
    loop {
        let at = random.below(LENGTH / 512) * 512;
        let length = (1 + random.below(64)) * 512;
        let range = ByteRange::new(at, (at + length).min(LENGTH)).unwrap();
        match random.below(8) {
            0 => image.write_zeroes(range).await.unwrap(),
            1 => image.discard(range).await.unwrap(),
            _ => {
                let data = noise(random.next(), usize::try_from(range.len()).unwrap());
                image.write(at, Bytes::from(data)).await.unwrap();
            }
        }
        written.fetch_add(1, Ordering::SeqCst);
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}

async fn every_point_in_time_is_what_the_cluster_exports(
    conf: &str,
    engine: Arc<dyn Backup>,
    incrementals: usize,
) {
    let mut config = volumes_config(conf);
    // All are compared at the end.
    config.max_snapshots = 0;
    let mut s = Subject::new(config, engine, LENGTH).await;
    let written = Arc::new(AtomicUsize::new(0));
    let writing = tokio::spawn(write_for_ever(s.name(), Arc::clone(&written)));
    let (mut read, mut stored) = (0, 0);
    for _ in 0..=incrementals {
        let outcome = s.back_up().await;
        read += outcome.read_bytes;
        stored += outcome.stored_bytes;
        // So that something is written between any two, however slow the machine: a write that ended may have begun
        // before the snapshot, of the next few one did not.
        let enough = written.load(Ordering::SeqCst) + 8;
        until("write beside the backups", || {
            written.load(Ordering::SeqCst) >= enough || writing.is_finished()
        })
        .await;
        assert!(
            !writing.is_finished(),
            "the writer keeps its lock and goes on"
        );
    }
    writing.abort();
    assert!(writing.await.unwrap_err().is_cancelled());
    let mut before = Vec::new();
    for (number, snapshot) in s.snapshots.iter().enumerate() {
        let expected = exported(conf, &s.name(), snapshot);
        assert_eq!(expected.len() as u64, LENGTH);
        assert!(expected != before, "nothing was written before {number}");
        assert!(s.restored(number).await == expected, "backup {number}");
        before = expected;
    }
    println!(
        "{incrementals} incrementals beside a writer restored as exported; {read} bytes read, {stored} stored"
    );
    s.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn model_thirty_incrementals_to_a_pool_beside_a_writer_are_what_rbd_export_says() {
    let Some(conf) = conf() else {
        return;
    };
    let engine = Arc::new(engine(&conf, 10_000));
    every_point_in_time_is_what_the_cluster_exports(&conf, engine, incrementals(30)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn model_incrementals_to_files_beside_a_writer_are_what_rbd_export_says() {
    let Some(conf) = conf() else {
        return;
    };
    let folder = tempfile::tempdir().unwrap();
    let repository = PosixRepository::open(&PosixConfig::new(folder.path())).unwrap();
    let config = ChunkedConfig::zlib().unwrap();
    let engine = Arc::new(ChunkedBackup::new(Arc::new(repository), config).unwrap());
    every_point_in_time_is_what_the_cluster_exports(&conf, engine, incrementals(10)).await;
}
