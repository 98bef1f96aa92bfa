//! The command line: what can be typed, and nothing of what it does.

mod backup;
mod repository;
mod volume;

use std::path::PathBuf;

use clap::{ArgAction, Args, Parser, Subcommand, ValueEnum};

pub(crate) use backup::{
    BackupCommand, BackupCreate, BackupDelete, BackupList, BackupSet, CheckWord, ExportDiff,
    RecordCommand, RecordImport, Restore, Scan,
};
pub(crate) use repository::{Age, Orphans, RepositoryCommand};
pub(crate) use volume::{
    ImportDiff, SnapshotCommand, SnapshotCreate, SnapshotList, SnapshotOrphans, VolumeCommand,
    VolumeCreate, VolumeList, VolumeSet,
};

/// How results are printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
pub(crate) enum Format {
    /// A table for people
    #[default]
    Table,
    /// JSON, with stable keys
    Json,
    /// YAML, with the same keys
    Yaml,
    /// Bare values, for shell scripts
    Value,
}

const EXIT_STATUS: &str = "\
Exit status: 0 done, 1 failed (or damage was found), 2 wrong usage, 130 stopped by a second Ctrl-C.
Results go to standard output; messages and progress to standard error.

New here? `ashlar demo` shows the whole job in a temporary folder.";

/// Back up block volumes and restore them, in the format of OpenStack's cinder-backup
#[derive(Debug, Parser)]
#[command(name = "ashlar", version, after_help = EXIT_STATUS, arg_required_else_help = true)]
#[command(
    subcommand_required = true,
    infer_long_args = false,
    max_term_width = 100
)]
pub(crate) struct Cli {
    #[command(flatten)]
    pub(crate) global: Global,
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// What every command takes, before or after its name.
#[derive(Debug, Args)]
pub(crate) struct Global {
    /// Folder of the catalogue, volumes and default repository [default: ashlar in the XDG data folder]
    #[arg(long, global = true, env = "ASHLAR_HOME", value_name = "DIR", help_heading = GLOBAL)]
    pub(crate) home: Option<PathBuf>,
    /// Configuration file [default: ashlar.toml in the home, where there is one]
    #[arg(long, global = true, env = "ASHLAR_CONFIG", value_name = "FILE", help_heading = GLOBAL)]
    pub(crate) config: Option<PathBuf>,
    /// Sets any setting of the file for this command: -o backup.compression=zstd
    #[arg(short = 'o', long = "option", global = true, value_name = "KEY=VALUE", help_heading = GLOBAL)]
    pub(crate) option: Vec<String>,
    /// How results are printed
    #[arg(short = 'f', long, global = true, value_enum, default_value_t, help_heading = GLOBAL)]
    pub(crate) format: Format,
    /// Prints only this column or field; may be repeated
    #[arg(short = 'c', long = "column", global = true, value_name = "COLUMN", help_heading = GLOBAL)]
    pub(crate) column: Vec<String>,
    /// No messages and no progress, only results and errors
    #[arg(short = 'q', long, global = true, conflicts_with = "verbose", help_heading = GLOBAL)]
    pub(crate) quiet: bool,
    /// Says more; twice for the log of the engine
    #[arg(short = 'v', long, global = true, action = ArgAction::Count, help_heading = GLOBAL)]
    pub(crate) verbose: u8,
}

const GLOBAL: &str = "Options of every command";

/// The first word.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Volumes, their snapshots and their backups
    #[command(subcommand)]
    Volume(VolumeCommand),
    /// The places that store backups
    #[command(subcommand)]
    Repository(RepositoryCommand),
    /// The configuration file
    #[command(subcommand)]
    Config(ConfigCommand),
    /// Shows the whole job on a sample volume in a temporary home
    Demo(Demo),
    /// Prints the completion script of a shell
    Completion {
        /// The shell
        #[arg(value_enum)]
        shell: clap_complete::Shell,
    },
    /// Prints the manual page, or writes a page for each command to a folder
    Man {
        /// Folder for the pages
        dir: Option<PathBuf>,
    },
}

/// `ashlar config ...`
#[derive(Debug, Subcommand)]
pub(crate) enum ConfigCommand {
    /// Makes a configuration out of Cinder's, and lists what could not be carried over
    FromCinder(FromCinder),
}

/// `ashlar config from-cinder`
#[derive(Debug, Args)]
pub(crate) struct FromCinder {
    /// The cinder.conf
    pub(crate) file: PathBuf,
    /// Writes the configuration to this new file, and each secret to a file beside it, all for their owner only
    /// [default: prints it, without secrets]
    #[arg(long, value_name = "FILE")]
    pub(crate) output: Option<PathBuf>,
}

/// `ashlar demo`
#[derive(Debug, Args)]
pub(crate) struct Demo {
    /// Works in this folder, which must be empty or missing, and keeps it
    #[arg(long, value_name = "DIR")]
    pub(crate) dir: Option<PathBuf>,
    /// Keeps the temporary home
    #[arg(long)]
    pub(crate) keep: bool,
    /// Size of the sample volume in MiB
    #[arg(long, value_name = "MIB", default_value_t = 256, value_parser = clap::value_parser!(u64).range(16..=65536))]
    pub(crate) size: u64,
}

/// A property: `key=value`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Property {
    pub(crate) key: String,
    pub(crate) value: String,
}

/// Reads `key=value` for a property.
pub(crate) fn property(text: &str) -> Result<Property, String> {
    let (key, value) = text
        .split_once('=')
        .ok_or_else(|| format!("{text:?} is not KEY=VALUE"))?;
    if key.is_empty() {
        return Err("the key is empty".into());
    }
    Ok(Property {
        key: key.to_owned(),
        value: value.to_owned(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_definition_is_sound() {
        Cli::command().debug_assert();
    }

    #[test]
    fn options_of_every_command_stand_before_or_behind_its_name() {
        for line in [
            "ashlar -f yaml volume backup record export b",
            "ashlar volume backup record export -f yaml b",
            "ashlar volume backup record export b -f yaml",
        ] {
            let cli = Cli::try_parse_from(line.split(' ')).unwrap();
            assert_eq!(cli.global.format, Format::Yaml, "{line}");
        }
    }

    #[test]
    fn each_command_of_the_guide_is_understood() {
        for line in [
            "volume list",
            "volume backup create --name vol1bu2 vol_1",
            "volume backup list",
            "volume snapshot list",
            "volume snapshot show snap_1",
            "volume backup create --name snap1bu1 --snapshot snap_1 6841e3d1-8a1a-4496-bc51-f7c04b787e8f",
            "volume backup create --name panvol2bu1 --force Pansible_vol_2",
            "volume backup create --incremental --name vol3incbu1 vol_3",
            "volume backup delete --force b",
            "volume backup show b",
            "volume backup record export -f yaml vol1bu2",
            "volume backup record import cinder.backup.drivers.ceph.CephBackupDriver eyJkcml2YWxzZX0=",
            "volume backup restore vol1bu2 vol_3",
            "volume backup restore vol1bu2",
            "volume backup set --state error b",
        ] {
            let words = std::iter::once("ashlar").chain(line.split(' '));
            Cli::try_parse_from(words).unwrap_or_else(|e| panic!("{line}: {e}"));
        }
    }

    #[test]
    fn a_property_may_hold_an_equals_sign_in_its_value() {
        let p = property("a=b=c").unwrap();
        assert_eq!((p.key.as_str(), p.value.as_str()), ("a", "b=c"));
        assert!(property("a").is_err() && property("=b").is_err());
    }
}
