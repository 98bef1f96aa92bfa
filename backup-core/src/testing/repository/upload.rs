use std::fmt;

use async_trait::async_trait;
use bytes::{Bytes, BytesMut};

use super::super::lock;
use super::{Content, Event, MemoryRepository, Stored, container_of};
use crate::error::{Error, ErrorKind, Result};
use crate::id::ObjectKey;
use crate::repository::Upload;
use crate::timestamp::Timestamp;

pub(super) struct MemoryUpload {
    repository: MemoryRepository,
    key: ObjectKey,
    id: u64,
    size: u64,
    bytes: BytesMut,
}

impl MemoryUpload {
    pub(super) fn new(repository: MemoryRepository, key: ObjectKey, id: u64) -> Self {
        Self {
            repository,
            key,
            id,
            size: 0,
            bytes: BytesMut::new(),
        }
    }
}

impl fmt::Debug for MemoryUpload {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MemoryUpload")
            .field("key", &self.key)
            .field("size", &self.size)
            .finish_non_exhaustive()
    }
}

impl Drop for MemoryUpload {
    fn drop(&mut self) {
        lock(&self.repository.state).uploads.remove(&self.id);
    }
}

#[async_trait]
impl Upload for MemoryUpload {
    async fn part(&mut self, data: Bytes) -> Result<()> {
        let size = self.size.saturating_add(data.len() as u64);
        if size > self.repository.limits.max_object {
            let limit = self.repository.limits.max_object;
            return Err(Error::invalid(
                "add part",
                format!("{size} bytes are more than an object may have, {limit}"),
            )
            .on(&self.key));
        }
        self.size = size;
        if !(self.repository.drops)(self.key.name()) {
            self.bytes.extend_from_slice(&data);
        }
        Ok(())
    }

    async fn complete(mut self: Box<Self>) -> Result<()> {
        let content = if (self.repository.drops)(self.key.name()) {
            Content::Dropped { size: self.size }
        } else {
            Content::Kept(std::mem::take(&mut self.bytes).freeze())
        };
        let mut state = lock(&self.repository.state);
        if !state.uploads.contains_key(&self.id) {
            return Err(Error::new(ErrorKind::NotFound, "complete object")
                .on(&self.key)
                .because("the upload was removed"));
        }
        container_of(&mut state, "complete object", self.key.container())?.insert(
            self.key.name().to_owned(),
            Stored {
                content,
                modified: Timestamp::now(),
                durable: true,
            },
        );
        state.events.push(Event::Completed {
            name: self.key.to_string(),
            size: self.size,
        });
        Ok(())
    }

    async fn abort(self: Box<Self>) -> Result<()> {
        lock(&self.repository.state).events.push(Event::Aborted {
            name: self.key.to_string(),
        });
        Ok(())
    }
}
