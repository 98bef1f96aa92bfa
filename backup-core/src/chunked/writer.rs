//! Writing an object whose length is not known before its end.

use std::sync::Arc;

use bytes::Bytes;
use sha2::{Digest, Sha256};

use crate::error::Result;
use crate::id::ObjectKey;
use crate::repository::{PutMode, Repository, Upload};

/// Bytes held before a part is sent: the least that every store takes as a part is 5 MiB.
const PART: usize = 8 << 20;

/// How the object must appear.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Appearance {
    /// Anyhow: a barrier follows.
    Plain,
    /// At once, whole and durable: the commit point.
    Atomic,
}

/// Sends an object in parts as it grows; a short one in a single put.
#[derive(Debug)]
pub(crate) struct ObjectWriter {
    repository: Arc<dyn Repository>,
    key: ObjectKey,
    appearance: Appearance,
    buffer: Vec<u8>,
    upload: Option<Box<dyn Upload>>,
    sha256: Sha256,
    length: u64,
}

impl ObjectWriter {
    pub(crate) fn new(
        repository: Arc<dyn Repository>,
        key: ObjectKey,
        appearance: Appearance,
    ) -> Self {
        Self {
            repository,
            key,
            appearance,
            buffer: Vec::new(),
            upload: None,
            sha256: Sha256::new(),
            length: 0,
        }
    }

    /// Bytes may be pushed here; [`flush_parts`](Self::flush_parts) must be called now and then.
    pub(crate) fn buffer(&mut self) -> &mut Vec<u8> {
        &mut self.buffer
    }

    /// Bytes handed over so far, those in the buffer left out.
    pub(crate) fn sent(&self) -> u64 {
        self.length
    }

    /// Sends the buffer where it holds a part.
    pub(crate) async fn flush_parts(&mut self) -> Result<()> {
        if self.buffer.len() >= PART {
            self.send().await?;
        }
        Ok(())
    }

    async fn send(&mut self) -> Result<()> {
        let part = std::mem::take(&mut self.buffer);
        self.sha256.update(&part);
        self.length += part.len() as u64;
        let upload = match &mut self.upload {
            Some(upload) => upload,
            none => none.insert(self.repository.begin(&self.key, None).await?),
        };
        upload.part(Bytes::from(part)).await
    }

    /// Sends what is left and completes the object; answers the SHA-256 of all of it.
    pub(crate) async fn complete(&mut self) -> Result<[u8; 32]> {
        if self.upload.is_none() && self.appearance == Appearance::Plain {
            let all = std::mem::take(&mut self.buffer);
            self.sha256.update(&all);
            self.length += all.len() as u64;
            if all.len() as u64 <= self.repository.limits().max_put {
                self.repository
                    .put(&self.key, Bytes::from(all), PutMode::Overwrite)
                    .await?;
            } else {
                let upload = self
                    .repository
                    .begin(&self.key, Some(all.len() as u64))
                    .await?;
                let upload = self.upload.insert(upload);
                upload.part(Bytes::from(all)).await?;
            }
        } else if !self.buffer.is_empty() || self.upload.is_none() {
            self.send().await?;
        }
        if let Some(upload) = self.upload.take() {
            upload.complete().await?;
        }
        Ok(self.sha256.clone().finalize().into())
    }

    /// Drops what was sent. Does nothing where it is complete.
    pub(crate) async fn abort(&mut self) -> Result<()> {
        match self.upload.take() {
            Some(upload) => upload.abort().await,
            None => Ok(()),
        }
    }
}
