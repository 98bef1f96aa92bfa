//! `ashlar volume snapshot create | list | show | delete | orphans`

use std::collections::HashMap;

use backup_core::catalog::{SnapshotFilter, VolumeFilter};
use backup_core::record::gib_rounded_up;
use backup_core::service::{OrphanRequest, OrphanState};
use backup_core::{SnapshotRecord, Timestamp, VolumeStatus};
use serde_json::{Value, json};

use super::for_each;
use super::list::time;
use crate::args::{Age, SnapshotCommand, SnapshotCreate, SnapshotList, SnapshotOrphans};
use crate::failure::{Failure, Result, line};
use crate::home::Home;
use crate::output::{Column, Output, column};

pub(super) async fn run(home: &Home, command: SnapshotCommand, output: &Output) -> Result<()> {
    match command {
        SnapshotCommand::Create(args) => create(home, args, output).await,
        SnapshotCommand::List(args) => list(home, args, output).await,
        SnapshotCommand::Show { snapshot } => {
            let snapshot = home.service.show_snapshot(&home.caller, &snapshot).await?;
            output.record(&fields(&snapshot))
        }
        SnapshotCommand::Delete { snapshots } => {
            for_each(&snapshots, "snapshots", async |snapshot| {
                let now = Timestamp::now();
                home.service
                    .delete_snapshot(&home.caller, &snapshot, now)
                    .await?;
                Ok(())
            })
            .await
        }
        SnapshotCommand::Orphans(args) => orphans(home, args, output).await,
    }
}

const ORPHANS: &[Column] = &[
    column("Volume", "volume"),
    column("Volume ID", "volume_id"),
    column("Name", "name"),
    column("Backup ID", "backup_id"),
    column("Created At", "created_at"),
    column("Result", "result"),
];

async fn orphans(home: &Home, args: SnapshotOrphans, output: &Output) -> Result<()> {
    let Age(age) = args.older_than.unwrap_or(Age(OrphanRequest::DEFAULT_AGE));
    let report = home
        .service
        .orphan_snapshots(
            &home.caller,
            args.volume.as_deref(),
            age,
            args.delete,
            home.context(),
        )
        .await?;
    let found = report.found;
    let rows: Vec<Vec<Value>> = found
        .iter()
        .map(|one| {
            vec![
                json!(one.volume.name),
                json!(one.volume.id.to_string()),
                json!(one.snapshot.name),
                json!(one.snapshot.backup.to_string()),
                one.snapshot.created_at.map_or(Value::Null, time),
                json!(match &one.state {
                    OrphanState::Found => "found",
                    OrphanState::Removed => "removed",
                    OrphanState::Kept => "kept",
                    OrphanState::Failed(_) => "failed",
                }),
            ]
        })
        .collect();
    output.list(ORPHANS, &rows)?;
    let mut failed = 0;
    for one in &found {
        if let OrphanState::Failed(reason) = &one.state {
            line(format_args!(
                "error: {} was not removed: {reason}",
                one.snapshot.name
            ));
            failed += 1;
        }
    }
    if failed > 0 {
        line(format_args!(
            "error: {failed} of {} could not be removed",
            found.len()
        ));
    }
    for (volume, reason) in &report.not_asked {
        line(format_args!(
            "error: the volume {} could not be asked: {reason}",
            volume.id
        ));
    }
    if failed > 0 || !report.not_asked.is_empty() {
        return Err(Failure::Told);
    }
    if !found.is_empty() && !args.delete {
        home.messages.note(format_args!(
            "note: nothing was removed; --delete removes these {}",
            found.len()
        ));
    }
    Ok(())
}

async fn create(home: &Home, args: SnapshotCreate, output: &Output) -> Result<()> {
    let snapshot = home
        .service
        .create_snapshot(
            &home.caller,
            &args.volume,
            Some(args.name),
            args.description,
            args.force,
            Timestamp::now(),
        )
        .await?;
    output.record(&fields(&snapshot))
}

const COLUMNS: &[Column] = &[
    column("ID", "id"),
    column("Name", "name"),
    column("Description", "description"),
    column("Status", "status"),
    column("Size", "size"),
];

const LONG: &[Column] = &[
    column("ID", "id"),
    column("Name", "name"),
    column("Description", "description"),
    column("Status", "status"),
    column("Size", "size"),
    column("Created At", "created_at"),
    column("Volume", "volume"),
    column("Properties", "properties"),
];

async fn list(home: &Home, args: SnapshotList, output: &Output) -> Result<()> {
    let status = args
        .status
        .as_deref()
        .map(str::parse::<VolumeStatus>)
        .transpose()?;
    let volume = match &args.volume {
        Some(volume) => Some(home.service.show_volume(&home.caller, volume).await?.id),
        None => None,
    };
    let filter = SnapshotFilter {
        project: (!args.all_projects).then(|| home.caller.project_id.clone()),
        volume,
        name: args.name,
    };
    let snapshots = home.service.list_snapshots(&home.caller, &filter).await?;
    let names: HashMap<_, _> = if args.long {
        let volumes = home
            .service
            .list_volumes(&home.caller, &VolumeFilter::default())
            .await?;
        volumes.into_iter().map(|v| (v.id, v.name)).collect()
    } else {
        HashMap::new()
    };
    let rows: Vec<Vec<Value>> = snapshots
        .iter()
        .filter(|s| status.is_none_or(|wanted| s.status == wanted))
        .map(|s| {
            let mut row = vec![
                json!(s.id.to_string()),
                json!(s.name),
                json!(s.description),
                json!(s.status.word()),
                json!(gib_rounded_up(s.length)),
            ];
            if args.long {
                let named = names.get(&s.volume_id).cloned().flatten();
                row.extend([
                    time(s.created_at),
                    json!(named.unwrap_or_else(|| s.volume_id.to_string())),
                    json!({}),
                ]);
            }
            row
        })
        .collect();
    output.list(if args.long { LONG } else { COLUMNS }, &rows)
}

fn fields(s: &SnapshotRecord) -> Vec<(&'static str, Value)> {
    vec![
        ("created_at", time(s.created_at)),
        ("description", json!(s.description)),
        ("id", json!(s.id.to_string())),
        ("name", json!(s.name)),
        ("path", json!(s.provider_location)),
        ("project_id", json!(s.project_id)),
        ("properties", json!({})),
        ("size", json!(gib_rounded_up(s.length))),
        ("size_bytes", json!(s.length)),
        ("status", json!(s.status.word())),
        ("volume_id", json!(s.volume_id.to_string())),
    ]
}
