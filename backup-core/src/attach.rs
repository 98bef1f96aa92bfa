//! Attaching: from "back up this volume" to a device with its bytes.

use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;
use serde::{Deserialize, Serialize};

use crate::device::{BlockDevice, ChangeSource};
use crate::error::Result;
use crate::id::BackupId;
use crate::volume::{SnapshotRef, VolumeRef};

/// What is to be attached.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum AttachSource {
    /// A volume that nobody uses: read it as it is.
    Volume(VolumeRef),
    /// A volume in use: a temporary snapshot or clone is made and read, a point in time.
    VolumeInUse(VolumeRef),
    /// A snapshot of a volume.
    Snapshot(SnapshotRef),
    /// A volume to be written, as the target of a restore.
    Target(VolumeRef),
}

/// How a source will be attached: chosen before the first deed and stored in the catalogue, so that a kill at any
/// point leaves names to clean up by.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct AttachPlan {
    /// What is attached.
    pub source: AttachSource,
    /// For which backup.
    pub backup: BackupId,
    /// Name of the temporary snapshot that will be made, where one is needed.
    pub temporary_snapshot: Option<String>,
    /// Name of the temporary volume that will be made, where one is needed.
    pub temporary_volume: Option<String>,
    /// The attacher's own notes.
    pub details: serde_json::Value,
}

impl AttachPlan {
    /// A plan without anything temporary.
    pub fn direct(source: AttachSource, backup: BackupId) -> Self {
        Self {
            source,
            backup,
            temporary_snapshot: None,
            temporary_volume: None,
            details: serde_json::Value::Null,
        }
    }
}

/// A source exposed to this host until [`DeviceAttacher::undo`].
#[derive(Clone)]
#[non_exhaustive]
pub struct Attachment {
    /// Its bytes.
    pub device: Arc<dyn BlockDevice>,
    /// What knows its changes, where something does.
    pub changes: Option<Arc<dyn ChangeSource>>,
}

impl Attachment {
    /// A device without a change source.
    pub fn new(device: Arc<dyn BlockDevice>) -> Self {
        Self {
            device,
            changes: None,
        }
    }

    /// With something that knows its changes.
    pub fn with_changes(mut self, changes: Arc<dyn ChangeSource>) -> Self {
        self.changes = Some(changes);
        self
    }
}

impl fmt::Debug for Attachment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Attachment")
            .field("device", &self.device)
            .field("changes", &self.changes)
            .finish_non_exhaustive()
    }
}

/// Exposes volumes and snapshots as devices, and cleans up behind itself.
///
/// The steps of a job: `plan`, store the plan, `execute`, transfer, then `keep` where a backup is complete, else `undo`.
/// These run on success, error and cancel, and again after a restart: both are idempotent, also for a plan that was
/// never executed or only half.
#[async_trait]
pub trait DeviceAttacher: Send + Sync + fmt::Debug + 'static {
    /// Chooses how, without doing anything.
    ///
    /// # Errors
    /// [`Unsupported`](crate::ErrorKind::Unsupported) where no point in time can be had (a volume in use whose
    /// storage has no snapshots), saying what to do instead.
    async fn plan(&self, source: &AttachSource, backup: BackupId) -> Result<AttachPlan>;

    /// Does what the plan says. After an error, `undo` is still called.
    async fn execute(&self, plan: &AttachPlan) -> Result<Attachment>;

    /// Detaches, and removes everything temporary that the plan names. Missing things are success.
    async fn undo(&self, plan: &AttachPlan) -> Result<()>;

    /// As [`undo`](Self::undo), for a backup that is complete: what its change point stands on stays for the next
    /// incremental, and what older ones stood on may go.
    async fn keep(&self, plan: &AttachPlan) -> Result<()> {
        self.undo(plan).await
    }
}
