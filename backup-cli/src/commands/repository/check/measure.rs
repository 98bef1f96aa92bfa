//! What is measured and looked at: speed, rights, space.

use std::path::Path;
use std::time::Instant;

use backup_core::{ContainerName, Error, PutMode, Repository, Result};
use bytes::Bytes;
use futures::{StreamExt, TryStreamExt, stream};

use super::proofs::{key, same};
use super::step::{Step, Verdict, failed};
use crate::config::print_size;

const SPEED_OBJECT: usize = 8 << 20; // bytes
const SPEED_OBJECTS: usize = 8;

/// MiB/s of writing (until durable) and of reading.
pub(super) async fn speed(
    repository: &dyn Repository,
    container: &ContainerName,
    mark: &str,
) -> Result<(f64, f64)> {
    let objects = (0..SPEED_OBJECTS)
        .map(|i| {
            Ok((
                key(container, mark, &format!("speed-{i}"))?,
                noise(SPEED_OBJECT, i as u64 + 2),
            ))
        })
        .collect::<Result<Vec<_>>>()?;
    let requests = repository.limits().requests;
    #[expect(clippy::cast_precision_loss)]
    let mib = (SPEED_OBJECT * SPEED_OBJECTS) as f64 / f64::from(1 << 20);

    let started = Instant::now();
    stream::iter(&objects)
        .map(Ok)
        .try_for_each_concurrent(requests, async |(key, data)| {
            repository.put(key, data.clone(), PutMode::Overwrite).await
        })
        .await?;
    repository.barrier(container).await?;
    let write = mib / started.elapsed().as_secs_f64();

    let started = Instant::now();
    stream::iter(&objects)
        .map(Ok)
        .try_for_each_concurrent(requests, async |(key, data)| {
            same(repository, key, data).await
        })
        .await?;
    let read = mib / started.elapsed().as_secs_f64();

    let keys: Vec<_> = objects.into_iter().map(|(key, _)| key).collect();
    for result in repository.delete(&keys).await {
        result?;
    }
    Ok((write, read))
}

/// Who may read and write the folder besides its owner, and how much space is left.
pub(super) fn rights(folder: &Path) -> Step {
    use std::os::unix::fs::MetadataExt;

    let what = "rights and space";
    let looked =
        std::fs::metadata(folder).and_then(|meta| Ok((meta, rustix::fs::statvfs(folder)?)));
    let (meta, space) = match looked {
        Ok(found) => found,
        Err(e) => return failed(what, &Error::io("look at", folder.display(), e)),
    };
    let free = space.f_bavail.saturating_mul(space.f_frsize);
    let mode = meta.mode() & 0o7777;
    let open = mode & 0o002 != 0;
    Step {
        what,
        verdict: if open {
            Verdict::Doubtful
        } else {
            Verdict::Good
        },
        details: format!(
            "owner {}, group {}, mode {mode:04o}; {} free",
            meta.uid(),
            meta.gid(),
            print_size(free)
        ),
        advice: open.then(|| {
            format!(
                "every user of this host can change backups: chmod o-w {}",
                folder.display()
            )
        }),
    }
}

/// Bytes that no codec and no filesystem can shrink (xorshift64*).
pub(super) fn noise(length: usize, seed: u64) -> Bytes {
    let mut state = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
    let mut bytes = Vec::with_capacity(length + 8);
    while bytes.len() < length {
        state ^= state >> 12;
        state ^= state << 25;
        state ^= state >> 27;
        bytes.extend_from_slice(&state.wrapping_mul(0x2545_F491_4F6C_DD1D).to_le_bytes());
    }
    bytes.truncate(length);
    bytes.into()
}
