use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use bytes::Bytes;

use super::device::{outside, refuse_writes};
use super::lock;
use super::pages::Pages;
use crate::buffer::Buf;
use crate::device::{BlockDevice, Geometry};
use crate::error::{Error, ErrorKind, Result};
use crate::image::{Image, ImageRepository};
use crate::range::{ByteRange, Extent};

/// A store of images in RAM, with snapshots and differences in pages of 4096 bytes. Clones share the images.
#[derive(Clone, Default)]
pub struct MemoryImages {
    state: Arc<Mutex<State>>,
}

#[derive(Default)]
struct State {
    images: BTreeMap<String, Stored>,
    records: BTreeMap<String, Bytes>,
}

#[derive(Clone, Default)]
struct Content {
    length: u64,
    pages: Pages,
}

#[derive(Default)]
struct Stored {
    now: Content,
    snapshots: Vec<(String, Content)>,
}

impl Stored {
    fn at(&self, snapshot: Option<&str>) -> Option<&Content> {
        match snapshot {
            None => Some(&self.now),
            Some(name) => self
                .snapshots
                .iter()
                .find(|(n, _)| n == name)
                .map(|(_, content)| content),
        }
    }
}

impl MemoryImages {
    /// A store without images.
    pub fn new() -> Self {
        Self::default()
    }

    /// The bytes of an image, or of a snapshot of it; `None` where that is missing. For tests that compare.
    pub fn content(&self, name: &str, snapshot: Option<&str>) -> Option<Vec<u8>> {
        let state = lock(&self.state);
        let content = state.images.get(name)?.at(snapshot)?;
        let mut bytes = vec![0; usize::try_from(content.length).ok()?];
        content.pages.read(0, &mut bytes);
        Some(bytes)
    }

    fn image(&self, name: &str, snapshot: Option<&str>) -> Result<Arc<dyn Image>> {
        let missing = || {
            let target = snapshot.map_or_else(|| name.to_owned(), |s| format!("{name}@{s}"));
            Error::new(ErrorKind::NotFound, "open image").on(target)
        };
        let length = {
            let state = lock(&self.state);
            let stored = state.images.get(name).ok_or_else(missing)?;
            stored.at(snapshot).ok_or_else(missing)?.length
        };
        Ok(Arc::new(MemoryImage {
            store: self.clone(),
            name: name.to_owned(),
            snapshot: snapshot.map(str::to_owned),
            geometry: Geometry::new(length).with_read_only(snapshot.is_some()),
        }))
    }
}

impl fmt::Debug for MemoryImages {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MemoryImages").finish_non_exhaustive()
    }
}

#[async_trait]
impl ImageRepository for MemoryImages {
    fn describe(&self) -> String {
        "memory images".into()
    }

    async fn open_or_create(&self, name: &str, size: u64) -> Result<Arc<dyn Image>> {
        lock(&self.state)
            .images
            .entry(name.to_owned())
            .or_insert_with(|| Stored {
                now: Content {
                    length: size,
                    pages: Pages::default(),
                },
                snapshots: Vec::new(),
            });
        self.image(name, None)
    }

    async fn open(&self, name: &str, snapshot: Option<&str>) -> Result<Arc<dyn Image>> {
        self.image(name, snapshot)
    }

    async fn remove(&self, name: &str) -> Result<()> {
        let mut state = lock(&self.state);
        if state
            .images
            .get(name)
            .is_some_and(|stored| !stored.snapshots.is_empty())
        {
            return Err(Error::new(ErrorKind::Conflict, "remove image")
                .on(name)
                .because("it has snapshots"));
        }
        state.images.remove(name);
        Ok(())
    }

    async fn list(&self, prefix: &str) -> Result<Vec<String>> {
        let state = lock(&self.state);
        let names = state.images.keys().filter(|n| n.starts_with(prefix));
        Ok(names.cloned().collect())
    }
}

/// An image of [`MemoryImages`], as it is or at a snapshot. Its length is the one at the time it was opened.
struct MemoryImage {
    store: MemoryImages,
    name: String,
    snapshot: Option<String>,
    geometry: Geometry,
}

impl MemoryImage {
    /// Works on what this handle shows.
    fn shown<T>(&self, operation: &'static str, work: impl FnOnce(&Content) -> T) -> Result<T> {
        let state = lock(&self.store.state);
        let content = state
            .images
            .get(&self.name)
            .and_then(|stored| stored.at(self.snapshot.as_deref()))
            .ok_or_else(|| Error::new(ErrorKind::NotFound, operation).on(self.describe()))?;
        Ok(work(content))
    }

    /// Works on the image itself, which a snapshot does not let.
    fn stored<T>(
        &self,
        operation: &'static str,
        work: impl FnOnce(&mut Stored) -> Result<T>,
    ) -> Result<T> {
        refuse_writes(self.geometry, operation, &self.describe())?;
        let mut state = lock(&self.store.state);
        let stored = state
            .images
            .get_mut(&self.name)
            .ok_or_else(|| Error::new(ErrorKind::NotFound, operation).on(self.describe()))?;
        work(stored)
    }

    fn write_pages(
        &self,
        operation: &'static str,
        range: Option<ByteRange>,
        work: impl FnOnce(&mut Pages),
    ) -> Result<()> {
        self.stored(operation, |stored| {
            let length = stored.now.length;
            match range {
                Some(range) if range.end() <= length => {
                    work(&mut stored.now.pages);
                    Ok(())
                }
                _ => Err(
                    Error::invalid(operation, format!("it reaches past the end at {length}"))
                        .on(self.describe()),
                ),
            }
        })
    }
}

impl fmt::Debug for MemoryImage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MemoryImage")
            .field("name", &self.name)
            .field("snapshot", &self.snapshot)
            .finish_non_exhaustive()
    }
}

#[async_trait]
impl BlockDevice for MemoryImage {
    fn geometry(&self) -> Geometry {
        self.geometry
    }

    fn describe(&self) -> String {
        match &self.snapshot {
            Some(snapshot) => format!("{}@{snapshot}", self.name),
            None => self.name.clone(),
        }
    }

    async fn read(&self, at: u64, mut buf: Buf) -> (Buf, Result<()>) {
        let length = buf.len() as u64;
        let done = self.shown("read", |content| {
            match ByteRange::at(at, length).filter(|r| r.end() <= content.length) {
                Some(_) => {
                    content.pages.read(at, &mut buf);
                    Ok(())
                }
                None => Err(outside(
                    "read",
                    &self.describe(),
                    at,
                    length,
                    content.length,
                )),
            }
        });
        (buf, done.and_then(|result| result))
    }

    async fn write(&self, at: u64, data: Bytes) -> Result<()> {
        let range = ByteRange::at(at, data.len() as u64);
        self.write_pages("write", range, |pages| pages.write(at, &data))
    }

    async fn write_zeroes(&self, range: ByteRange) -> Result<()> {
        self.write_pages("write zeroes", Some(range), |pages| pages.zero(range))
    }

    async fn discard(&self, range: ByteRange) -> Result<()> {
        self.write_pages("discard", Some(range), |_| {})
    }

    async fn flush(&self) -> Result<()> {
        Ok(())
    }

    async fn allocated(&self, range: ByteRange) -> Result<Vec<Extent>> {
        self.diff(None, range).await
    }
}

#[async_trait]
impl Image for MemoryImage {
    async fn snapshots(&self) -> Result<Vec<String>> {
        let state = lock(&self.store.state);
        let stored = state
            .images
            .get(&self.name)
            .ok_or_else(|| Error::new(ErrorKind::NotFound, "list snapshots").on(&self.name))?;
        Ok(stored.snapshots.iter().map(|(n, _)| n.clone()).collect())
    }

    async fn snapshot(&self, name: &str) -> Result<()> {
        self.stored("make snapshot", |stored| {
            if stored.at(Some(name)).is_some() {
                return Err(Error::new(ErrorKind::AlreadyExists, "make snapshot")
                    .on(format!("{}@{name}", self.name)));
            }
            let now = stored.now.clone();
            stored.snapshots.push((name.to_owned(), now));
            Ok(())
        })
    }

    async fn remove_snapshot(&self, name: &str) -> Result<()> {
        self.stored("remove snapshot", |stored| {
            stored.snapshots.retain(|(n, _)| n != name);
            Ok(())
        })
    }

    async fn diff(&self, from: Option<&str>, range: ByteRange) -> Result<Vec<Extent>> {
        let operation = "ask for differences";
        let missing = |target: String| Error::new(ErrorKind::NotFound, operation).on(target);
        let state = lock(&self.store.state);
        let stored = state
            .images
            .get(&self.name)
            .ok_or_else(|| missing(self.name.clone()))?;
        let shown = stored
            .at(self.snapshot.as_deref())
            .ok_or_else(|| missing(self.describe()))?;
        if range.end() > shown.length {
            let (at, length) = (range.start(), range.len());
            return Err(outside(
                operation,
                &self.describe(),
                at,
                length,
                shown.length,
            ));
        }
        let Some(from) = from else {
            return Ok(shown.pages.allocated(range));
        };
        let before = stored
            .at(Some(from))
            .ok_or_else(|| missing(format!("{}@{from}", self.name)))?;
        // What the image grew by was not there: it cannot be unchanged.
        let (old, grown) = range.split_at(before.length);
        let mut extents = shown.pages.differences(&before.pages, old);
        extents.extend(shown.pages.allocated(grown));
        Ok(extents)
    }

    async fn resize(&self, size: u64) -> Result<()> {
        self.stored("resize image", |stored| {
            stored.now.pages.cut(size);
            stored.now.length = size;
            Ok(())
        })
    }

    async fn put_record(&self, name: &str, data: Bytes) -> Result<()> {
        let mut state = lock(&self.store.state);
        if state.records.contains_key(name) {
            return Err(Error::new(ErrorKind::AlreadyExists, "put record").on(name));
        }
        state.records.insert(name.to_owned(), data);
        Ok(())
    }

    async fn get_record(&self, name: &str) -> Result<Option<Bytes>> {
        Ok(lock(&self.store.state).records.get(name).cloned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::range::ExtentKind;

    fn kinds(extents: &[Extent]) -> Vec<(u64, ExtentKind)> {
        extents.iter().map(|e| (e.range.start(), e.kind)).collect()
    }

    #[tokio::test]
    async fn a_snapshot_keeps_what_was_and_the_difference_tells_what_changed() {
        use ExtentKind::{Data, Unchanged, Zero};
        let images = MemoryImages::new();
        let image = images.open_or_create("volume", 16_384).await.unwrap();
        image
            .write(0, Bytes::from_static(&[1; 8192]))
            .await
            .unwrap();
        image.snapshot("first").await.unwrap();
        assert!(
            image
                .snapshot("first")
                .await
                .unwrap_err()
                .is(ErrorKind::AlreadyExists)
        );
        image.write_zeroes(ByteRange::up_to(4096)).await.unwrap();
        image
            .write(12_288, Bytes::from_static(&[2; 10]))
            .await
            .unwrap();

        let all = ByteRange::up_to(16_384);
        let changed = image.diff(Some("first"), all).await.unwrap();
        assert_eq!(
            kinds(&changed),
            [(0, Zero), (4096, Unchanged), (12_288, Data)]
        );
        let first = images.open("volume", Some("first")).await.unwrap();
        assert_eq!(
            kinds(&first.diff(None, all).await.unwrap()),
            [(0, Data), (8192, Zero)]
        );
        let (buf, read) = first.read(0, Buf::zeroed(8192)).await;
        read.unwrap();
        assert_eq!(buf[..], [1; 8192]);
        let write = first.write(0, Bytes::from_static(&[3])).await;
        assert!(write.unwrap_err().is(ErrorKind::PermissionDenied));

        assert!(
            images
                .remove("volume")
                .await
                .unwrap_err()
                .is(ErrorKind::Conflict)
        );
        image.remove_snapshot("first").await.unwrap();
        image.remove_snapshot("first").await.unwrap();
        images.remove("volume").await.unwrap();
        images.remove("volume").await.unwrap();
        assert!(images.list("").await.unwrap().is_empty());
    }

    #[tokio::test]
    async fn what_an_image_grew_by_is_told_as_data_or_zero() {
        use ExtentKind::{Data, Unchanged, Zero};
        let images = MemoryImages::new();
        let image = images.open_or_create("volume", 4096).await.unwrap();
        image.snapshot("small").await.unwrap();
        image.resize(12_288).await.unwrap();
        image.write(8192, Bytes::from_static(&[1])).await.unwrap();
        let told = image
            .diff(Some("small"), ByteRange::up_to(12_288))
            .await
            .unwrap();
        assert_eq!(kinds(&told), [(0, Unchanged), (4096, Zero), (8192, Data)]);
        image.put_record("meta", "{}".into()).await.unwrap();
        assert!(image.put_record("meta", "{}".into()).await.is_err());
        assert_eq!(image.get_record("meta").await.unwrap().unwrap(), "{}");
        assert!(image.get_record("none").await.unwrap().is_none());
    }
}
