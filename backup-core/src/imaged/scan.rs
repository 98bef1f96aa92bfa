//! Scan: the records of all complete backups, from base images, their snapshots and notes.

use std::sync::Arc;

use futures::{StreamExt, TryStreamExt};

use super::base;
use crate::backup::{Layer, Problem, ScanItem, Scanned};
use crate::error::{Error, ErrorKind, Result};
use crate::format::ceph::{self, BackupNote, BaseImage};
use crate::format::volume::VolumeMetadata;
use crate::id::{BackupId, ContainerName, Location};
use crate::image::{Image, ImageKey, ImageRepository, ImageSnapshot};
use crate::job::JobContext;
use crate::record::{BackupRecord, BackupStatus, gib_rounded_up};
use crate::repository::BoxStream;
use crate::timestamp::Timestamp;

/// Base images looked at at once.
const LOOKS: usize = 8;

const HALF_MADE: &str = "the snapshot is listed and cannot be opened: a process was killed while it made it, or its object map \
    is lost. Try `rbd object-map rebuild` on it; where that does not help it is no backup, and `rbd snap rm` removes it";

/// The base images of `container`, or of all that the repository looks into.
pub(super) async fn bases(
    repository: &Arc<dyn ImageRepository>,
    container: Option<&ContainerName>,
) -> Result<Vec<(ImageKey, BaseImage)>> {
    let containers = match container {
        Some(container) => vec![container.clone()],
        None => repository.containers().await?,
    };
    let mut found = Vec::new();
    for container in containers {
        for name in repository.list(&container, BaseImage::PREFIX).await? {
            if let Some(base) = BaseImage::parse(&name) {
                found.push((ImageKey::new(&container, name)?, base));
            }
        }
    }
    Ok(found)
}

pub(super) async fn scan(
    repository: &Arc<dyn ImageRepository>,
    container: Option<&ContainerName>,
    cx: &JobContext,
) -> Result<BoxStream<ScanItem>> {
    let found = bases(repository, container).await?;
    let (repository, cx) = (Arc::clone(repository), cx.clone());
    let looks = futures::stream::iter(found)
        .map(move |(key, base)| {
            let (repository, cx) = (Arc::clone(&repository), cx.clone());
            async move {
                cx.cancel().check("scan")?;
                match look(&repository, &key, base).await {
                    // It was deleted meanwhile.
                    Err(e) if e.is(ErrorKind::NotFound) => Ok(Vec::new()),
                    Err(e) if matches!(e.kind(), ErrorKind::Corrupt | ErrorKind::Unsupported) => {
                        let why = e
                            .reason()
                            .map_or_else(|| e.to_string(), ToString::to_string);
                        Ok(vec![broken(&key, why)])
                    }
                    looked => looked,
                }
            }
        })
        .buffered(LOOKS)
        .map_ok(|items: Vec<ScanItem>| futures::stream::iter(items.into_iter().map(Ok::<_, Error>)))
        .try_flatten();
    Ok(Box::pin(looks))
}

fn broken(key: &ImageKey, why: String) -> ScanItem {
    ScanItem::Broken(Problem::new(key.to_string(), None, why))
}

/// The backups in one base image.
async fn look(
    repository: &Arc<dyn ImageRepository>,
    key: &ImageKey,
    base: BaseImage,
) -> Result<Vec<ScanItem>> {
    let image = repository.open(key, None).await?;
    let location = Location {
        container: key.container().clone(),
        prefix: ceph::service_metadata(key.name())?,
    };
    let mut items = Vec::new();
    let mut previous = None;
    for snapshot in image.snapshots().await? {
        let Some(id) = ceph::backup_of_snapshot(&snapshot.name) else {
            continue;
        };
        if !base::can_be_opened(repository, key, &snapshot.name).await? {
            // It was deleted meanwhile, or is half-made.
            let is_listed = |s: &ImageSnapshot| s.name == snapshot.name;
            if image.snapshots().await?.iter().any(is_listed) {
                let name = format!("{key}@{}", snapshot.name);
                items.push(ScanItem::Broken(Problem::new(name, None, HALF_MADE)));
            }
            continue;
        }
        let layer = Layer {
            id,
            location: location.clone(),
        };
        let note = base::note(&image, id).await?;
        // Cinder's incrementals follow each other in an image.
        let parent = match &note {
            Some(note) => note.parent_id,
            None => previous,
        };
        items.push(describe(repository, base, layer, &snapshot, note, parent).await?);
        previous = Some(id);
    }
    if items.is_empty() {
        items.extend(whole_copy(repository, &image, key, base, location).await?);
    }
    Ok(items)
}

/// Cinder's backup of what is no RBD image, or of a snapshot: an image without snapshots.
async fn whole_copy(
    repository: &Arc<dyn ImageRepository>,
    image: &Arc<dyn Image>,
    key: &ImageKey,
    base: BaseImage,
    location: Location,
) -> Result<Option<ScanItem>> {
    let Some(id) = base.full else {
        return Ok(Some(broken(
            key,
            "it has no snapshots, and its name does not say which backup it is; import the backup's record instead"
                .into(),
        )));
    };
    let record = base::record(key.container(), id)?;
    if !base::is_whole_copy(image, base, id).await?
        || repository.get_record(&record).await?.is_none()
    {
        // An orphan, or on its way.
        return Ok(None);
    }
    let snapshot = ImageSnapshot::new("", image.geometry().length, image.modified().await?);
    let layer = Layer { id, location };
    describe(repository, base, layer, &snapshot, None, None)
        .await
        .map(Some)
}

async fn describe(
    repository: &Arc<dyn ImageRepository>,
    base: BaseImage,
    layer: Layer,
    snapshot: &ImageSnapshot,
    note: Option<BackupNote>,
    parent_id: Option<BackupId>,
) -> Result<ScanItem> {
    // Metadata that cannot be read must not lose the backup.
    let volume: Option<VolumeMetadata> = match base::volume_metadata(repository, &layer).await {
        Ok(metadata) => metadata,
        Err(e) if matches!(e.kind(), ErrorKind::Corrupt | ErrorKind::Unsupported) => None,
        Err(e) => return Err(e),
    };
    let of_volume = |column: &str| {
        let value = volume.as_ref().and_then(|v| v.base_text(column));
        value.map(str::to_owned)
    };
    let note = note.unwrap_or_default();
    let ours = note.ashlar;
    let created_at = note
        .created_at
        .or_else(|| ceph::time_of_snapshot(&snapshot.name))
        .or(snapshot.created)
        .unwrap_or(Timestamp::EPOCH);
    let mut found = Scanned::new(BackupRecord {
        id: layer.id,
        user_id: ours
            .user_id
            .or_else(|| of_volume("user_id"))
            .unwrap_or_default(),
        project_id: ours
            .project_id
            .or_else(|| of_volume("project_id"))
            .unwrap_or_default(),
        volume_id: base.volume,
        snapshot_id: ours.snapshot_id,
        parent_id,
        status: BackupStatus::Available,
        fail_reason: None,
        size_gib: gib_rounded_up(snapshot.length),
        volume_length: Some(snapshot.length),
        name: note.name,
        description: note.description,
        properties: ours.properties,
        repository: String::new(),
        service: repository.layout().service,
        account: None,
        location: Some(layer.location),
        object_count: 0,
        stored_bytes: ours.stored_bytes,
        host: None,
        availability_zone: None,
        temp_volume_id: None,
        temp_snapshot_id: None,
        restore_volume_id: None,
        num_dependent_backups: 0,
        encryption_key_id: ours.encryption_key_id,
        data_timestamp: ours.data_timestamp.unwrap_or(created_at),
        created_at,
        updated_at: None,
    });
    found.volume_name = of_volume("display_name");
    Ok(ScanItem::Found(Box::new(found)))
}
