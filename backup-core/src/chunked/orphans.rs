//! Orphans: what lies under backups' prefixes without a metadata object, and what the repository hides.

use std::collections::BTreeMap;
use std::sync::Arc;

use futures::{StreamExt, TryStreamExt};

use super::delete;
use crate::error::{ErrorKind, Result};
use crate::id::{BackupId, ContainerName, Location, Prefix};
use crate::job::JobContext;
use crate::orphan::{Orphan, OrphanKind};
use crate::range::ByteRange;
use crate::repository::{BoxStream, PrefixStyle, Repository};
use crate::timestamp::Timestamp;

/// What is known of a prefix after its objects were listed.
#[derive(Default)]
struct Group {
    complete: bool,
    objects: u64,
    size: u64,
    newest: Option<Timestamp>,
}

pub(super) async fn find(
    repository: &Arc<dyn Repository>,
    container: Option<&ContainerName>,
    cx: &JobContext,
) -> Result<BoxStream<Orphan>> {
    let mut containers: BoxStream<ContainerName> = match container {
        Some(container) => Box::pin(futures::stream::iter([Ok(container.clone())])),
        None => repository.containers().await?,
    };
    // They are few, unlike the objects that were listed to find them.
    let mut found = Vec::new();
    while let Some(container) = containers.try_next().await? {
        found.extend(of_container(repository, &container, cx).await?);
    }
    let mut leftovers = repository.leftovers(container).await?;
    while let Some(leftover) = leftovers.try_next().await? {
        cx.cancel().check("look for orphans")?;
        let (size, modified) = (leftover.size, leftover.modified);
        found.push(Orphan {
            objects: 1,
            size,
            modified,
            ..Orphan::new(OrphanKind::Leftover(leftover))
        });
    }
    Ok(Box::pin(futures::stream::iter(found.into_iter().map(Ok))))
}

/// Removes it; `false` where it is none any more: its metadata came, or it is being written.
pub(super) async fn remove(
    repository: &Arc<dyn Repository>,
    orphan: &Orphan,
    cx: &JobContext,
) -> Result<bool> {
    let location = match &orphan.kind {
        OrphanKind::Leftover(leftover) => {
            repository.remove_leftover(leftover).await?;
            return Ok(true);
        }
        OrphanKind::Backup { location, .. } => location,
    };
    if has_metadata(repository, location).await? {
        return Ok(false);
    }
    let mut listing = repository
        .list(&location.container, location.prefix.as_str(), None)
        .await?;
    while let Some(item) = listing.next().await {
        if item?.modified > orphan.modified {
            return Ok(false);
        }
    }
    delete::delete(repository, location, cx).await?;
    Ok(true)
}

async fn of_container(
    repository: &Arc<dyn Repository>,
    container: &ContainerName,
    cx: &JobContext,
) -> Result<Vec<Orphan>> {
    // As in a scan: where prefixes have no slashes, what lies deeper is another container's.
    let delimiter = match repository.layout().prefix {
        PrefixStyle::Flat => Some('/'),
        PrefixStyle::Slashed { .. } => None,
    };
    let mut groups = BTreeMap::<String, (BackupId, Group)>::new();
    let mut listing = repository.list(container, "", delimiter).await?;
    while let Some(item) = listing.next().await {
        cx.cancel().check("look for orphans")?;
        let item = item?;
        let Some((prefix, id)) = backup_of(&item.name).filter(|_| !item.is_prefix) else {
            continue;
        };
        if !groups.contains_key(prefix) {
            groups.insert(prefix.to_owned(), (id, Group::default()));
        }
        if let Some((_, group)) = groups.get_mut(prefix) {
            group.complete |= item.name[prefix.len()..] == *"_metadata";
            group.objects += 1;
            group.size = group.size.saturating_add(item.size);
            group.newest = group.newest.max(item.modified);
        }
    }
    let mut orphans = Vec::new();
    for (prefix, (id, group)) in groups {
        if group.complete {
            continue;
        }
        let location = Location {
            container: container.clone(),
            prefix: Prefix::new(prefix)?,
        };
        // A listing may lag behind; the object itself does not.
        if has_metadata(repository, &location).await? {
            continue;
        }
        orphans.push(Orphan {
            objects: group.objects,
            size: Some(group.size),
            modified: group.newest,
            ..Orphan::new(OrphanKind::Backup { id, location })
        });
    }
    Ok(orphans)
}

async fn has_metadata(repository: &Arc<dyn Repository>, location: &Location) -> Result<bool> {
    let first = ByteRange::new(0, 1);
    match repository.get(&location.metadata(), first).await {
        Ok(_) => Ok(true),
        Err(e) if e.is(ErrorKind::NotFound) => Ok(false),
        // It is there and empty.
        Err(e) if e.is(ErrorKind::InvalidInput) => Ok(true),
        Err(e) => Err(e),
    }
}

/// The prefix that an object's name begins with, where it is a backup's: `volume_..._backup_<id>` and one of `-_.`.
fn backup_of(name: &str) -> Option<(&str, BackupId)> {
    const MARK: &str = "_backup_";
    const UUID: usize = 36;
    if !name.starts_with("volume_") {
        return None;
    }
    let end = name.rfind(MARK)? + MARK.len() + UUID;
    let (prefix, rest) = name.split_at_checked(end)?;
    let id = prefix[end - UUID..].parse().ok()?;
    rest.starts_with(['-', '_', '.']).then_some((prefix, id))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_names_of_backups_objects_are_taken_for_such() {
        let id = "83dadb43-2aa9-4c0b-bc05-a12203a8f4cb";
        for style in ["volume_v_20260101000000", "volume_v/20260101000000/az_nova"] {
            for end in ["-00001", "-123456", "_metadata", "_sha256file"] {
                let name = format!("{style}_backup_{id}{end}");
                let (prefix, found) = backup_of(&name).unwrap();
                assert_eq!(prefix, format!("{style}_backup_{id}"));
                assert_eq!(found.to_string(), id);
            }
        }
        for other in [
            format!("volume_v_backup_{id}"),
            format!("volume_v_backup_{id}0-00001"),
            format!("photos_backup_{id}-00001"),
            "volume_v_backup_no-uuid-at-all-but-as-long-as-one-is-00001".into(),
            "volume_ä_backup_ä".into(),
            String::new(),
        ] {
            assert_eq!(backup_of(&other), None, "{other}");
        }
    }
}
