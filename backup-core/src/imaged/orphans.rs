//! Orphans: base images without a backup in them, and notes of backups that were never completed.

use std::sync::Arc;

use super::{base, delete, scan};
use crate::backup::Layer;
use crate::error::{Error, ErrorKind, Result};
use crate::format::ceph::{self, BackupNote, BaseImage};
use crate::id::{ContainerName, Location};
use crate::image::{Image, ImageKey, ImageRepository};
use crate::job::JobContext;
use crate::orphan::{Orphan, OrphanKind};
use crate::repository::{BoxStream, Leftover};

pub(super) async fn find(
    repository: &Arc<dyn ImageRepository>,
    container: Option<&ContainerName>,
    cx: &JobContext,
) -> Result<BoxStream<Orphan>> {
    let mut found = Vec::new();
    for (key, base) in scan::bases(repository, container).await? {
        cx.cancel().check("look for orphans")?;
        match look(repository, &key, base).await {
            Ok(orphans) => found.extend(orphans),
            Err(e) if e.is(ErrorKind::NotFound) => {
                found.extend(half_made(repository, &key, base).await?);
            }
            Err(e) => return Err(e),
        }
    }
    Ok(Box::pin(futures::stream::iter(found.into_iter().map(Ok))))
}

/// Removes it; `false` where it is none any more.
pub(super) async fn remove(
    repository: &Arc<dyn ImageRepository>,
    orphan: &Orphan,
    cx: &JobContext,
) -> Result<bool> {
    let layer = match &orphan.kind {
        OrphanKind::Backup { id, location } => Layer {
            id: *id,
            location: location.clone(),
        },
        OrphanKind::Leftover(leftover) => layer_of(leftover)?,
    };
    let key = base::key(&layer.location)?;
    let image = match repository.open(&key, None).await {
        Ok(image) => image,
        Err(e) if e.is(ErrorKind::NotFound) => {
            if !is_listed(repository, &key).await? {
                return Ok(false);
            }
            delete::clear(repository, &layer, cx).await?;
            return Ok(true);
        }
        Err(e) => return Err(e),
    };
    let snapshots = image.snapshots().await?;
    let is_written = image.modified().await? > orphan.modified;
    drop(image);
    let completed = match &orphan.kind {
        // Any backup in it makes it a base image.
        OrphanKind::Backup { .. } => snapshots.iter().any(|s| ceph::is_backup_snapshot(&s.name)),
        OrphanKind::Leftover(_) => !base::of_backup(&snapshots, layer.id).is_empty(),
    };
    if completed || is_written {
        return Ok(false);
    }
    delete::clear(repository, &layer, cx).await?;
    Ok(true)
}

async fn is_listed(repository: &Arc<dyn ImageRepository>, key: &ImageKey) -> Result<bool> {
    let names = repository.list(key.container(), key.name()).await?;
    Ok(names.iter().any(|name| name == key.name()))
}

/// An image that is listed and cannot be opened: a process was killed while it made it. Of one that was deleted meanwhile,
/// nothing.
async fn half_made(
    repository: &Arc<dyn ImageRepository>,
    key: &ImageKey,
    base: BaseImage,
) -> Result<Option<Orphan>> {
    let Some(id) = base.full else {
        return Ok(None);
    };
    if !is_listed(repository, key).await? {
        return Ok(None);
    }
    let location = Location {
        container: key.container().clone(),
        prefix: ceph::service_metadata(key.name())?,
    };
    let mut orphan = Orphan::new(OrphanKind::Backup { id, location });
    orphan.objects = 1;
    Ok(Some(orphan))
}

async fn look(
    repository: &Arc<dyn ImageRepository>,
    key: &ImageKey,
    base: BaseImage,
) -> Result<Vec<Orphan>> {
    let image = repository.open(key, None).await?;
    let snapshots = image.snapshots().await?;
    let location = Location {
        container: key.container().clone(),
        prefix: ceph::service_metadata(key.name())?,
    };
    if snapshots.iter().any(|s| ceph::is_backup_snapshot(&s.name)) {
        return unfinished(&image, key, location).await;
    }
    let Some(id) = base.full else {
        // Cinder's backup of a snapshot.
        return Ok(Vec::new());
    };
    let record = base::record(key.container(), id)?;
    let is_whole = base::is_whole_copy(&image, base, id).await?
        && repository.get_record(&record).await?.is_some();
    if is_whole {
        return Ok(Vec::new());
    }
    let mut orphan = Orphan::new(OrphanKind::Backup { id, location });
    orphan.objects = 1;
    orphan.modified = image.modified().await?;
    Ok(vec![orphan])
}

/// Backups that are noted on a base image and have no snapshot in it.
async fn unfinished(
    image: &Arc<dyn Image>,
    key: &ImageKey,
    location: Location,
) -> Result<Vec<Orphan>> {
    // Notes first: one whose backup is completed meanwhile has its snapshot.
    let notes = image.notes(ceph::NOTE_PREFIX).await?;
    let snapshots = image.snapshots().await?;
    let mut orphans = Vec::new();
    for (note, _) in notes {
        let Some(id) = BackupNote::backup_of(&note) else {
            continue;
        };
        if !base::of_backup(&snapshots, id).is_empty() {
            continue;
        }
        let record = base::record(key.container(), id)?;
        let mut leftover = Leftover::new(
            "note of an unfinished incremental",
            record,
            format!("{id} {}", location.prefix),
        );
        leftover.modified = image.modified().await?;
        let modified = leftover.modified;
        let mut orphan = Orphan::new(OrphanKind::Leftover(leftover));
        orphan.objects = 1;
        orphan.modified = modified;
        orphans.push(orphan);
    }
    Ok(orphans)
}

/// The backup whose note is left over.
fn layer_of(leftover: &Leftover) -> Result<Layer> {
    let wrong = || {
        Error::invalid(
            "remove what is left over",
            "it is not of a repository of images",
        )
        .on(&leftover.key)
    };
    let (id, prefix) = leftover.id.split_once(' ').ok_or_else(wrong)?;
    Ok(Layer {
        id: id.parse().map_err(|_| wrong())?,
        location: Location {
            container: leftover.key.container().clone(),
            prefix: crate::id::Prefix::new(prefix)?,
        },
    })
}
