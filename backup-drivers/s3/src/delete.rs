//! Deletes, a thousand at a time where the server can, with a result for each key.

use std::collections::HashMap;

use backup_core::{ErrorKind, ObjectKey, Result};
use futures::{StreamExt, stream};
use object_store::ObjectStoreExt as _;
use object_store::path::Path;

use crate::error::Failure;
use crate::repository::S3Repository;
use crate::stores::bucket_of;

const OPERATION: &str = "delete object";
/// Most keys of one request.
const AT_ONCE: usize = 1000;
/// Single deletes in flight.
const SINGLE: usize = 16;

pub(crate) async fn all(repository: &S3Repository, keys: &[ObjectKey]) -> Vec<Result<()>> {
    let mut results: HashMap<usize, Result<()>> = HashMap::with_capacity(keys.len());
    let mut left: Vec<usize> = (0..keys.len()).collect();
    if let (Some(wire), true) = (&repository.wire, repository.bulk_delete) {
        let mut buckets: HashMap<&str, Vec<usize>> = HashMap::new();
        for (n, key) in keys.iter().enumerate() {
            if let Ok(bucket) = bucket_of(key.container()) {
                buckets.entry(bucket).or_default().push(n);
            }
        }
        for (bucket, numbers) in buckets {
            for chunk in numbers.chunks(AT_ONCE) {
                let names: Vec<_> = chunk.iter().map(|n| keys[*n].name()).collect();
                let mut told = match wire.delete(bucket, &names).await {
                    Ok(told) => told,
                    // Asking a dead server again for each key would only take as long each time.
                    Err(failure) if is_general(&failure) => {
                        for n in chunk {
                            let error = failure.clone().into_error(OPERATION, &keys[*n]);
                            let result = match failure.kind() {
                                ErrorKind::NotFound => Ok(()),
                                _ => Err(error),
                            };
                            results.insert(*n, result);
                        }
                        continue;
                    }
                    Err(failure) => {
                        tracing::debug!(bucket, %failure, "delete one by one");
                        continue;
                    }
                };
                for n in chunk {
                    if let Some(result) = told.remove(keys[*n].name()) {
                        let result = result.map_err(|f| f.into_error(OPERATION, &keys[*n]));
                        results.insert(*n, result);
                    }
                }
            }
        }
        left.retain(|n| !results.contains_key(n));
    }
    let single = left.into_iter().map(|n| {
        let key = &keys[n];
        async move { (n, one(repository, key).await) }
    });
    let mut single = stream::iter(single).buffer_unordered(SINGLE);
    while let Some((n, result)) = single.next().await {
        results.insert(n, result);
    }
    let mut in_order: Vec<_> = results.into_iter().collect();
    in_order.sort_unstable_by_key(|(n, _)| *n);
    in_order.into_iter().map(|(_, result)| result).collect()
}

/// Whether a failure of one request would be that of every other.
fn is_general(failure: &Failure) -> bool {
    matches!(
        failure.kind(),
        ErrorKind::Timeout
            | ErrorKind::Unavailable
            | ErrorKind::Unauthenticated
            | ErrorKind::NotFound
    )
}

async fn one(repository: &S3Repository, key: &ObjectKey) -> Result<()> {
    if repository.wire.is_some() && bucket_of(key.container()).is_err() {
        return Ok(());
    }
    // A name that the store cannot hold is not there.
    let Ok(path) = Path::parse(key.name()) else {
        return Ok(());
    };
    let store = match repository.stores.get(key.container()) {
        Err(e) if e.is(ErrorKind::NotFound) => return Ok(()),
        store => store?,
    };
    match store.delete(&path).await.map_err(|e| Failure::store(&e)) {
        Err(failure) if failure.kind() == ErrorKind::NotFound => Ok(()),
        done => done.map_err(|f| f.into_error(OPERATION, key)),
    }
}
