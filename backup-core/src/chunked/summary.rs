//! What a backup's metadata says of it as a whole, read in one pass.

use std::io::{self, Read};
use std::sync::Arc;

use super::fetch::parse_object;
use crate::error::{ErrorKind, Result};
use crate::format::metadata::{self, Metadata};
use crate::id::Location;
use crate::job::JobContext;
use crate::repository::Repository;

#[derive(Debug)]
pub(super) struct Summary {
    pub(super) metadata: Metadata,
    /// Data objects.
    pub(super) objects: u64,
    /// The offset behind the last byte that an object covers.
    pub(super) end: u64,
    /// Bytes stored in data objects; `None` where an entry does not tell (Cinder's never do).
    pub(super) data_bytes: Option<u64>,
    /// Bytes of the metadata itself.
    metadata_bytes: u64,
}

impl Summary {
    /// Reads the metadata of the backup at `location`.
    ///
    /// # Errors
    /// [`NotFound`](ErrorKind::NotFound) where it is missing, [`Corrupt`](ErrorKind::Corrupt) where it is damaged.
    pub(super) async fn read(
        repository: &Arc<dyn Repository>,
        location: &Location,
        cx: &JobContext,
    ) -> Result<Self> {
        parse_object(repository, &location.metadata(), cx, |reader| {
            let mut counted = Counted { reader, bytes: 0 };
            let (mut objects, mut end, mut data_bytes) = (0, 0, Some(0u64));
            let metadata = metadata::read_metadata(&mut counted, &mut |entry| {
                objects += 1;
                end = end.max(entry.offset.saturating_add(entry.length));
                data_bytes = data_bytes
                    .zip(entry.stored_length)
                    .map(|(a, b)| a.saturating_add(b));
                Ok(())
            })?;
            Ok(Self {
                metadata,
                objects,
                end,
                data_bytes,
                metadata_bytes: counted.bytes,
            })
        })
        .await
    }

    /// What metadata of `bytes` bytes says whose list of objects was not read; `None` where its key `ashlar` does not
    /// tell what the list would.
    pub(super) fn without_objects(metadata: Metadata, bytes: u64) -> Option<Self> {
        let ours = metadata.ashlar.as_ref()?;
        let (length, objects) = (ours.volume_length?, ours.object_count?);
        let data_bytes = Some(ours.stored_bytes?);
        Some(Self {
            metadata,
            objects,
            end: length,
            data_bytes,
            metadata_bytes: bytes,
        })
    }

    /// Bytes of hash list and metadata. The list is looked at only where the metadata does not tell its length.
    pub(super) async fn index_bytes(
        &self,
        repository: &Arc<dyn Repository>,
        location: &Location,
    ) -> Result<u64> {
        let told = self
            .metadata
            .ashlar
            .as_ref()
            .and_then(|a| a.hash_list_bytes);
        let list = match told {
            Some(bytes) => bytes,
            None => match repository.get(&location.hash_list(), None).await {
                Ok(download) => download.length,
                Err(e) if e.is(ErrorKind::NotFound) => 0,
                Err(e) => return Err(e),
            },
        };
        Ok(self.metadata_bytes.saturating_add(list))
    }
}

struct Counted<'a> {
    reader: &'a mut dyn Read,
    bytes: u64,
}

impl Read for Counted<'_> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let n = self.reader.read(buf)?;
        self.bytes += n as u64;
        Ok(n)
    }
}
