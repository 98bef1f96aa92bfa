//! A compressor of your own: `cargo run -p ashlar-examples --example compressor`.
//!
//! It looks at a sample of each chunk and chooses the zlib level by how well the sample shrinks: what shrinks little is
//! stored as it is, what shrinks well gets a higher level. What it writes are plain zlib streams, so every reader of
//! the format, Cinder too, restores them; the engine that restores here does not know of this compressor.
#![allow(clippy::print_stdout)]

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use backup_core::compress::compressor;
use backup_core::testing::{MemoryDevice, MemoryRepository};
use backup_core::{
    Algorithm, Attachment, Backup, BackupRequest, BlockDevice, CancelToken, Chain, ChunkedBackup,
    ChunkedConfig, Compressor, Decoder, Error, JobContext, Layer, RestoreOptions, Result,
    Timestamp, VolumeId,
};

/// Bytes of a chunk's middle that are tried.
const SAMPLE: usize = 64 << 10;

/// zlib at a level that fits the data.
#[derive(Debug)]
struct AdaptiveZlib {
    fast: Arc<dyn Compressor>,
    thorough: Arc<dyn Compressor>,
    stored: AtomicU64,
    compressed_fast: AtomicU64,
    compressed_thoroughly: AtomicU64,
}

impl AdaptiveZlib {
    fn new() -> Result<Self> {
        Ok(Self {
            fast: compressor(Algorithm::Zlib, Some(1))?,
            thorough: compressor(Algorithm::Zlib, Some(6))?,
            stored: AtomicU64::new(0),
            compressed_fast: AtomicU64::new(0),
            compressed_thoroughly: AtomicU64::new(0),
        })
    }

    /// Chunks that were stored as they are, compressed fast, and compressed thoroughly.
    fn chosen(&self) -> [u64; 3] {
        [
            &self.stored,
            &self.compressed_fast,
            &self.compressed_thoroughly,
        ]
        .map(|count| count.load(Ordering::Relaxed))
    }
}

impl Compressor for AdaptiveZlib {
    // What is recorded with each object, and what a reader goes by: it must be true.
    fn algorithm(&self) -> Algorithm {
        Algorithm::Zlib
    }

    fn compress(
        &self,
        input: &[u8],
        out: &mut [u8],
        cancel: &CancelToken,
    ) -> Result<Option<usize>> {
        let start = (input.len() / 2).saturating_sub(SAMPLE / 2);
        let sample = &input[start..input.len().min(start + SAMPLE)];
        let mut tried = vec![0; sample.len()];
        let size = self
            .fast
            .compress(sample, &mut tried, cancel)?
            .unwrap_or(sample.len());
        let (codec, count) = match size * 100 / sample.len().max(1) {
            // `None` says that it does not get smaller: the engine stores the chunk and records `none`.
            90.. => {
                self.stored.fetch_add(1, Ordering::Relaxed);
                return Ok(None);
            }
            30..90 => (&self.fast, &self.compressed_fast),
            _ => (&self.thorough, &self.compressed_thoroughly),
        };
        count.fetch_add(1, Ordering::Relaxed);
        codec.compress(input, out, cancel)
    }

    fn decompress(&self, input: &[u8], out: &mut [u8]) -> Result<()> {
        self.fast.decompress(input, out)
    }

    fn decoder(&self, limit: u64) -> Result<Box<dyn Decoder>> {
        self.fast.decoder(limit)
    }
}

/// Bytes that no codec shrinks.
fn noise(length: usize) -> Vec<u8> {
    let mut state = 0x9E37_79B9_7F4A_7C15_u64;
    let next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()
    };
    std::iter::repeat_with(next)
        .flatten()
        .take(length)
        .collect()
}

#[tokio::main]
async fn main() -> Result<()> {
    const CHUNK: usize = 1 << 20;
    let mut content = noise(4 * CHUNK);
    // Four bits of noise in each byte: shrinks to about a half.
    content.extend(noise(4 * CHUNK).iter().map(|byte| byte & 0x0F));
    content.extend(b"the same words again and again. ".repeat(4 * CHUNK / 32));
    let volume = MemoryDevice::from_bytes(&content);

    let adaptive = Arc::new(AdaptiveZlib::new()?);
    let config =
        ChunkedConfig::new(Arc::<AdaptiveZlib>::clone(&adaptive)).with_chunk_size(CHUNK as u64);
    let repository = Arc::new(MemoryRepository::new());
    let cx = JobContext::new(64 << 20)?;

    let engine = ChunkedBackup::new(Arc::<MemoryRepository>::clone(&repository), config)?;
    let plan = engine.plan(&BackupRequest::new(VolumeId::generate(), Timestamp::now()))?;
    let source = Attachment::new(Arc::new(volume.clone()));
    let outcome = engine.create(&plan, None, &source, &cx).await?;

    let [stored, fast, thorough] = adaptive.chosen();
    println!(
        "{} bytes stored as {} bytes: {stored} chunks as they are, {fast} at level 1, {thorough} at level 6",
        outcome.volume_length, outcome.stored_bytes
    );
    assert_eq!([stored, fast, thorough], [4, 4, 4]);

    let reader = ChunkedBackup::new(repository, ChunkedConfig::zlib()?)?;
    let chain = Chain::new(vec![Layer {
        id: plan.id,
        location: plan.location,
    }])
    .ok_or_else(|| Error::invalid("restore", "a chain has at least one layer"))?;
    let restored = MemoryDevice::new(outcome.volume_length);
    let target: Arc<dyn BlockDevice> = Arc::new(restored.clone());
    reader
        .restore(&chain, &target, &RestoreOptions::default(), &cx)
        .await?;
    assert_eq!(restored.first_difference(&volume), None);
    println!("restored by an engine that knows nothing of it, byte for byte");
    Ok(())
}
