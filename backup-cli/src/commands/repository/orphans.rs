//! `ashlar repository orphans`

use backup_core::service::{FoundOrphan, OrphanRequest, OrphanState};
use backup_core::{OrphanKind, Timestamp};
use serde_json::{Value, json};

use crate::args::{Age, Orphans};
use crate::failure::{Failure, Result, line};
use crate::home::Home;
use crate::output::{Column, Output, column};

const COLUMNS: &[Column] = &[
    column("What", "what"),
    column("Container", "container"),
    column("Name", "name"),
    column("Backup ID", "backup_id"),
    column("Objects", "objects"),
    column("Bytes", "size_bytes"),
    column("Modified At", "modified_at"),
    column("Result", "result"),
];

pub(super) async fn run(home: &Home, args: Orphans, output: &Output) -> Result<()> {
    let Age(age) = args.older_than.unwrap_or(Age(OrphanRequest::DEFAULT_AGE));
    let request = OrphanRequest::new()
        .in_repository(args.repository)
        .in_container(args.container)
        .older_than(age)
        .remove(args.delete);
    let report = home
        .service
        .orphans(&home.caller, &request, home.context())
        .await?;
    let rows: Vec<_> = report.found.iter().map(row).collect();
    output.list(COLUMNS, &rows)?;

    if report.left_alone > 0 {
        home.messages.note(format_args!(
            "note: {} left alone: too young, or of a recorded backup",
            report.left_alone
        ));
    }
    let found = count(&report.found, &OrphanState::Found);
    if found > 0 {
        home.messages.note(format_args!(
            "note: nothing was removed; --delete removes these {found}"
        ));
    }
    let mut failed = 0;
    for one in &report.found {
        if let OrphanState::Failed(reason) = &one.state {
            line(format_args!(
                "error: {} was not removed: {reason}",
                name(one)
            ));
            failed += 1;
        }
    }
    if failed == 0 {
        return Ok(());
    }
    line(format_args!(
        "error: {failed} of {} could not be removed",
        report.found.len()
    ));
    Err(Failure::Told)
}

fn count(found: &[FoundOrphan], state: &OrphanState) -> usize {
    found.iter().filter(|one| one.state == *state).count()
}

/// Container and name, for messages.
fn name(one: &FoundOrphan) -> String {
    match &one.orphan.kind {
        OrphanKind::Backup { location, .. } => location.to_string(),
        OrphanKind::Leftover(leftover) => leftover.key.to_string(),
        _ => String::new(),
    }
}

fn row(one: &FoundOrphan) -> Vec<Value> {
    let orphan = &one.orphan;
    let (what, container, name, id) = match &orphan.kind {
        OrphanKind::Backup { id, location } => (
            "backup without metadata",
            json!(location.container.as_str()),
            json!(location.prefix.as_str()),
            json!(id.to_string()),
        ),
        OrphanKind::Leftover(leftover) => (
            &*leftover.what,
            json!(leftover.key.container().as_str()),
            json!(leftover.key.name()),
            Value::Null,
        ),
        _ => ("unknown", Value::Null, Value::Null, Value::Null),
    };
    vec![
        json!(what),
        container,
        name,
        id,
        json!(orphan.objects),
        json!(orphan.size),
        json!(orphan.modified.map(Timestamp::openstack)),
        json!(match &one.state {
            OrphanState::Found => "found",
            OrphanState::Removed => "removed",
            OrphanState::Kept => "kept",
            OrphanState::Failed(_) => "failed",
        }),
    ]
}
