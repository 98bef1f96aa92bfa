//! What lies in a repository and belongs to no complete backup.

use crate::id::{BackupId, Location};
use crate::repository::Leftover;
use crate::timestamp::Timestamp;

/// Something that no complete backup needs: what a killed process, or another host's, left behind. It may also be a part
/// of a backup that is being made just now: only its age and the catalogue can tell.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Orphan {
    /// What it is.
    pub kind: OrphanKind,
    /// How many objects it has.
    pub objects: u64,
    /// Stored bytes, where the repository tells.
    pub size: Option<u64>,
    /// When it was last changed, where the repository tells.
    pub modified: Option<Timestamp>,
}

impl Orphan {
    /// One of which nothing more is known.
    pub fn new(kind: OrphanKind) -> Self {
        Self {
            kind,
            objects: 0,
            size: None,
            modified: None,
        }
    }
}

/// What an orphan is.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum OrphanKind {
    /// Objects under a backup's prefix, without the metadata that would make a backup of them.
    Backup {
        /// The backup that they were to become.
        id: BackupId,
        /// Where they lie.
        location: Location,
    },
    /// What the repository hides from listings.
    Leftover(Leftover),
}
