//! Reading whole objects: as a synchronous reader for the formats' parsers, or into a buffer.

use std::io::{self, Read};
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use futures::{Stream, StreamExt};
use tokio_util::io::{StreamReader, SyncIoBridge};

use crate::buffer::Buf;
use crate::error::{Error, ErrorKind, Result};
use crate::id::ObjectKey;
use crate::job::{CancelToken, JobContext};
use crate::range::ByteRange;
use crate::repository::{Download, Repository};

/// Runs a synchronous `parse` over an object's bytes on a thread for blocking work, and names the object in whatever
/// goes wrong.
pub(crate) async fn parse_object<T: Send + 'static>(
    repository: &Arc<dyn Repository>,
    key: &ObjectKey,
    cx: &JobContext,
    parse: impl FnOnce(&mut dyn Read) -> Result<T> + Send + 'static,
) -> Result<T> {
    let download = repository.get(key, None).await?;
    let failure = Arc::new(Mutex::new(None));
    let stream = readable(
        download,
        key.clone(),
        cx.cancel().clone(),
        Arc::clone(&failure),
    );
    let reader = StreamReader::new(Box::pin(stream));
    let parsed = tokio::task::spawn_blocking(move || {
        let mut reader = SyncIoBridge::new(reader);
        parse(&mut reader)
    })
    .await
    .map_err(|e| Error::internal("parse object", e.to_string()).on(key))?;
    parsed.map_err(|e| {
        // A parser only sees that reading failed; the stream knows why.
        let why = failure
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
        match why {
            Some(why) => why,
            None if e.target().is_none() => e.on(key),
            None => e,
        }
    })
}

/// The body as a stream of `io::Result`, its errors kept aside in `failure`, its length held against what was
/// announced.
fn readable(
    download: Download,
    key: ObjectKey,
    cancel: CancelToken,
    failure: Arc<Mutex<Option<Error>>>,
) -> impl Stream<Item = io::Result<Bytes>> + Send {
    let Download { length, body } = download;
    futures::stream::unfold((body, 0u64, false), move |(mut body, seen, ended)| {
        let (key, cancel, failure) = (key.clone(), cancel.clone(), Arc::clone(&failure));
        async move {
            if ended {
                return None;
            }
            let item = match cancel.check("read object") {
                Ok(()) => body.next().await,
                Err(e) => Some(Err(e)),
            };
            let (result, seen) = match item {
                Some(Ok(bytes)) => {
                    let seen = seen + bytes.len() as u64;
                    (Ok(bytes), seen)
                }
                None if seen == length => return None,
                None => (Err(cut(&key, length, seen)), seen),
                Some(Err(e)) => (Err(e), seen),
            };
            let failed = result.is_err();
            let result = result.map_err(|e| {
                let io = io::Error::other(e.to_string());
                *failure.lock().unwrap_or_else(PoisonError::into_inner) = Some(e);
                io
            });
            Some((result, (body, seen, failed)))
        }
    })
}

fn cut(key: &ObjectKey, announced: u64, got: u64) -> Error {
    Error::new(ErrorKind::Unavailable, "read object")
        .on(key)
        .because(format!("{got} bytes came where {announced} were announced"))
        .hint("the connection broke or the object is cut; try again, then run verify")
}

/// Reads an object, or a range of it, of at most `limit` bytes. What comes in one piece is taken as it is, pieces are put
/// together in a pooled buffer.
///
/// A cancel does not wait for the repository: the read is dropped, which harms nothing.
///
/// # Errors
/// [`Corrupt`](ErrorKind::Corrupt) where it is longer than `limit`.
pub(crate) async fn fetch(
    repository: &Arc<dyn Repository>,
    key: &ObjectKey,
    range: Option<ByteRange>,
    limit: u64,
    cx: &JobContext,
) -> Result<Bytes> {
    tokio::select! {
        biased;
        () = cx.cancel().cancelled() => Err(Error::cancelled("read object").on(key)),
        fetched = read_whole(repository, key, range, limit, cx) => fetched,
    }
}

async fn read_whole(
    repository: &Arc<dyn Repository>,
    key: &ObjectKey,
    range: Option<ByteRange>,
    limit: u64,
    cx: &JobContext,
) -> Result<Bytes> {
    let Download { length, mut body } = repository.get(key, range).await?;
    if length > limit {
        return Err(Error::corrupt(
            "read object",
            key,
            format!("it has {length} bytes where at most {limit} can be right"),
        ));
    }
    let length_in_memory = usize::try_from(length)
        .map_err(|_| Error::invalid("read object", "too long for memory").on(key))?;
    let mut all: Option<Bytes> = None;
    let mut buffer: Option<Buf> = None;
    let mut filled = 0;
    while let Some(piece) = body.next().await {
        let piece = piece?;
        if piece.is_empty() {
            continue;
        }
        let end = filled + piece.len();
        if end > length_in_memory {
            return Err(Error::corrupt(
                "read object",
                key,
                format!("more than the announced {length} bytes came"),
            ));
        }
        if piece.len() == length_in_memory {
            all = Some(piece);
        } else {
            buffer.get_or_insert_with(|| cx.buffers().take(length_in_memory))[filled..end]
                .copy_from_slice(&piece);
        }
        filled = end;
    }
    if filled != length_in_memory {
        return Err(cut(key, length, filled as u64));
    }
    Ok(all.or(buffer.map(Buf::into_bytes)).unwrap_or_default())
}
