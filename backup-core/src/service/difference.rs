//! Backups as difference files, and volumes made of those: `rbd export-diff`'s format, whatever the repository is.

mod export;
mod import;
mod writes;

pub use export::{Exported, Since};
pub use import::{DiffContent, DiffInput};

use crate::error::{Error, Result};

/// Most bytes that are read, or written, at once.
const PIECE: u64 = 1 << 20;

/// Runs what blocks.
async fn aside<T: Send + 'static>(work: impl FnOnce() -> Result<T> + Send + 'static) -> Result<T> {
    tokio::task::spawn_blocking(work)
        .await
        .map_err(|e| Error::internal("wait for a file", e.to_string()))?
}
