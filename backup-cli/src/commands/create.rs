//! `ashlar volume backup create`

use std::sync::Arc;

use backup_core::service::CreateRequest;
use serde_json::json;

use super::{cancelled, properties};
use crate::args::BackupCreate;
use crate::config::print_size;
use crate::failure::Result;
use crate::home::Home;
use crate::output::Output;

pub(super) async fn run(home: &Home, args: BackupCreate, output: &Output) -> Result<()> {
    let mut request = CreateRequest::of(args.volume)
        .incremental(args.incremental)
        .force(args.force);
    request.name = args.name;
    request.description = args.description;
    request.container = args.container;
    request.snapshot = args.snapshot;
    request.properties = properties(args.property);

    let settings = &home.settings;
    let keeps_images = settings
        .repositories
        .get(&settings.backup.repository)
        .is_some_and(|config| config.kind() == "ceph");
    if keeps_images && settings.backup.compression.is_some() {
        home.messages.note(format_args!(
            "note: the setting backup.compression is ignored: images are not compressed"
        ));
    }
    let bar = Arc::new(home.messages.bar());
    let result = home
        .service
        .create_backup(&home.caller, request, &home.job(&bar))
        .await;
    bar.clear();
    let created = result.map_err(cancelled(
        "what it stored is removed; `volume backup delete` takes its record away",
    ))?;
    let (backup, outcome) = (&created.backup, &created.outcome);
    bar.finish("backed up", outcome.volume_length);
    home.messages.summary(format_args!(
        "read {}, stored {} in {} objects",
        print_size(outcome.read_bytes),
        print_size(outcome.stored_bytes + outcome.index_bytes),
        outcome.object_count
    ));
    output.record(&[
        ("id", json!(backup.id.to_string())),
        ("name", json!(backup.name)),
        ("volume_id", json!(backup.volume_id.to_string())),
        ("is_incremental", json!(backup.is_incremental())),
        ("object_count", json!(outcome.object_count)),
        ("size_bytes", json!(outcome.volume_length)),
        ("read_bytes", json!(outcome.read_bytes)),
        ("audited_bytes", json!(outcome.audited_bytes)),
        (
            "stored_bytes",
            json!(outcome.stored_bytes + outcome.index_bytes),
        ),
    ])
}
