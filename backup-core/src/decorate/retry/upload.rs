//! An upload that is sent anew where it fails.

use std::fmt;

use async_trait::async_trait;
use bytes::Bytes;

use super::{Retrying, Tries};
use crate::error::{Error, ErrorKind, Result};
use crate::id::ObjectKey;
use crate::repository::Upload;

/// What is kept of an upload to send it anew, in bytes: a backup's metadata, the commit point, nearly always fits.
const KEPT: usize = 8 << 20;

struct RepeatedUpload {
    repository: Retrying,
    key: ObjectKey,
    size_hint: Option<u64>,
    current: Option<Box<dyn Upload>>,
    sent: Option<Vec<Bytes>>, // `None` once it is too long to be kept
    bytes: usize,
}

/// Makes `first` one that is sent anew where it fails.
pub(super) fn repeated(
    repository: Retrying,
    key: ObjectKey,
    size_hint: Option<u64>,
    first: Box<dyn Upload>,
) -> Box<dyn Upload> {
    Box::new(RepeatedUpload {
        repository,
        key,
        size_hint,
        current: Some(first),
        sent: Some(Vec::new()),
        bytes: 0,
    })
}

impl fmt::Debug for RepeatedUpload {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RepeatedUpload")
            .field("key", &self.key)
            .field("bytes", &self.bytes)
            .finish_non_exhaustive()
    }
}

impl RepeatedUpload {
    /// Waits before what was sent is sent anew, or gives the error back where that cannot be.
    async fn failed(&mut self, error: Error, tries: &mut Tries) -> Result<()> {
        if self.sent.is_none() {
            return Err(error.retryable(false));
        }
        if let Some(broken) = self.current.take() {
            // What counts is the error that broke it; parts left on the server are the server's to expire.
            let _left = broken.abort().await;
        }
        tries.after(error).await
    }

    /// Begins anew and sends all but the last `unsent` of the parts that were given.
    async fn current(&mut self, unsent: usize) -> Result<&mut Box<dyn Upload>> {
        if self.current.is_none() {
            let parts = self.sent.clone().ok_or_else(|| {
                Error::new(ErrorKind::Conflict, "write object")
                    .on(&self.key)
                    .because("an earlier part failed")
            })?;
            let begun = self.repository.inner.begin(&self.key, self.size_hint);
            let mut upload = begun.await?;
            let count = parts.len().saturating_sub(unsent);
            for part in parts.into_iter().take(count) {
                if let Err(error) = upload.part(part).await {
                    let _left = upload.abort().await;
                    return Err(error);
                }
            }
            return Ok(self.current.insert(upload));
        }
        self.current
            .as_mut()
            .ok_or_else(|| Error::internal("write object", "no upload under way"))
    }

    async fn try_part(&mut self, data: Bytes) -> Result<()> {
        self.current(1).await?.part(data).await
    }

    async fn try_complete(&mut self) -> Result<()> {
        self.current(0).await?;
        match self.current.take() {
            Some(upload) => upload.complete().await,
            None => Err(Error::internal("write object", "no upload under way")),
        }
    }
}

#[async_trait]
impl Upload for RepeatedUpload {
    async fn part(&mut self, data: Bytes) -> Result<()> {
        self.bytes = self.bytes.saturating_add(data.len());
        if self.bytes > KEPT {
            self.sent = None;
        }
        if let Some(sent) = &mut self.sent {
            // A copy, so that a slice does not hold the large buffer that it came from.
            sent.push(Bytes::copy_from_slice(&data));
        }
        let mut tries = self.repository.tries();
        loop {
            match self.try_part(data.clone()).await {
                Ok(()) => return Ok(()),
                Err(error) => self.failed(error, &mut tries).await?,
            }
        }
    }

    async fn complete(mut self: Box<Self>) -> Result<()> {
        let mut tries = self.repository.tries();
        loop {
            match self.try_complete().await {
                Ok(()) => return Ok(()),
                Err(error) => self.failed(error, &mut tries).await?,
            }
        }
    }

    async fn abort(mut self: Box<Self>) -> Result<()> {
        match self.current.take() {
            Some(upload) => upload.abort().await,
            None => Ok(()),
        }
    }
}
