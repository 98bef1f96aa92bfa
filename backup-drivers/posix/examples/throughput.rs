//! How fast a folder takes objects and gives them back, durable: `cargo run --release --example throughput FOLDER`.
//!
//! Writes 1 GiB in objects of 8 MiB and 500 objects of 32 KiB, 16 puts in flight, and tells the time of the puts, of
//! the barrier behind them, and of reading all back. Removes what it wrote.
#![allow(clippy::print_stdout)]

use std::time::Instant;

use backup_core::{ContainerName, ObjectKey, PutMode, Repository, Result};
use backup_posix::{PosixConfig, PosixRepository, Sync};
use bytes::Bytes;
use futures::{StreamExt, TryStreamExt};

const IN_FLIGHT: usize = 16;

async fn run(sync: Sync, folder: &str, count: u32, bytes: usize) -> Result<()> {
    let repository = PosixRepository::open(&PosixConfig::new(folder).with_sync(sync))?;
    let container = ContainerName::new("throughput")?;
    repository.ensure_container(&container).await?;
    let keys: Vec<ObjectKey> = (0..count)
        .map(|i| ObjectKey::new(&container, format!("object-{i}")))
        .collect::<Result<_>>()?;
    let data: Bytes = (0..bytes).map(|i| (i * i / 7).to_le_bytes()[0]).collect();

    let begin = Instant::now();
    let put = |key: ObjectKey| {
        let (repository, data) = (&repository, data.clone());
        async move { repository.put(&key, data, PutMode::CreateOnly).await }
    };
    futures::stream::iter(keys.clone())
        .map(put)
        .buffer_unordered(IN_FLIGHT)
        .try_collect::<()>()
        .await?;
    let written = begin.elapsed();
    repository.barrier(&container).await?;
    let durable = begin.elapsed();
    let waited = durable.saturating_sub(written);

    let begin = Instant::now();
    let get = |key: ObjectKey| {
        let repository = &repository;
        async move {
            let body = repository.get(&key, None).await?.body;
            body.try_fold(0, |sum, piece| async move { Ok(sum + piece.len()) })
                .await
        }
    };
    let read: Vec<usize> = futures::stream::iter(keys.clone())
        .map(get)
        .buffer_unordered(IN_FLIGHT)
        .try_collect()
        .await?;
    let read_back = begin.elapsed();
    repository
        .delete(&keys)
        .await
        .into_iter()
        .collect::<Result<()>>()?;

    let moved: u32 = read
        .iter()
        .map(|bytes| u32::try_from(bytes >> 10).unwrap_or(u32::MAX))
        .sum(); // KiB
    let mb = f64::from(moved) * 1.024e-3;
    println!(
        "{sync:?}, {count} objects of {} KiB: puts {:.2} s, barrier {:.2} s, {:.0} MB/s; read back {:.2} s",
        bytes >> 10,
        written.as_secs_f64(),
        waited.as_secs_f64(),
        mb / durable.as_secs_f64(),
        read_back.as_secs_f64(),
    );
    Ok(())
}

#[tokio::main]
async fn main() -> Result<()> {
    let folder = std::env::args().nth(1).unwrap_or_else(|| ".".into());
    for sync in [Sync::Barrier, Sync::Never, Sync::Barrier, Sync::Never] {
        run(sync, &folder, 128, 8 << 20).await?;
        run(sync, &folder, 500, 32 << 10).await?;
    }
    Ok(())
}
