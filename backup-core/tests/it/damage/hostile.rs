//! Objects made to hurt: bombs, texts of any depth and size, blocks of gibibytes. Each is met by a process of its own,
//! whose peak memory the kernel tells.

use std::process::Command;
use std::sync::Arc;

use backup_core::compress::compressor;
use backup_core::testing::{MemoryDevice, MemoryRepository};
use backup_core::{
    Algorithm, Backup, BackupId, BlockDevice, Buf, CancelToken, Chain, Check, ChunkedBackup,
    ChunkedConfig, ContainerName, JobContext, Layer, Location, Prefix, RestoreOptions,
};
use futures::StreamExt;

use super::read::assert_damage;

/// The most that a process may take, in KiB: the budget of 64 MiB, as much again for what is outside of it, and the test
/// with its own hostile object. Each bomb would be at least 256 MiB.
const MOST: u64 = 208 << 10;

const VOLUME: &str = "00000000-0000-4000-8000-000000000001";

const SCENARIOS: [&str; 20] = [
    "bomb zlib, said to be short",
    "bomb bzip2, said to be short",
    "bomb zstd, said to be short",
    "bomb zlib, said to be 60 MiB",
    "bomb bzip2, said to be 60 MiB",
    "bomb zstd, said to be 60 MiB",
    "bomb zlib, said to be longer than it is",
    "bomb zstd, said to be longer than it is",
    "a few bytes, said to be 60 MiB, a hundred times",
    "metadata of a million open lists",
    "metadata with a name of 20 MiB",
    "metadata with a number of 10 MiB",
    "metadata with 20 MiB of empty lists under ashlar",
    "metadata with 240 KiB of empty lists under ashlar, in 8 layers",
    "metadata with 1.5 MiB of nested volume metadata, in 8 layers",
    "metadata with 2 million unknown keys",
    "metadata with 200 000 double entries",
    "hash list with blocks of a gibibyte",
    "hash list with blocks of 64 MiB",
    "hash list with a hash of 20 MiB",
];

struct Hostile {
    memory: MemoryRepository,
    layers: Vec<Layer>,
    volume_length: u64,
}

impl Hostile {
    fn new(volume_length: u64) -> Self {
        Self {
            memory: MemoryRepository::new(),
            layers: Vec::new(),
            volume_length,
        }
    }

    fn layer(&mut self) -> Location {
        let id = BackupId::generate();
        let location = Location {
            container: ContainerName::new("c").unwrap(),
            prefix: Prefix::new(format!("volume_{VOLUME}_20261127000000_backup_{id}")).unwrap(),
        };
        self.layers.push(Layer {
            id,
            location: location.clone(),
        });
        location
    }

    fn plant(&self, name: &str, content: impl Into<Vec<u8>>) {
        self.memory.plant("c", name, content.into()).unwrap();
    }

    /// Adds a layer with this metadata; `more` are further keys, each with a comma behind it.
    fn metadata(&mut self, objects: &str, more: &str) -> Location {
        let parent = self
            .layers
            .last()
            .map_or("null".to_owned(), |l| format!("\"{}\"", l.id));
        let location = self.layer();
        let id = self.layers[self.layers.len() - 1].id;
        let text = format!(
            "{{{more}\"backup_id\": \"{id}\", \"objects\": [{objects}], \"parent_id\": {parent}, \
             \"version\": \"1.0.0\", \"volume_id\": \"{VOLUME}\"}}"
        );
        self.plant(&location.prefix.metadata(), text);
        location
    }

    /// A full backup of one object, which says that it has `length` bytes.
    fn object(&mut self, algorithm: Algorithm, length: u64, content: Vec<u8>) {
        let prefix = format!("volume_{VOLUME}_20261127000000_backup_");
        // The name is known only with the layer; so the entry is put in behind it.
        let location = self.metadata("", "");
        let entry = entry(&location.prefix.data_object(1), algorithm, 0, length);
        let name = location.metadata().to_string();
        assert!(name.contains(&prefix));
        self.memory.damage(&name, |text| {
            let with = String::from_utf8(text.clone()).unwrap();
            *text = with
                .replace("\"objects\": []", &format!("\"objects\": [{entry}]"))
                .into_bytes();
        });
        self.plant(&location.prefix.data_object(1), content);
    }

    fn hash_list(&self, block: u64, hashes: &str) {
        let newest = self.layers.last().unwrap();
        let text = format!(
            "{{\"backup_id\": \"{}\", \"chunk_size\": {block}, \"sha256s\": [{hashes}], \"version\": \"1.0.0\", \
             \"volume_id\": \"{VOLUME}\"}}",
            newest.id
        );
        self.plant(&newest.location.prefix.hash_list(), text);
    }
}

fn entry(name: &str, algorithm: Algorithm, offset: u64, length: u64) -> String {
    format!(
        "{{\"{name}\": {{\"compression\": \"{}\", \"length\": {length}, \"md5\": \"{}\", \"offset\": {offset}}}}}",
        algorithm.word(),
        "0".repeat(32)
    )
}

/// A small object of 256 MiB of zeroes.
fn bomb(algorithm: Algorithm) -> Vec<u8> {
    let zeroes = vec![0; 1 << 20];
    let mut piece = vec![0; 64 << 10];
    if algorithm == Algorithm::Zlib {
        let mut stream = flate2::Compress::new(flate2::Compression::best(), true);
        let mut out = Vec::with_capacity(4 << 20);
        for n in 0..256 {
            let flush = if n == 255 {
                flate2::FlushCompress::Finish
            } else {
                flate2::FlushCompress::None
            };
            stream.compress_vec(&zeroes, &mut out, flush).unwrap();
        }
        return out;
    }
    let length = compressor(algorithm, None)
        .unwrap()
        .compress(&zeroes, &mut piece, &CancelToken::new())
        .unwrap()
        .unwrap();
    piece.truncate(length);
    piece.repeat(256)
}

fn algorithm_of(scenario: &str) -> Algorithm {
    let word = scenario.strip_prefix("bomb ").unwrap();
    word[..word.find(',').unwrap()].parse().unwrap()
}

fn prepare(scenario: &str) -> Hostile {
    const MIB: usize = 1 << 20;
    let mut h = Hostile::new(64 << 10);
    match scenario {
        s if s.ends_with("said to be short") => {
            let algorithm = algorithm_of(s);
            h.object(algorithm, 64 << 10, bomb(algorithm));
        }
        s if s.starts_with("bomb") && s.ends_with("60 MiB") => {
            h.volume_length = 60 << 20;
            let algorithm = algorithm_of(s);
            h.object(algorithm, 60 << 20, bomb(algorithm));
        }
        s if s.ends_with("longer than it is") => {
            h.volume_length = 1 << 31;
            let algorithm = algorithm_of(s);
            h.object(algorithm, 1 << 31, bomb(algorithm));
        }
        "a few bytes, said to be 60 MiB, a hundred times" => {
            let location = h.metadata("", "");
            let entries: Vec<_> = (1..=100)
                .map(|n| {
                    let name = location.prefix.data_object(n);
                    h.plant(&name, "x");
                    entry(&name, Algorithm::Zstd, (n - 1) * (60 << 20), 60 << 20)
                })
                .collect();
            h.volume_length = 6000 << 20;
            h.memory.damage(&location.metadata().to_string(), |text| {
                let with = String::from_utf8(text.clone()).unwrap();
                let entries = format!("\"objects\": [{}]", entries.join(","));
                *text = with.replace("\"objects\": []", &entries).into_bytes();
            });
        }
        "metadata of a million open lists" => {
            h.metadata(&"[".repeat(1_000_000), "");
        }
        "metadata with a name of 20 MiB" => {
            h.metadata(
                "",
                &format!("\"backup_name\": \"{}\",", "x".repeat(20 * MIB)),
            );
        }
        "metadata with a number of 10 MiB" => {
            h.metadata("", &format!("\"x\": 1{},", "0".repeat(10 * MIB)));
        }
        "metadata with 20 MiB of empty lists under ashlar" => {
            let lists = "[],".repeat(20 * MIB / 3);
            h.metadata("", &format!("\"ashlar\": {{\"x\": [{lists}1]}},"));
        }
        "metadata with 240 KiB of empty lists under ashlar, in 8 layers" => {
            for _ in 0..8 {
                let lists = "[],".repeat(80 << 10);
                h.metadata("", &format!("\"ashlar\": {{\"x\": [{lists}1]}},"));
            }
        }
        "metadata with 1.5 MiB of nested volume metadata, in 8 layers" => {
            for _ in 0..8 {
                let nested = "[".repeat(3 * MIB / 2);
                h.metadata("", &format!("\"volume_meta\": \"{nested}\","));
            }
        }
        "metadata with 2 million unknown keys" => {
            let keys = "\"k\": 1,".repeat(2_000_000);
            h.metadata("", &keys);
        }
        "metadata with 200 000 double entries" => {
            let location = h.metadata("", "");
            let one = entry(&location.prefix.data_object(1), Algorithm::Zlib, 0, 512);
            let entries = vec![one; 200_000].join(",");
            h.memory.damage(&location.metadata().to_string(), |text| {
                let with = String::from_utf8(std::mem::take(text)).unwrap();
                *text = with
                    .replace("\"objects\": []", &format!("\"objects\": [{entries}]"))
                    .into_bytes();
            });
        }
        "hash list with blocks of a gibibyte" | "hash list with blocks of 64 MiB" => {
            h.volume_length = 128 << 20;
            h.object(Algorithm::Zlib, 128 << 20, bomb(Algorithm::Zlib));
            let block = if scenario.ends_with("gibibyte") {
                1 << 30
            } else {
                64 << 20
            };
            let hash = format!("\"{}\"", "0".repeat(64));
            let blocks = usize::try_from(h.volume_length.div_ceil(block)).unwrap();
            h.hash_list(block, &vec![hash; blocks].join(","));
        }
        "hash list with a hash of 20 MiB" => {
            h.metadata("", "");
            h.hash_list(4096, &format!("\"{}\"", "0".repeat(20 * MIB)));
        }
        other => panic!("{other}?"),
    }
    h
}

/// Meets it by all that reads, and tells whether a restore failed, as it must.
async fn meet(scenario: &str) {
    let h = prepare(scenario);
    let cx = JobContext::new(64 << 20).unwrap();
    let engine =
        ChunkedBackup::new(Arc::new(h.memory.clone()), ChunkedConfig::zlib().unwrap()).unwrap();
    let chain = Chain::new(h.layers.clone()).unwrap();
    for check in [Check::Hashes, Check::Md5] {
        let target: Arc<dyn BlockDevice> =
            Arc::new(MemoryDevice::new(h.volume_length).with_known_zero(true));
        let options = RestoreOptions::default().with_check(check);
        match engine.restore(&chain, &target, &options, &cx).await {
            Err(e) => assert_damage(&e, scenario),
            // Without an object or a hash list there is no volume to speak of.
            Ok(report) => assert_eq!(report.volume_length, 0, "{scenario}"),
        }
    }
    let report = engine.verify(&chain, &cx).await.unwrap();
    assert!(!report.problems.is_empty(), "{scenario}");
    if let Ok(reader) = engine.open(&chain, &cx).await
        && reader.length() > 0
    {
        let (_, read) = reader.read(0, Buf::zeroed(512)).await;
        assert_damage(&read.unwrap_err(), scenario);
    }
    let items: Vec<_> = engine.scan(None, &cx).await.unwrap().collect().await;
    assert!(items.into_iter().all(|item| item.is_ok()), "{scenario}");
}

/// The most memory that this process ever had, in KiB.
fn peak() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|l| l.starts_with("VmHWM:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

#[test]
fn what_is_made_to_hurt_is_refused_in_little_memory() {
    const CHILD: &str = "ASHLAR_TEST_HOSTILE";
    if let Ok(scenario) = std::env::var(CHILD) {
        let runtime = tokio::runtime::Runtime::new().unwrap();
        runtime.block_on(meet(&scenario));
        println!("peak {}", peak());
        return;
    }
    for scenario in SCENARIOS {
        let begun = std::time::Instant::now();
        let child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "--nocapture"])
            .arg("damage::hostile::what_is_made_to_hurt_is_refused_in_little_memory")
            .env(CHILD, scenario)
            .output()
            .unwrap();
        let told = String::from_utf8_lossy(&child.stdout).into_owned();
        let errors = String::from_utf8_lossy(&child.stderr);
        assert!(child.status.success(), "{scenario}: {told} {errors}");
        let peak: u64 = told
            .lines()
            .find_map(|l| l.split("peak ").nth(1))
            .and_then(|n| n.trim().parse().ok())
            .unwrap_or_else(|| panic!("{scenario}: {told}"));
        println!(
            "{scenario}: at most {} MiB, {:.1} s",
            peak >> 10,
            begun.elapsed().as_secs_f64()
        );
        assert!(peak < MOST, "{scenario}: {peak} KiB");
    }
}
