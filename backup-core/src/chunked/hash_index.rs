//! A backup's hash list, read once and then looked at block by block.

use std::io::{BufReader, Read};
use std::sync::Arc;

use sha2::{Digest, Sha256};

use super::fetch::parse_object;
use super::spool::Spool;
use crate::backup::Layer;
use crate::diff::BlockHash;
use crate::error::{Error, Result};
use crate::format::hash_list;
use crate::id::ObjectKey;
use crate::job::JobContext;
use crate::repository::Repository;

const HASH: u64 = 32; // bytes

/// The hashes of a volume's blocks, 32 bytes a block, in memory or in a temporary file.
#[derive(Debug)]
pub(crate) struct HashIndex {
    spool: Spool,
    block_size: u64,
}

impl HashIndex {
    /// Reads `layer`'s hash list. Whether it is what the metadata says is still to be seen:
    /// [`check`](UncheckedHashes::check). So both can be read at once.
    ///
    /// # Errors
    /// [`NotFound`](crate::ErrorKind::NotFound) where there is none; [`Corrupt`](crate::ErrorKind::Corrupt) where it
    /// is another backup's or damaged.
    pub(crate) async fn read(
        repository: &Arc<dyn Repository>,
        layer: &Layer,
        cx: &JobContext,
    ) -> Result<UncheckedHashes> {
        let key = layer.location.hash_list();
        let (spool, head, sha256) = parse_object(repository, &key, cx, move |reader| {
            let mut spool = Spool::new();
            let mut hashing = Hashing {
                inner: reader,
                sha256: Sha256::new(),
            };
            let head = hash_list::read_hash_list(
                BufReader::with_capacity(256 << 10, &mut hashing),
                &mut |hashes| spool.append(hashes.as_flattened()),
            )?;
            let digest: [u8; 32] = hashing.sha256.finalize().into();
            Ok((spool, head, digest))
        })
        .await?;
        if head.backup_id != layer.id {
            return Err(Error::corrupt(
                "read hash list",
                &key,
                format!("it belongs to backup {}, not {}", head.backup_id, layer.id),
            ));
        }
        Ok(UncheckedHashes {
            index: Self {
                spool,
                block_size: head.block_size,
            },
            key,
            sha256,
        })
    }

    pub(crate) fn block_size(&self) -> u64 {
        self.block_size
    }

    /// How many blocks it has hashes of.
    pub(crate) fn count(&self) -> u64 {
        self.spool.len() / HASH
    }

    /// Hashes of `count` blocks from `from`; fewer where the list ends.
    pub(crate) fn hashes(&self, from: u64, count: u64) -> Result<Vec<BlockHash>> {
        let count = count.min(self.count().saturating_sub(from));
        let bytes = usize::try_from(count * HASH)
            .map_err(|_| Error::internal("look up hashes", "too many at once"))?;
        let mut out = vec![0; bytes];
        if bytes > 0 {
            self.spool.read(from * HASH, &mut out)?;
        }
        Ok(out.as_chunks().0.to_vec())
    }
}

/// A hash list that was read and not yet held against the metadata.
#[derive(Debug)]
pub(crate) struct UncheckedHashes {
    index: HashIndex,
    key: ObjectKey,
    sha256: [u8; 32],
}

impl UncheckedHashes {
    /// The list, if `expected`, which the metadata says of it where it says something, is its SHA-256.
    ///
    /// # Errors
    /// [`Corrupt`](crate::ErrorKind::Corrupt) where it is not.
    pub(crate) fn check(self, expected: Option<[u8; 32]>) -> Result<HashIndex> {
        if expected.is_some_and(|expected| expected != self.sha256) {
            return Err(Error::corrupt(
                "read hash list",
                self.key,
                "its SHA-256 is not what the metadata says",
            ));
        }
        Ok(self.index)
    }
}

struct Hashing<R> {
    inner: R,
    sha256: Sha256,
}

impl<R: Read> Read for Hashing<R> {
    fn read(&mut self, buf: &mut [u8]) -> std::io::Result<usize> {
        let n = self.inner.read(buf)?;
        self.sha256.update(&buf[..n]);
        Ok(n)
    }
}
