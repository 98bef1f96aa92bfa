//! An object that comes in parts.

use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;
use backup_core::{Error, Result, Upload};
use bytes::Bytes;
use object_store::path::Path;
use object_store::{
    Attributes, MultipartUpload, ObjectStore, PutMultipartOptions, PutOptions, PutPayload,
};
use tokio::task::JoinSet;

use crate::error::Failure;

/// Parts on their way at once. With their size it bounds what an upload holds.
const IN_FLIGHT: usize = 4;
/// Most parts that S3 takes in one upload.
const MOST_PARTS: u64 = 10_000;
/// Without a hint of the length, the part size doubles after this many parts, so that any length fits.
const DOUBLE_AFTER: u64 = 1000;

/// Bytes gather until a part is full. What fits into one part goes by a single put, which is atomic as well and needs
/// no clean-up; a multipart upload begins with the first full part.
pub(crate) struct PartsUpload {
    store: Arc<dyn ObjectStore>,
    path: Path,
    attributes: Attributes,
    target: String,
    part_size: u64,
    hinted: bool,
    gathered: Vec<Bytes>,
    length: u64,
    begun: Option<Begun>,
}

struct Begun {
    upload: Box<dyn MultipartUpload>,
    running: JoinSet<object_store::Result<()>>,
    parts: u64,
}

impl fmt::Debug for PartsUpload {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PartsUpload")
            .field("target", &self.target)
            .field("part_size", &self.part_size)
            .field("gathered", &self.length)
            .field("parts", &self.begun.as_ref().map(|b| b.parts))
            .finish_non_exhaustive()
    }
}

impl PartsUpload {
    pub(crate) fn new(
        store: Arc<dyn ObjectStore>,
        path: Path,
        attributes: Attributes,
        target: String,
        part_size: u64,
        size_hint: Option<u64>,
    ) -> Self {
        // A tenth of the parts is left for a hint that was too low.
        let least = size_hint.unwrap_or(0).div_ceil(MOST_PARTS * 9 / 10);
        Self {
            store,
            path,
            attributes,
            target,
            part_size: part_size.max(least),
            hinted: size_hint.is_some(),
            gathered: Vec::new(),
            length: 0,
            begun: None,
        }
    }

    fn failed(&self, operation: &'static str, error: &object_store::Error) -> Error {
        Failure::store(error).into_error(operation, &self.target)
    }

    /// The first `length` gathered bytes, taken out without copying.
    fn take(&mut self, length: u64) -> PutPayload {
        let mut left = length;
        let mut taken = Vec::new();
        let mut rest = Vec::new();
        for mut piece in std::mem::take(&mut self.gathered) {
            let size = piece.len() as u64;
            if left >= size {
                left -= size;
                taken.push(piece);
            } else if left > 0 {
                // Less than the piece's length, so it fits.
                taken.push(piece.split_to(usize::try_from(left).unwrap_or(0)));
                left = 0;
                rest.push(piece);
            } else {
                rest.push(piece);
            }
        }
        self.gathered = rest;
        self.length -= length;
        PutPayload::from_iter(taken)
    }

    async fn send_part(&mut self, length: u64) -> Result<()> {
        let payload = self.take(length);
        let mut begun = if let Some(begun) = self.begun.take() {
            begun
        } else {
            let options = PutMultipartOptions {
                attributes: self.attributes.clone(),
                ..PutMultipartOptions::default()
            };
            let upload = self.store.put_multipart_opts(&self.path, options).await;
            Begun {
                upload: upload.map_err(|e| self.failed("begin upload of", &e))?,
                running: JoinSet::new(),
                parts: 0,
            }
        };
        let mut done = Ok(());
        while done.is_ok() && begun.running.len() >= IN_FLIGHT {
            done = next(&mut begun.running).await;
        }
        if done.is_ok() {
            begun.running.spawn(begun.upload.put_part(payload));
            begun.parts += 1;
            if !self.hinted && begun.parts.is_multiple_of(DOUBLE_AFTER) {
                self.part_size *= 2;
            }
        }
        self.begun = Some(begun);
        done.map_err(|e| self.failed("upload part of", &e))
    }

    async fn finish(&mut self) -> Result<()> {
        if self.begun.is_some() && self.length > 0 {
            self.send_part(self.length).await?;
        }
        let Some(begun) = &mut self.begun else {
            let payload = self.take(self.length);
            let options = PutOptions {
                attributes: self.attributes.clone(),
                ..PutOptions::default()
            };
            let put = self.store.put_opts(&self.path, payload, options).await;
            return put.map(|_| ()).map_err(|e| self.failed("put object", &e));
        };
        let mut done = Ok(());
        while done.is_ok() && !begun.running.is_empty() {
            done = next(&mut begun.running).await;
        }
        if done.is_ok() {
            done = begun.upload.complete().await.map(|_| ());
        }
        done.map_err(|e| self.failed("complete upload of", &e))
    }

    async fn drop_parts(&mut self) -> Result<()> {
        let Some(mut begun) = self.begun.take() else {
            return Ok(());
        };
        // A part that arrives behind the abort would stay, and cost: wait for all. Each has its deadline.
        while !begun.running.is_empty() {
            let _ = next(&mut begun.running).await;
        }
        match begun.upload.abort().await {
            Ok(()) | Err(object_store::Error::NotFound { .. }) => Ok(()),
            Err(e) => Err(self.failed("abort upload of", &e)),
        }
    }
}

async fn next(running: &mut JoinSet<object_store::Result<()>>) -> object_store::Result<()> {
    match running.join_next().await {
        None => Ok(()),
        Some(Ok(result)) => result,
        Some(Err(source)) => Err(object_store::Error::JoinError { source }),
    }
}

#[async_trait]
impl Upload for PartsUpload {
    async fn part(&mut self, data: Bytes) -> Result<()> {
        if data.is_empty() {
            return Ok(());
        }
        self.length += data.len() as u64;
        self.gathered.push(data);
        // The last part alone may be small, so a full one is sent only when more has come.
        while self.length > self.part_size {
            self.send_part(self.part_size).await?;
        }
        Ok(())
    }

    async fn complete(mut self: Box<Self>) -> Result<()> {
        let done = self.finish().await;
        if done.is_err() {
            // The reason of the failure is what counts; what stays behind is told by unfinished_uploads.
            if let Err(error) = self.drop_parts().await {
                tracing::warn!(%error, "an unfinished upload stays behind");
            }
        }
        done
    }

    async fn abort(mut self: Box<Self>) -> Result<()> {
        self.drop_parts().await
    }
}
