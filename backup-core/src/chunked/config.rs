use std::sync::Arc;

use crate::compress::{Algorithm, Compressor, compressor};
use crate::diff::JoinRules;
use crate::error::{Error, Result};

/// How backups are written.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct ChunkedConfig {
    /// Most bytes of the volume in one object; a multiple of the block size.
    pub chunk_size: u64,
    /// Bytes that are hashed and compared at once; recorded with each backup, and the same all along a chain.
    pub block_size: u64,
    /// What objects are compressed with.
    pub compressor: Arc<dyn Compressor>,
    /// When neighbouring runs of changed blocks become one object.
    pub join: JoinRules,
    /// Most zeroes in one object, in bytes.
    pub zero_object: u64,
    /// How many in each million blocks that a change source calls unchanged are read all the same, to see whether it
    /// is right. One that is not is never believed: everything is read, and it is said.
    pub audit_per_million: u32,
}

impl ChunkedConfig {
    /// Chunk size where none is configured, in bytes. See docs/adr on its choice.
    pub const CHUNK_SIZE: u64 = 8 << 20;
    /// Block size where none is configured, in bytes: Cinder's.
    pub const BLOCK_SIZE: u64 = 32 << 10;

    /// Blocks that are audited in each million where nothing is configured: 1 %.
    pub const AUDIT_PER_MILLION: u32 = 10_000;

    /// The defaults, with `compressor`.
    pub fn new(compressor: Arc<dyn Compressor>) -> Self {
        Self {
            chunk_size: Self::CHUNK_SIZE,
            block_size: Self::BLOCK_SIZE,
            compressor,
            join: JoinRules {
                join_gap: 32 << 10,
                zero_run: 256 << 10,
            },
            // Cinder holds a whole object in memory to restore it.
            zero_object: 64 << 20,
            audit_per_million: Self::AUDIT_PER_MILLION,
        }
    }

    /// The defaults, with zlib.
    pub fn zlib() -> Result<Self> {
        Ok(Self::new(compressor(Algorithm::Zlib, None)?))
    }

    /// With another chunk size, in bytes.
    pub fn with_chunk_size(mut self, bytes: u64) -> Self {
        self.chunk_size = bytes;
        self
    }

    /// With another block size, in bytes.
    pub fn with_block_size(mut self, bytes: u64) -> Self {
        self.block_size = bytes;
        self
    }

    /// With other rules for joining runs.
    pub fn with_join(mut self, join: JoinRules) -> Self {
        self.join = join;
        self
    }

    /// With another share of audited blocks, in each million.
    pub fn with_audit(mut self, per_million: u32) -> Self {
        self.audit_per_million = per_million;
        self
    }

    pub(crate) fn check(&self) -> Result<()> {
        let wrong = |why: String| Err(Error::invalid("configure", why));
        if self.block_size < 512
            || self.block_size > 16 << 20
            || !self.block_size.is_multiple_of(512)
        {
            return wrong(format!(
                "hash_block_size {} is not a multiple of 512 from 512 to 16777216",
                self.block_size
            ));
        }
        if self.chunk_size == 0 || !self.chunk_size.is_multiple_of(self.block_size) {
            return wrong(format!(
                "chunk_size {} is not a multiple of hash_block_size {}",
                self.chunk_size, self.block_size
            ));
        }
        // Cinder and zstd's own tools hold an object in memory; a zstd object of 2 GiB no longer fits Python's module.
        if self.chunk_size > 1 << 30 {
            return wrong(format!(
                "chunk_size {} is more than 1073741824",
                self.chunk_size
            ));
        }
        Ok(())
    }

    /// Bytes that a chunk may hold of the memory budget at once: its own and its compressed form.
    pub fn chunk_memory(&self) -> u64 {
        self.chunk_size.saturating_mul(2)
    }
}
