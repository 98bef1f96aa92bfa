//! Static large objects: objects that are too large for one put, in segments of another container, with a manifest in
//! their place that any reader of Swift reads as one.
//!
//! Cinder deletes only the manifest, and a process may die before it writes one. So each segment's name tells whose it
//! is: `CONTAINER/OBJECT/ID/NUMBER`, with an ID for each upload.

use std::collections::BTreeMap;
use std::hash::{BuildHasher, Hasher, RandomState};
use std::sync::Arc;
use std::sync::atomic::Ordering;

use backup_core::{ContainerName, Error, ErrorKind, ObjectKey, Result, Timestamp};
use bytes::Bytes;
use futures::TryStreamExt;
use http::{Method, StatusCode, header};
use md5::{Digest, Md5};
use serde::{Deserialize, Serialize};

use crate::delete;
use crate::error::Failure;
use crate::list;
use crate::payload::Payload;
use crate::store::{Store, etag, put_failed};
use crate::wire::{Ask, container_path, encoded, object_path};

/// How large each segment is, so that those that the server takes hold any object.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Growth {
    first: u64,
    largest: u64,
    most: u64,
    large: bool,
}

impl Growth {
    /// Segments of `first` bytes to begin with, of `largest` at last, `most` of them, for an object of about `hint`
    /// bytes.
    pub(crate) fn new(first: u64, largest: u64, most: u64, hint: Option<u64>) -> Self {
        // A tenth of the segments is left for a hint that was too low.
        let least = hint.unwrap_or(0).div_ceil((most * 9 / 10).max(1));
        Self {
            first: first.max(least).min(largest),
            largest,
            most,
            large: hint.is_some_and(|hint| hint > largest),
        }
    }

    pub(crate) fn most(&self) -> u64 {
        self.most
    }

    /// Whether it is known that one put is not enough.
    pub(crate) fn is_large(&self) -> bool {
        self.large
    }

    /// Bytes of the segment behind `count` others: twice as many after each tenth of the segments.
    pub(crate) fn size(&self, count: u64) -> u64 {
        let doublings = count / (self.most / 10).max(1);
        let factor = 1_u64.checked_shl(u32::try_from(doublings).unwrap_or(u32::MAX));
        let size = self.first.saturating_mul(factor.unwrap_or(u64::MAX));
        size.min(self.largest)
    }
}

#[derive(Debug, Serialize)]
struct Segment {
    path: String,
    etag: String,
    size_bytes: u64,
}

/// The segments of an object that is being uploaded.
#[derive(Debug)]
pub(crate) struct Segments {
    store: Arc<Store>,
    container: ContainerName,
    key: ObjectKey,
    id: String,
    sent: Vec<Segment>,
    /// Those sent, and the one that may have been.
    begun: u64,
}

impl Segments {
    pub(crate) async fn begin(store: Arc<Store>, key: &ObjectKey) -> Result<Self> {
        let container = store.segment_container(key.container())?;
        store.ensure_container(&container).await?;
        Ok(Self {
            store,
            container,
            key: key.clone(),
            id: new_id(),
            sent: Vec::new(),
            begun: 0,
        })
    }

    pub(crate) fn count(&self) -> u64 {
        self.sent.len() as u64
    }

    fn name(&self, number: u64) -> String {
        format!("{}{}/{number:08}", beginning(&self.key), self.id)
    }

    pub(crate) async fn send(&mut self, payload: Payload, md5: String) -> Result<()> {
        self.begun = self.count() + 1;
        let name = self.name(self.begun);
        let path = format!("{}/{}", container_path(&self.container)?, encoded(&name));
        let size_bytes = payload.length();
        let mut tries = self.store.tries();
        let put = self.store.put(&path, payload, &md5, None, &mut tries).await;
        put.map_err(|f| put_failed(f, &self.key))?;
        self.sent.push(Segment {
            path: format!("/{}/{name}", self.container),
            etag: md5,
            size_bytes,
        });
        Ok(())
    }

    /// Writes the manifest at `path`: from then on the object is there, whole.
    pub(crate) async fn complete(&self, path: &str) -> Result<(), Failure> {
        let mut md5 = Md5::new();
        for segment in &self.sent {
            md5.update(&segment.etag);
        }
        let manifest = serde_json::to_vec(&self.sent).map_err(Failure::malformed)?;
        let of_segments = hex::encode(md5.finalize());
        match self.put(path, &of_segments, manifest.into()).await {
            Ok(()) => Ok(()),
            Err(failure) if failure.is_passing() => {
                // The last answer may have been lost though it was done.
                match manifest_of(&self.store, &self.key).await {
                    Ok(Some(manifest)) if self.are_of(&manifest) => Ok(()),
                    _ => Err(failure),
                }
            }
            Err(failure) => Err(failure),
        }
    }

    /// Whether `manifest` is of this upload, and of all of it.
    fn are_of(&self, manifest: &Manifest) -> bool {
        let names = (1..=self.count()).map(|number| self.name(number));
        manifest.id.as_ref() == Some(&self.id) && names.eq(manifest.names.iter().cloned())
    }

    /// Puts the manifest. Swift's ETag of one is the MD5 of its segments' ETags, which Swift checks before it stores
    /// anything. Ceph's gateway compares it with the MD5 of the manifest's own text, and so refuses it (422): there it is
    /// put without one, and the ETag of the answer is checked. Where that is another's, the failure is not a passing one:
    /// nobody must look whether the manifest is there all the same.
    async fn put(&self, path: &str, of_segments: &str, manifest: Bytes) -> Result<(), Failure> {
        let wire = &self.store.wire;
        let of_text = hex::encode(Md5::digest(&manifest));
        let bare = Ask::new(Method::PUT, path)
            .query("multipart-manifest", "put")
            .header(header::CONTENT_TYPE, "application/octet-stream")
            .payload(Payload::Bytes(manifest))
            // The server looks for each segment.
            .moving(0);
        if !self.store.bare_manifests.load(Ordering::Relaxed) {
            let ask = bare.clone().header(header::ETAG, of_segments);
            let ask = ask.once_refused(StatusCode::UNPROCESSABLE_ENTITY);
            match wire.send(&ask).await {
                Err(failure) if failure.status() == StatusCode::UNPROCESSABLE_ENTITY => {
                    tracing::debug!(path, "the server refuses a manifest with an ETag");
                }
                done => return done.map(|_| ()),
            }
        }
        let wrong = || {
            Failure::malformed("the server stored another manifest than was sent, as its ETag says")
        };
        let mut tries = self.store.tries();
        let mut is_wrong = false;
        loop {
            let answer = match wire.send_in(&bare, &mut tries).await {
                Err(_) if is_wrong => return Err(wrong()),
                answer => answer?,
            };
            match etag(&answer.headers) {
                Some(stored) if stored != of_segments && stored != of_text => {
                    is_wrong = true;
                    let again = Failure::broken("the ETag of the manifest differs");
                    tries.after(again).await.map_err(|_| wrong())?;
                }
                // It refuses the ETag and tells that very one: as the gateway does.
                Some(_) => {
                    self.store.bare_manifests.store(true, Ordering::Relaxed);
                    return Ok(());
                }
                None => return Ok(()),
            }
        }
    }

    /// Deletes what was sent.
    pub(crate) async fn drop_all(self) -> Result<()> {
        let names: Vec<_> = (1..=self.begun).map(|n| self.name(n)).collect();
        first_error(delete::segments(&self.store, &self.container, &names).await)
    }
}

fn first_error(results: Vec<Result<()>>) -> Result<()> {
    results.into_iter().collect()
}

/// How the names of all segments of an object begin.
pub(crate) fn beginning(key: &ObjectKey) -> String {
    format!("{}/{}/", key.container(), key.name())
}

/// The time and a random number: sorts by time, and no two uploads have the same.
fn new_id() -> String {
    let time = u64::try_from(Timestamp::now().as_micros()).unwrap_or_default();
    let random = RandomState::new().build_hasher().finish() & 0xffff_ffff;
    format!("{time:016x}-{random:08x}")
}

fn is_id(text: &str) -> bool {
    text.len() == 25
        && text.bytes().enumerate().all(|(n, b)| match n {
            16 => b == b'-',
            _ => b.is_ascii_digit() || (b'a'..=b'f').contains(&b),
        })
}

/// Whose a segment is: the name behind the container's, the upload's ID. None for a name that we did not make.
fn parse(name: &str) -> Option<(&str, &str)> {
    let (rest, number) = name.rsplit_once('/')?;
    let (object, id) = rest.rsplit_once('/')?;
    let is_number = number.len() >= 8 && number.bytes().all(|b| b.is_ascii_digit());
    (is_number && is_id(id)).then_some((object, id))
}

/// The manifest of a large object.
#[derive(Debug)]
pub(crate) struct Manifest {
    /// The upload that made it; none where it was not us.
    pub(crate) id: Option<String>,
    container: ContainerName,
    /// Its segments that we made.
    names: Vec<String>,
    /// Whether it is known which they are. Where it is not, any may be in use.
    pub(crate) is_known: bool,
}

impl Manifest {
    /// Deletes its segments; answers what went wrong.
    pub(crate) async fn delete(&self, store: &Store) -> Vec<Error> {
        let results = delete::segments(store, &self.container, &self.names).await;
        results.into_iter().filter_map(Result::err).collect()
    }
}

#[derive(Deserialize)]
struct ManifestEntry {
    #[serde(alias = "path")]
    name: String,
}

/// The manifest of an object, where it is a static large one.
pub(crate) async fn manifest_of(store: &Arc<Store>, key: &ObjectKey) -> Result<Option<Manifest>> {
    const OPERATION: &str = "look at object";
    let path = object_path(key)?;
    let failed = |f: Failure| f.into_error(OPERATION, key);
    let head = match store.head(&path).await {
        Ok(head) if head.is_large => head,
        Ok(_) => return Ok(None),
        Err(failure) if failure.is(ErrorKind::NotFound) => return Ok(None),
        Err(failure) => return Err(failed(failure)),
    };
    let ask = Ask::new(Method::GET, path).query("multipart-manifest", "get");
    let answer = match store.wire.send(&ask).await {
        Err(failure) if failure.is(ErrorKind::NotFound) => return Ok(None),
        answer => answer.map_err(failed)?,
    };
    let container = store.segment_container(key.container())?;
    if answer.body.is_empty() {
        return listed_manifest(store, key, container, &head.etag).await;
    }
    let entries: Vec<ManifestEntry> =
        serde_json::from_slice(&answer.body).map_err(|e| failed(Failure::malformed(e)))?;
    let ours = format!("/{container}/{}", beginning(key));
    let is_ours = |entry: &ManifestEntry| entry.name.starts_with(&ours);
    let root = container.as_str().len() + 2;
    let names: Vec<_> = entries
        .iter()
        .filter(|entry| is_ours(entry))
        .map(|entry| entry.name[root..].to_owned())
        .collect();
    let id = names.first().and_then(|name| parse(name));
    Ok(Some(Manifest {
        id: id.map(|(_, id)| id.to_owned()),
        container,
        names,
        is_known: true,
    }))
}

/// The manifest of an object where the server does not show it, as Ceph's gateway does not: of the uploads whose
/// segments are there it is the one that the object's ETag is of. Two of the same bytes have the same ETag: then it is not
/// known, and neither is touched.
async fn listed_manifest(
    store: &Arc<Store>,
    key: &ObjectKey,
    container: ContainerName,
    etag: &str,
) -> Result<Option<Manifest>> {
    let found = find(store, &container, key.container(), key.name()).await?;
    let mut may_be = found
        .into_iter()
        .filter(|((object, _), upload)| object == key.name() && upload.etag() == etag);
    let of_object = may_be.next().filter(|_| may_be.next().is_none());
    Ok(Some(match of_object {
        Some(((_, id), upload)) => Manifest {
            id: Some(id),
            container,
            names: upload.names,
            is_known: true,
        },
        None => Manifest {
            id: None,
            container,
            names: Vec::new(),
            is_known: false,
        },
    }))
}

/// The segments of one upload, as a listing shows them.
#[derive(Debug, Default)]
pub(crate) struct Found {
    pub(crate) names: Vec<String>,
    pub(crate) bytes: u64,
    /// When the last of them was stored, where the server tells.
    pub(crate) newest: Option<Timestamp>,
    /// Over their MD5s.
    sum: Md5,
}

impl Found {
    /// The ETag of a large object that they make.
    fn etag(&self) -> String {
        hex::encode(self.sum.clone().finalize())
    }
}

/// The segments in `segment_container` of the objects of `container` whose names begin with `prefix`, by object and
/// upload.
pub(crate) async fn find(
    store: &Arc<Store>,
    segment_container: &ContainerName,
    container: &ContainerName,
    prefix: &str,
) -> Result<BTreeMap<(String, String), Found>> {
    let root = format!("{container}/");
    let path = container_path(segment_container)?;
    let failed = |f: Failure| f.into_error("list segments in", segment_container);
    let mut entries = list::entries(Arc::clone(store), path, format!("{root}{prefix}"), None);
    let mut found: BTreeMap<_, Found> = BTreeMap::new();
    while let Some(entry) = entries.try_next().await.map_err(failed)? {
        let Some((object, id)) = parse(&entry.name) else {
            continue;
        };
        let Some(object) = object.strip_prefix(&root) else {
            continue;
        };
        let upload = found.entry((object.to_owned(), id.to_owned())).or_default();
        let time = entry.last_modified.and_then(|t| t.parse().ok());
        upload.newest = upload.newest.max(time);
        upload.bytes += entry.bytes;
        upload.sum.update(entry.hash.unwrap_or_default());
        upload.names.push(entry.name);
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn segments_grow_so_that_those_that_fit_hold_any_object() {
        const GIB: u64 = 1 << 30;
        let growth = Growth::new(GIB, 5 * GIB, 1000, None);
        assert_eq!(growth.size(0), GIB);
        assert_eq!(growth.size(100), 2 * GIB);
        assert_eq!(growth.size(999), 5 * GIB);
        let total: u64 = (0..1000).map(|n| growth.size(n)).sum();
        assert!(total >= 4 << 40);
        // A length that is known needs no more than the server takes.
        let growth = Growth::new(1000, 100_000, 10, Some(500_000));
        let total: u64 = (0..10).map(|n| growth.size(n)).sum();
        assert!(growth.is_large() && total >= 500_000);
        assert!(!Growth::new(1000, 100_000, 10, Some(100_000)).is_large());
        assert_eq!(Growth::new(1000, 10, 1, None).size(500), 10);
    }

    #[test]
    fn a_segments_name_tells_whose_it_is() {
        let id = new_id();
        assert!(is_id(&id), "{id}");
        let name = format!("c/a/b-00001/{id}/00000007");
        assert_eq!(parse(&name), Some(("c/a/b-00001", id.as_str())));
        for foreign in [
            "c/a/1700000000.00/5/1/00000001",
            "x",
            "a/b/c",
            "c/a/0123456789abcdef-0123456g/00000001",
        ] {
            assert_eq!(parse(foreign), None, "{foreign}");
        }
    }
}
