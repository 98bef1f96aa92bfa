//! Deletes, many at a time where the server can, with a result for each key; large objects go with their segments.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use backup_core::{ContainerName, ErrorKind, ObjectKey, Result};
use futures::{StreamExt, stream};
use http::Method;

use crate::bulk;
use crate::error::Failure;
use crate::segments;
use crate::store::Store;
use crate::wire::{Ask, container_path, encoded, object_path};

const OPERATION: &str = "delete object";
/// Most objects of one bulk delete: the server works through them one after another.
const AT_ONCE: usize = 1000;
/// Single requests in flight.
const SINGLE: usize = 16;

type Outcomes = HashMap<usize, Result<()>>;

pub(crate) async fn all(store: &Arc<Store>, keys: &[ObjectKey]) -> Vec<Result<()>> {
    let mut containers: BTreeMap<&ContainerName, Vec<usize>> = BTreeMap::new();
    for (n, key) in keys.iter().enumerate() {
        // One that can be no container of Swift's holds nothing.
        if container_path(key.container()).is_ok() {
            containers.entry(key.container()).or_default().push(n);
        }
    }
    let mut outcomes = Outcomes::new();
    for (container, numbers) in containers {
        in_container(store, container, keys, &numbers, &mut outcomes).await;
    }
    let result = |n| outcomes.remove(&n).unwrap_or(Ok(()));
    (0..keys.len()).map(result).collect()
}

async fn in_container(
    store: &Arc<Store>,
    container: &ContainerName,
    keys: &[ObjectKey],
    numbers: &[usize],
    outcomes: &mut Outcomes,
) {
    // Without a container for segments there are no large objects, and most accounts have none.
    let segments = match segments_of(store, container).await {
        Ok(segments) => segments,
        Err(failure) => {
            for n in numbers {
                outcomes.insert(*n, Err(failure.clone().into_error(OPERATION, &keys[*n])));
            }
            return;
        }
    };
    let mut small = Vec::with_capacity(numbers.len());
    if segments.is_some() {
        let asked = numbers
            .iter()
            .copied()
            .map(|n| async move { (n, large(store, &keys[n]).await) });
        let mut asked = stream::iter(asked).buffer_unordered(SINGLE);
        while let Some((n, outcome)) = asked.next().await {
            match outcome {
                None => small.push(n),
                Some(outcome) => {
                    outcomes.insert(n, outcome);
                }
            }
        }
    } else {
        small.extend_from_slice(numbers);
    }
    let paths: Vec<_> = small
        .iter()
        .map(|n| object_path(&keys[*n]).unwrap_or_default())
        .collect();
    for (n, failure) in small.iter().zip(paths_of(store, &paths).await) {
        let outcome = failure.map_or(Ok(()), |f| Err(f.into_error(OPERATION, &keys[*n])));
        outcomes.insert(*n, outcome);
    }
    if let Some(segment_container) = segments {
        leftovers(
            store,
            &segment_container,
            container,
            keys,
            numbers,
            outcomes,
        )
        .await;
    }
}

/// The container for the segments of large objects, if it is there.
async fn segments_of(
    store: &Store,
    container: &ContainerName,
) -> Result<Option<ContainerName>, Failure> {
    let Ok(segments) = store.segment_container(container) else {
        return Ok(None);
    };
    let Ok(path) = container_path(&segments) else {
        return Ok(None);
    };
    match store.wire.send(&Ask::new(Method::HEAD, path)).await {
        Ok(_) => Ok(Some(segments)),
        // Who may not look at it has not written to it.
        Err(f) if matches!(f.kind(), ErrorKind::NotFound | ErrorKind::PermissionDenied) => Ok(None),
        Err(failure) => Err(failure),
    }
}

/// Deletes an object with its segments if it is a large one; `None` where it is not.
async fn large(store: &Store, key: &ObjectKey) -> Option<Result<()>> {
    let path = object_path(key).ok()?;
    let failed = |f: Failure| Some(Err(f.into_error(OPERATION, key)));
    match store.head(&path).await {
        Ok(head) if !head.is_large => return None,
        Ok(_) => {}
        Err(f) if f.is(ErrorKind::NotFound) => return None,
        Err(f) => return failed(f),
    }
    match bulk::delete_large(store, &path).await {
        Ok(outcome) => match outcome.errors.into_values().next() {
            Some(failure) => failed(failure),
            None => Some(Ok(())),
        },
        Err(failure) => failed(failure),
    }
}

/// Segments of uploads that never became objects, or whose manifest someone else deleted, go with the object.
async fn leftovers(
    store: &Arc<Store>,
    segment_container: &ContainerName,
    container: &ContainerName,
    keys: &[ObjectKey],
    numbers: &[usize],
    outcomes: &mut Outcomes,
) {
    let by_name: HashMap<_, _> = numbers.iter().map(|n| (keys[*n].name(), *n)).collect();
    let prefix = common_beginning(by_name.keys().copied());
    let found = match segments::find(store, segment_container, container, &prefix).await {
        Ok(found) => found,
        Err(error) => {
            // The objects are gone; that something may be left of them must not be silent.
            if let Some(n) = numbers.first() {
                outcomes.insert(*n, Err(error));
            }
            return;
        }
    };
    for ((object, _), upload) in found {
        let Some(n) = by_name.get(object.as_str()) else {
            continue;
        };
        if outcomes.get(n).is_some_and(Result::is_err) {
            continue;
        }
        let results = segments(store, segment_container, &upload.names).await;
        if let Some(error) = results.into_iter().find_map(Result::err) {
            outcomes.insert(*n, Err(error));
        }
    }
}

/// Deletes segments by their names.
pub(crate) async fn segments(
    store: &Store,
    container: &ContainerName,
    names: &[String],
) -> Vec<Result<()>> {
    let root = match container_path(container) {
        Ok(root) => root,
        Err(error) => return vec![Err(error)],
    };
    let paths: Vec<_> = names
        .iter()
        .map(|n| format!("{root}/{}", encoded(n)))
        .collect();
    let failures = paths_of(store, &paths).await.into_iter().zip(names);
    let result = |(failure, name): (Option<Failure>, &String)| {
        failure.map_or(Ok(()), |f| {
            Err(f.into_error("delete segment", format!("{container}/{name}")))
        })
    };
    failures.map(result).collect()
}

/// Deletes objects by their encoded paths; what went wrong with each.
async fn paths_of(store: &Store, paths: &[String]) -> Vec<Option<Failure>> {
    let mut results: Vec<Option<Failure>> = vec![None; paths.len()];
    let mut left: Vec<usize> = (0..paths.len()).collect();
    if store.bulk_delete && paths.len() > 1 {
        let most = match store.info().await {
            Ok(info) => info.bulk_delete,
            Err(failure) => return vec![Some(failure); paths.len()],
        };
        if let Some(most) = most {
            left.clear();
            for chunk in (0..paths.len())
                .collect::<Vec<_>>()
                .chunks(most.clamp(1, AT_ONCE))
            {
                left.extend(many(store, paths, chunk, &mut results).await);
            }
        }
    }
    let single = left
        .into_iter()
        .map(|n| async move { (n, one(store, &paths[n]).await) });
    let mut single = stream::iter(single).buffer_unordered(SINGLE);
    while let Some((n, failure)) = single.next().await {
        results[n] = failure;
    }
    results
}

/// Deletes some by one request; those that must be deleted one by one.
async fn many(
    store: &Store,
    paths: &[String],
    chunk: &[usize],
    results: &mut [Option<Failure>],
) -> Vec<usize> {
    let told: Vec<_> = chunk.iter().map(|n| paths[*n].clone()).collect();
    let mut outcome = match bulk::delete(store, &told).await {
        Ok(outcome) => outcome,
        // Asking a dead server again for each object would only take as long each time.
        Err(failure) if failure.is_passing() || failure.is(ErrorKind::Unauthenticated) => {
            for n in chunk {
                results[*n] = Some(failure.clone());
            }
            return Vec::new();
        }
        Err(failure) => {
            tracing::debug!(%failure, "delete one by one");
            return chunk.to_vec();
        }
    };
    // An answer that does not account for all of them was cut off somewhere: a second delete does no harm.
    if outcome.gone + outcome.errors.len() < chunk.len() {
        return chunk.to_vec();
    }
    let mut again = Vec::new();
    for n in chunk {
        let path = percent_encoding::percent_decode_str(&paths[*n]).decode_utf8_lossy();
        match outcome.errors.remove(path.as_ref()) {
            None => {}
            Some(failure) if failure.is(ErrorKind::NotFound) => {}
            // The request as a whole was not repeated for what was wrong with one.
            Some(failure) if failure.is_passing() => again.push(*n),
            Some(failure) => results[*n] = Some(failure),
        }
    }
    // An error that names none of ours leaves open whose it is.
    if outcome.errors.is_empty() {
        again
    } else {
        chunk.to_vec()
    }
}

async fn one(store: &Store, path: &str) -> Option<Failure> {
    match store.wire.send(&Ask::new(Method::DELETE, path)).await {
        Err(failure) if failure.is(ErrorKind::NotFound) => None,
        done => done.err(),
    }
}

fn common_beginning<'a>(names: impl Iterator<Item = &'a str>) -> String {
    let common = names.reduce(|common, name| {
        let same = common
            .char_indices()
            .zip(name.chars())
            .find(|((_, a), b)| a != b);
        let end = same.map_or(common.len().min(name.len()), |((at, _), _)| at);
        &common[..end]
    });
    common.unwrap_or_default().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_common_beginning_of_names() {
        let common = |names: &[&str]| common_beginning(names.iter().copied());
        assert_eq!(common(&["a/b-1", "a/b-2", "a/b_x"]), "a/b");
        assert_eq!(common(&["aü1", "aö2"]), "a");
        assert_eq!(common(&["same", "same"]), "same");
        assert_eq!(common(&["ab", "abc"]), "ab");
        assert_eq!(common(&["a", "b"]), "");
        assert_eq!(common(&[]), "");
    }
}
