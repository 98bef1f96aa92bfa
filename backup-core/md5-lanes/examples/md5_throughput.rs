//! Prints what each backend of this CPU hashes a second on one core.
//!
//! `cargo run --release -p md5-lanes --example md5_throughput`
#![allow(clippy::print_stdout, reason = "its result is a table")]

use std::hint::black_box;
use std::time::Instant;

use md5_lanes::{Backend, Md5};

const MIB: usize = 1 << 20;

fn main() {
    let buffers: Vec<Vec<u8>> = (0..32).map(text).collect();
    report("one message, 8 MiB", 8 * MIB, || {
        let mut md5 = Md5::new();
        md5.update(&buffers[0]);
        black_box(md5.finalize());
    });
    for backend in Backend::available() {
        for (count, length) in [
            (1, 8 * MIB),
            (2, 8 * MIB),
            (3, 8 * MIB),
            (4, 8 * MIB),
            (8, 8 * MIB),
            (16, 8 * MIB),
            (16, MIB),
            (16, 32 << 10),
            (32, 8 * MIB),
        ] {
            let messages: Vec<&[u8]> = buffers[..count].iter().map(|b| &b[..length]).collect();
            measure(
                backend,
                &format!("{count} x {} KiB", length >> 10),
                &messages,
            );
        }
        let mixed: Vec<&[u8]> = (1..)
            .zip(&buffers)
            .map(|(n, b)| &b[..n * 250_000])
            .collect();
        measure(backend, "32 of 0.25 .. 8 MB", &mixed);
        let small = vec![&buffers[0][..100]; 100_000];
        measure(backend, "100000 x 100 bytes", &small);
    }
}

fn measure(backend: Backend, what: &str, messages: &[&[u8]]) {
    let mut digests = vec![[0; 16]; messages.len()];
    let bytes = messages.iter().map(|message| message.len()).sum();
    report(&format!("{:8} {what}", backend.name()), bytes, || {
        backend.md5_many_into(messages, &mut digests);
        black_box(&digests);
    });
}

/// The best of several runs: what other processes take off is not of interest.
#[expect(clippy::cast_precision_loss, reason = "far below 2^52 bytes")]
fn report(what: &str, bytes: usize, mut run: impl FnMut()) {
    let best = (0..(512 * MIB / bytes).clamp(5, 30))
        .map(|_| {
            let start = Instant::now();
            run();
            start.elapsed().as_secs_f64()
        })
        .fold(f64::INFINITY, f64::min);
    println!("{what:30} {:6.2} GB/s", bytes as f64 / best / 1e9);
}

fn text(seed: usize) -> Vec<u8> {
    (0..8 * MIB)
        .map(|at| ((at * 7 + seed) & 0xff).to_le_bytes()[0])
        .collect()
}
