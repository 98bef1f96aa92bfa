//! Deleting objects, and what killed processes left behind of them.

use std::collections::BTreeMap;
use std::sync::Arc;

use backup_core::{ContainerName, Error, ErrorKind, ObjectKey, Result};
use backup_posix::layout::{is_temporary_below, is_temporary_of};
use futures::StreamExt;

use super::connection::{Connection, FOLDER, joined, split};
use super::failure::{Failure, is_folder, is_missing, is_not_empty};
use super::folder::{Entries, Kind};
use super::link::{Call, Link};

const DELETE: &str = "delete object";

/// Objects that are deleted at once.
const AT_ONCE: usize = 8;

/// Deletes the objects; a result for each, in order.
pub(super) async fn objects(link: &Arc<Link>, keys: &[ObjectKey]) -> Vec<Result<()>> {
    let deletes: Vec<_> = keys
        .iter()
        .map(|key| object(Arc::clone(link), key.clone()))
        .collect();
    let mut results: Vec<Result<()>> = futures::stream::iter(deletes)
        .buffered(AT_ONCE)
        .collect()
        .await;
    for (folder, indices) in by_folder(keys) {
        if indices
            .iter()
            .all(|&i| matches!(&results[i], Err(e) if e.is_retryable()))
        {
            // The server is away: it would not tell of temporary files either.
            continue;
        }
        let names: Vec<&str> = indices.iter().map(|&i| split(keys[i].name()).1).collect();
        let of_these = |file: &str| names.iter().any(|name| is_temporary_of(file, name));
        if let Err(error) = temporaries(link, &folder, of_these).await
            // Each of its objects was refused already, for the same reason.
            && !matches!(error.kind(), ErrorKind::Corrupt | ErrorKind::Conflict)
            && let Some(result) = indices.first().and_then(|&i| results.get_mut(i))
            && result.is_ok()
        {
            *result = Err(error);
        }
    }
    results
}

/// Which of the keys lie in which folder.
fn by_folder(keys: &[ObjectKey]) -> BTreeMap<String, Vec<usize>> {
    let mut folders = BTreeMap::<String, Vec<usize>>::new();
    for (i, key) in keys.iter().enumerate() {
        let path = joined(key.container().as_str(), key.name());
        folders
            .entry(split(&path).0.to_owned())
            .or_default()
            .push(i);
    }
    folders
}

async fn object(link: Arc<Link>, key: ObjectKey) -> Result<()> {
    let call = Call::new(DELETE, &key, 0);
    link.run(call, move |on, _| {
        let key = key.clone();
        async move { object_once(&on, &key).await }
    })
    .await
}

async fn object_once(on: &Connection, key: &ObjectKey) -> Result<(), Failure> {
    let container = key.container().as_str();
    let path = joined(container, key.name());
    let (folder, name) = split(&path);
    let mut known = on.remembers(folder);
    loop {
        match remove(on, folder, name).await {
            // The remembered folder may be one that is gone.
            Err(failure) if failure.is_missing() && known => {
                on.forget_folders();
                known = false;
            }
            Err(failure) if failure.leads_nowhere() => return Ok(()),
            Err(failure) => return Err(failure),
            Ok(()) => break,
        }
    }
    remove_empty_folders(on, container, folder).await;
    Ok(())
}

/// Removes a file. A folder of that name is no object, and version 4 would remove it if it is empty.
async fn remove(on: &Connection, folder: &str, name: &str) -> Result<(), Failure> {
    let handle = on.folder(folder).await?;
    let (_, attributes) = on.look_up(&handle, name).await?;
    if attributes.type_ == FOLDER {
        return Ok(());
    }
    match on.mount().remove(handle, name).await {
        Err(error) if is_folder(&error) || is_missing(&error) => Ok(()),
        removed => Ok(removed?),
    }
}

/// Removes the folders that only the name of an object had made, where nothing is left in them.
async fn remove_empty_folders(on: &Connection, container: &str, folder: &str) {
    let mut at = folder;
    while at != container && !at.is_empty() {
        let (above, name) = split(at);
        let Ok(handle) = on.folder(above).await else {
            return;
        };
        let removed = on.mount().rmdir(handle, name).await;
        on.forget_folders();
        // One that is not empty stays, and those above it then are not empty either.
        match removed {
            Ok(()) => {}
            Err(error) => {
                if !is_not_empty(&error) {
                    tracing::debug!(%error, folder = at, "a folder without objects stays");
                }
                return;
            }
        }
        at = above;
    }
}

/// Removes temporary files of objects in `container` whose names begin with `prefix`.
pub(super) async fn below(link: &Arc<Link>, container: &ContainerName, prefix: &str) -> Result<()> {
    temporaries(link, container.as_str(), |file| {
        is_temporary_below(file, prefix)
    })
    .await
}

/// Removes the temporary files in `folder` whose names are such as `wanted` wants.
async fn temporaries(link: &Arc<Link>, folder: &str, wanted: impl Fn(&str) -> bool) -> Result<()> {
    let mut entries = Entries::of(link, DELETE, folder.to_owned());
    loop {
        let Some(entry) = entries.next().await? else {
            return Ok(());
        };
        if wanted(&entry.name) && matches!(entry.kind, Kind::File { .. }) {
            temporary(link, joined(folder, &entry.name)).await?;
        }
    }
}

/// Removes the temporary file at `path`. One that is gone is success.
pub(super) async fn temporary(link: &Arc<Link>, path: String) -> Result<()> {
    let call = Call::new("remove temporary file", &path, 0);
    link.run(call, move |on, _| {
        let path = path.clone();
        async move {
            let (folder, name) = split(&path);
            match remove(&on, folder, name).await {
                Err(failure) if failure.is_missing() => Ok(()),
                removed => removed,
            }
        }
    })
    .await
}

/// Refuses what is no temporary file.
pub(super) fn refuse_objects(key: &ObjectKey) -> Result<()> {
    if backup_posix::layout::is_temporary(split(key.name()).1) {
        return Ok(());
    }
    Err(Error::invalid("remove temporary file", "it is none").on(key))
}
