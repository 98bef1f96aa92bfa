//! Scan: the records of all complete backups, from the repository alone.

mod ends;

use std::sync::Arc;

use futures::StreamExt;

use super::hash_index::HashIndex;
use super::layer_index::check_volume;
use super::summary::Summary;
use crate::backup::{Layer, Problem, ScanItem, Scanned};
use crate::error::{Error, ErrorKind, Result};
use crate::format::volume::VolumeMetadata;
use crate::id::{ContainerName, Location, ObjectKey, Prefix};
use crate::job::JobContext;
use crate::record::{BackupRecord, BackupStatus, gib_rounded_up};
use crate::repository::{BoxStream, PrefixStyle, Repository};

/// Metadata objects read at once.
const READS: usize = 8;

pub(super) async fn scan(
    repository: &Arc<dyn Repository>,
    container: Option<&ContainerName>,
    cx: &JobContext,
) -> Result<BoxStream<ScanItem>> {
    let containers: BoxStream<ContainerName> = match container {
        Some(container) => Box::pin(futures::stream::iter([Ok(container.clone())])),
        None => repository.containers().await?,
    };
    // Where prefixes have no slashes, what lies deeper is another container's: a folder within a folder.
    let delimiter = match repository.layout().prefix {
        PrefixStyle::Flat => Some('/'),
        PrefixStyle::Slashed { .. } => None,
    };
    let (list, read) = (Arc::clone(repository), Arc::clone(repository));
    let cx = cx.clone();
    let locations = containers
        .then(move |container| {
            let repository = Arc::clone(&list);
            async move {
                match container {
                    Ok(container) => match repository.list(&container, "", delimiter).await {
                        Ok(listing) => metadata_objects(container, listing),
                        Err(e) => failed(e),
                    },
                    Err(e) => failed(e),
                }
            }
        })
        .flatten();
    Ok(Box::pin(
        locations
            .map(move |location| {
                let (repository, cx) = (Arc::clone(&read), cx.clone());
                async move {
                    cx.cancel().check("scan")?;
                    let (location, length) = location?;
                    match look(&repository, &location, length, &cx).await {
                        Ok(found) => Ok(ScanItem::Found(Box::new(found))),
                        Err(e)
                            if matches!(e.kind(), ErrorKind::Corrupt | ErrorKind::Unsupported) =>
                        {
                            Ok(ScanItem::Broken(Problem::new(
                                location.metadata().to_string(),
                                None,
                                e.reason()
                                    .map_or_else(|| e.to_string(), ToString::to_string),
                            )))
                        }
                        Err(e) => Err(e),
                    }
                }
            })
            .buffered(READS),
    ))
}

fn failed(e: Error) -> BoxStream<(Location, u64)> {
    Box::pin(futures::stream::iter([Err(e)]))
}

/// The locations of the metadata objects of a listing, and their lengths.
fn metadata_objects(
    container: ContainerName,
    listing: BoxStream<crate::repository::Listed>,
) -> BoxStream<(Location, u64)> {
    Box::pin(listing.filter_map(move |item| {
        let location = match item {
            Ok(item) if item.is_prefix => None,
            Ok(item) => item
                .name
                .strip_suffix("_metadata")
                .and_then(|prefix| Prefix::new(prefix).ok())
                .map(|prefix| {
                    let container = container.clone();
                    Ok((Location { container, prefix }, item.size))
                }),
            Err(e) => Some(Err(e)),
        };
        std::future::ready(location)
    }))
}

/// Reads one backup's metadata and makes its record.
async fn look(
    repository: &Arc<dyn Repository>,
    location: &Location,
    listed: u64, // bytes of the metadata
    cx: &JobContext,
) -> Result<Scanned> {
    let key: ObjectKey = location.metadata();
    let summary = match ends::read_ends(repository, &key, listed, cx).await? {
        Some(summary) => summary,
        None => Summary::read(repository, location, cx).await?,
    };
    let metadata = &summary.metadata;
    if !location
        .prefix
        .as_str()
        .contains(&metadata.backup_id.to_string())
    {
        return Err(Error::corrupt(
            "scan",
            &key,
            format!(
                "it says that it is backup {}, its name does not",
                metadata.backup_id
            ),
        ));
    }
    check_volume(location, metadata)?;
    let length = length(repository, location, &summary, cx).await?;
    // Of what Cinder wrote the data objects do not tell their stored lengths, and a part of a sum is none.
    let stored = match summary.data_bytes {
        Some(data) => data.checked_add(summary.index_bytes(repository, location).await?),
        None => None,
    };
    Ok(scanned(repository, location, summary, stored, length))
}

/// The volume's length, where it is recorded or can be told from this backup alone.
pub(super) async fn length(
    repository: &Arc<dyn Repository>,
    location: &Location,
    summary: &Summary,
    cx: &JobContext,
) -> Result<(u64, bool)> {
    let metadata = &summary.metadata;
    if let Some(length) = metadata.ashlar.as_ref().and_then(|a| a.volume_length) {
        return Ok((length, true));
    }
    if metadata.parent_id.is_none() {
        return Ok((summary.end, true));
    }
    let layer = Layer {
        id: metadata.backup_id,
        location: location.clone(),
    };
    let read = HashIndex::read(repository, &layer, cx).await;
    match read.and_then(|hashes| hashes.check(None)) {
        Ok(list) => {
            let whole = list.count().saturating_mul(list.block_size());
            let exact = summary.end > whole.saturating_sub(list.block_size());
            Ok((if exact { summary.end } else { whole }, exact))
        }
        Err(e) if e.is(ErrorKind::NotFound) => Ok((summary.end, false)),
        Err(e) => Err(e),
    }
}

fn scanned(
    repository: &Arc<dyn Repository>,
    location: &Location,
    summary: Summary,
    stored_bytes: Option<u64>,
    (length, exact): (u64, bool),
) -> Scanned {
    let metadata = summary.metadata;
    let volume = metadata
        .volume_meta
        .as_deref()
        .and_then(|text| VolumeMetadata::from_json(text).ok());
    let base = |column: &str| {
        let value = volume.as_ref()?.base.get(column)?.as_str()?;
        Some(value.to_owned())
    };
    let ours = metadata.ashlar;
    let layout = repository.layout();
    let created_at = metadata.created_at.unwrap_or_else(|| {
        // A time that cannot be read must not lose the backup; the prefix has it too.
        time_of_prefix(&location.prefix).unwrap_or(crate::timestamp::Timestamp::EPOCH)
    });
    let mut found = Scanned::new(BackupRecord {
        id: metadata.backup_id,
        user_id: ours
            .as_ref()
            .and_then(|a| a.user_id.clone())
            .or_else(|| base("user_id"))
            .unwrap_or_default(),
        project_id: ours
            .as_ref()
            .and_then(|a| a.project_id.clone())
            .or_else(|| base("project_id"))
            .unwrap_or_default(),
        volume_id: metadata.volume_id,
        snapshot_id: ours.as_ref().and_then(|a| a.snapshot_id),
        parent_id: metadata.parent_id,
        status: BackupStatus::Available,
        fail_reason: None,
        size_gib: gib_rounded_up(length),
        volume_length: exact.then_some(length),
        name: metadata.backup_name,
        description: metadata.backup_description,
        properties: ours
            .as_ref()
            .map(|a| a.properties.clone())
            .unwrap_or_default(),
        repository: String::new(),
        service: layout.service,
        account: layout.account,
        location: Some(location.clone()),
        object_count: summary.objects,
        stored_bytes,
        host: None,
        availability_zone: None,
        temp_volume_id: None,
        temp_snapshot_id: None,
        restore_volume_id: None,
        num_dependent_backups: 0,
        encryption_key_id: ours.as_ref().and_then(|a| a.encryption_key_id.clone()),
        data_timestamp: ours.and_then(|a| a.data_timestamp).unwrap_or(created_at),
        created_at,
        updated_at: None,
    });
    found.volume_name = base("display_name");
    found
}

/// The time in `volume_<id>_<YYYYMMDDHHMMSS>_backup_<id>` and in `volume_<id>/<time>/az_...`.
fn time_of_prefix(prefix: &Prefix) -> Option<crate::timestamp::Timestamp> {
    let digits = prefix
        .as_str()
        .split(['_', '/'])
        .find(|part| part.len() == 14 && part.bytes().all(|b| b.is_ascii_digit()))?;
    format!(
        "{}-{}-{}T{}:{}:{}Z",
        &digits[0..4],
        &digits[4..6],
        &digits[6..8],
        &digits[8..10],
        &digits[10..12],
        &digits[12..14]
    )
    .parse()
    .ok()
}
