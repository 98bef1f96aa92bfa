//! `ashlar volume backup ...`: which file does it, and the short ones.

use backup_core::catalog::BackupChange;
use backup_core::{BackupRecord, Timestamp};
use serde_json::{Value, json};

use super::list::time;
use super::{create, delete, difference, list, properties, record, restore, scan};
use crate::args::{BackupCommand, BackupSet};
use crate::failure::Result;
use crate::home::Home;
use crate::output::Output;

pub(super) async fn run(home: &Home, command: BackupCommand, output: &Output) -> Result<()> {
    match command {
        BackupCommand::Create(args) => create::run(home, args, output).await,
        BackupCommand::List(args) => list::run(home, args, output).await,
        BackupCommand::Show { backup } => {
            let backup = home.service.show_backup(&home.caller, &backup).await?;
            output.record(&fields(&backup))
        }
        BackupCommand::Delete(args) => delete::run(home, args).await,
        BackupCommand::Restore(args) => restore::run(home, args, output).await,
        BackupCommand::Verify { backup } => restore::verify(home, &backup, output).await,
        BackupCommand::ExportDiff(args) => difference::export(home, args, output).await,
        BackupCommand::Record(command) => record::run(home, command, output).await,
        BackupCommand::Scan(args) => scan::run(home, args, output).await,
        BackupCommand::Set(args) => set(home, args).await,
    }
}

async fn set(home: &Home, args: BackupSet) -> Result<()> {
    let change = BackupChange {
        name: args.name,
        description: args.description,
        set_properties: properties(args.property),
        unset_properties: Vec::new(),
        status: args.state.as_deref().map(str::parse).transpose()?,
        account: None,
    };
    home.service
        .set_backup(&home.caller, &args.backup, &change, Timestamp::now())
        .await?;
    Ok(())
}

/// A backup's fields, in the order of the alphabet: those of the `openstack` client, and what Cinder keeps for itself.
pub(super) fn fields(b: &BackupRecord) -> Vec<(&'static str, Value)> {
    let location = b.location.as_ref();
    vec![
        ("account", json!(b.account)),
        ("availability_zone", json!(b.availability_zone)),
        ("backup_service", json!(b.service)),
        ("container", json!(location.map(|l| l.container.as_str()))),
        ("created_at", time(b.created_at)),
        ("data_timestamp", time(b.data_timestamp)),
        ("description", json!(b.description)),
        ("encryption_key_id", json!(b.encryption_key_id)),
        ("fail_reason", json!(b.fail_reason)),
        ("has_dependent_backups", json!(b.num_dependent_backups > 0)),
        ("id", json!(b.id.to_string())),
        ("is_incremental", json!(b.is_incremental())),
        ("metadata", json!(b.properties)),
        ("name", json!(b.name)),
        ("object_count", json!(b.object_count)),
        ("parent_id", json!(b.parent_id.map(|p| p.to_string()))),
        ("prefix", json!(location.map(|l| l.prefix.as_str()))),
        ("project_id", json!(b.project_id)),
        ("repository", json!(b.repository)),
        ("size", json!(b.size_gib)),
        ("size_bytes", json!(b.volume_length)),
        ("snapshot_id", json!(b.snapshot_id.map(|s| s.to_string()))),
        ("status", json!(b.status.word())),
        ("stored_bytes", json!(b.stored_bytes)),
        ("updated_at", b.updated_at.map_or(Value::Null, time)),
        ("user_id", json!(b.user_id)),
        ("volume_id", json!(b.volume_id.to_string())),
    ]
}
