//! A body that goes on where it broke.

use bytes::Bytes;
use futures::TryStreamExt;

use super::{Retrying, Tries};
use crate::error::{Error, ErrorKind, Result};
use crate::id::ObjectKey;
use crate::range::ByteRange;
use crate::repository::{BoxStream, Download};

struct Body {
    repository: Retrying,
    key: ObjectKey,
    tries: Tries,
    pieces: Option<BoxStream<Bytes>>,
    at: u64,  // offset in the object of the next byte
    end: u64, // offset in the object behind the last byte that was told
}

/// Makes the body of `first`, which answered a get of `range`, go on where it breaks.
pub(super) fn resumed(
    repository: Retrying,
    key: ObjectKey,
    range: Option<ByteRange>,
    first: Download,
) -> Download {
    let start = range.map_or(0, ByteRange::start);
    let tries = repository.tries();
    let body = Body {
        repository,
        key,
        tries,
        pieces: Some(first.body),
        at: start,
        end: start.saturating_add(first.length),
    };
    let pieces = futures::stream::try_unfold(body, |mut body| async move {
        Ok(body.next().await?.map(|piece| (piece, body)))
    });
    Download {
        length: first.length,
        body: Box::pin(pieces),
    }
}

impl Body {
    async fn next(&mut self) -> Result<Option<Bytes>> {
        loop {
            let error = match self.step().await {
                Ok(Some(piece)) if !piece.is_empty() => {
                    self.at = self.at.saturating_add(piece.len() as u64);
                    self.tries.progress();
                    return Ok(Some(piece));
                }
                Ok(Some(_)) => continue,
                Ok(None) if self.at >= self.end => return Ok(None),
                Ok(None) => Error::new(ErrorKind::Unavailable, "read object")
                    .on(&self.key)
                    .because(format!("its body ended {} bytes short", self.end - self.at)),
                Err(error) => error,
            };
            self.pieces = None;
            self.tries.after(error).await?;
        }
    }

    async fn step(&mut self) -> Result<Option<Bytes>> {
        if let Some(pieces) = &mut self.pieces {
            return pieces.try_next().await;
        }
        let Some(rest) = ByteRange::new(self.at, self.end).filter(|r| !r.is_empty()) else {
            return Ok(None);
        };
        let mut download = self.repository.inner.get(&self.key, Some(rest)).await?;
        if download.length != rest.len() {
            return Err(Error::corrupt(
                "read object",
                &self.key,
                "its length changed while it was read",
            ));
        }
        let first = download.body.try_next().await;
        self.pieces = Some(download.body);
        first
    }
}
