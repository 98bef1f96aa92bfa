//! Volumes in memory, for tests of what stands on the service. Feature `testing`.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;

use crate::attach::{AttachPlan, AttachSource, Attachment, DeviceAttacher};
use crate::device::BlockDevice;
use crate::error::{Error, ErrorKind, Result};
use crate::id::{BackupId, SnapshotId, VolumeId};
use crate::testing::MemoryDevice;
use crate::volume::{BackupSnapshot, SnapshotRef, VolumeProvider, VolumeRef};

/// A [`VolumeProvider`] whose volumes are [`MemoryDevice`]s. Clones share them.
#[derive(Debug, Clone, Default)]
pub struct MemoryVolumes {
    state: Arc<Mutex<State>>,
}

/// What can be made to wait.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Step {
    Plan,
    Execute,
    Undo,
}

#[derive(Debug, Default)]
struct State {
    volumes: HashMap<VolumeId, MemoryDevice>,
    snapshots: HashMap<String, MemoryDevice>,
    attached: HashSet<BackupId>,
    no_point_in_time: bool,
    stalled: HashSet<Step>,
    failing_undos: usize,
    kept: Vec<BackupId>,
    left: HashMap<VolumeId, Vec<BackupSnapshot>>,
    silent: HashSet<VolumeId>,
}

impl MemoryVolumes {
    /// None yet.
    pub fn new() -> Self {
        Self::default()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The bytes of a volume, shared with it.
    pub fn device(&self, id: VolumeId) -> Option<MemoryDevice> {
        self.state().volumes.get(&id).cloned()
    }

    /// Puts a snapshot on a volume, as a backup leaves it.
    pub fn leave_snapshot(&self, id: VolumeId, snapshot: BackupSnapshot) {
        self.state().left.entry(id).or_default().push(snapshot);
    }

    /// A volume that cannot be asked for its snapshots any more.
    pub fn silence(&self, id: VolumeId) {
        self.state().silent.insert(id);
    }

    /// Makes a volume another length.
    pub fn resize(&self, id: VolumeId, length: u64) {
        if let Some(device) = self.state().volumes.get_mut(&id) {
            *device = device.resized(length);
        }
    }

    /// From now on no point in time of a volume in use can be had.
    pub fn without_points_in_time(&self) {
        self.state().no_point_in_time = true;
    }

    /// From now on attaching does not end, until this is called with `false`.
    pub fn stall(&self, yes: bool) {
        self.set_stalled(Step::Execute, yes);
    }

    /// From now on planning to attach does not end, until this is called with `false`.
    pub fn stall_plans(&self, yes: bool) {
        self.set_stalled(Step::Plan, yes);
    }

    /// From now on detaching does not end, until this is called with `false`.
    pub fn stall_undos(&self, yes: bool) {
        self.set_stalled(Step::Undo, yes);
    }

    fn set_stalled(&self, step: Step, yes: bool) {
        let stalled = &mut self.state().stalled;
        if yes {
            stalled.insert(step);
        } else {
            stalled.remove(&step);
        }
    }

    async fn wait_while_stalled(&self, step: Step) {
        while self.state().stalled.contains(&step) {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }

    /// The next `n` undos fail.
    pub fn fail_undos(&self, n: usize) {
        self.state().failing_undos = n;
    }

    /// How many attachments were not undone.
    pub fn attached(&self) -> usize {
        self.state().attached.len()
    }

    /// The backups whose attachments were kept, as complete ones, in order.
    pub fn kept(&self) -> Vec<BackupId> {
        self.state().kept.clone()
    }

    /// How many snapshots there are, temporary ones too.
    pub fn snapshots(&self) -> usize {
        self.state().snapshots.len()
    }
}

impl State {
    fn volume(&self, id: VolumeId) -> Result<MemoryDevice> {
        self.volumes
            .get(&id)
            .cloned()
            .ok_or_else(|| Error::new(ErrorKind::NotFound, "find volume").on(id))
    }
}

#[async_trait]
impl DeviceAttacher for MemoryVolumes {
    async fn plan(&self, source: &AttachSource, backup: BackupId) -> Result<AttachPlan> {
        self.wait_while_stalled(Step::Plan).await;
        let mut plan = AttachPlan::direct(source.clone(), backup);
        if matches!(source, AttachSource::VolumeInUse(_)) {
            if self.state().no_point_in_time {
                return Err(Error::new(ErrorKind::Unsupported, "attach volume")
                    .because("no point in time of a volume in use can be had"));
            }
            plan.temporary_snapshot = Some(format!("temporary-{backup}"));
        }
        Ok(plan)
    }

    async fn execute(&self, plan: &AttachPlan) -> Result<Attachment> {
        let device = {
            let mut state = self.state();
            state.attached.insert(plan.backup);
            match &plan.source {
                AttachSource::Volume(v) | AttachSource::Target(v) => {
                    let device = state.volume(v.id)?;
                    let known_zero = device.geometry().known_zero && device.held() == 0;
                    device.with_known_zero(known_zero)
                }
                AttachSource::Snapshot(s) => state
                    .snapshots
                    .get(&s.id.to_string())
                    .cloned()
                    .ok_or_else(|| Error::new(ErrorKind::NotFound, "find snapshot").on(s.id))?,
                AttachSource::VolumeInUse(v) => {
                    let copy = state.volume(v.id)?.copy();
                    let name = plan.temporary_snapshot.clone().unwrap_or_default();
                    state.snapshots.insert(name, copy.clone());
                    copy
                }
            }
        };
        self.wait_while_stalled(Step::Execute).await;
        Ok(Attachment::new(Arc::new(device) as Arc<dyn BlockDevice>))
    }

    async fn undo(&self, plan: &AttachPlan) -> Result<()> {
        self.wait_while_stalled(Step::Undo).await;
        let mut state = self.state();
        if state.failing_undos > 0 {
            state.failing_undos -= 1;
            return Err(Error::new(ErrorKind::Io, "detach volume").because("as the test asked"));
        }
        state.attached.remove(&plan.backup);
        if let Some(name) = &plan.temporary_snapshot {
            state.snapshots.remove(name);
        }
        Ok(())
    }

    async fn keep(&self, plan: &AttachPlan) -> Result<()> {
        self.undo(plan).await?;
        self.state().kept.push(plan.backup);
        Ok(())
    }
}

#[async_trait]
impl VolumeProvider for MemoryVolumes {
    async fn backup_snapshots(&self, volume: &VolumeRef) -> Result<Vec<BackupSnapshot>> {
        let state = self.state();
        if state.silent.contains(&volume.id) {
            return Err(Error::new(ErrorKind::Unavailable, "list snapshots").on(volume.id));
        }
        Ok(state.left.get(&volume.id).cloned().unwrap_or_default())
    }

    async fn delete_backup_snapshot(
        &self,
        volume: &VolumeRef,
        snapshot: &BackupSnapshot,
    ) -> Result<()> {
        if let Some(left) = self.state().left.get_mut(&volume.id) {
            left.retain(|other| other.name != snapshot.name);
        }
        Ok(())
    }

    fn describe(&self) -> String {
        "volumes in memory".into()
    }

    async fn create_volume(&self, id: VolumeId, length: u64) -> Result<String> {
        if length == 0 {
            return Err(Error::invalid("create volume", "a length of 0 bytes"));
        }
        let device = MemoryDevice::new(length).with_known_zero(true);
        self.state().volumes.insert(id, device);
        Ok(format!("memory:{id}"))
    }

    async fn adopt(&self, id: VolumeId, existing: &str) -> Result<(String, u64)> {
        let length: u64 = existing
            .parse()
            .map_err(|_| Error::invalid("adopt volume", "name its length in bytes"))?;
        self.state().volumes.insert(id, MemoryDevice::new(length));
        Ok((format!("adopted:{existing}"), length))
    }

    async fn delete_volume(&self, volume: &VolumeRef) -> Result<()> {
        self.state().volumes.remove(&volume.id);
        Ok(())
    }

    async fn length(&self, volume: &VolumeRef) -> Result<u64> {
        let device = self.state().volume(volume.id)?;
        Ok(device.geometry().length)
    }

    async fn create_snapshot(
        &self,
        volume: &VolumeRef,
        snapshot: SnapshotId,
        in_use: bool,
    ) -> Result<String> {
        let mut state = self.state();
        if in_use && state.no_point_in_time {
            return Err(Error::new(ErrorKind::Unsupported, "create snapshot"));
        }
        let copy = state.volume(volume.id)?.copy();
        state.snapshots.insert(snapshot.to_string(), copy);
        Ok(format!("memory:{snapshot}"))
    }

    async fn delete_snapshot(&self, snapshot: &SnapshotRef) -> Result<()> {
        self.state().snapshots.remove(&snapshot.id.to_string());
        Ok(())
    }
}
