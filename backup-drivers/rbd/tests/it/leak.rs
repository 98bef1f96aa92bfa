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

/// What a process may still grow by after it has warmed up: thread stacks, arenas and librados' own pools are not the same
/// at any two moments.
const SLACK: u64 = 24 << 20; // bytes

/// Set for the process that does the work: its memory must be nobody else's.
const ROUNDS: &str = "ASHLAR_TEST_LEAK_ROUNDS";

/// Resident bytes, threads and open files of this process.
fn held() -> (u64, usize, usize) {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = |key: &str| -> u64 {
        let line = status.lines().find_map(|l| l.strip_prefix(key)).unwrap();
        line.trim_end_matches("kB").trim().parse().unwrap()
    };
    let files = std::fs::read_dir("/proc/self/fd").unwrap().count();
    let threads = usize::try_from(line("Threads:")).unwrap();
    (line("VmRSS:") * 1024, threads, files)
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
    let warm = (rounds / 4).max(4);
    let mut after_warming = (0, 0, 0);
    for number in 0..rounds {
        let config = ChunkedConfig::zlib().unwrap();
        let files = ChunkedBackup::new(repository.clone(), config).unwrap();
        round(conf, Arc::new(files), number).await;
        // A connection of its own each time.
        round(conf, Arc::new(engine(conf, 10_000)), number).await;
        if number == warm {
            after_warming = held();
        }
        if number % 10 == 0 {
            println!("round {number}: {:?}", held());
        }
    }
    let end = held();
    println!(
        "after {warm} rounds {after_warming:?}, after {rounds} {end:?} (resident bytes, threads, files)"
    );
    assert!(
        end.0 <= after_warming.0 + SLACK,
        "resident: {after_warming:?}, then {end:?}"
    );
    assert!(
        end.1 <= after_warming.1 + 32,
        "threads: {after_warming:?}, then {end:?}"
    );
    assert!(
        end.2 <= after_warming.2 + 16,
        "files: {after_warming:?}, then {end:?}"
    );
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
    // Fifty rounds pass before it is warm: too long for every test run.
    let Some(cases) = std::env::var("ASHLAR_MODEL_CASES")
        .ok()
        .and_then(|n| n.parse::<u64>().ok())
    else {
        println!("skipped: a run with ASHLAR_MODEL_CASES (scripts/soak) has rounds enough");
        return;
    };
    let asked = (cases * 3).max(120);
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
