//! Looking things up.

use std::collections::HashSet;
use std::str::FromStr;

use super::label;
use crate::catalog::model::{BackupFilter, SnapshotFilter, VolumeFilter};
use crate::catalog::rows::{BackupRow, Rows, SnapshotRow, VolumeRow};
use crate::error::{Error, ErrorKind, Result};
use crate::id::{BackupId, SnapshotId, VolumeId};
use crate::record::BackupRecord;
use crate::timestamp::Timestamp;
use crate::volume::{SnapshotRecord, VolumeRecord};

fn not_found(operation: &'static str, name_or_id: impl std::fmt::Display) -> Error {
    let what = operation.trim_start_matches("find ");
    Error::new(ErrorKind::NotFound, operation)
        .on(name_or_id)
        .because(format!("there is no {what} with that name or ID"))
}

pub(in crate::catalog) async fn volume(
    rows: &mut (dyn Rows + '_),
    id: VolumeId,
) -> Result<VolumeRow> {
    rows.volume(id)
        .await?
        .ok_or_else(|| not_found("find volume", id))
}

pub(in crate::catalog) async fn snapshot(
    rows: &mut (dyn Rows + '_),
    id: SnapshotId,
) -> Result<SnapshotRow> {
    rows.snapshot(id)
        .await?
        .ok_or_else(|| not_found("find snapshot", id))
}

pub(in crate::catalog) async fn backup(
    rows: &mut (dyn Rows + '_),
    id: BackupId,
) -> Result<BackupRow> {
    rows.backup(id)
        .await?
        .filter(|row| row.deleted_at.is_none())
        .ok_or_else(|| not_found("find backup", id))
}

/// The only one of those that have the name.
fn only<T>(
    operation: &'static str,
    name: &str,
    mut found: Vec<T>,
    id_and_time: impl Fn(&T) -> (String, Timestamp),
) -> Result<T> {
    /// So many candidates are listed.
    const SHOWN: usize = 10;
    if found.len() > 1 {
        let mut list: Vec<String> = found
            .iter()
            .take(SHOWN)
            .map(|one| {
                let (id, time) = id_and_time(one);
                format!("{id} (made {time})")
            })
            .collect();
        if found.len() > SHOWN {
            list.push(format!("{} more", found.len() - SHOWN));
        }
        return Err(Error::invalid(
            operation,
            format!("{} have that name: {}", found.len(), list.join(", ")),
        )
        .on(name)
        .hint("give the ID of the one that you mean"));
    }
    found.pop().ok_or_else(|| not_found(operation, name))
}

fn in_scope(project: Option<&str>, of: &str) -> bool {
    project.is_none_or(|p| p == of)
}

pub(in crate::catalog) async fn find_volume(
    rows: &mut (dyn Rows + '_),
    project: Option<&str>,
    name_or_id: &str,
) -> Result<VolumeRecord> {
    if let Ok(id) = VolumeId::from_str(name_or_id)
        && let Some(row) = rows.volume(id).await?
        && in_scope(project, &row.record.project_id)
    {
        return Ok(row.record);
    }
    let filter = VolumeFilter {
        project: project.map(str::to_owned),
        status: None,
        name: Some(name_or_id.to_owned()),
    };
    let found = rows.volumes(&filter).await?;
    only("find volume", name_or_id, found, |v| {
        (v.id.to_string(), v.created_at)
    })
}

pub(in crate::catalog) async fn find_snapshot(
    rows: &mut (dyn Rows + '_),
    project: Option<&str>,
    name_or_id: &str,
) -> Result<SnapshotRecord> {
    if let Ok(id) = SnapshotId::from_str(name_or_id)
        && let Some(row) = rows.snapshot(id).await?
        && in_scope(project, &row.record.project_id)
    {
        return Ok(row.record);
    }
    let filter = SnapshotFilter {
        project: project.map(str::to_owned),
        volume: None,
        name: Some(name_or_id.to_owned()),
    };
    let found = rows.snapshots(&filter).await?;
    only("find snapshot", name_or_id, found, |s| {
        (s.id.to_string(), s.created_at)
    })
}

pub(in crate::catalog) async fn find_backup(
    rows: &mut (dyn Rows + '_),
    project: Option<&str>,
    name_or_id: &str,
) -> Result<BackupRecord> {
    if let Ok(id) = BackupId::from_str(name_or_id)
        && let Some(row) = rows.backup(id).await?
        && row.deleted_at.is_none()
        && in_scope(project, &row.record.project_id)
    {
        return Ok(row.record);
    }
    let filter = BackupFilter {
        project: project.map(str::to_owned),
        name: Some(name_or_id.to_owned()),
        ..BackupFilter::default()
    };
    let found = rows.backups(&filter).await?;
    only("find backup", name_or_id, found, |b| {
        (b.id.to_string(), b.created_at)
    })
}

pub(in crate::catalog) async fn chain(
    rows: &mut (dyn Rows + '_),
    id: BackupId,
) -> Result<Vec<BackupRecord>> {
    const OPERATION: &str = "find the chain of backup";
    let newest = backup(rows, id).await?.record;
    let target = label(newest.name.as_deref(), id);
    let mut seen = HashSet::from([id]);
    let mut next = newest.parent_id;
    let mut chain = vec![newest];
    while let Some(id) = next {
        if !seen.insert(id) {
            return Err(Error::corrupt(
                OPERATION,
                &target,
                format!("its parents go in a circle through {id}"),
            )
            .hint("delete and import the record of that backup again"));
        }
        let missing = |why: &str| {
            Error::new(ErrorKind::NotFound, OPERATION)
                .on(&target)
                .because(format!("it stands on backup {id}, which {why}"))
                .hint(
                    "import the record of that backup, or run `volume backup scan --import` on \
                     the repository that holds it",
                )
        };
        let row = rows
            .backup(id)
            .await?
            .ok_or_else(|| missing("has no record here"))?;
        if row.deleted_at.is_some() {
            return Err(missing("was deleted"));
        }
        next = row.record.parent_id;
        chain.push(row.record);
    }
    chain.reverse();
    Ok(chain)
}
