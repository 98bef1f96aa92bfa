//! `ashlar volume backup list`

use std::collections::HashMap;

use backup_core::catalog::{BackupFilter, VolumeFilter};
use backup_core::{BackupRecord, BackupStatus, ErrorKind, Timestamp, VolumeId};
use serde_json::{Value, json};

use crate::args::BackupList;
use crate::failure::Result;
use crate::home::Home;
use crate::output::{Column, Output, column};

const COLUMNS: &[Column] = &[
    column("ID", "id"),
    column("Name", "name"),
    column("Description", "description"),
    column("Status", "status"),
    column("Size", "size"),
    column("Incremental", "incremental"),
    column("Created At", "created_at"),
];

const LONG: &[Column] = &[
    column("ID", "id"),
    column("Name", "name"),
    column("Description", "description"),
    column("Status", "status"),
    column("Size", "size"),
    column("Incremental", "incremental"),
    column("Created At", "created_at"),
    column("Availability Zone", "availability_zone"),
    column("Volume", "volume"),
    column("Container", "container"),
    column("Parent ID", "parent_id"),
    column("Repository", "repository"),
    column("Stored Bytes", "stored_bytes"),
];

pub(super) async fn run(home: &Home, args: BackupList, output: &Output) -> Result<()> {
    let filter = BackupFilter {
        project: (!args.all_projects).then(|| home.caller.project_id.clone()),
        volume: match &args.volume {
            Some(volume) => Some(volume_id(home, volume).await?),
            None => None,
        },
        status: args
            .status
            .as_deref()
            .map(str::parse::<BackupStatus>)
            .transpose()?,
        name: args.name,
    };
    let mut backups = home.service.list_backups(&home.caller, &filter).await?;
    if let Some(marker) = &args.marker {
        let marker = home.service.show_backup(&home.caller, marker).await?.id;
        let behind = backups
            .iter()
            .position(|b| b.id == marker)
            .map_or(0, |i| i + 1);
        backups.drain(..behind);
    }
    backups.truncate(args.limit.unwrap_or(usize::MAX));
    if !args.long {
        let rows: Vec<_> = backups.iter().map(row).collect();
        return output.list(COLUMNS, &rows);
    }
    let names = volume_names(home).await?;
    let rows: Vec<_> = backups
        .iter()
        .map(|b| {
            let volume = names.get(&b.volume_id).cloned().flatten();
            let mut row = row(b);
            row.extend([
                json!(b.availability_zone),
                json!(volume.unwrap_or_else(|| b.volume_id.to_string())),
                json!(b.location.as_ref().map(|l| l.container.as_str())),
                json!(b.parent_id.map(|p| p.to_string())),
                json!(b.repository),
                json!(b.stored_bytes),
            ]);
            row
        })
        .collect();
    output.list(LONG, &rows)
}

/// The ID of a volume by name or ID. A volume that is gone can still be named by its ID: its backups stay.
async fn volume_id(home: &Home, volume: &str) -> Result<VolumeId> {
    match home.service.show_volume(&home.caller, volume).await {
        Ok(record) => Ok(record.id),
        Err(e) if e.is(ErrorKind::NotFound) => volume.parse().map_err(|_| e.into()),
        Err(e) => Err(e.into()),
    }
}

async fn volume_names(home: &Home) -> Result<HashMap<VolumeId, Option<String>>> {
    let volumes = home
        .service
        .list_volumes(&home.caller, &VolumeFilter::default())
        .await?;
    Ok(volumes.into_iter().map(|v| (v.id, v.name)).collect())
}

fn row(b: &BackupRecord) -> Vec<Value> {
    vec![
        json!(b.id.to_string()),
        json!(b.name),
        json!(b.description),
        json!(b.status.word()),
        json!(b.size_gib),
        json!(b.is_incremental()),
        time(b.created_at),
    ]
}

/// A point in time as the `openstack` client prints it.
pub(super) fn time(t: Timestamp) -> Value {
    Value::String(t.openstack())
}
