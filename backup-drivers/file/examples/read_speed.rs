//! How fast a file or device is read, by request size and requests in flight, from the page cache, from the disk, and
//! past the page cache. For choosing defaults.
//!
//! `cargo run --release -p backup-file --example read_speed -- PATH`
#![allow(
    clippy::print_stdout,
    clippy::cast_precision_loss,
    reason = "it prints rounded rates"
)]

use std::fs::File;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use backup_core::{BlockDevice, BufferPool, Error, Result};
use backup_file::{DeviceOptions, DirectReads, FileDevice};
use rustix::fs::{Advice, fadvise};

const MIB: u64 = 1 << 20;

#[tokio::main]
async fn main() -> Result<()> {
    let path = std::env::args()
        .nth(1)
        .ok_or_else(|| Error::invalid("read speed", "name a file or a device"))?;
    let path = Path::new(&path);
    println!("cache  direct     MiB each  in flight    MiB/s  CPU ms/GiB");
    for cold in [false, true] {
        prepare(path, cold)?;
        let (start, length) = (
            Instant::now(),
            FileDevice::open(path, DeviceOptions::read_only()),
        );
        let length = length.await?.geometry().length;
        Command::new("cat")
            .arg(path)
            .stdout(std::process::Stdio::null())
            .status()
            .map_err(|e| Error::io("run", "cat", e))?;
        let rate = length as f64 / MIB as f64 / start.elapsed().as_secs_f64();
        println!(
            "{}  cat                              {rate:7.0}",
            name(cold)
        );
        for direct in [
            DirectReads::Never,
            DirectReads::WhereCold,
            DirectReads::Always,
        ] {
            for size in [1, 4, 8] {
                for in_flight in [1, 2, 4, 8] {
                    prepare(path, cold)?;
                    let (rate, cpu) = measure(path, direct, size * MIB, in_flight).await?;
                    println!(
                        "{}  {:9}  {size:8}  {in_flight:9}  {rate:7.0}  {cpu:10.0}",
                        name(cold),
                        format!("{direct:?}")
                    );
                }
            }
        }
    }
    Ok(())
}

fn name(cold: bool) -> &'static str {
    if cold { "cold " } else { "warm " }
}

/// Puts all of the file into the page cache, or none of it.
fn prepare(path: &Path, cold: bool) -> Result<()> {
    let error = |e| Error::io("prepare", path.display(), e);
    let mut file = File::open(path).map_err(error)?;
    if cold {
        fadvise(&file, 0, None, Advice::DontNeed).map_err(|e| error(e.into()))
    } else {
        std::io::copy(&mut file, &mut std::io::sink())
            .map(drop)
            .map_err(error)
    }
}

/// MiB per second, and milliseconds of CPU time for each GiB.
async fn measure(
    path: &Path,
    direct: DirectReads,
    size: u64,
    in_flight: usize,
) -> Result<(f64, f64)> {
    let options = DeviceOptions::read_only().with_direct_reads(direct);
    let device = Arc::new(FileDevice::open(path, options).await?);
    let pool = BufferPool::new(16 * size);
    let next = Arc::new(AtomicU64::new(0));
    let (start, cpu) = (Instant::now(), cpu_seconds());
    let readers: Vec<_> = (0..in_flight)
        .map(|_| {
            let (device, pool, next) = (Arc::clone(&device), pool.clone(), Arc::clone(&next));
            tokio::spawn(async move {
                loop {
                    let at = next.fetch_add(size, Ordering::Relaxed);
                    let length = size.min(device.geometry().length.saturating_sub(at));
                    if length == 0 {
                        return Ok(());
                    }
                    let length = usize::try_from(length).unwrap_or(usize::MAX);
                    device.read(at, pool.take(length)).await.1?;
                }
            })
        })
        .collect();
    for reader in readers {
        reader
            .await
            .map_err(|e| Error::internal("read speed", e.to_string()))
            .flatten()?;
    }
    let seconds = start.elapsed().as_secs_f64();
    let mib = device.geometry().length as f64 / MIB as f64;
    Ok((
        mib / seconds,
        (cpu_seconds() - cpu) * 1000.0 / (mib / 1024.0),
    ))
}

/// CPU time of this process, user and system, in seconds.
fn cpu_seconds() -> f64 {
    const TICKS: f64 = 100.0; // a second; USER_HZ is 100 on every Linux of today
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    stat.rsplit(") ")
        .next()
        .unwrap_or_default()
        .split(' ')
        .skip(11)
        .take(2)
        .filter_map(|ticks| ticks.parse::<f64>().ok())
        .sum::<f64>()
        / TICKS
}
