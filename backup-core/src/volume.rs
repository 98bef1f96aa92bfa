//! Volumes and snapshots as the catalogue knows them, and the seam to whatever provides them.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use async_trait::async_trait;
use serde::{Deserialize, Serialize};

use crate::attach::DeviceAttacher;
use crate::error::{Error, Result};
use crate::id::{BackupId, SnapshotId, VolumeId};
use crate::timestamp::Timestamp;

/// State of a volume or a snapshot, with Cinder's words.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum VolumeStatus {
    /// Being made.
    Creating,
    /// Nobody uses it.
    Available,
    /// Attached to a guest.
    InUse,
    /// Read by a backup.
    BackingUp,
    /// Written by a restore.
    RestoringBackup,
    /// A restore onto it failed: its content is undefined.
    #[serde(rename = "error_restoring")]
    ErrorRestoring,
    /// Being removed.
    Deleting,
    /// Not usable.
    Error,
}

impl VolumeStatus {
    const ALL: [Self; 8] = [
        Self::Creating,
        Self::Available,
        Self::InUse,
        Self::BackingUp,
        Self::RestoringBackup,
        Self::ErrorRestoring,
        Self::Deleting,
        Self::Error,
    ];

    /// The word that clients show.
    pub fn word(self) -> &'static str {
        match self {
            Self::Creating => "creating",
            Self::Available => "available",
            Self::InUse => "in-use",
            Self::BackingUp => "backing-up",
            Self::RestoringBackup => "restoring-backup",
            Self::ErrorRestoring => "error_restoring",
            Self::Deleting => "deleting",
            Self::Error => "error",
        }
    }
}

impl fmt::Display for VolumeStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.word())
    }
}

impl FromStr for VolumeStatus {
    type Err = Error;
    fn from_str(s: &str) -> Result<Self> {
        Self::ALL
            .into_iter()
            .find(|status| status.word() == s)
            .ok_or_else(|| Error::invalid("read volume status", format!("{s:?} is not a status")))
    }
}

/// A volume as the catalogue knows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VolumeRecord {
    /// Its ID.
    pub id: VolumeId,
    /// The project that it belongs to.
    pub project_id: String,
    /// Who made it.
    pub user_id: String,
    /// Name.
    pub name: Option<String>,
    /// Description.
    pub description: Option<String>,
    /// Length in bytes.
    pub length: u64,
    /// State.
    pub status: VolumeStatus,
    /// The state to go back to after a backup.
    pub previous_status: Option<VolumeStatus>,
    /// Properties given by the user.
    pub properties: BTreeMap<String, String>,
    /// Metadata of the image that it was made from; empty where it was not.
    pub image_properties: BTreeMap<String, String>,
    /// Whether a guest may boot from it.
    pub bootable: bool,
    /// Key that its content is encrypted with.
    pub encryption_key_id: Option<String>,
    /// Where the provider keeps it: a path. Opaque to all but the provider.
    pub provider_location: Option<String>,
    /// Whether it was there before (adopted) and stays when the volume is deleted.
    pub adopted: bool,
    /// When it was made.
    pub created_at: Timestamp,
    /// When it was last changed.
    pub updated_at: Option<Timestamp>,
}

impl VolumeRecord {
    /// What the provider needs to find it.
    pub fn reference(&self) -> VolumeRef {
        VolumeRef {
            id: self.id,
            provider_location: self.provider_location.clone(),
        }
    }
}

/// A snapshot as the catalogue knows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SnapshotRecord {
    /// Its ID.
    pub id: SnapshotId,
    /// The volume that it is of.
    pub volume_id: VolumeId,
    /// The project that it belongs to.
    pub project_id: String,
    /// Name.
    pub name: Option<String>,
    /// Description.
    pub description: Option<String>,
    /// Length in bytes.
    pub length: u64,
    /// State.
    pub status: VolumeStatus,
    /// Where the provider keeps it.
    pub provider_location: Option<String>,
    /// When it was made: the point in time of its data.
    pub created_at: Timestamp,
}

/// What a provider needs to find a volume.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct VolumeRef {
    /// Its ID.
    pub id: VolumeId,
    /// What the provider answered when it was made or adopted.
    pub provider_location: Option<String>,
}

/// What a provider needs to find a snapshot.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SnapshotRef {
    /// Its ID.
    pub id: SnapshotId,
    /// The volume that it is of.
    pub volume: VolumeRef,
    /// What the provider answered when it was made.
    pub provider_location: Option<String>,
}

impl SnapshotRecord {
    /// What the provider needs to find it, given its volume.
    pub fn reference(&self, volume: VolumeRef) -> SnapshotRef {
        SnapshotRef {
            id: self.id,
            volume,
            provider_location: self.provider_location.clone(),
        }
    }
}

/// A snapshot that a backup made on a volume: of a complete one it may be kept for the next incremental; of a job whose
/// process died it is left over.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct BackupSnapshot {
    /// Its name.
    pub name: String,
    /// The backup that it is of.
    pub backup: BackupId,
    /// When it was made, where the provider tells.
    pub created_at: Option<Timestamp>,
}

impl BackupSnapshot {
    /// One of that backup.
    pub fn new(name: String, backup: BackupId, created_at: Option<Timestamp>) -> Self {
        Self {
            name,
            backup,
            created_at,
        }
    }
}

/// Makes and removes volumes and snapshots, and attaches them. All removals are idempotent.
#[async_trait]
pub trait VolumeProvider: DeviceAttacher {
    /// What it is, for messages.
    fn describe(&self) -> String;

    /// Makes a volume of `length` bytes that reads as zeroes, and answers its provider location.
    async fn create_volume(&self, id: VolumeId, length: u64) -> Result<String>;

    /// Takes something that exists (an image file, a block device) as a volume where it is, and answers its provider
    /// location and length in bytes.
    async fn adopt(&self, id: VolumeId, existing: &str) -> Result<(String, u64)>;

    /// The ID of the volume that `existing` is already, by its name: an image that Cinder made. An adopted one keeps
    /// it, so that its backups are the same volume's for both.
    fn id_in(&self, _existing: &str) -> Option<VolumeId> {
        None
    }

    /// Removes a volume that [`create_volume`](Self::create_volume) made.
    async fn delete_volume(&self, volume: &VolumeRef) -> Result<()>;

    /// The volume's length in bytes as it is now: it may have been resized.
    async fn length(&self, volume: &VolumeRef) -> Result<u64>;

    /// Makes a snapshot and answers its provider location. Where the provider can only copy, an `in_use` volume is
    /// [`Unsupported`](crate::ErrorKind::Unsupported): a torn copy is no point in time.
    async fn create_snapshot(
        &self,
        volume: &VolumeRef,
        snapshot: SnapshotId,
        in_use: bool,
    ) -> Result<String>;

    /// Removes a snapshot.
    async fn delete_snapshot(&self, snapshot: &SnapshotRef) -> Result<()>;

    /// The snapshots that backups of ours made on a volume; none where the provider keeps no such.
    async fn backup_snapshots(&self, _volume: &VolumeRef) -> Result<Vec<BackupSnapshot>> {
        Ok(Vec::new())
    }

    /// Removes one of those, and no other snapshot. One that is missing is success.
    async fn delete_backup_snapshot(
        &self,
        _volume: &VolumeRef,
        _snapshot: &BackupSnapshot,
    ) -> Result<()> {
        Ok(())
    }
}
