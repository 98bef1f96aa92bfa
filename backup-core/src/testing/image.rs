mod changes;
mod conformance;
mod fault;
mod handle;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use bytes::Bytes;

pub use changes::SnapshotChanges;
pub use conformance::image_conformance;
pub use fault::{FaultImages, ImageCall};

use self::handle::{Access, MemoryImage};
use super::lock;
use super::pages::Pages;
use crate::error::{Error, ErrorKind, Result};
use crate::format::ceph;
use crate::id::{ContainerName, ObjectKey};
use crate::image::{
    Image, ImageKey, ImageLayout, ImageRepository, ImageSnapshot, MAX_RECORD, check_name,
};
use crate::timestamp::Timestamp;

/// A store of images in RAM, with snapshots and differences in pages of 4096 bytes. Clones share the images.
#[derive(Clone)]
pub struct MemoryImages {
    container: ContainerName,
    state: Arc<Mutex<State>>,
}

#[derive(Clone, Default)]
struct State {
    images: BTreeMap<ImageKey, Stored>,
    records: BTreeMap<ObjectKey, Bytes>,
    handles: u64, // opened so far
}

#[derive(Clone, Default)]
struct Content {
    length: u64,
    pages: Pages,
}

#[derive(Clone)]
struct Stored {
    now: Content,
    snapshots: Vec<(ImageSnapshot, Content)>,
    notes: BTreeMap<String, String>,
    /// The handle that alone may write.
    holder: Option<u64>,
    modified: Timestamp,
}

impl Stored {
    fn at(&self, snapshot: Option<&str>) -> Option<&Content> {
        match snapshot {
            None => Some(&self.now),
            Some(name) => self
                .snapshots
                .iter()
                .find(|(s, _)| s.name == name)
                .map(|(_, content)| content),
        }
    }
}

impl MemoryImages {
    /// A store without images, whose default container is `container`.
    pub fn new(container: ContainerName) -> Self {
        Self {
            container,
            state: Arc::default(),
        }
    }

    /// The bytes of an image, or of a snapshot of it; `None` where that is missing. For tests that compare.
    pub fn content(&self, key: &ImageKey, snapshot: Option<&str>) -> Option<Vec<u8>> {
        let state = lock(&self.state);
        let content = state.images.get(key)?.at(snapshot)?;
        let mut bytes = vec![0; usize::try_from(content.length).ok()?];
        content.pages.read(0, &mut bytes);
        Some(bytes)
    }

    /// Another store with the same content as of now, which nobody holds a lock in.
    pub fn duplicate(&self) -> Self {
        let mut state = lock(&self.state).clone();
        for stored in state.images.values_mut() {
            stored.holder = None;
        }
        Self {
            container: self.container.clone(),
            state: Arc::new(Mutex::new(state)),
        }
    }

    /// All that is kept but the bytes of images: a line for each image, with its snapshots and notes, and each record.
    pub fn inventory(&self) -> Vec<String> {
        let state = lock(&self.state);
        let images = state.images.iter().map(|(key, stored)| {
            let snapshots: Vec<_> = stored
                .snapshots
                .iter()
                .map(|(s, _)| (s.name.as_str(), s.length))
                .collect();
            let notes: Vec<_> = stored.notes.keys().collect();
            format!("image {key}: snapshots {snapshots:?}, notes {notes:?}")
        });
        let records = state.records.keys().map(|key| format!("record {key}"));
        images.chain(records).collect()
    }

    fn handle(
        &self,
        key: &ImageKey,
        snapshot: Option<&str>,
        access: Access,
    ) -> Result<Arc<dyn Image>> {
        let missing = || {
            let target = snapshot.map_or_else(|| key.to_string(), |s| format!("{key}@{s}"));
            Error::new(ErrorKind::NotFound, "open image").on(target)
        };
        let mut state = lock(&self.state);
        let stored = state.images.get(key).ok_or_else(missing)?;
        let length = stored.at(snapshot).ok_or_else(missing)?.length;
        state.handles += 1;
        Ok(Arc::new(MemoryImage::new(
            self.clone(),
            key.clone(),
            snapshot.map(str::to_owned),
            state.handles,
            length,
            access,
        )))
    }
}

impl fmt::Debug for MemoryImages {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MemoryImages")
            .field("container", &self.container)
            .finish_non_exhaustive()
    }
}

#[async_trait]
impl ImageRepository for MemoryImages {
    fn describe(&self) -> String {
        format!("memory images in {}", self.container)
    }

    fn layout(&self) -> ImageLayout {
        ImageLayout {
            service: ceph::SERVICE.to_owned(),
            container: self.container.clone(),
        }
    }

    async fn containers(&self) -> Result<Vec<ContainerName>> {
        let state = lock(&self.state);
        let mut all: Vec<_> = state.images.keys().map(|k| k.container().clone()).collect();
        all.push(self.container.clone());
        all.sort();
        all.dedup();
        Ok(all)
    }

    async fn create(&self, key: &ImageKey, size: u64) -> Result<Arc<dyn Image>> {
        {
            let mut state = lock(&self.state);
            if state.images.contains_key(key) {
                return Err(Error::new(ErrorKind::AlreadyExists, "create image").on(key));
            }
            let stored = Stored {
                now: Content {
                    length: size,
                    pages: Pages::default(),
                },
                snapshots: Vec::new(),
                notes: BTreeMap::new(),
                holder: None,
                modified: Timestamp::now(),
            };
            state.images.insert(key.clone(), stored);
        }
        self.handle(key, None, Access::Fresh)
    }

    async fn open(&self, key: &ImageKey, snapshot: Option<&str>) -> Result<Arc<dyn Image>> {
        self.handle(key, snapshot, Access::Look)
    }

    async fn open_to_write(&self, key: &ImageKey) -> Result<Arc<dyn Image>> {
        self.handle(key, None, Access::Write)
    }

    async fn remove(&self, key: &ImageKey) -> Result<()> {
        let mut state = lock(&self.state);
        let refused = |why: &str| {
            Err(Error::new(ErrorKind::Conflict, "remove image")
                .on(key)
                .because(why))
        };
        match state.images.get(key) {
            Some(stored) if !stored.snapshots.is_empty() => return refused("it has snapshots"),
            Some(stored) if stored.holder.is_some() => return refused("it is in use"),
            _ => {}
        }
        state.images.remove(key);
        Ok(())
    }

    async fn list(&self, container: &ContainerName, prefix: &str) -> Result<Vec<String>> {
        let state = lock(&self.state);
        let names = state
            .images
            .keys()
            .filter(|key| key.container() == container && key.name().starts_with(prefix))
            .map(|key| key.name().to_owned());
        Ok(names.collect())
    }

    async fn put_record(&self, key: &ObjectKey, data: Bytes) -> Result<()> {
        if data.len() > MAX_RECORD {
            return Err(Error::invalid("put record", "it is too long").on(key));
        }
        let mut state = lock(&self.state);
        if state.records.contains_key(key) {
            return Err(Error::new(ErrorKind::AlreadyExists, "put record").on(key));
        }
        state.records.insert(key.clone(), data);
        Ok(())
    }

    async fn get_record(&self, key: &ObjectKey) -> Result<Option<Bytes>> {
        Ok(lock(&self.state).records.get(key).cloned())
    }

    async fn remove_record(&self, key: &ObjectKey) -> Result<()> {
        lock(&self.state).records.remove(key);
        Ok(())
    }
}

/// Refuses a snapshot's name that no store takes.
fn check_snapshot(name: &str) -> Result<()> {
    check_name("make snapshot", name)
}
