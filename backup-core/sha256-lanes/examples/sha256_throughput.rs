//! Prints what each backend of this CPU hashes a second on one core.
//!
//! `cargo run --release -p sha256-lanes --example sha256_throughput`
#![allow(clippy::print_stdout, reason = "its result is a table")]

use std::hint::black_box;
use std::time::Instant;

use sha256_lanes::Backend;

fn main() {
    let data: Vec<u8> = (0..8usize << 20)
        .map(|at| ((at * 7) & 0xff).to_le_bytes()[0])
        .collect();
    for backend in Backend::available() {
        for (count, length) in [
            (256, 32 << 10),
            (16, 32 << 10),
            (12, 32 << 10),
            (10, 32 << 10),
            (8, 32 << 10),
            (256, 4 << 10),
            (256, 512),
        ] {
            let messages: Vec<&[u8]> = data.chunks(length).take(count).collect();
            measure(backend, &format!("{count} of {length} bytes"), &messages);
        }
    }
}

/// The best of several runs: what other processes take off is not of interest.
#[expect(clippy::cast_precision_loss, reason = "far below 2^52 bytes")]
fn measure(backend: Backend, what: &str, messages: &[&[u8]]) {
    let mut digests = vec![[0; 32]; messages.len()];
    let bytes: usize = messages.iter().map(|message| message.len()).sum();
    let best = (0..(256 << 20) / bytes.max(1 << 20))
        .map(|_| {
            let start = Instant::now();
            backend.sha256_many_into(messages, &mut digests);
            black_box(&digests);
            start.elapsed().as_secs_f64()
        })
        .fold(f64::INFINITY, f64::min);
    println!(
        "{:10} {what:20} {:6.2} GB/s",
        backend.name(),
        bytes as f64 / best / 1e9
    );
}
