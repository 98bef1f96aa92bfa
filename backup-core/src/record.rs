//! What the catalogue knows of a backup: the fields that Cinder keeps in its database and exports, and a few of ours.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::id::{BackupId, ContainerName, Location, Prefix, SnapshotId, VolumeId};
use crate::timestamp::Timestamp;

/// Bytes in a GiB, the unit of sizes in records.
pub const GIB: u64 = 1 << 30;

/// `bytes` in GiB, rounded up, at least 1: what a record says of a volume's size.
pub fn gib_rounded_up(bytes: u64) -> u64 {
    bytes.div_ceil(GIB).max(1)
}

/// State of a backup.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum BackupStatus {
    /// Being written.
    Creating,
    /// Complete; can be restored.
    Available,
    /// Being removed.
    Deleting,
    /// Removed.
    Deleted,
    /// Being restored; goes back to available.
    Restoring,
    /// Failed; can only be deleted.
    Error,
    /// Its removal failed.
    ErrorDeleting,
}

impl BackupStatus {
    /// The word that records and clients show.
    pub fn word(self) -> &'static str {
        match self {
            Self::Creating => "creating",
            Self::Available => "available",
            Self::Deleting => "deleting",
            Self::Deleted => "deleted",
            Self::Restoring => "restoring",
            Self::Error => "error",
            Self::ErrorDeleting => "error_deleting",
        }
    }
}

impl fmt::Display for BackupStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.word())
    }
}

impl FromStr for BackupStatus {
    type Err = Error;
    fn from_str(s: &str) -> Result<Self> {
        [
            Self::Creating,
            Self::Available,
            Self::Deleting,
            Self::Deleted,
            Self::Restoring,
            Self::Error,
            Self::ErrorDeleting,
        ]
        .into_iter()
        .find(|status| status.word() == s)
        .ok_or_else(|| Error::invalid("read backup status", format!("{s:?} is not a status")))
    }
}

/// A backup as the catalogue knows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BackupRecord {
    /// Its ID.
    pub id: BackupId,
    /// Who made it.
    pub user_id: String,
    /// The project that it belongs to.
    pub project_id: String,
    /// The volume that it is a copy of.
    pub volume_id: VolumeId,
    /// The snapshot that was read, where one was asked for.
    pub snapshot_id: Option<SnapshotId>,
    /// The backup that this one holds the changes since; `None` for a full one.
    pub parent_id: Option<BackupId>,
    /// State.
    pub status: BackupStatus,
    /// Why it is in error.
    pub fail_reason: Option<String>,
    /// Size of the volume in GiB, rounded up.
    pub size_gib: u64,
    /// Length of the volume in bytes; `None` where it is not known (imported records of Cinder's).
    pub volume_length: Option<u64>,
    /// Name given by the user.
    pub name: Option<String>,
    /// Description given by the user.
    pub description: Option<String>,
    /// Properties given by the user.
    pub properties: BTreeMap<String, String>,
    /// The configured repository that holds it, by name.
    pub repository: String,
    /// Cinder's driver class of that repository: `cinder.backup.drivers.posix.PosixBackupDriver`.
    pub service: String,
    /// The address of the account that holds it, where each user has an account of its own (swift's `per_user`).
    pub account: Option<String>,
    /// Where it lies; `None` before it was planned.
    pub location: Option<Location>,
    /// Data objects.
    pub object_count: u64,
    /// Bytes stored in data objects, hash list and metadata; `None` where it is not known.
    pub stored_bytes: Option<u64>,
    /// Host that made it.
    pub host: Option<String>,
    /// Availability zone of the service that made it.
    pub availability_zone: Option<String>,
    /// Temporary volume to clean up.
    pub temp_volume_id: Option<String>,
    /// Temporary snapshot to clean up.
    pub temp_snapshot_id: Option<String>,
    /// The volume being restored to.
    pub restore_volume_id: Option<VolumeId>,
    /// How many backups have this one as their parent, as Cinder counts.
    pub num_dependent_backups: u64,
    /// The backup's own copy of the volume's encryption key.
    pub encryption_key_id: Option<String>,
    /// The point in time that the data is of: when the snapshot was made, else when the backup was.
    pub data_timestamp: Timestamp,
    /// When it was made.
    pub created_at: Timestamp,
    /// When it was last changed.
    pub updated_at: Option<Timestamp>,
}

impl BackupRecord {
    /// Whether it holds only the changes since another.
    pub fn is_incremental(&self) -> bool {
        self.parent_id.is_some()
    }

    /// Builds a location from the two texts of a record.
    pub fn location_of(container: &str, prefix: &str) -> Result<Location> {
        Ok(Location {
            container: ContainerName::new(container)?,
            prefix: Prefix::new(prefix)?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_rounded_up_to_whole_gib() {
        assert_eq!(gib_rounded_up(0), 1);
        assert_eq!(gib_rounded_up(GIB), 1);
        assert_eq!(gib_rounded_up(GIB + 1), 2);
    }
}
