//! Each codec at the levels that are worth a thought, on a chunk of each kind of data: how fast a core compresses and
//! decompresses. The ratio is printed beside.
//!
//! `cargo bench --bench compress -- zlib` runs one codec's. Compare figures of one run only.
#![allow(missing_docs)] // criterion's macros make public functions
#![allow(clippy::expect_used, clippy::print_stdout)] // a bench may stop at what should not be, and talks

use std::hint::black_box;
use std::time::Duration;

use backup_core::CancelToken;
use backup_core::compress::{Algorithm, compressor};
use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};

const CHUNK: usize = 8 << 20; // bytes

/// The same pseudo-random numbers on every machine.
struct Numbers(u64);

impl Numbers {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 16
    }
}

fn noise(len: usize, numbers: &mut Numbers) -> Vec<u8> {
    (0..len).map(|_| numbers.next().to_le_bytes()[0]).collect()
}

/// Words in a skewed distribution with numbers between them: shrinks about as a log does.
fn text(len: usize, numbers: &mut Numbers) -> Vec<u8> {
    const WORDS: &str = "the volume backup restore chunk error warning kernel daemon network address config option \
        value true false null return static include define function import from self while share python doc license \
        public version free software image snapshot attach status available";
    let words: Vec<&str> = WORDS.split_whitespace().collect();
    let mut out = Vec::with_capacity(len + 32);
    while out.len() < len {
        let pick = numbers.next();
        let place = (pick % 64) * (pick / 64 % 64) / 64;
        match usize::try_from(place)
            .ok()
            .and_then(|place| words.get(place))
        {
            Some(word) => out.extend_from_slice(word.as_bytes()),
            None => out.extend_from_slice(format!("{:x}", pick % 0xFFF_FFFF).as_bytes()),
        }
        out.push(if pick.is_multiple_of(11) { b'\n' } else { b' ' });
    }
    out.truncate(len);
    out
}

/// Runs of 512 KiB: text, noise, text, zeroes.
fn mixed(len: usize, numbers: &mut Numbers) -> Vec<u8> {
    const RUN: usize = 512 << 10;
    let mut out = Vec::with_capacity(len + RUN);
    for kind in (0..4).cycle() {
        if out.len() >= len {
            break;
        }
        match kind {
            1 => out.extend(noise(RUN, numbers)),
            3 => out.resize(out.len() + RUN, 0),
            _ => out.extend(text(RUN, numbers)),
        }
    }
    out.truncate(len);
    out
}

fn codecs(c: &mut Criterion) {
    let mut numbers = Numbers(42);
    let inputs = [
        ("text", text(CHUNK, &mut numbers)),
        ("noise", noise(CHUNK, &mut numbers)),
        ("mixed", mixed(CHUNK, &mut numbers)),
    ];
    let cases: [(Algorithm, &[i32]); 3] = [
        (Algorithm::Zlib, &[1, 2, 6]),
        (Algorithm::Zstd, &[1, 2, 3]),
        (Algorithm::Bzip2, &[1, 2, 9]),
    ];
    for (algorithm, levels) in cases {
        let mut group = c.benchmark_group(algorithm.word());
        group
            .sample_size(10)
            .measurement_time(Duration::from_secs(2))
            .warm_up_time(Duration::from_millis(300))
            .throughput(Throughput::Bytes(CHUNK as u64));
        for level in levels {
            let codec = compressor(algorithm, Some(*level)).expect("a level in range");
            for (name, input) in &inputs {
                let mut out = vec![0; CHUNK - 1];
                let go = CancelToken::new();
                let mut filled = None;
                group.bench_function(BenchmarkId::new(format!("compress {level}"), name), |b| {
                    b.iter(|| {
                        filled = codec
                            .compress(black_box(input), &mut out, &go)
                            .expect("no cancel");
                    });
                });
                let Some(filled) = filled else { continue };
                #[allow(clippy::cast_precision_loss)]
                let ratio = CHUNK as f64 / filled as f64;
                println!("{algorithm} {level} {name}: ratio {ratio:.2}");
                let mut back = vec![0; CHUNK];
                group.bench_function(BenchmarkId::new(format!("decompress {level}"), name), |b| {
                    b.iter(|| {
                        codec
                            .decompress(black_box(&out[..filled]), &mut back)
                            .expect("sound");
                    });
                });
            }
        }
        group.finish();
    }
}

criterion_group!(benches, codecs);
criterion_main!(benches);
