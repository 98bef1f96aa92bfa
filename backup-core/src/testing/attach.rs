use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex};

use async_trait::async_trait;

use super::changes::MemoryChangeSource;
use super::device::MemoryDevice;
use super::lock;
use crate::attach::{AttachPlan, AttachSource, Attachment, DeviceAttacher};
use crate::error::{Error, ErrorKind, Result};
use crate::id::{BackupId, SnapshotId, VolumeId};

/// Attaches memory devices, and remembers what is attached and what is temporary. Clones share it.
#[derive(Clone, Default)]
pub struct MemoryAttacher {
    state: Arc<Mutex<State>>,
}

#[derive(Default)]
struct State {
    volumes: BTreeMap<VolumeId, MemoryDevice>,
    snapshots: BTreeMap<SnapshotId, MemoryDevice>,
    changes: BTreeMap<VolumeId, Arc<MemoryChangeSource>>,
    temporary: BTreeMap<String, MemoryDevice>,
    attached: Vec<BackupId>,
    failing: bool,
}

impl MemoryAttacher {
    /// One that knows no volume.
    pub fn new() -> Self {
        Self::default()
    }

    /// Knows `device` as the volume `id` from now on.
    pub fn add_volume(&self, id: VolumeId, device: MemoryDevice) {
        lock(&self.state).volumes.insert(id, device);
    }

    /// Knows `device` as the snapshot `id` from now on.
    pub fn add_snapshot(&self, id: SnapshotId, device: MemoryDevice) {
        lock(&self.state).snapshots.insert(id, device);
    }

    /// Attaches `changes` with the volume `id` from now on.
    pub fn add_changes(&self, id: VolumeId, changes: Arc<MemoryChangeSource>) {
        lock(&self.state).changes.insert(id, changes);
    }

    /// The next `execute` makes what is temporary and then fails.
    pub fn fail_next(&self) {
        lock(&self.state).failing = true;
    }

    /// The backups that something is attached for.
    pub fn attached(&self) -> Vec<BackupId> {
        lock(&self.state).attached.clone()
    }

    /// Names of the temporary snapshots that exist.
    pub fn temporary(&self) -> Vec<String> {
        lock(&self.state).temporary.keys().cloned().collect()
    }
}

impl fmt::Debug for MemoryAttacher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MemoryAttacher")
            .field("attached", &self.attached())
            .field("temporary", &self.temporary())
            .finish_non_exhaustive()
    }
}

#[async_trait]
impl DeviceAttacher for MemoryAttacher {
    async fn plan(&self, source: &AttachSource, backup: BackupId) -> Result<AttachPlan> {
        let mut plan = AttachPlan::direct(source.clone(), backup);
        if let AttachSource::VolumeInUse(_) = source {
            plan.temporary_snapshot = Some(format!("backup-snap-{backup}"));
        }
        Ok(plan)
    }

    async fn execute(&self, plan: &AttachPlan) -> Result<Attachment> {
        let mut state = lock(&self.state);
        let missing = |what: String| Error::new(ErrorKind::NotFound, "attach").on(what);
        let volume = |state: &State, id: VolumeId| {
            let device = state.volumes.get(&id).cloned();
            device.ok_or_else(|| missing(format!("volume {id}")))
        };
        let (device, changes) = match &plan.source {
            AttachSource::Volume(v) => (volume(&state, v.id)?.with_read_only(true), Some(v.id)),
            AttachSource::Target(v) => (volume(&state, v.id)?, None),
            AttachSource::VolumeInUse(v) => {
                let device = volume(&state, v.id)?.copy().with_read_only(true);
                if let Some(name) = &plan.temporary_snapshot {
                    state.temporary.insert(name.clone(), device.clone());
                }
                (device, None)
            }
            AttachSource::Snapshot(s) => {
                let device = state.snapshots.get(&s.id).cloned();
                let device = device.ok_or_else(|| missing(format!("snapshot {}", s.id)))?;
                (device.with_read_only(true), None)
            }
        };
        if std::mem::take(&mut state.failing) {
            return Err(
                Error::new(ErrorKind::Unavailable, "attach").because("failed as the test asked")
            );
        }
        state.attached.push(plan.backup);
        let attachment = Attachment::new(Arc::new(device));
        Ok(match changes.and_then(|id| state.changes.get(&id)) {
            Some(changes) => attachment.with_changes(changes.clone()),
            None => attachment,
        })
    }

    async fn undo(&self, plan: &AttachPlan) -> Result<()> {
        let mut state = lock(&self.state);
        state.attached.retain(|backup| *backup != plan.backup);
        if let Some(name) = &plan.temporary_snapshot {
            state.temporary.remove(name);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::buffer::Buf;
    use crate::volume::VolumeRef;

    #[tokio::test]
    async fn a_volume_in_use_is_read_at_one_point_in_time_and_nothing_temporary_stays() {
        let attacher = MemoryAttacher::new();
        let device = MemoryDevice::from_bytes(&[1; 100]);
        let id = VolumeId::generate();
        attacher.add_volume(id, device.clone());
        let volume = VolumeRef {
            id,
            provider_location: None,
        };
        let source = AttachSource::VolumeInUse(volume);
        let plan = attacher.plan(&source, BackupId::generate()).await.unwrap();
        attacher.undo(&plan).await.unwrap();
        let attached = attacher.execute(&plan).await.unwrap();
        assert_eq!(attacher.temporary().len(), 1);
        device.poke(0, &[2; 100]);
        let (buf, read) = attached.device.read(0, Buf::zeroed(100)).await;
        read.unwrap();
        assert_eq!(buf[..], [1; 100]);
        attacher.fail_next();
        assert!(attacher.execute(&plan).await.is_err());
        for _ in 0..2 {
            attacher.undo(&plan).await.unwrap();
            assert!(attacher.attached().is_empty() && attacher.temporary().is_empty());
        }
    }
}
