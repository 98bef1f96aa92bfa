//! Base images and the snapshots of backups in them.

use std::sync::Arc;

use crate::backup::{Layer, Outcome};
use crate::device::ChangePoint;
use crate::error::{Error, ErrorKind, Result};
use crate::format::ceph::{self, BackupNote, BaseImage};
use crate::format::shorten;
use crate::format::volume::VolumeMetadata;
use crate::id::{BackupId, ContainerName, Location, ObjectKey, VolumeId};
use crate::image::{Image, ImageKey, ImageRepository, ImageSnapshot};
use crate::job::JobContext;

/// The base image of a location. Its name came from a record that anyone may have written: another image than a base
/// image, a volume's for instance, is refused.
pub(super) fn key(location: &Location) -> Result<ImageKey> {
    let name = ceph::base_of(&location.prefix)?;
    if BaseImage::parse(&name).is_none() {
        return Err(Error::corrupt(
            "find the base image",
            shorten(&name, 120),
            "it is not a name of a backup's base image",
        ));
    }
    ImageKey::new(&location.container, name)
}

/// The key of the record with the metadata of the volume that was backed up.
pub(super) fn record(container: &ContainerName, id: BackupId) -> Result<ObjectKey> {
    ObjectKey::new(container, ceph::record_name(id))
}

/// The snapshots of `id` among an image's.
pub(super) fn of_backup(snapshots: &[ImageSnapshot], id: BackupId) -> Vec<&ImageSnapshot> {
    snapshots
        .iter()
        .filter(|s| ceph::backup_of_snapshot(&s.name) == Some(id))
        .collect()
}

/// The only snapshot of `id` among those of `base`, if there is one.
///
/// # Errors
/// [`Corrupt`](ErrorKind::Corrupt) where there are several.
pub(super) fn snapshot_of<'a>(
    snapshots: &'a [ImageSnapshot],
    id: BackupId,
    base: &ImageKey,
) -> Result<Option<&'a ImageSnapshot>> {
    match of_backup(snapshots, id).as_slice() {
        [] => Ok(None),
        [one] => Ok(Some(one)),
        several => Err(Error::corrupt(
            "find the backup's snapshot",
            base,
            format!("it has {} snapshots of backup {id}", several.len()),
        )
        .hint("find out which one is right and remove the others with `rbd snap rm`")),
    }
}

/// Whether `base`, which has no snapshot of any backup, is a whole backup all the same: Cinder makes none where the source
/// is no RBD image, or a snapshot.
pub(super) async fn is_whole_copy(
    image: &Arc<dyn Image>,
    name: BaseImage,
    id: BackupId,
) -> Result<bool> {
    if name.full.is_some_and(|full| full != id) {
        return Ok(false);
    }
    // Ours are noted before they begin, and have a snapshot when they are done.
    Ok(image.notes(ceph::NOTE_PREFIX).await?.is_empty())
}

/// Opens what a backup holds: its snapshot, or, of Cinder's copies, the image itself.
///
/// # Errors
/// [`NotFound`](ErrorKind::NotFound) where the base image or the snapshot is missing.
pub(super) async fn open(
    repository: &Arc<dyn ImageRepository>,
    layer: &Layer,
) -> Result<Arc<dyn Image>> {
    let key = key(&layer.location)?;
    let image = repository.open(&key, None).await?;
    let snapshots = image.snapshots().await?;
    if let Some(snapshot) = snapshot_of(&snapshots, layer.id, &key)? {
        return repository.open(&key, Some(&snapshot.name)).await;
    }
    let missing = |why: &str| {
        Error::new(ErrorKind::NotFound, "open backup")
            .on(format!("{} in {key}", layer.id))
            .because(why)
    };
    if snapshots.iter().any(|s| ceph::is_backup_snapshot(&s.name)) {
        return Err(missing("the base image has no snapshot of it"));
    }
    match BaseImage::parse(key.name()) {
        Some(name) if is_whole_copy(&image, name, layer.id).await? => Ok(image),
        _ => Err(missing("it was never completed")),
    }
}

/// The location of a backup whose record has no `service_metadata`: Cinder's of old, which lie in the base image of the
/// old style, and its copies, which have none.
pub(super) async fn locate(
    repository: &Arc<dyn ImageRepository>,
    id: BackupId,
    volume: VolumeId,
    container: Option<&ContainerName>,
) -> Result<Option<Location>> {
    let container = match container {
        Some(container) => container.clone(),
        None => repository.layout().container,
    };
    for base in [BaseImage::new(volume, id), BaseImage::old_style(volume)] {
        let location = Location {
            container: container.clone(),
            prefix: ceph::service_metadata(&base.to_string())?,
        };
        let layer = Layer {
            id,
            location: location.clone(),
        };
        match open(repository, &layer).await {
            Ok(_) => return Ok(Some(location)),
            Err(e) if e.is(ErrorKind::NotFound) => {}
            Err(e) => return Err(e),
        }
    }
    Ok(None)
}

/// Whether a snapshot that is listed can be opened. A process that was killed while it made one may leave what cannot be.
pub(super) async fn can_be_opened(
    repository: &Arc<dyn ImageRepository>,
    key: &ImageKey,
    snapshot: &str,
) -> Result<bool> {
    match repository.open(key, Some(snapshot)).await {
        Ok(_) => Ok(true),
        Err(e) if e.is(ErrorKind::NotFound) => Ok(false),
        Err(e) => Err(e),
    }
}

/// Whether a backup's snapshot is there, and whole.
pub(super) async fn committed(
    repository: &Arc<dyn ImageRepository>,
    layer: &Layer,
) -> Result<Option<Outcome>> {
    let key = key(&layer.location)?;
    let image = match repository.open(&key, None).await {
        Ok(image) => image,
        Err(e) if e.is(ErrorKind::NotFound) => return Ok(None),
        Err(e) => return Err(e),
    };
    let snapshots = image.snapshots().await?;
    let Some(snapshot) = snapshot_of(&snapshots, layer.id, &key)? else {
        return Ok(None);
    };
    if !can_be_opened(repository, &key, &snapshot.name).await? {
        return Ok(None);
    }
    let mut outcome = Outcome::new(snapshot.length);
    outcome.change_point = Some(ChangePoint::new(snapshot.name.clone())?);
    if let Some(note) = note(&image, layer.id).await? {
        outcome.stored_bytes = note.ashlar.stored_bytes.unwrap_or(0);
    }
    Ok(Some(outcome))
}

/// The note of a backup, where it has one that can be read.
pub(super) async fn note(image: &Arc<dyn Image>, id: BackupId) -> Result<Option<BackupNote>> {
    let key = BackupNote::key(id);
    let notes = image.notes(&key).await?;
    Ok(notes
        .iter()
        .find(|(k, _)| *k == key)
        .and_then(|(_, text)| BackupNote::from_text(text).ok()))
}

/// The metadata of the volume that was backed up; `None` where there is none.
///
/// # Errors
/// [`Corrupt`](ErrorKind::Corrupt) or [`Unsupported`](ErrorKind::Unsupported) where it cannot be read.
pub(super) async fn volume_metadata(
    repository: &Arc<dyn ImageRepository>,
    layer: &Layer,
) -> Result<Option<VolumeMetadata>> {
    let key = record(&layer.location.container, layer.id)?;
    let Some(bytes) = repository.get_record(&key).await? else {
        return Ok(None);
    };
    let text = std::str::from_utf8(&bytes)
        .map_err(|_| Error::corrupt("read volume metadata", &key, "it is not UTF-8"))?;
    VolumeMetadata::from_json(text)
        .map(Some)
        .map_err(|e| e.on(&key))
}

/// The volume metadata of each layer, oldest first; what cannot be read is left out with a warning.
pub(super) async fn all_volume_metadata(
    repository: &Arc<dyn ImageRepository>,
    layers: &[Layer],
    cx: &JobContext,
) -> Result<Vec<Option<VolumeMetadata>>> {
    let mut all = Vec::with_capacity(layers.len());
    for layer in layers {
        match volume_metadata(repository, layer).await {
            Ok(metadata) => all.push(metadata),
            Err(e) if matches!(e.kind(), ErrorKind::Corrupt | ErrorKind::Unsupported) => {
                cx.observer()
                    .warning(&format!("the volume metadata is left out: {e}"));
                all.push(None);
            }
            Err(e) => return Err(e),
        }
    }
    Ok(all)
}
