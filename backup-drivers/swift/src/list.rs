//! Listings, a page at a time.

use std::collections::VecDeque;
use std::sync::Arc;

use backup_core::{BoxStream, ErrorKind, Listed};
use futures::{StreamExt, stream};
use http::Method;
use serde::Deserialize;
use serde::de::DeserializeOwned;

use crate::error::Failure;
use crate::store::Store;
use crate::wire::Ask;

const OPERATION: &str = "list container";

/// An object, or a common beginning of names, of a container's listing.
#[derive(Debug, Deserialize)]
pub(crate) struct Entry {
    #[serde(default)]
    pub(crate) name: String,
    #[serde(default)]
    pub(crate) bytes: u64,
    /// The MD5 of an object's bytes.
    #[serde(default)]
    pub(crate) hash: Option<String>,
    #[serde(default)]
    pub(crate) last_modified: Option<String>,
    #[serde(default)]
    pub(crate) subdir: Option<String>,
}

impl Entry {
    fn marker(&self) -> &str {
        self.subdir.as_deref().unwrap_or(&self.name)
    }

    fn listed(self) -> Listed {
        if let Some(subdir) = self.subdir {
            return Listed::prefix(subdir);
        }
        let modified = self.last_modified.and_then(|t| t.parse().ok());
        Listed::object(self.name, self.bytes, modified)
    }
}

/// A container of an account's listing.
#[derive(Debug, Deserialize)]
pub(crate) struct ContainerEntry {
    pub(crate) name: String,
}

/// A page of a listing: what stands behind `marker`, at most `most`.
pub(crate) async fn page<T: DeserializeOwned>(
    store: &Store,
    path: &str,
    prefix: &str,
    delimiter: Option<char>,
    marker: Option<&str>,
    most: Option<usize>,
) -> Result<Vec<T>, Failure> {
    let mut ask = Ask::new(Method::GET, path).query("format", "json");
    if !prefix.is_empty() {
        ask = ask.query("prefix", prefix);
    }
    if let Some(delimiter) = delimiter {
        ask = ask.query("delimiter", &delimiter.to_string());
    }
    if let Some(marker) = marker {
        ask = ask.query("marker", marker);
    }
    if let Some(most) = most {
        ask = ask.query("limit", &most.to_string());
    }
    let answer = store.wire.send(&ask).await?;
    if answer.status == http::StatusCode::NO_CONTENT {
        return Ok(Vec::new());
    }
    serde_json::from_slice(&answer.body).map_err(Failure::malformed)
}

/// The listing of a container whose path is `path`. One that is missing lists as empty.
pub(crate) fn objects(
    store: Arc<Store>,
    path: String,
    container: String,
    prefix: String,
    delimiter: Option<char>,
) -> BoxStream<Listed> {
    entries(store, path, prefix, delimiter)
        .map(move |entry| match entry {
            Ok(entry) => Ok(entry.listed()),
            Err(failure) => Err(failure.into_error(OPERATION, &container)),
        })
        .boxed()
}

/// The same, as the server tells it.
pub(crate) fn entries(
    store: Arc<Store>,
    path: String,
    prefix: String,
    delimiter: Option<char>,
) -> stream::BoxStream<'static, Result<Entry, Failure>> {
    let state = (None::<String>, VecDeque::<Entry>::new());
    let pages = stream::try_unfold(state, move |(mut marker, mut ready)| {
        let (store, path, prefix) = (Arc::clone(&store), path.clone(), prefix.clone());
        async move {
            if ready.is_empty() {
                let page = page(&store, &path, &prefix, delimiter, marker.as_deref(), None).await;
                let page: Vec<Entry> = match page {
                    Err(failure) if failure.is(ErrorKind::NotFound) => Vec::new(),
                    page => page?,
                };
                ready = forward(page, marker.as_deref())?.into();
                marker = ready.back().map(|last| last.marker().to_owned());
            }
            // A page may be short of the server's limit and still not be the last: only an empty one is.
            Ok(ready.pop_front().map(|entry| (entry, (marker, ready))))
        }
    });
    pages.boxed()
}

/// A server that sends the same page again and again would be asked for ever: that is an error.
fn forward(page: Vec<Entry>, marker: Option<&str>) -> Result<Vec<Entry>, Failure> {
    let first = page.first().map(Entry::marker);
    match (first, marker) {
        (Some(first), Some(marker)) if first.as_bytes() <= marker.as_bytes() => {
            Err(Failure::malformed("a listing does not get on"))
        }
        _ => Ok(page),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_listing_that_would_never_end_is_an_error() {
        let page =
            || serde_json::from_str::<Vec<Entry>>(r#"[{"name": "a"}, {"subdir": "b/"}]"#).unwrap();
        assert_eq!(page()[1].marker(), "b/");
        assert!(forward(page(), None).is_ok());
        assert!(forward(page(), Some("a")).is_err());
        assert!(forward(page(), Some("A")).is_ok());
    }
}
