//! What callers ask for and what they get.

use std::collections::BTreeMap;

use crate::backup::{Outcome, Problem, Report, RestoreOptions};
use crate::record::BackupRecord;
use crate::volume::VolumeRecord;

/// Who asks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Caller {
    /// Project: what it makes belongs to it.
    pub project_id: String,
    /// User.
    pub user_id: String,
    /// Whether it may see all projects, set states, and force deletes.
    pub is_admin: bool,
}

impl Caller {
    /// The project to look in for names, or `None` for all.
    pub(super) fn scope(&self) -> Option<&str> {
        (!self.is_admin).then_some(self.project_id.as_str())
    }
}

/// Asks for a backup.
#[derive(Debug, Clone, Default)]
#[non_exhaustive]
pub struct CreateRequest {
    /// The volume, by name or ID.
    pub volume: String,
    /// Name of the backup.
    pub name: Option<String>,
    /// Description of the backup.
    pub description: Option<String>,
    /// Container; `None` for the default.
    pub container: Option<String>,
    /// A snapshot of the volume to read instead, by name or ID.
    pub snapshot: Option<String>,
    /// Back the volume up although it is in use.
    pub force: bool,
    /// Store only what changed since the newest backup.
    pub incremental: bool,
    /// Properties of the backup.
    pub properties: BTreeMap<String, String>,
    /// The repository, by name; `None` for the default.
    pub repository: Option<String>,
}

impl CreateRequest {
    /// A full backup of `volume`, nothing else set.
    pub fn of(volume: impl Into<String>) -> Self {
        Self {
            volume: volume.into(),
            ..Self::default()
        }
    }

    /// Names the backup.
    pub fn named(mut self, name: impl Into<String>) -> Self {
        self.name = Some(name.into());
        self
    }

    /// Stores only what changed.
    pub fn incremental(mut self, yes: bool) -> Self {
        self.incremental = yes;
        self
    }

    /// Although the volume is in use.
    pub fn force(mut self, yes: bool) -> Self {
        self.force = yes;
        self
    }
}

/// A backup that was made.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Created {
    /// Its record.
    pub backup: BackupRecord,
    /// What was read and stored.
    pub outcome: Outcome,
}

/// Where to restore to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RestoreTarget {
    /// Onto a volume, by name or ID.
    Volume(String),
    /// Into a new volume; named `restore_backup_<backup ID>` unless the backup's metadata or this gives a name.
    New {
        /// Name of the new volume.
        name: Option<String>,
    },
}

/// Asks for a restore.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct RestoreRequest {
    /// The backup, by name or ID.
    pub backup: String,
    /// Where to.
    pub target: RestoreTarget,
    /// What is checked, and whether to go on past damage.
    pub options: RestoreOptions,
}

impl RestoreRequest {
    /// Into a new volume, with the default checks.
    pub fn of(backup: impl Into<String>) -> Self {
        Self {
            backup: backup.into(),
            target: RestoreTarget::New { name: None },
            options: RestoreOptions::default(),
        }
    }

    /// To this target.
    pub fn to(mut self, target: RestoreTarget) -> Self {
        self.target = target;
        self
    }

    /// With these options.
    pub fn with_options(mut self, options: RestoreOptions) -> Self {
        self.options = options;
        self
    }
}

/// A restore that was done. With `salvage`, [`Report::data_is_right`] says whether all of it is right.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Restored {
    /// The backup.
    pub backup: BackupRecord,
    /// The volume with its data.
    pub volume: VolumeRecord,
    /// What was fetched, checked and written.
    pub report: Report,
}

/// A backup that was verified.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Verified {
    /// The backup.
    pub backup: BackupRecord,
    /// What was found.
    pub report: Report,
}

/// Asks what a repository holds.
#[derive(Debug, Clone, Default)]
#[non_exhaustive]
pub struct ScanRequest {
    /// The repository, by name; `None` for the default.
    pub repository: Option<String>,
    /// The container; `None` for all.
    pub container: Option<String>,
    /// Add records for those that the catalogue does not know.
    pub import: bool,
}

impl ScanRequest {
    /// All of the default repository, without import.
    pub fn new() -> Self {
        Self::default()
    }

    /// Of this repository.
    pub fn in_repository(mut self, name: Option<String>) -> Self {
        self.repository = name;
        self
    }

    /// Of this container.
    pub fn in_container(mut self, container: Option<String>) -> Self {
        self.container = container;
        self
    }

    /// Adds records for those that the catalogue does not know.
    pub fn import(mut self, yes: bool) -> Self {
        self.import = yes;
        self
    }
}

/// What the catalogue knows of a backup that a scan found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FoundState {
    /// It has its record.
    Known,
    /// It has no record.
    Missing,
    /// It had none, and now has one.
    Imported,
    /// It has no record and could not get one, for this reason.
    NotImported(String),
    /// The catalogue has a record of that ID that says it lies elsewhere.
    Elsewhere(String),
}

/// A backup that a scan found.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Found {
    /// The record: the catalogue's where it has one, else as told by the repository.
    pub backup: BackupRecord,
    /// Name of the source volume, where its metadata tells.
    pub volume_name: Option<String>,
    /// What the catalogue knows.
    pub state: FoundState,
    /// The parent that is neither in the repository nor in the catalogue: without it the backup cannot be restored.
    pub missing_parent: Option<crate::id::BackupId>,
}

/// What a scan found.
#[derive(Debug, Clone, Default)]
#[non_exhaustive]
pub struct ScanReport {
    /// The repository's name.
    pub repository: String,
    /// Backups, parents before their children.
    pub found: Vec<Found>,
    /// Metadata that cannot be read.
    pub broken: Vec<Problem>,
}

/// Where a new volume's content comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum VolumeOrigin {
    /// A new one of this many bytes, all zero.
    Empty {
        /// Length in bytes.
        length: u64,
    },
    /// An image file or block device that is taken as it is, where it is, and stays when the volume is deleted.
    Adopt(String),
}

/// Asks for a volume.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct NewVolume {
    /// Name.
    pub name: Option<String>,
    /// Description.
    pub description: Option<String>,
    /// Properties.
    pub properties: BTreeMap<String, String>,
    /// Content.
    pub origin: VolumeOrigin,
}

impl NewVolume {
    /// A volume from `origin`, nothing else set.
    pub fn new(origin: VolumeOrigin) -> Self {
        Self {
            name: None,
            description: None,
            properties: BTreeMap::new(),
            origin,
        }
    }

    /// Names it.
    pub fn named(mut self, name: impl Into<String>) -> Self {
        self.name = Some(name.into());
        self
    }

    /// Describes it.
    pub fn described(mut self, description: Option<String>) -> Self {
        self.description = description;
        self
    }

    /// With these properties.
    pub fn with_properties(mut self, properties: BTreeMap<String, String>) -> Self {
        self.properties = properties;
        self
    }
}
