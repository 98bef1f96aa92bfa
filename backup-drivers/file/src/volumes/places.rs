//! Where volumes and snapshots lie, and which names are ours.

use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};

use backup_core::error::{Error, Result};
use backup_core::id::{BackupId, SnapshotId, VolumeId};
use backup_core::volume::VolumeRef;

/// The folders, as absolute paths.
#[derive(Debug)]
pub(super) struct Places {
    pub(super) volumes: PathBuf,
    pub(super) snapshots: PathBuf,
}

/// What a file beside the volumes is for; its name follows from it.
#[derive(Debug, Clone, Copy)]
pub(super) enum Role {
    Snapshot(SnapshotId),
    /// The temporary point in time that a backup of a volume in use reads.
    Temporary(BackupId),
}

impl Role {
    /// The name in the folder of snapshots.
    pub(super) fn file_name(self) -> String {
        match self {
            Self::Snapshot(id) => format!("snapshot-{id}.img"),
            Self::Temporary(id) => format!("backup-snap-{id}.img"),
        }
    }

    /// The name next to a volume in a folder that is not ours. It does not hold the volume's name, which may fill
    /// what a name can hold.
    fn hidden_name(self) -> String {
        format!(".{}", self.file_name())
    }

    /// Whether `path` has one of the two names.
    pub(super) fn names(self, path: &Path) -> bool {
        path.file_name()
            .and_then(OsStr::to_str)
            .is_some_and(|name| name == self.file_name() || name == self.hidden_name())
    }

    /// Where the file `path` is built before it gets its name.
    pub(super) fn part_of(self, path: &Path) -> PathBuf {
        path.with_file_name(format!(".{}.part", self.file_name()))
    }
}

impl Places {
    /// The path of a volume made here.
    pub(super) fn own_volume(&self, id: VolumeId) -> PathBuf {
        self.volumes.join(format!("volume-{id}.img"))
    }

    /// The path of any volume.
    pub(super) fn volume(&self, volume: &VolumeRef) -> PathBuf {
        match &volume.provider_location {
            Some(location) => PathBuf::from(location),
            None => self.own_volume(volume.id),
        }
    }

    /// Whether `path` is a volume made here, however the folder is written.
    pub(super) fn is_own_volume(&self, path: &Path, id: VolumeId) -> bool {
        let own = self.own_volume(id);
        if path == own {
            return true;
        }
        let resolved = |p: &Path| p.parent().and_then(|folder| fs::canonicalize(folder).ok());
        path.file_name() == own.file_name()
            && resolved(path).is_some_and(|f| Some(f) == resolved(&own))
    }

    /// Where the file for `role` of the volume at `volume` may lie, the folder of snapshots first.
    pub(super) fn candidates(&self, volume: &Path, role: Role) -> Vec<PathBuf> {
        let mut found = vec![self.snapshots.join(role.file_name())];
        if let Some(folder) = volume.parent() {
            found.push(folder.join(role.hidden_name()));
        }
        found
    }
}

/// A path as the text that the catalogue keeps.
pub(super) fn text_of(path: &Path) -> Result<String> {
    path.to_str()
        .map(ToOwned::to_owned)
        .ok_or_else(|| Error::invalid("name volume", "its path is not UTF-8").on(path.display()))
}
