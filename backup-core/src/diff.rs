//! The incremental-diff engine: block hashes against the parent's, and what must be stored because of it.

mod blocks;
mod merge;
mod pieces;

pub use blocks::{BlockHash, BlockHasher, is_zero};
pub use merge::{Coverage, Surviving, merge_newest_wins};
pub use pieces::{BlockState, JoinRules, Piece, PieceKind, pieces};
