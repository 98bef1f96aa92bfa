//! `ashlar volume backup scan`

use backup_core::service::{Found, FoundState, ScanRequest};
use serde_json::{Value, json};

use super::list::time;
use crate::args::Scan;
use crate::failure::{Failure, Result, line};
use crate::home::Home;
use crate::messages::warn;
use crate::output::{Column, Output, column};

const COLUMNS: &[Column] = &[
    column("ID", "id"),
    column("Name", "name"),
    column("State", "state"),
    column("Size", "size"),
    column("Incremental", "incremental"),
    column("Created At", "created_at"),
    column("Volume ID", "volume_id"),
    column("Volume Name", "volume_name"),
    column("Container", "container"),
];

pub(super) async fn run(home: &Home, args: Scan, output: &Output) -> Result<()> {
    let request = ScanRequest::new()
        .in_repository(args.repository)
        .in_container(args.container)
        .import(args.import);
    let report = home
        .service
        .scan(&home.caller, &request, home.context())
        .await?;
    let rows: Vec<_> = report.found.iter().map(row).collect();
    output.list(COLUMNS, &rows)?;

    let mut bad = report.broken.len();
    for problem in &report.broken {
        warn(format_args!("{problem}"));
    }
    for found in &report.found {
        let id = found.backup.id;
        if let FoundState::NotImported(reason) = &found.state {
            warn(format_args!("{id} was not imported: {reason}"));
            bad += 1;
        }
        if let FoundState::Elsewhere(place) = &found.state {
            warn(format_args!(
                "the catalogue says that {id} lies elsewhere: {place}"
            ));
        }
        if let Some(parent) = found.missing_parent {
            warn(format_args!(
                "{id} cannot be restored: it stands on {parent}, which is neither here nor in the catalogue"
            ));
            bad += 1;
        }
    }
    let new = count(&report.found, &FoundState::Missing);
    if new > 0 {
        home.messages.note(format_args!(
            "note: the catalogue does not know {new} of {}; --import takes them in",
            report.found.len()
        ));
    }
    if args.import {
        let imported = count(&report.found, &FoundState::Imported);
        home.messages.note(format_args!(
            "imported {imported} of {}",
            report.found.len()
        ));
    }
    if bad == 0 {
        return Ok(());
    }
    line(format_args!(
        "error: scan {}: {bad} of what was found cannot be used",
        report.repository
    ));
    Err(Failure::Told)
}

fn count(found: &[Found], state: &FoundState) -> usize {
    found.iter().filter(|f| f.state == *state).count()
}

fn row(found: &Found) -> Vec<Value> {
    let b = &found.backup;
    let state = match found.state {
        FoundState::Known => "known",
        FoundState::Missing => "new",
        FoundState::Imported => "imported",
        FoundState::NotImported(_) => "not imported",
        FoundState::Elsewhere(_) => "elsewhere",
    };
    vec![
        json!(b.id.to_string()),
        json!(b.name),
        json!(state),
        json!(b.size_gib),
        json!(b.is_incremental()),
        time(b.created_at),
        json!(b.volume_id.to_string()),
        json!(found.volume_name),
        json!(b.location.as_ref().map(|l| l.container.as_str())),
    ]
}
