//! Downloads, which go on where they broke.

use backup_core::{BoxStream, ByteRange, Download, Error, ErrorKind, ObjectKey, Result};
use bytes::Bytes;
use futures::{StreamExt, stream};
use http::{Method, StatusCode, header};
use reqwest::Response;

use crate::error::Failure;
use crate::retry::Tries;
use crate::store::{Store, etag, is_large};
use crate::transport::PacedBody;
use crate::wire::{Ask, Wire, in_container, object_path};

const OPERATION: &str = "get object";
/// Bytes after which a download that breaks again counts as one that gets on.
const PROGRESS: u64 = 1 << 20;

pub(crate) async fn get(
    store: &Store,
    key: &ObjectKey,
    range: Option<ByteRange>,
) -> Result<Download> {
    let path = object_path(key)?;
    let beyond = |range: ByteRange| {
        Error::invalid(OPERATION, format!("range {range} begins behind its end")).on(key)
    };
    if let Some(range) = range.filter(|r| r.is_empty()) {
        // HTTP knows no empty range.
        let head = store.head(&path).await;
        let head = head.map_err(|f| f.into_error(OPERATION, key))?;
        if range.start() >= head.length {
            return Err(beyond(range));
        }
        return Ok(Download {
            length: 0,
            body: stream::empty().boxed(),
        });
    }
    let mut tries = store.tries();
    let mut ask = Ask::new(Method::GET, path.as_str());
    if let Some(range) = range {
        ask = ask.header(header::RANGE, bytes(range.start(), range.end()));
    }
    let response = match (store.wire.open(&ask, &mut tries).await, range) {
        (Ok(response), _) => response,
        (Err(failure), Some(range)) if failure.status() == 416 => return Err(beyond(range)),
        (Err(failure), _) if failure.is(ErrorKind::NotFound) => {
            return Err(missing(failure, store, key).await);
        }
        (Err(failure), _) => return Err(failure.into_error(OPERATION, key)),
    };
    let failed = |failure: Failure| failure.into_error(OPERATION, key);
    let Some(length) = response.content_length() else {
        return Err(failed(Failure::malformed("it tells no length")));
    };
    let start = match range {
        None => 0,
        Some(range) if length == 0 => return Err(beyond(range)),
        Some(range) if response.status() == StatusCode::PARTIAL_CONTENT => range.start(),
        // Some servers answer a range that is all of it with all of it.
        Some(range) if range.start() == 0 && range.end() >= length => 0,
        Some(_) => {
            return Err(failed(Failure::malformed(
                "it is not the range that was asked for",
            )));
        }
    };
    let end = start.checked_add(length);
    let end = end.ok_or_else(|| failed(Failure::malformed("its length cannot be")))?;
    let reading = Reading {
        path,
        target: key.clone(),
        etag: etag(response.headers()),
        is_large: is_large(response.headers()),
        at: start,
        end,
        body: Some(PacedBody::new(response, store.wire.transport.pace())),
        got_on: 0,
        tries,
        wire: store.wire.clone(),
    };
    Ok(Download {
        length,
        body: reading.into_stream(),
    })
}

/// A missing object and a missing container have the same answer; the second can be mended by who reads about it.
async fn missing(failure: Failure, store: &Store, key: &ObjectKey) -> Error {
    match store.has_container(key.container()).await {
        Ok(false) => in_container(failure, OPERATION, key),
        _ => failure.into_error(OPERATION, key),
    }
}

fn bytes(start: u64, end: u64) -> String {
    format!("bytes={start}-{}", end.saturating_sub(1))
}

/// A download on its way.
struct Reading {
    wire: Wire,
    path: String,
    target: ObjectKey,
    etag: Option<String>,
    /// Whether it is a static large object.
    is_large: bool,
    at: u64,
    end: u64,
    body: Option<PacedBody>,
    /// Bytes since it last broke.
    got_on: u64,
    tries: Tries,
}

impl Reading {
    fn into_stream(self) -> BoxStream<Bytes> {
        stream::try_unfold(self, |mut reading| async move {
            match reading.next().await {
                Ok(Some(piece)) => Ok(Some((piece, reading))),
                Ok(None) => Ok(None),
                Err(failure) => Err(failure.into_error(OPERATION, &reading.target)),
            }
        })
        .boxed()
    }

    async fn next(&mut self) -> Result<Option<Bytes>, Failure> {
        while self.at < self.end {
            let mut body = match self.body.take() {
                Some(body) => body,
                None => self.again().await?,
            };
            let failure = match body.next().await {
                Ok(Some(piece)) => {
                    self.at += piece.len() as u64;
                    if self.at > self.end {
                        return Err(Failure::malformed("it is longer than it says"));
                    }
                    self.got_on += piece.len() as u64;
                    if self.got_on >= PROGRESS && self.tries.is_again() {
                        self.tries.progress();
                    }
                    self.body = Some(body);
                    return Ok(Some(piece));
                }
                Ok(None) => Failure::broken(format!(
                    "the answer ended {} bytes early",
                    self.end - self.at
                )),
                Err(failure) => failure,
            };
            self.got_on = 0;
            self.tries.after(failure).await?;
        }
        Ok(None)
    }

    /// Goes on from where it broke, if the object is still the same.
    async fn again(&mut self) -> Result<PacedBody, Failure> {
        let range = bytes(self.at, self.end);
        let mut ask = Ask::new(Method::GET, self.path.as_str()).header(header::RANGE, range);
        // Of a large object, Ceph's gateway compares another ETag than the one that it tells; that of the answer, which
        // is looked at below, is the same.
        if let (Some(etag), false) = (&self.etag, self.is_large) {
            ask = ask.header(header::IF_MATCH, format!("\"{etag}\""));
        }
        let replaced = || {
            Failure::local(
                ErrorKind::Conflict,
                "it broke, and the object was replaced before the rest could be read",
            )
        };
        let response = match self.wire.open(&ask, &mut self.tries).await {
            Err(failure) if matches!(failure.status(), 412 | 416) => return Err(replaced()),
            response => response?,
        };
        // A server that does not know the condition gives what is there now.
        if self.etag.is_some() && etag(response.headers()) != self.etag {
            return Err(replaced());
        }
        if !is_rest(&response, self.at, self.end) {
            return Err(Failure::malformed("it is not the rest that was asked for"));
        }
        Ok(PacedBody::new(response, self.wire.transport.pace()))
    }
}

fn is_rest(response: &Response, at: u64, end: u64) -> bool {
    let range = response.headers().get(header::CONTENT_RANGE);
    let begins = range.and_then(|v| v.to_str().ok()).is_some_and(|v| {
        let start = v.trim_start_matches("bytes").trim_start();
        start.split('-').next() == Some(&at.to_string())
    });
    let whole = at == 0 && response.status() == StatusCode::OK;
    (begins || whole) && response.content_length() == Some(end - at)
}
