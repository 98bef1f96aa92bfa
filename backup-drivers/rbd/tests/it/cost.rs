//! What an incremental reads of its source: what was touched, whatever the image's size and whatever was there before.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Instant;

use backup_core::{Backup, ChunkedBackup, ChunkedConfig, Outcome};
use backup_posix::{PosixConfig, PosixRepository};
use backup_rbd::{HOLES_IN_OBJECTS, Image};
use bytes::Bytes;
use futures::{StreamExt, stream};

use crate::ceph::{Random, conf, noise, volumes_config};
use crate::repository::engine;
use crate::subject::Subject;

const MIB: u64 = 1 << 20;
const BLOCK: u64 = 32 << 10;
const OBJECT: u64 = 4 * MIB;
const PER_OBJECT: u64 = OBJECT / BLOCK;

/// GiB of the image, a MiB of which changes for each: 64 of 64 GiB are what docs/promises.md speaks of.
fn gibibytes() -> u64 {
    let asked = std::env::var("ASHLAR_TEST_RBD_GIB").ok();
    asked.and_then(|n| n.parse().ok()).unwrap_or(4)
}

/// Writes a block of noise at each of these block numbers.
async fn write(image: &Image, blocks: &BTreeSet<u64>, seed: u64) {
    let writes = blocks.iter().map(|&block| {
        let data = noise(seed ^ block, usize::try_from(BLOCK).unwrap());
        async move { image.write(block * BLOCK, Bytes::from(data)).await.unwrap() }
    });
    stream::iter(writes)
        .buffer_unordered(16)
        .for_each(|()| async {})
        .await;
}

/// `count` of the blocks in `of`, anywhere.
fn scattered(random: &mut Random, count: u64, of: std::ops::Range<u64>) -> BTreeSet<u64> {
    let mut blocks = BTreeSet::new();
    while (blocks.len() as u64) < count {
        blocks.insert(of.start + random.below(of.end - of.start));
    }
    blocks
}

fn objects(blocks: &BTreeSet<u64>) -> u64 {
    let objects: BTreeSet<u64> = blocks.iter().map(|b| b * BLOCK / OBJECT).collect();
    objects.len() as u64
}

/// One incremental after `blocks` were written, which must read no more than `most` bytes.
async fn costs(s: &mut Subject, what: &str, blocks: &BTreeSet<u64>, most: u64) -> Outcome {
    let image = s.image().await;
    write(&image, blocks, s.layers.len() as u64 * 1_000_003).await;
    image.close().await.unwrap();
    let before = Instant::now();
    let outcome = s.back_up().await;
    let touched = blocks.len() as u64 * BLOCK;
    println!(
        "{what}: {touched} bytes in {} touched blocks ({} objects): read {}, audited {}, stored {}, {:.2} s",
        blocks.len(),
        objects(blocks),
        outcome.read_bytes,
        outcome.audited_bytes,
        outcome.stored_bytes,
        before.elapsed().as_secs_f64()
    );
    assert!(outcome.read_bytes >= touched, "{what}: {outcome:?}");
    assert!(
        outcome.read_bytes <= most,
        "{what}: at most {most}: {outcome:?}"
    );
    outcome
}

async fn an_incremental_costs_what_was_touched(name: &str, engine: Arc<dyn Backup>, fast: bool) {
    let Some(conf) = conf() else {
        return;
    };
    let gib = gibibytes();
    let mut config = volumes_config(&conf);
    config.fast_diff = fast;
    let mut s = Subject::new(config, engine, gib << 30).await;
    let count = gib * MIB / BLOCK;
    // The first sixteenth holds data, the rest is holes.
    let (data, all) = ((gib << 30) / BLOCK / 16, (gib << 30) / BLOCK);
    let image = s.image().await;
    let held: BTreeSet<u64> = (0..data).step_by(16).collect();
    write(&image, &held, 7).await;
    image.close().await.unwrap();
    s.back_up().await;
    let mut random = Random(11);
    // Exactly, blocks; where only the touched objects are known, those.
    let most = |blocks: &BTreeSet<u64>| {
        if fast {
            objects(blocks) * OBJECT
        } else {
            2 * blocks.len() as u64 * BLOCK
        }
    };
    let contiguous: BTreeSet<u64> = (data / 2..data / 2 + count).collect();
    let overwritten = scattered(&mut random, count, 0..data);
    let label = |what: &str| format!("{name}{}, {what}", if fast { ", fast_diff" } else { "" });
    costs(&mut s, &label("contiguous"), &contiguous, most(&contiguous)).await;
    costs(
        &mut s,
        &label("scattered over data"),
        &overwritten,
        most(&overwritten),
    )
    .await;
    let into_holes = scattered(&mut random, count, data..all);
    if HOLES_IN_OBJECTS || fast {
        costs(
            &mut s,
            &label("scattered into holes"),
            &into_holes,
            most(&into_holes),
        )
        .await;
    } else {
        println!("skipped: this build cannot ask objects for their holes (libradospp-dev)");
    }
    // Into objects that end before: all behind their old end is told.
    let behind: BTreeSet<u64> = into_holes
        .iter()
        .map(|block| block / PER_OBJECT * PER_OBJECT + PER_OBJECT - 1)
        .filter(|last| !into_holes.contains(last))
        .collect();
    if HOLES_IN_OBJECTS || fast {
        let what = label("behind the ends of objects");
        costs(&mut s, &what, &behind, most(&behind)).await;
    }
    let nothing = s.back_up().await;
    assert_eq!((nothing.read_bytes, nothing.stored_bytes), (0, 0));
    s.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_incremental_to_a_pool_reads_what_was_touched_and_at_most_once_more() {
    let Some(conf) = conf() else {
        return;
    };
    let pool = Arc::new(engine(&conf, 0));
    an_incremental_costs_what_was_touched("pool", pool.clone(), false).await;
    an_incremental_costs_what_was_touched("pool", pool, true).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_incremental_to_files_reads_what_was_touched_and_at_most_once_more() {
    let folder = tempfile::tempdir().unwrap();
    let repository = PosixRepository::open(&PosixConfig::new(folder.path())).unwrap();
    let config = ChunkedConfig::zlib().unwrap().with_audit(0);
    let files = Arc::new(ChunkedBackup::new(Arc::new(repository), config).unwrap());
    an_incremental_costs_what_was_touched("files", files.clone(), false).await;
    an_incremental_costs_what_was_touched("files", files, true).await;
}
