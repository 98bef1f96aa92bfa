//! Fixed content for benches: the same bytes on every machine.
#![allow(dead_code, reason = "each bench uses its part")]

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

/// Bytes that do not compress.
pub(crate) fn noise(length: usize, seed: u64) -> Vec<u8> {
    let mut numbers = Numbers(seed | 1);
    let mut out = Vec::with_capacity(length + 8);
    while out.len() < length {
        // The lower 32 of 48 bits.
        out.extend_from_slice(&numbers.next().to_le_bytes()[..4]);
    }
    out.truncate(length);
    out
}

/// Words and numbers: zlib makes about a third of it.
pub(crate) fn text(length: usize, seed: u64) -> Vec<u8> {
    const WORDS: [&str; 16] = [
        "volume ",
        "backup ",
        "restore ",
        "chunk ",
        "error ",
        "kernel ",
        "address ",
        "option ",
        "return ",
        "static ",
        "license ",
        "image ",
        "snapshot ",
        "status ",
        "network ",
        "\n",
    ];
    let mut numbers = Numbers(seed | 1);
    let mut out = Vec::with_capacity(length + 32);
    while out.len() < length {
        let pick = numbers.next();
        match usize::try_from(pick % 20).ok().and_then(|i| WORDS.get(i)) {
            Some(word) => out.extend_from_slice(word.as_bytes()),
            None => out.extend_from_slice(format!("{:x} ", (pick >> 8) & 0xFF_FFFF).as_bytes()),
        }
    }
    out.truncate(length);
    out
}

/// A disk image: runs of 1 MiB of text, noise, text and zeroes.
pub(crate) fn image(length: usize) -> Vec<u8> {
    const RUN: usize = 1 << 20;
    let mut out = Vec::with_capacity(length + RUN);
    let mut run = 0;
    while out.len() < length {
        match run % 4 {
            1 => out.extend(noise(RUN, run)),
            3 => out.resize(out.len() + RUN, 0),
            _ => out.extend(text(RUN, run)),
        }
        run += 1;
    }
    out.truncate(length);
    out
}
