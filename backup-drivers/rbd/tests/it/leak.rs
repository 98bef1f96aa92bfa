//! Memory over a long run in one process: connections, images, snapshots, buffers and threads all come and go.

use std::process::Command;
use std::sync::Arc;

use backup_core::{Backup, ChunkedBackup, ChunkedConfig};
use backup_posix::{PosixConfig, PosixRepository};
use bytes::Bytes;

use crate::ceph::{conf, noise, volumes_config};
use crate::repository::engine;
use crate::subject::Subject;

const MIB: u64 = 1 << 20;

/// What may be allocated more after a round than before it: tables that grow by doubling, log lines not yet dropped.
const A_ROUND: u64 = 32 << 10; // bytes

/// The same once: what is in flight when the figure is taken.
const ONCE: u64 = 512 << 10; // bytes

/// What a job may take, however many came before it.
const LIMIT: u64 = 384 << 20; // bytes

/// Rounds without a word of how many.
const FEW: u64 = 12;

/// Set for the process that does the work: its memory must be nobody else's.
const ROUNDS: &str = "ASHLAR_TEST_LEAK_ROUNDS";

/// What this process holds.
#[derive(Debug)]
struct Held {
    /// Bytes that were allocated and not freed: by us, by librbd and by librados.
    allocated: u64,
    /// Bytes in memory. The allocator keeps what was freed in as many arenas as there are threads that ever met, so this
    /// grows for a hundred rounds and tells little.
    resident: u64,
    threads: usize,
    files: usize,
}

#[allow(unsafe_code, reason = "a figure of the C library's allocator")]
fn allocated() -> u64 {
    // SAFETY: it takes no argument, hands out no pointer, and may be called at any time from any thread.
    let told = unsafe { libc::mallinfo2() };
    (told.uordblks + told.hblkhd) as u64
}

impl Held {
    fn now() -> Self {
        let status = std::fs::read_to_string("/proc/self/status").unwrap();
        let line = |key: &str| -> u64 {
            let line = status.lines().find_map(|l| l.strip_prefix(key)).unwrap();
            line.trim_end_matches("kB").trim().parse().unwrap()
        };
        Self {
            allocated: allocated(),
            resident: line("VmRSS:") * 1024,
            threads: usize::try_from(line("Threads:")).unwrap(),
            files: std::fs::read_dir("/proc/self/fd").unwrap().count(),
        }
    }
}

async fn round(conf: &str, engine: Arc<dyn Backup>, number: u64) {
    let mut s = Subject::new(volumes_config(conf), engine, 12 * MIB).await;
    let image = s.image().await;
    let data = noise(number, 7 << 20);
    image.write(MIB, Bytes::from(data)).await.unwrap();
    s.back_up().await;
    let data = noise(number + 1, 300_000);
    image.write(5 * MIB, Bytes::from(data)).await.unwrap();
    image.close().await.unwrap();
    s.back_up().await;
    let restored = s.restored(1).await;
    assert!(restored[5 << 20..][..300_000] == noise(number + 1, 300_000)[..]);
    s.end().await;
}

async fn rounds(conf: &str, rounds: u64) {
    let folder = tempfile::tempdir().unwrap();
    let repository = Arc::new(PosixRepository::open(&PosixConfig::new(folder.path())).unwrap());
    let warm = rounds / 4;
    let mut before = None;
    for number in 0..rounds {
        let config = ChunkedConfig::zlib().unwrap();
        let files = ChunkedBackup::new(repository.clone(), config).unwrap();
        round(conf, Arc::new(files), number).await;
        // A connection of its own each time.
        round(conf, Arc::new(engine(conf, 10_000)), number).await;
        if number == warm {
            before = Some(Held::now());
        }
        if number % 10 == 0 {
            println!("round {number}: {:?}", Held::now());
        }
    }
    let (before, after) = (before.unwrap(), Held::now());
    println!(
        "after {} rounds {before:?}, after {rounds} {after:?}",
        warm + 1
    );
    let told = format!("{before:?}, then {after:?}");
    let may_grow = ONCE + (rounds - warm) * A_ROUND;
    assert!(after.allocated <= before.allocated + may_grow, "{told}");
    assert!(after.resident < LIMIT, "{told}");
    assert!(after.threads <= before.threads + 32, "{told}");
    assert!(after.files <= before.files + 16, "{told}");
}

/// In a process of its own, which is this same program with a variable set.
#[test]
fn model_memory_stays_flat_over_rounds_of_create_restore_and_delete() {
    let Some(conf) = conf() else {
        return;
    };
    if let Ok(asked) = std::env::var(ROUNDS) {
        let runtime = tokio::runtime::Runtime::new().unwrap();
        runtime.block_on(rounds(&conf, asked.parse().unwrap()));
        return;
    }
    let cases = std::env::var("ASHLAR_MODEL_CASES").ok();
    let asked = cases
        .map_or(FEW, |n| n.parse::<u64>().unwrap() * 3)
        .max(FEW);
    let name = "leak::model_memory_stays_flat_over_rounds_of_create_restore_and_delete";
    let output = Command::new(std::env::current_exe().unwrap())
        .args([name, "--exact", "--nocapture", "--test-threads=1"])
        .env(ROUNDS, asked.to_string())
        .output()
        .unwrap();
    let told = String::from_utf8_lossy(&output.stdout);
    println!("{told}");
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    assert!(told.contains("1 passed"), "the rounds were run");
}
