//! Prints how fast this machine does each part of a backup by itself, on all cores at once: one JSON object, in MB/s of
//! the data of an image (what is not zero). `scripts/bench-vs-cinder` holds whole commands against the sum of their parts.
//!
//! `parts IMAGE`
#![allow(
    clippy::print_stdout,
    clippy::expect_used,
    reason = "its result is what it prints, and without an image there is none"
)]

use std::fs::File;
use std::io::Read;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::Instant;

use backup_core::CancelToken;
use backup_core::compress::{Algorithm, compressor};
use backup_core::diff::{BlockHasher, is_zero};

const CHUNK: usize = 8 << 20; // bytes, as the engine has it by default
const BLOCK: usize = 32 << 10; // bytes
/// Zeroes of at least so many bytes are no data.
const ZERO_RUN: usize = 256 << 10;
/// So much of the image is held in memory: bytes.
const SAMPLE: u64 = 640 << 20;
/// The best of so many runs counts: what other programs take off is not of interest.
const RUNS: usize = 3;

fn main() {
    let path = std::env::args().nth(1).expect("the path of an image");
    let pieces = sample(&path);
    let bytes: usize = pieces.iter().map(Vec::len).sum();
    let threads = thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let cancel = CancelToken::new();

    let mut rates = vec![format!("\"threads\": {threads}, \"sample_bytes\": {bytes}")];
    let hasher = BlockHasher::new(BLOCK);
    rates.push(rate("sha256", bytes, || {
        each(threads, &pieces, |piece, _, _| {
            hasher.blocks(piece, &cancel).expect("no cancel");
        });
    }));
    rates.push(read_and_hash(&path, threads, &hasher, &cancel));
    let batches: Vec<&[Vec<u8>]> = pieces.chunks(md5_lanes::lanes().min(8) * 2).collect();
    rates.push(rate("md5", bytes, || {
        each(threads, &batches, |batch, _, _| {
            let messages: Vec<&[u8]> = batch.iter().map(|piece| &piece[..]).collect();
            md5_lanes::md5_many(&messages);
        });
    }));
    for algorithm in [Algorithm::Zlib, Algorithm::Zstd] {
        let codec = compressor(algorithm, None).expect("the codec is built in");
        let stored: Vec<Mutex<Option<Vec<u8>>>> = pieces.iter().map(|_| Mutex::default()).collect();
        rates.push(rate(&format!("{algorithm}_compress"), bytes, || {
            each(threads, &pieces, |piece, at, out| {
                let length = codec
                    .compress(piece, &mut out[..piece.len() - 1], &cancel)
                    .expect("data can be compressed");
                let mut stored = stored[at].lock().expect("no thread panics");
                if stored.is_none() {
                    *stored = length.map(|length| out[..length].to_vec());
                }
            });
        }));
        rates.push(rate(&format!("{algorithm}_decompress"), bytes, || {
            each(threads, &pieces, |piece, at, out| {
                if let Some(stored) = &*stored[at].lock().expect("no thread panics") {
                    codec
                        .decompress(stored, &mut out[..piece.len()])
                        .expect("it is whole");
                }
            });
        }));
    }
    println!("{{{}}}", rates.join(", "));
}

/// Reading the image out of the page cache and SHA-256 of it on the same core, piece by piece: as little as a backup of
/// what lies in a cache can do, since the kernel copies what it reads. In bytes that are no hole.
fn read_and_hash(path: &str, threads: usize, hasher: &BlockHasher, cancel: &CancelToken) -> String {
    use std::os::unix::fs::{FileExt, MetadataExt};
    const PIECE: usize = 512 << 10; // half of a core's own cache, or less
    let file = File::open(path).expect("an image that can be read");
    let of = file.metadata().expect("its length");
    let places: Vec<u64> = (0..of.len()).step_by(PIECE).collect();
    let held = usize::try_from(of.blocks() * 512).expect("it fits");
    rate("read_and_sha256", held, || {
        each(threads, &places, |&at, _, buffer| {
            let length = usize::try_from(of.len() - at).map_or(PIECE, |n| n.min(PIECE));
            let piece = &mut buffer[..length];
            file.read_exact_at(piece, at)
                .expect("an image that can be read");
            hasher.blocks(piece, cancel).expect("no cancel");
        });
    })
}

/// Pieces of data as the engine cuts them: the parts of a chunk between long runs of zeroes. Of a long image only every
/// second chunk, every third ...
fn sample(path: &str) -> Vec<Vec<u8>> {
    let mut file = File::open(path).expect("an image that can be read");
    let length = file.metadata().expect("its length").len();
    let every = length.div_ceil(SAMPLE).max(1);
    let mut pieces = Vec::new();
    let mut chunk = vec![0; CHUNK];
    let mut number = 0;
    loop {
        let mut filled = 0;
        while filled < CHUNK {
            match file
                .read(&mut chunk[filled..])
                .expect("an image that can be read")
            {
                0 => break,
                n => filled += n,
            }
        }
        if filled == 0 {
            return pieces;
        }
        if number % every == 0 {
            let mut piece = Vec::new();
            for part in chunk[..filled].chunks(ZERO_RUN) {
                if is_zero(part) {
                    pieces.push(std::mem::take(&mut piece));
                } else {
                    piece.extend_from_slice(part);
                }
            }
            pieces.push(piece);
            pieces.retain(|piece| !piece.is_empty());
        }
        number += 1;
    }
}

/// Runs `work` on each item, on `threads` threads at once, each with a buffer of a chunk's length that it keeps.
fn each<T: Sync>(threads: usize, items: &[T], work: impl Fn(&T, usize, &mut [u8]) + Sync) {
    let next = AtomicUsize::new(0);
    thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                let mut buffer = vec![0; CHUNK];
                while let at = next.fetch_add(1, Ordering::Relaxed)
                    && let Some(item) = items.get(at)
                {
                    work(item, at, &mut buffer);
                }
            });
        }
    });
}

#[expect(clippy::cast_precision_loss, reason = "far below 2^52 bytes")]
fn rate(name: &str, bytes: usize, mut run: impl FnMut()) -> String {
    let best = (0..RUNS)
        .map(|_| {
            let start = Instant::now();
            run();
            start.elapsed().as_secs_f64()
        })
        .fold(f64::INFINITY, f64::min);
    format!("\"{name}\": {:.0}", bytes as f64 / best / 1e6)
}
