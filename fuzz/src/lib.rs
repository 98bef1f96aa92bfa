//! What the fuzz targets do with their input.
//!
//! Plain functions that panic where a promise is broken, so that the fuzz targets and the ordinary test that replays
//! their corpora (backup-core/tests/it/corpus.rs, which includes this file) do the same.

mod bytes;
mod codecs;
mod elsewhere;
mod engine;
mod formats;
mod repository;
mod script;

pub use codecs::decoders;
pub use elsewhere::{bzip2_stream, zlib_join, zstd_frame};
pub use engine::{merge, pieces};
pub use formats::{difference, hash_list, metadata, record, volume_metadata};
pub use repository::repository;

/// Longer inputs are left alone: they find nothing that short ones do not, and bounds that only a writer can pass (16 MiB
/// of text once it is escaped) stay out of reach.
const MAX_INPUT: usize = 1 << 20;
