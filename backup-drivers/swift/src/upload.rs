//! An object that comes in parts.
//!
//! It is gathered, and sent by a single put once it is complete: that is atomic, may be repeated, and leaves nothing
//! behind, not even where Cinder deletes it. Only what outgrows a single put becomes a static large object, whose
//! segments are sent as they fill.

use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;
use backup_core::{Error, ErrorKind, ObjectKey, Result, Upload};
use bytes::Bytes;

use crate::error::Failure;
use crate::segments::{self, Growth, Segments};
use crate::spool::Spool;
use crate::store::{Store, put_failed};

pub(crate) struct SpooledUpload {
    store: Arc<Store>,
    key: ObjectKey,
    path: String,
    /// Bytes of the largest single put.
    most_put: u64,
    growth: Option<Growth>,
    spool: Spool,
    segments: Option<Segments>,
    /// Whether a part was begun and never ended: what is gathered is no longer what was handed over.
    torn: bool,
}

impl fmt::Debug for SpooledUpload {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SpooledUpload")
            .field("key", &self.key)
            .field("gathered", &self.spool.len())
            .field("segments", &self.segments.as_ref().map(Segments::count))
            .finish_non_exhaustive()
    }
}

impl SpooledUpload {
    pub(crate) async fn new(
        store: Arc<Store>,
        key: ObjectKey,
        path: String,
        size_hint: Option<u64>,
    ) -> Result<Self> {
        let info = store
            .info()
            .await
            .map_err(|f| f.into_error("begin upload of", &key))?;
        let growth = info
            .most_segments
            .map(|most| Growth::new(store.segment_size, info.most_put, most, size_hint));
        Ok(Self {
            store,
            key,
            path,
            most_put: info.most_put,
            growth,
            spool: Spool::default(),
            segments: None,
            torn: false,
        })
    }

    /// Bytes that the spool may hold before it must be sent as a segment.
    fn room(&self) -> u64 {
        match (&self.segments, &self.growth) {
            (Some(segments), Some(growth)) => growth.size(segments.count()),
            (None, Some(growth)) if growth.is_large() => growth.size(0),
            // The first may be as long as a single put: until it is full, it may still be the whole object.
            _ => self.most_put,
        }
    }

    async fn gather(&mut self, mut data: Bytes) -> Result<()> {
        while !data.is_empty() {
            let free = self.room().saturating_sub(self.spool.len());
            if free == 0 {
                self.send_segment().await?;
                continue;
            }
            let length = data.len().min(usize::try_from(free).unwrap_or(usize::MAX));
            self.spool.add(data.split_to(length)).await?;
        }
        Ok(())
    }

    async fn send_segment(&mut self) -> Result<()> {
        let Some(growth) = &self.growth else {
            return Err(self.too_large("the server has no large objects"));
        };
        let count = self.segments.as_ref().map_or(0, Segments::count);
        if count >= growth.most() {
            return Err(self.too_large(&format!(
                "it has {count} segments, and the server takes no more"
            )));
        }
        let segments = match &mut self.segments {
            Some(segments) => segments,
            none => none.insert(Segments::begin(Arc::clone(&self.store), &self.key).await?),
        };
        let (payload, md5) = self.spool.take();
        segments.send(payload, md5).await
    }

    fn too_large(&self, why: &str) -> Error {
        Error::new(ErrorKind::Unsupported, "upload")
            .on(&self.key)
            .because(format!("it is too large: {why}"))
            .hint("raise the server's limits, or segment_size")
    }

    async fn finish(&mut self) -> Result<()> {
        if self.torn {
            return Err(Error::internal(
                "complete upload of",
                "a part of it was given up half-way",
            )
            .on(&self.key));
        }
        let replaced = segments::manifest_of(&self.store, &self.key).await?;
        if self.segments.is_some() {
            self.send_segment().await?;
        }
        let done: Result<(), Failure> = if let Some(segments) = &self.segments {
            segments.complete(&self.path).await
        } else {
            let (payload, md5) = self.spool.take();
            let mut tries = self.store.tries();
            self.store
                .put(&self.path, payload, &md5, None, &mut tries)
                .await
        };
        done.map_err(|f| put_failed(f, &self.key))?;
        if let Some(replaced) = replaced {
            // What counts is stored. What stays of the old one is found by `unfinished_uploads`.
            for error in replaced.delete(&self.store).await {
                tracing::warn!(key = %self.key, %error, "a segment of what was replaced stays behind");
            }
        }
        Ok(())
    }

    async fn drop_segments(&mut self) -> Result<()> {
        match self.segments.take() {
            Some(segments) => segments.drop_all().await,
            None => Ok(()),
        }
    }
}

#[async_trait]
impl Upload for SpooledUpload {
    async fn part(&mut self, data: Bytes) -> Result<()> {
        if self.torn {
            return Err(Error::internal("upload part of", "an earlier part failed").on(&self.key));
        }
        self.torn = true;
        self.gather(data).await?;
        self.torn = false;
        Ok(())
    }

    async fn complete(mut self: Box<Self>) -> Result<()> {
        let Err(error) = self.finish().await else {
            return Ok(());
        };
        // Where the answer was lost, the object may be there, and then it needs its segments. The reason of the
        // failure is what counts; what stays behind is told by unfinished_uploads.
        if !error.is_retryable()
            && let Err(error) = self.drop_segments().await
        {
            tracing::warn!(%error, "segments of an unfinished upload stay behind");
        }
        Err(error)
    }

    async fn abort(mut self: Box<Self>) -> Result<()> {
        self.drop_segments().await
    }
}
