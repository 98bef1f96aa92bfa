//! What goes into the catalogue's steps and comes out of its queries.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::attach::AttachPlan;
use crate::backup::{BackupPlan, Outcome};
use crate::error::{Error, Result};
use crate::format::volume::RestoredMetadata;
use crate::id::{BackupId, JobId, SnapshotId, VolumeId};
use crate::record::{BackupRecord, BackupStatus};
use crate::timestamp::Timestamp;
use crate::volume::VolumeStatus;

/// The project and the user of a home that nobody else gave one: 32 hexadecimal digits each, as Keystone's.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    /// Project.
    pub project_id: String,
    /// User.
    pub user_id: String,
}

/// What a job does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum JobKind {
    /// Makes a backup.
    CreateBackup,
    /// Restores a backup onto a volume.
    RestoreBackup,
    /// Removes a backup.
    DeleteBackup,
    /// Makes a volume.
    CreateVolume,
    /// Removes a volume.
    DeleteVolume,
    /// Makes a snapshot.
    CreateSnapshot,
    /// Removes a snapshot.
    DeleteSnapshot,
}

impl JobKind {
    const ALL: [Self; 7] = [
        Self::CreateBackup,
        Self::RestoreBackup,
        Self::DeleteBackup,
        Self::CreateVolume,
        Self::DeleteVolume,
        Self::CreateSnapshot,
        Self::DeleteSnapshot,
    ];

    /// The word that the catalogue stores.
    pub fn word(self) -> &'static str {
        match self {
            Self::CreateBackup => "create_backup",
            Self::RestoreBackup => "restore_backup",
            Self::DeleteBackup => "delete_backup",
            Self::CreateVolume => "create_volume",
            Self::DeleteVolume => "delete_volume",
            Self::CreateSnapshot => "create_snapshot",
            Self::DeleteSnapshot => "delete_snapshot",
        }
    }
}

impl fmt::Display for JobKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.word())
    }
}

impl FromStr for JobKind {
    type Err = Error;
    fn from_str(s: &str) -> Result<Self> {
        Self::ALL
            .into_iter()
            .find(|kind| kind.word() == s)
            .ok_or_else(|| Error::invalid("read job kind", format!("{s:?} is not a kind of job")))
    }
}

/// One attempt at something that takes time, with the plans that it can be undone by.
#[derive(Debug, Clone)]
pub struct Job {
    /// Its ID, which is also the name of its lock.
    pub id: JobId,
    /// What it does.
    pub kind: JobKind,
    /// The host that runs it: only that host can tell whether it still lives.
    pub host: String,
    /// When it began.
    pub started_at: Timestamp,
    /// The backup that it works on.
    pub backup: Option<BackupId>,
    /// The volume that it works on.
    pub volume: Option<VolumeId>,
    /// The snapshot that it works on.
    pub snapshot: Option<SnapshotId>,
    /// Where a backup goes and what is recorded with it.
    pub plan: Option<BackupPlan>,
    /// How its source or target is attached.
    pub attach: Option<AttachPlan>,
}

impl Job {
    /// A job of `kind` with no subject yet.
    pub fn new(id: JobId, kind: JobKind, host: impl Into<String>, at: Timestamp) -> Self {
        Self {
            id,
            kind,
            host: host.into(),
            started_at: at,
            backup: None,
            volume: None,
            snapshot: None,
            plan: None,
            attach: None,
        }
    }

    /// Works on this backup.
    pub fn on_backup(mut self, id: BackupId) -> Self {
        self.backup = Some(id);
        self
    }

    /// Works on this volume.
    pub fn on_volume(mut self, id: VolumeId) -> Self {
        self.volume = Some(id);
        self
    }

    /// Works on this snapshot.
    pub fn on_snapshot(mut self, id: SnapshotId) -> Self {
        self.snapshot = Some(id);
        self
    }

    /// Stores by this plan.
    pub fn with_plan(mut self, plan: BackupPlan) -> Self {
        self.plan = Some(plan);
        self
    }

    /// Attaches by this plan.
    pub fn with_attach(mut self, plan: AttachPlan) -> Self {
        self.attach = Some(plan);
        self
    }
}

/// A backup that is about to be made.
#[derive(Debug, Clone)]
pub struct NewBackup {
    /// Its record, in `creating`, with its location.
    pub record: BackupRecord,
    /// The job, with its plans.
    pub job: Job,
    /// Whether the volume may be in use.
    pub force: bool,
}

/// How a backup ended.
#[derive(Debug, Clone)]
pub enum BackupEnd {
    /// Everything is stored.
    Complete(Outcome),
    /// It failed or was cancelled, for this reason.
    Failed(String),
}

/// A restore that is about to begin.
#[derive(Debug, Clone)]
pub struct RestoreStart {
    /// The backup.
    pub backup: BackupId,
    /// The volume that it is restored onto.
    pub volume: VolumeId,
    /// The job that made the volume for this restore, and what it made: the volume passes from the one job to the
    /// other in one step, so that nobody ever sees it available and empty.
    pub made: Option<(JobId, VolumeEnd)>,
    /// Bytes that the volume must have.
    pub length: u64,
    /// The job, with its attach plan.
    pub job: Job,
}

/// How a restore ended.
#[derive(Debug, Clone)]
pub enum RestoreEnd {
    /// The volume holds the backup.
    Complete(Box<RestoredMetadata>),
    /// The volume's content is undefined.
    Failed(String),
    /// Stopped on request: the volume's content is undefined.
    Cancelled(String),
}

/// How the making of a volume or snapshot ended.
#[derive(Debug, Clone)]
pub enum VolumeEnd {
    /// The provider keeps it there.
    Made {
        /// The provider's own name for it.
        provider_location: String,
        /// Length in bytes.
        length: u64,
    },
    /// It was not made and nothing is left of it: its row goes.
    Gone,
    /// It was not made, and something may be left of it: it is in `error` until it is deleted.
    Failed,
}

/// Which backups to list.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct BackupFilter {
    /// Of this project; `None` for all.
    pub project: Option<String>,
    /// Of this volume.
    pub volume: Option<VolumeId>,
    /// In this state.
    pub status: Option<BackupStatus>,
    /// With exactly this name.
    pub name: Option<String>,
}

impl BackupFilter {
    /// Those of one project.
    pub fn of_project(project: impl Into<String>) -> Self {
        Self {
            project: Some(project.into()),
            ..Self::default()
        }
    }

    /// Whether `record` is one of them.
    pub fn admits(&self, record: &BackupRecord) -> bool {
        self.project
            .as_ref()
            .is_none_or(|p| *p == record.project_id)
            && self.volume.is_none_or(|v| v == record.volume_id)
            && self.status.is_none_or(|s| s == record.status)
            && (self.name.is_none() || self.name == record.name)
    }
}

/// Which volumes to list.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct VolumeFilter {
    /// Of this project; `None` for all.
    pub project: Option<String>,
    /// In this state.
    pub status: Option<VolumeStatus>,
    /// With exactly this name.
    pub name: Option<String>,
}

/// Which snapshots to list.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SnapshotFilter {
    /// Of this project; `None` for all.
    pub project: Option<String>,
    /// Of this volume.
    pub volume: Option<VolumeId>,
    /// With exactly this name.
    pub name: Option<String>,
}

/// Asks for the backup that an incremental is to be made on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ParentQuery {
    /// Of this project.
    pub project: String,
    /// Of this volume.
    pub volume: VolumeId,
    /// In this repository; `None` for any.
    pub repository: Option<String>,
    /// With data older than this: a snapshot's own time.
    pub before: Option<Timestamp>,
}

/// What of a volume is changed; what is `None` stays. An empty name or description removes it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct VolumeChange {
    /// Name.
    pub name: Option<String>,
    /// Description.
    pub description: Option<String>,
    /// Properties to set.
    pub set_properties: BTreeMap<String, String>,
    /// Properties to remove.
    pub unset_properties: Vec<String>,
    /// State, set by the operator.
    pub status: Option<VolumeStatus>,
    /// Length in bytes: it was resized.
    pub length: Option<u64>,
}

/// What of a backup is changed; what is `None` stays. An empty name or description removes it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct BackupChange {
    /// Name.
    pub name: Option<String>,
    /// Description.
    pub description: Option<String>,
    /// Properties to set.
    pub set_properties: BTreeMap<String, String>,
    /// Properties to remove.
    pub unset_properties: Vec<String>,
    /// State, set by the operator: `available` or `error`.
    pub status: Option<BackupStatus>,
    /// The account that holds it, once that is known: records of earlier programs name none.
    pub account: Option<String>,
}

/// How many backups, and how many GiB of volumes in backups, a project may have; `None` for no limit.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Quota {
    /// Backups.
    pub backups: Option<u64>,
    /// GiB: each backup, an incremental too, counts with its volume's whole size.
    pub gigabytes: Option<u64>,
}

impl Quota {
    /// No limits.
    pub const UNLIMITED: Self = Self {
        backups: None,
        gigabytes: None,
    };

    /// Cinder's defaults: 10 backups, 1000 GiB.
    pub const CINDER: Self = Self {
        backups: Some(10),
        gigabytes: Some(1000),
    };
}

/// What a project has.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Usage {
    /// Backups.
    pub backups: u64,
    /// GiB of volumes in backups.
    pub gigabytes: u64,
}
