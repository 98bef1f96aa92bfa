//! From a volume or a snapshot to a device.

use std::sync::Arc;
use std::time::SystemTime;

use async_trait::async_trait;
use backup_core::attach::{AttachPlan, AttachSource, Attachment, DeviceAttacher};
use backup_core::error::{Error, ErrorKind, Result};
use backup_core::id::BackupId;
use backup_core::volume::VolumeRef;

use super::{Place, RbdVolumes, remove_snapshot, target};
use crate::changes::RbdChanges;
use crate::device::RbdDevice;
use crate::image::Snapshot;
use crate::names;

const ATTACH: &str = "attach";

/// The backup's snapshot that `plan` names.
fn own_snapshot(plan: &AttachPlan) -> Result<Option<&str>> {
    match plan.temporary_snapshot.as_deref() {
        None => Ok(None),
        // The plan comes back from a database: what it names is removed only where we would have named it so.
        Some(name) if names::is_snapshot_of(name, plan.backup) => Ok(Some(name)),
        Some(name) => Err(Error::invalid(
            "read attach plan",
            "that is not the name of this backup's snapshot",
        )
        .on(name)),
    }
}

/// The volume whose snapshot is read.
fn volume_of(source: &AttachSource) -> Option<&VolumeRef> {
    match source {
        AttachSource::Volume(volume) | AttachSource::VolumeInUse(volume) => Some(volume),
        _ => None,
    }
}

fn not_known() -> Error {
    Error::new(ErrorKind::Unsupported, ATTACH)
        .because("this kind of source is not known to RBD volumes")
}

async fn open_snapshot(place: &Place, name: &str, fast_diff: bool) -> Result<Attachment> {
    let image = place.pool.open_read_only(&place.image, Some(name)).await?;
    let changes = RbdChanges::new(image.clone())?.with_fast_diff(fast_diff);
    Ok(Attachment::new(Arc::new(RbdDevice::new(image))).with_changes(Arc::new(changes)))
}

/// The snapshots that are one too many, where `most` of ours are kept (0: all) and `newest` is one of them.
fn too_many(snapshots: &[Snapshot], most: usize, newest: &str) -> Vec<String> {
    if most == 0 {
        return Vec::new();
    }
    let mut own: Vec<_> = snapshots
        .iter()
        .filter(|s| names::is_own_backup_snapshot(&s.name) && s.name != newest)
        .collect();
    own.sort_unstable_by_key(|s| std::cmp::Reverse(s.id));
    own.into_iter()
        .skip(most.saturating_sub(1))
        .map(|s| s.name.clone())
        .collect()
}

#[async_trait]
impl DeviceAttacher for RbdVolumes {
    async fn plan(&self, source: &AttachSource, backup: BackupId) -> Result<AttachPlan> {
        let mut plan = AttachPlan::direct(source.clone(), backup);
        match source {
            AttachSource::Volume(_) | AttachSource::VolumeInUse(_) => {
                plan.temporary_snapshot = Some(names::backup_snapshot(backup, SystemTime::now()));
            }
            AttachSource::Snapshot(_) | AttachSource::Target(_) => {}
            _ => return Err(not_known()),
        }
        Ok(plan)
    }

    async fn execute(&self, plan: &AttachPlan) -> Result<Attachment> {
        match &plan.source {
            AttachSource::Volume(volume) | AttachSource::VolumeInUse(volume) => {
                let name = own_snapshot(plan)?
                    .ok_or_else(|| Error::invalid(ATTACH, "the plan names no snapshot"))?;
                let place = self.place(volume).await?;
                let image = place.open().await?;
                match image.create_snapshot(name).await {
                    // Made by an earlier try at this same plan, before anything was read.
                    Err(e) if e.is(ErrorKind::AlreadyExists) => {}
                    made => made?,
                }
                drop(image);
                open_snapshot(&place, name, self.config.fast_diff).await
            }
            AttachSource::Snapshot(snapshot) => {
                let place = self.place(&snapshot.volume).await?;
                let name = names::snapshot(snapshot.id);
                open_snapshot(&place, &name, self.config.fast_diff).await
            }
            AttachSource::Target(volume) => {
                let place = self.place(volume).await?;
                let image = target::open(&place, self.patience).await?;
                let device = RbdDevice::new(image).with_known_zero().await?;
                Ok(Attachment::new(Arc::new(device)))
            }
            _ => Err(not_known()),
        }
    }

    /// Removes the backup's snapshot.
    async fn undo(&self, plan: &AttachPlan) -> Result<()> {
        let (Some(name), Some(volume)) = (own_snapshot(plan)?, volume_of(&plan.source)) else {
            return Ok(());
        };
        let place = self.place(volume).await?;
        match place.open().await {
            Ok(image) => remove_snapshot(&image, name).await,
            Err(e) if e.is(ErrorKind::NotFound) => Ok(()),
            Err(e) => Err(e),
        }
    }

    /// Keeps the backup's snapshot for the next incremental, and removes those of older backups that are too many.
    async fn keep(&self, plan: &AttachPlan) -> Result<()> {
        let (Some(name), Some(volume)) = (own_snapshot(plan)?, volume_of(&plan.source)) else {
            return Ok(());
        };
        let place = self.place(volume).await?;
        let look = match place.pool.open_read_only(&place.image, None).await {
            Ok(image) => image,
            Err(e) if e.is(ErrorKind::NotFound) => return Ok(()),
            Err(e) => return Err(e),
        };
        let old = too_many(&look.snapshots().await?, self.config.max_snapshots, name);
        if old.is_empty() {
            return Ok(());
        }
        let image = place.open().await?;
        for snapshot in old {
            remove_snapshot(&image, &snapshot).await?;
        }
        Ok(())
    }
}
