use std::path::PathBuf;

use clap::{Args, Subcommand};

use super::backup::BackupCommand;
use super::{Age, Property, property};

/// `ashlar volume ...`
#[derive(Debug, Subcommand)]
pub(crate) enum VolumeCommand {
    /// Makes a volume, or takes an image file or block device as one
    Create(VolumeCreate),
    /// Makes a volume of files that `rbd export-diff` or `volume backup export-diff` wrote
    ImportDiff(ImportDiff),
    /// Lists volumes
    List(VolumeList),
    /// Shows a volume: its state, size and path
    Show {
        /// Name or ID
        volume: String,
    },
    /// Deletes volumes; an adopted file or device stays where it is
    Delete {
        /// Names or IDs
        #[arg(required = true)]
        volumes: Vec<String>,
    },
    /// Changes a volume's name, description, properties or state
    Set(VolumeSet),
    /// Snapshots: points in time of a volume
    #[command(subcommand)]
    Snapshot(SnapshotCommand),
    /// Backups: create, restore, verify and the rest
    #[command(subcommand)]
    Backup(BackupCommand),
}

/// `ashlar volume create`
#[derive(Debug, Args)]
#[command(group = clap::ArgGroup::new("content").required(true))]
pub(crate) struct VolumeCreate {
    /// Makes a volume of this many GiB that reads as zeroes
    #[arg(long, value_name = "GIB", group = "content", value_parser = clap::value_parser!(u64).range(1..=16_777_216))]
    pub(crate) size: Option<u64>,
    /// Takes this image file or block device as a volume, where it is
    #[arg(long, value_name = "PATH", group = "content")]
    pub(crate) file: Option<PathBuf>,
    /// Takes this RBD image as a volume, where it is
    #[arg(long, value_name = "[POOL/]IMAGE", group = "content")]
    pub(crate) image: Option<String>,
    /// A text about it
    #[arg(long)]
    pub(crate) description: Option<String>,
    /// Sets a property; may be repeated
    #[arg(long, value_name = "KEY=VALUE", value_parser = property)]
    pub(crate) property: Vec<Property>,
    /// Name of the volume
    pub(crate) name: String,
}

/// `ashlar volume import-diff`
#[derive(Debug, Args)]
pub(crate) struct ImportDiff {
    /// Name of the volume
    #[arg(long)]
    pub(crate) name: String,
    /// The files, oldest first; where FILE.sha256 is beside one, it is checked
    #[arg(required = true)]
    pub(crate) files: Vec<PathBuf>,
}

/// `ashlar volume list`
#[derive(Debug, Args)]
pub(crate) struct VolumeList {
    /// More columns
    #[arg(long)]
    pub(crate) long: bool,
    /// Volumes of all projects
    #[arg(long)]
    pub(crate) all_projects: bool,
    /// Only those with this name
    #[arg(long)]
    pub(crate) name: Option<String>,
    /// Only those in this state
    #[arg(long)]
    pub(crate) status: Option<String>,
}

/// `ashlar volume set`
#[derive(Debug, Args)]
#[command(group = clap::ArgGroup::new("change").required(true).multiple(true))]
pub(crate) struct VolumeSet {
    /// New name
    #[arg(long, group = "change")]
    pub(crate) name: Option<String>,
    /// New description
    #[arg(long, group = "change")]
    pub(crate) description: Option<String>,
    /// Sets a property; may be repeated
    #[arg(long, value_name = "KEY=VALUE", value_parser = property, group = "change")]
    pub(crate) property: Vec<Property>,
    /// New state: available, in-use, error ...
    #[arg(long, group = "change")]
    pub(crate) state: Option<String>,
    /// Name or ID
    pub(crate) volume: String,
}

/// `ashlar volume snapshot ...`
#[derive(Debug, Subcommand)]
pub(crate) enum SnapshotCommand {
    /// Makes a snapshot of a volume
    Create(SnapshotCreate),
    /// Lists snapshots
    List(SnapshotList),
    /// Shows a snapshot
    Show {
        /// Name or ID
        snapshot: String,
    },
    /// Deletes snapshots
    Delete {
        /// Names or IDs
        #[arg(required = true)]
        snapshots: Vec<String>,
    },
    /// Finds the snapshots that backups left on volumes and that no backup needs
    Orphans(SnapshotOrphans),
}

/// `ashlar volume snapshot create`
#[derive(Debug, Args)]
pub(crate) struct SnapshotCreate {
    /// The volume, by name or ID
    #[arg(long)]
    pub(crate) volume: String,
    /// A text about it
    #[arg(long)]
    pub(crate) description: Option<String>,
    /// Also of a volume that is in use, where its storage can take a point in time
    #[arg(long)]
    pub(crate) force: bool,
    /// Name of the snapshot
    pub(crate) name: String,
}

/// `ashlar volume snapshot orphans`
#[derive(Debug, Args)]
pub(crate) struct SnapshotOrphans {
    /// Only on this volume, by name or ID
    #[arg(long)]
    pub(crate) volume: Option<String>,
    /// Leaves alone what was made within this time: 90m, 24h, 7d ... Another host's backup is not known here [default: 24h]
    #[arg(long, value_name = "AGE")]
    pub(crate) older_than: Option<Age>,
    /// Removes what is found
    #[arg(long)]
    pub(crate) delete: bool,
}

/// `ashlar volume snapshot list`
#[derive(Debug, Args)]
pub(crate) struct SnapshotList {
    /// More columns
    #[arg(long)]
    pub(crate) long: bool,
    /// Snapshots of all projects
    #[arg(long)]
    pub(crate) all_projects: bool,
    /// Only those of this volume
    #[arg(long)]
    pub(crate) volume: Option<String>,
    /// Only those with this name
    #[arg(long)]
    pub(crate) name: Option<String>,
    /// Only those in this state
    #[arg(long)]
    pub(crate) status: Option<String>,
}
