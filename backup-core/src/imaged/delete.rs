//! Delete: the snapshot first, so that a backup cut in the middle is none; then its note, the base image with its last
//! snapshot, and the record of the volume's metadata.

use std::sync::Arc;
use std::time::Duration;

use super::base;
use crate::backup::Layer;
use crate::error::{Error, ErrorKind, Result};
use crate::format::ceph::{self, BackupNote};
use crate::image::{ImageKey, ImageRepository};
use crate::job::{JobContext, Phase, Progress};

const OPERATION: &str = "delete backup";

/// Times that a base image in use is tried again, each after twice the time: another client, or a handle of ours, may
/// close it in a moment, and one that died counts for half a minute.
const TRIES: u32 = 8;
const FIRST_WAIT: Duration = Duration::from_millis(250);

/// Removes a backup, saying so where its base image is not there.
pub(super) async fn delete(
    repository: &Arc<dyn ImageRepository>,
    layer: &Layer,
    cx: &JobContext,
) -> Result<()> {
    cx.observer().progress(&Progress::start(Phase::Delete, 0));
    let found = clear(repository, layer, cx).await?;
    if !found {
        cx.observer().warning(&format!(
            "the base image of backup {} is not there: {}",
            layer.id, layer.location
        ));
    }
    Ok(())
}

/// Removes what is there of a backup; whether its base image was.
pub(super) async fn clear(
    repository: &Arc<dyn ImageRepository>,
    layer: &Layer,
    cx: &JobContext,
) -> Result<bool> {
    cx.cancel().check(OPERATION)?;
    let key = base::key(&layer.location)?;
    let found = match remove_snapshot(repository, layer, &key).await {
        Ok(last) => {
            if last {
                remove_base(repository, &key, cx).await?;
            }
            true
        }
        Err(e) if e.is(ErrorKind::NotFound) => {
            // A process that was killed while it made the image leaves a name that cannot be opened.
            match repository.remove(&key).await {
                Err(e) if e.is(ErrorKind::NotFound) => {}
                removed => removed?,
            }
            false
        }
        Err(e) => return Err(e),
    };
    let record = base::record(&layer.location.container, layer.id)?;
    repository.remove_record(&record).await?;
    Ok(found)
}

/// Removes the backup's snapshot and note; whether no backup is left in the image.
async fn remove_snapshot(
    repository: &Arc<dyn ImageRepository>,
    layer: &Layer,
    key: &ImageKey,
) -> Result<bool> {
    let image = repository.open_to_write(key).await?;
    let snapshots = image.snapshots().await?;
    for snapshot in base::of_backup(&snapshots, layer.id) {
        image.remove_snapshot(&snapshot.name).await?;
    }
    image.remove_note(&BackupNote::key(layer.id)).await?;
    let left = image.snapshots().await?;
    if left.iter().any(|s| ceph::is_backup_snapshot(&s.name)) {
        return Ok(false);
    }
    match left.first() {
        None => Ok(true),
        Some(foreign) => Err(Error::new(ErrorKind::Conflict, OPERATION)
            .on(key)
            .because(format!(
                "the backup is gone, but its base image has a snapshot that is of no backup, {:?}",
                foreign.name
            ))
            .hint("remove that snapshot, then delete the backup again")),
    }
}

async fn remove_base(
    repository: &Arc<dyn ImageRepository>,
    key: &ImageKey,
    cx: &JobContext,
) -> Result<()> {
    let mut wait = FIRST_WAIT;
    for _ in 1..TRIES {
        match repository.remove(key).await {
            Err(e) if e.is(ErrorKind::Conflict) => {}
            removed => return removed,
        }
        tokio::select! {
            () = tokio::time::sleep(wait) => {}
            () = cx.cancel().cancelled() => return Err(Error::cancelled(OPERATION)),
        }
        wait *= 2;
    }
    repository.remove(key).await
}
