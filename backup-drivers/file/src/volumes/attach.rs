//! From a volume or a snapshot to a device.

use std::path::PathBuf;
use std::sync::Arc;

use async_trait::async_trait;
use backup_core::attach::{AttachPlan, AttachSource, Attachment, DeviceAttacher};
use backup_core::error::{Error, ErrorKind, Result};
use backup_core::id::BackupId;
use serde::{Deserialize, Serialize};

use super::places::{Role, text_of};
use super::{FileVolumes, clone, remove};
use crate::blocking::blocking;
use crate::device::{DeviceOptions, FileDevice, Kind, identify};
use crate::holes;

const ATTACH: &str = "attach";

/// What the plan keeps for `execute` and `undo`.
#[derive(Debug, Serialize, Deserialize)]
struct Details {
    /// The temporary snapshot's path.
    temporary_path: String,
}

/// The path of the temporary snapshot that `plan` names.
fn temporary_path(plan: &AttachPlan) -> Result<Option<PathBuf>> {
    if plan.temporary_snapshot.is_none() {
        return Ok(None);
    }
    let details = Details::deserialize(&plan.details)
        .map_err(|e| Error::invalid("read attach plan", e.to_string()))?;
    let path = PathBuf::from(details.temporary_path);
    // The plan comes back from a database: what it names is removed only where we would have named it so.
    if path.is_absolute() && Role::Temporary(plan.backup).names(&path) {
        Ok(Some(path))
    } else {
        Err(Error::invalid(
            "read attach plan",
            "that is not the name of this backup's snapshot",
        )
        .on(path.display()))
    }
}

impl FileVolumes {
    async fn open_read_only(&self, path: PathBuf) -> Result<Attachment> {
        let device = FileDevice::open(path, DeviceOptions::read_only()).await?;
        Ok(Attachment::new(Arc::new(device)))
    }
}

#[async_trait]
impl DeviceAttacher for FileVolumes {
    async fn plan(&self, source: &AttachSource, backup: BackupId) -> Result<AttachPlan> {
        let mut plan = AttachPlan::direct(source.clone(), backup);
        match source {
            AttachSource::VolumeInUse(volume) => {
                let (places, path) = (Arc::clone(&self.places), self.places.volume(volume));
                let role = Role::Temporary(backup);
                let chosen = blocking("plan to attach", move || {
                    let place = clone::point_in_time_place(&places, &path)?;
                    text_of(&place.path(&places, &path, role))
                });
                let details = Details {
                    temporary_path: chosen.await??,
                };
                plan.temporary_snapshot = Some(role.file_name());
                plan.details = serde_json::to_value(details)
                    .map_err(|e| Error::internal("plan to attach", e.to_string()))?;
            }
            AttachSource::Volume(_) | AttachSource::Snapshot(_) | AttachSource::Target(_) => {}
            _ => {
                return Err(Error::new(ErrorKind::Unsupported, "plan to attach")
                    .because("this kind of source is not known to file volumes"));
            }
        }
        Ok(plan)
    }

    async fn execute(&self, plan: &AttachPlan) -> Result<Attachment> {
        match &plan.source {
            AttachSource::Volume(volume) => {
                let path = self.places.volume(volume);
                let checked = blocking(ATTACH, move || {
                    let (kind, _) = identify(ATTACH, &path)?;
                    clone::refuse_mounted(ATTACH, &path, kind)?;
                    Ok::<_, Error>(path)
                });
                self.open_read_only(checked.await??).await
            }
            AttachSource::VolumeInUse(volume) => {
                let temporary = temporary_path(plan)?.ok_or_else(|| {
                    Error::invalid(ATTACH, "the plan names no temporary snapshot")
                })?;
                let (places, path) = (Arc::clone(&self.places), self.places.volume(volume));
                let made = blocking(ATTACH, move || {
                    clone::temporary(&places, &path, &temporary).map(|()| temporary)
                });
                self.open_read_only(made.await??).await
            }
            AttachSource::Snapshot(snapshot) => {
                let path = match &snapshot.provider_location {
                    Some(location) => PathBuf::from(location),
                    None => self
                        .places
                        .snapshots
                        .join(Role::Snapshot(snapshot.id).file_name()),
                };
                self.open_read_only(path).await
            }
            AttachSource::Target(volume) => {
                let path = self.places.volume(volume);
                let looked = blocking(ATTACH, move || {
                    let (kind, metadata) = identify(ATTACH, &path)?;
                    let known_zero = kind == Kind::Regular
                        && std::fs::File::open(&path)
                            .is_ok_and(|f| holes::is_one_hole(&f, metadata.len()));
                    Ok::<_, Error>((path, known_zero))
                });
                let (path, known_zero) = looked.await??;
                let options = DeviceOptions::writable().with_known_zero(known_zero);
                let device = FileDevice::open(path, options).await?;
                Ok(Attachment::new(Arc::new(device)))
            }
            _ => Err(Error::new(ErrorKind::Unsupported, ATTACH)
                .because("this kind of source is not known to file volumes")),
        }
    }

    /// Removes the temporary snapshot, where the plan names one. An open device on it stays readable until it is
    /// dropped.
    async fn undo(&self, plan: &AttachPlan) -> Result<()> {
        match temporary_path(plan)? {
            Some(path) => blocking("detach", move || remove("detach", &path)).await?,
            None => Ok(()),
        }
    }
}
