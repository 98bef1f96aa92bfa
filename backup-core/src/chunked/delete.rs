//! Delete: the metadata first, so that a backup cut in the middle is none; then everything else, by the names that the
//! metadata told and by what the container lists.

use std::sync::Arc;

use futures::StreamExt;

use crate::error::{Error, ErrorKind, Result};
use crate::id::{Location, ObjectKey};
use crate::job::{JobContext, Phase, Progress};
use crate::repository::Repository;

use super::layer_index::LayerIndex;

/// Keys deleted by one call.
const BATCH: usize = 500;

pub(super) async fn delete(
    repository: &Arc<dyn Repository>,
    location: &Location,
    cx: &JobContext,
) -> Result<()> {
    match named(repository, location, cx).await? {
        Some(index) => remove_all(repository, location, index.names(), cx).await,
        None => remove_all(repository, location, std::iter::empty(), cx).await,
    }
}

/// Removes what there is of a backup that failed after its objects up to `numbered` had their numbers.
pub(super) async fn clean_up(
    repository: &Arc<dyn Repository>,
    location: &Location,
    numbered: u64,
    cx: &JobContext,
) -> Result<()> {
    let names = (1..=numbered).map(|number| Ok(location.prefix.data_object(number)));
    remove_all(repository, location, names, cx).await
}

/// Removes a backup, of which at least the objects with these names may be there.
async fn remove_all(
    repository: &Arc<dyn Repository>,
    location: &Location,
    names: impl Iterator<Item = Result<String>> + Send,
    cx: &JobContext,
) -> Result<()> {
    // Both by name, not by listing: what a killed upload of them left is hidden, and goes with its object.
    first_error(repository.delete(&[location.metadata()]).await)?;
    // The backup must be gone before a part of it is. A barrier also tells of writes that were lost, and such a backup
    // must be deletable above all: what counts is the barrier behind the deletes.
    if let Err(e) = repository.barrier(&location.container).await {
        cx.observer()
            .warning(&format!("deleting all the same: {e}"));
    }
    first_error(repository.delete(&[location.hash_list()]).await)?;
    let mut progress = Progress::start(Phase::Delete, 0);
    // A listing may lag for longer than anyone waits: what is known goes by its name.
    let mut batch = Vec::with_capacity(BATCH);
    for name in names {
        cx.cancel().check("delete backup")?;
        let name = name?;
        if belongs(location, &name) {
            batch.push(ObjectKey::new(&location.container, name)?);
        }
        if batch.len() == BATCH {
            remove(repository, &mut batch, &mut progress, cx).await?;
        }
    }
    remove(repository, &mut batch, &mut progress, cx).await?;
    // The rest is found by the listing: look again until nothing shows, a few times.
    for _ in 0..4 {
        let mut batch = Vec::with_capacity(BATCH);
        let mut found = false;
        let mut listing = repository
            .list(&location.container, location.prefix.as_str(), None)
            .await?;
        while let Some(item) = listing.next().await {
            cx.cancel().check("delete backup")?;
            let name = item?.name;
            if !belongs(location, &name) {
                continue;
            }
            found = true;
            batch.push(ObjectKey::new(&location.container, name)?);
            if batch.len() == BATCH {
                remove(repository, &mut batch, &mut progress, cx).await?;
            }
        }
        remove(repository, &mut batch, &mut progress, cx).await?;
        if !found {
            break;
        }
    }
    // What a killed process or a lost server left of data objects that no listing shows and no record names. Of the
    // other objects the names are known, and it went with them.
    let numbered = format!("{}-", location.prefix.as_str());
    cx.cancel().check("delete backup")?;
    tokio::select! {
        // In a folder that many share it may take long.
        () = cx.cancel().cancelled() => return Err(Error::cancelled("delete backup")),
        cleared = repository.clear_leftovers(&location.container, &numbered) => cleared?,
    }
    repository.barrier(&location.container).await
}

/// The objects that the backup's metadata names, if it is there and makes sense.
async fn named(
    repository: &Arc<dyn Repository>,
    location: &Location,
    cx: &JobContext,
) -> Result<Option<LayerIndex>> {
    match LayerIndex::load_names(repository, location, cx).await {
        Ok(index) => Ok(Some(index)),
        Err(e) if e.is(ErrorKind::NotFound) => Ok(None),
        Err(e) if e.is_retryable() || e.is(ErrorKind::Cancelled) => Err(e),
        // A damaged backup must be deletable, too.
        Err(e) => {
            cx.observer().warning(&format!(
                "deleting what the container's listing shows of the backup: {e}"
            ));
            Ok(None)
        }
    }
}

/// Cinder lists a backup's objects by its prefix alone, and nothing of another backup begins with it, since it ends
/// with the backup's ID. An object that does not look like one of the backup's is still its own where it goes on
/// behind the ID.
fn belongs(location: &Location, name: &str) -> bool {
    name.strip_prefix(location.prefix.as_str())
        .is_some_and(|rest| rest.starts_with(['-', '_', '.']))
}

async fn remove(
    repository: &Arc<dyn Repository>,
    batch: &mut Vec<ObjectKey>,
    progress: &mut Progress,
    cx: &JobContext,
) -> Result<()> {
    if batch.is_empty() {
        return Ok(());
    }
    let results = repository.delete(batch).await;
    progress.objects += batch.len() as u64;
    progress.done = progress.objects;
    cx.observer().progress(progress);
    batch.clear();
    first_error(results)
}

fn first_error(results: Vec<Result<()>>) -> Result<()> {
    results.into_iter().collect()
}
