use std::path::PathBuf;

use clap::{Args, Subcommand, ValueEnum};

use super::{Property, property};

/// `ashlar volume backup ...`
#[derive(Debug, Subcommand)]
pub(crate) enum BackupCommand {
    /// Backs up a volume or a snapshot, fully or what changed
    Create(BackupCreate),
    /// Lists backups, newest first
    List(BackupList),
    /// Shows a backup
    Show {
        /// Name or ID
        backup: String,
    },
    /// Deletes backups; of a chain, the newest goes first
    Delete(BackupDelete),
    /// Restores a backup to a new volume or to a given one
    Restore(Restore),
    /// Reads and checks everything that a restore would, without writing
    Verify {
        /// Name or ID
        backup: String,
    },
    /// Writes what a backup differs by as a file that `rbd import-diff` takes, with its SHA-256 beside it
    ExportDiff(ExportDiff),
    /// Records: what the catalogue knows of a backup, to keep in a safe place
    #[command(subcommand)]
    Record(RecordCommand),
    /// Finds the backups of a repository without the catalogue's help
    Scan(Scan),
    /// Changes a backup's name, description, properties or state
    Set(BackupSet),
}

/// `ashlar volume backup export-diff`
#[derive(Debug, Args)]
pub(crate) struct ExportDiff {
    /// What differs since this other backup of the volume [default: since its parent]
    #[arg(long, value_name = "BACKUP", conflicts_with = "whole")]
    pub(crate) since: Option<String>,
    /// All that the backup holds
    #[arg(long)]
    pub(crate) whole: bool,
    /// Version of the file's format: `rbd import-diff` takes 1
    #[arg(long, value_name = "VERSION", default_value_t = 1, value_parser = clap::value_parser!(u8).range(1..=2))]
    pub(crate) rbd_format: u8,
    /// Name or ID
    pub(crate) backup: String,
    /// The file to make; FILE.sha256 is made beside it. `-` for the standard output
    pub(crate) file: PathBuf,
}

/// `ashlar volume backup create`
#[derive(Debug, Args)]
pub(crate) struct BackupCreate {
    /// Name of the backup
    #[arg(long)]
    pub(crate) name: Option<String>,
    /// A text about it
    #[arg(long)]
    pub(crate) description: Option<String>,
    /// Container (folder, bucket) to put it in [default: the repository's own choice]
    #[arg(long)]
    pub(crate) container: Option<String>,
    /// Backs up this snapshot of the volume, by name or ID
    #[arg(long)]
    pub(crate) snapshot: Option<String>,
    /// Also of a volume that is in use: consistent as after a crash
    #[arg(long)]
    pub(crate) force: bool,
    /// Stores only what changed since the newest backup
    #[arg(long)]
    pub(crate) incremental: bool,
    /// Sets a property; may be repeated
    #[arg(long, value_name = "KEY=VALUE", value_parser = property)]
    pub(crate) property: Vec<Property>,
    /// The volume, by name or ID
    pub(crate) volume: String,
}

/// `ashlar volume backup list`
#[derive(Debug, Args)]
pub(crate) struct BackupList {
    /// More columns
    #[arg(long)]
    pub(crate) long: bool,
    /// Backups of all projects
    #[arg(long)]
    pub(crate) all_projects: bool,
    /// Only those with this name
    #[arg(long)]
    pub(crate) name: Option<String>,
    /// Only those in this state
    #[arg(long)]
    pub(crate) status: Option<String>,
    /// Only those of this volume, by name or ID
    #[arg(long)]
    pub(crate) volume: Option<String>,
    /// At most this many
    #[arg(long, value_name = "N")]
    pub(crate) limit: Option<usize>,
    /// Only those behind this one in the list, by name or ID
    #[arg(long, value_name = "BACKUP")]
    pub(crate) marker: Option<String>,
}

/// `ashlar volume backup delete`
#[derive(Debug, Args)]
pub(crate) struct BackupDelete {
    /// Whatever its state; also stops one that is being made
    #[arg(long)]
    pub(crate) force: bool,
    /// Names or IDs
    #[arg(required = true)]
    pub(crate) backups: Vec<String>,
}

/// What a restore checks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
pub(crate) enum CheckWord {
    /// Every block against the backup's list of SHA-256 hashes
    #[default]
    Hashes,
    /// Each object's MD5 before its bytes count, and the hashes too
    Md5,
}

/// `ashlar volume backup restore`
#[derive(Debug, Args)]
pub(crate) struct Restore {
    /// What is checked
    #[arg(long, value_enum, default_value_t)]
    pub(crate) check: CheckWord,
    /// Goes on past damage, lists the bad ranges and ends with status 1
    #[arg(long)]
    pub(crate) salvage: bool,
    /// Name of the new volume [default: the name of the volume that was backed up]
    #[arg(long, conflicts_with = "volume")]
    pub(crate) name: Option<String>,
    /// Taken for the openstack client's sake: a given volume is always written
    #[arg(long)]
    pub(crate) force: bool,
    /// Name or ID of the backup
    pub(crate) backup: String,
    /// The volume to write, by name or ID [default: a new one]
    pub(crate) volume: Option<String>,
}

/// `ashlar volume backup record ...`
#[derive(Debug, Subcommand)]
pub(crate) enum RecordCommand {
    /// Prints a backup's record: `-f yaml` to keep in a file
    Export {
        /// Name or ID of the backup
        backup: String,
    },
    /// Takes a record into the catalogue, so that its backup can be restored
    Import(RecordImport),
}

/// `ashlar volume backup record import`
#[derive(Debug, Args)]
#[command(group = clap::ArgGroup::new("source").required(true))]
pub(crate) struct RecordImport {
    /// Reads the record from a YAML or JSON file as `record export` prints it; `-` for standard input
    #[arg(long, value_name = "F", group = "source")]
    pub(crate) file: Option<PathBuf>,
    /// The record's backup_service
    #[arg(requires = "url", group = "source")]
    pub(crate) service: Option<String>,
    /// The record's backup_url
    pub(crate) url: Option<String>,
}

/// `ashlar volume backup scan`
#[derive(Debug, Args)]
pub(crate) struct Scan {
    /// Looks only into this container
    #[arg(long)]
    pub(crate) container: Option<String>,
    /// Looks into this repository [default: the one that backups go to]
    #[arg(long)]
    pub(crate) repository: Option<String>,
    /// Takes what the catalogue does not know into it
    #[arg(long)]
    pub(crate) import: bool,
}

/// `ashlar volume backup set`
#[derive(Debug, Args)]
#[command(group = clap::ArgGroup::new("change").required(true).multiple(true))]
pub(crate) struct BackupSet {
    /// New name
    #[arg(long, group = "change")]
    pub(crate) name: Option<String>,
    /// New description
    #[arg(long, group = "change")]
    pub(crate) description: Option<String>,
    /// Sets a property; may be repeated
    #[arg(long, value_name = "KEY=VALUE", value_parser = property, group = "change")]
    pub(crate) property: Vec<Property>,
    /// New state: available or error
    #[arg(long, group = "change")]
    pub(crate) state: Option<String>,
    /// Name or ID
    pub(crate) backup: String,
}
