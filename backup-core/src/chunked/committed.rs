//! Whether a backup that nobody saw the end of is complete.

use std::sync::Arc;

use super::scan;
use super::summary::Summary;
use crate::backup::{Layer, Outcome};
use crate::error::{Error, ErrorKind, Result};
use crate::job::JobContext;
use crate::repository::Repository;

/// The metadata appears last and whole, after all else is durable: where it is, the backup is complete.
pub(super) async fn committed(
    repository: &Arc<dyn Repository>,
    layer: &Layer,
    cx: &JobContext,
) -> Result<Option<Outcome>> {
    let summary = match Summary::read(repository, &layer.location, cx).await {
        Ok(summary) => summary,
        Err(e) if e.is(ErrorKind::NotFound) => return Ok(None),
        Err(e) => return Err(e),
    };
    if summary.metadata.backup_id != layer.id {
        return Err(Error::corrupt(
            "look for the backup",
            layer.location.metadata(),
            format!("it belongs to backup {}", summary.metadata.backup_id),
        ));
    }
    // The process may have died between the metadata's appearance and its durability. Making sure of the container
    // counts its folders as changed, and the barrier makes them durable.
    let container = &layer.location.container;
    repository.ensure_container(container).await?;
    repository.barrier(container).await?;

    let (length, _) = scan::length(repository, &layer.location, &summary, cx).await?;
    let mut outcome = Outcome::new(length);
    outcome.object_count = summary.objects;
    outcome.stored_bytes = summary.data_bytes.unwrap_or(0);
    outcome.index_bytes = summary.index_bytes(repository, &layer.location).await?;
    outcome.change_point = summary.metadata.ashlar.and_then(|a| a.change_point);
    Ok(Some(outcome))
}
