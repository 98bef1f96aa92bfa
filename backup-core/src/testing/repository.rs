mod event;
mod upload;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fmt;
use std::hash::{DefaultHasher, Hasher};
use std::sync::{Arc, Mutex, MutexGuard};

use async_trait::async_trait;
use bytes::Bytes;

pub use event::Event;

use self::upload::MemoryUpload;
use super::lock;
use crate::error::{Error, ErrorKind, Result};
use crate::id::{ContainerName, ObjectKey};
use crate::range::ByteRange;
use crate::repository::{
    BoxStream, DefaultContainer, Download, Layout, Leftover, Limits, Listed, PrefixStyle, PutMode,
    Repository, Upload,
};
use crate::timestamp::Timestamp;

/// Pieces that a body comes in, unless set.
const PIECE: usize = 256 << 10;

/// Objects of equal content up to this length are kept once: a sparse volume of 16 TiB is 262 144 equal zero objects.
const SHARED_UP_TO: usize = 1 << 20;

/// A repository in RAM. Clones share the objects.
///
/// It is strict where a lax one would hide bugs: a put into a container that nobody made is
/// [`NotFound`](ErrorKind::NotFound), and what no barrier has covered is lost by [`crash`](Self::crash).
#[derive(Clone)]
pub struct MemoryRepository {
    limits: Limits,
    layout: Layout,
    piece: usize,
    drops: fn(&str) -> bool,
    state: Arc<Mutex<State>>,
}

#[derive(Default)]
struct State {
    containers: BTreeMap<ContainerName, BTreeMap<String, Stored>>,
    shared: HashMap<(usize, u64), Bytes>,
    /// Uploads that are open, by number: their keys and when they were begun.
    uploads: BTreeMap<u64, (ObjectKey, Timestamp)>,
    next_upload: u64,
    events: Vec<Event>,
    /// Bytes of each object that were asked for.
    fetched: BTreeMap<ObjectKey, u64>,
    /// What listings leave out.
    unlisted: Option<fn(&str) -> bool>,
}

#[derive(Clone)]
struct Stored {
    content: Content,
    modified: Timestamp,
    durable: bool,
}

#[derive(Clone)]
enum Content {
    Kept(Bytes),
    Dropped { size: u64 },
}

impl Content {
    fn size(&self) -> u64 {
        match self {
            Self::Kept(bytes) => bytes.len() as u64,
            Self::Dropped { size } => *size,
        }
    }
}

impl Default for MemoryRepository {
    fn default() -> Self {
        Self::new()
    }
}

impl MemoryRepository {
    /// An empty one that lays things out as Cinder's posix driver does and takes objects of any length.
    pub fn new() -> Self {
        Self {
            limits: Limits::new(u64::MAX).with_retries(true),
            layout: Layout {
                service: "cinder.backup.drivers.posix.PosixBackupDriver".into(),
                container: DefaultContainer::PerBackup,
                prefix: PrefixStyle::Flat,
                account: None,
            },
            piece: PIECE,
            drops: |_| false,
            state: Arc::default(),
        }
    }

    /// Lays things out as Cinder's swift driver does: one container `volumebackups`, names with slashes.
    ///
    /// # Errors
    /// None in fact: the fixed name is valid.
    pub fn with_slashed_layout(mut self) -> Result<Self> {
        self.layout = Layout {
            service: "cinder.backup.drivers.swift.SwiftBackupDriver".into(),
            container: DefaultContainer::Named(ContainerName::new("volumebackups")?),
            prefix: PrefixStyle::Slashed {
                availability_zone: "nova".into(),
            },
            account: None,
        };
        Ok(self)
    }

    /// With another layout.
    pub fn with_layout(mut self, layout: Layout) -> Self {
        self.layout = layout;
        self
    }

    /// With other limits, which it keeps: a longer put is refused.
    pub fn with_limits(mut self, limits: Limits) -> Self {
        self.limits = limits;
        self
    }

    /// Bodies come in pieces of at most `bytes` (at least 1).
    pub fn with_piece(mut self, bytes: usize) -> Self {
        self.piece = bytes.max(1);
        self
    }

    /// Keeps only the size of objects for whose name `drops` is true, for volumes larger than the RAM. Getting one is
    /// [`Unsupported`](ErrorKind::Unsupported).
    pub fn dropping(mut self, drops: fn(&str) -> bool) -> Self {
        self.drops = drops;
        self
    }

    /// Keeps metadata and hash lists, but only the size of data objects.
    pub fn discarding(self) -> Self {
        self.dropping(|name| !name.ends_with("_metadata") && !name.ends_with("_sha256file"))
    }

    /// Another repository that holds the same objects as of now, and of which nothing happened yet.
    pub fn duplicate(&self) -> Self {
        let state = State {
            containers: lock(&self.state).containers.clone(),
            ..State::default()
        };
        Self {
            state: Arc::new(Mutex::new(state)),
            ..self.clone()
        }
    }

    /// All objects as `container/name`, with their sizes in bytes, in order.
    pub fn objects(&self) -> Vec<(String, u64)> {
        let state = lock(&self.state);
        let mut all = Vec::new();
        for (container, objects) in &state.containers {
            for (name, stored) in objects {
                all.push((format!("{container}/{name}"), stored.content.size()));
            }
        }
        all.sort();
        all
    }

    /// The bytes of the object `container/name`; `None` where it is missing or its bytes were dropped.
    pub fn object(&self, name: &str) -> Option<Bytes> {
        let mut state = lock(&self.state);
        match &find(&mut state, name)?.content {
            Content::Kept(bytes) => Some(bytes.clone()),
            Content::Dropped { .. } => None,
        }
    }

    /// Changes the bytes of the object `container/name`; `false` where it has none.
    pub fn damage(&self, name: &str, change: impl FnOnce(&mut Vec<u8>)) -> bool {
        let mut state = lock(&self.state);
        match find(&mut state, name).map(|stored| &mut stored.content) {
            Some(Content::Kept(bytes)) => {
                let mut changed = bytes.to_vec();
                change(&mut changed);
                *bytes = changed.into();
                true
            }
            _ => false,
        }
    }

    /// Puts `data` at `container/name` behind everyone's back; the container is made where it is missing.
    ///
    /// # Errors
    /// [`InvalidInput`](ErrorKind::InvalidInput) for a name that is none.
    pub fn plant(&self, container: &str, name: &str, data: impl Into<Bytes>) -> Result<()> {
        let container = ContainerName::new(container)?;
        let key = ObjectKey::new(&container, name)?;
        let stored = Stored {
            content: Content::Kept(data.into()),
            modified: Timestamp::now(),
            durable: true,
        };
        lock(&self.state)
            .containers
            .entry(container)
            .or_default()
            .insert(key.name().to_owned(), stored);
        Ok(())
    }

    /// Takes the object `container/name` away behind everyone's back; `false` where it was not there.
    pub fn remove(&self, name: &str) -> bool {
        let mut state = lock(&self.state);
        state.containers.iter_mut().any(|(container, objects)| {
            name.strip_prefix(container.as_str())
                .and_then(|rest| rest.strip_prefix('/'))
                .is_some_and(|object| objects.remove(object).is_some())
        })
    }

    /// Leaves objects whose names `are` such out of listings, as a store does whose listing lags.
    pub fn unlist(&self, are: fn(&str) -> bool) {
        lock(&self.state).unlisted = Some(are);
    }

    /// Loses all that no barrier and no [`Upload::complete`] made durable, as a power cut may. How many objects that
    /// were.
    pub fn crash(&self) -> usize {
        let mut state = lock(&self.state);
        let mut lost = 0;
        for objects in state.containers.values_mut() {
            let before = objects.len();
            objects.retain(|_, stored| stored.durable);
            lost += before - objects.len();
        }
        lost
    }

    /// What happened so far, in order.
    pub fn events(&self) -> Vec<Event> {
        lock(&self.state).events.clone()
    }

    /// Bytes of the object `container/name` that were asked for so far: its length for each whole read.
    pub fn fetched(&self, name: &str) -> u64 {
        let state = lock(&self.state);
        let of_it = state.fetched.iter().filter(|(k, _)| k.to_string() == name);
        of_it.map(|(_, bytes)| bytes).sum()
    }

    /// Forgets what happened so far.
    pub fn clear_events(&self) {
        lock(&self.state).events.clear();
    }

    /// Uploads that were neither completed, aborted nor dropped.
    pub fn open_uploads(&self) -> usize {
        lock(&self.state).uploads.len()
    }

    fn content(&self, state: &mut State, key: &ObjectKey, data: &[u8]) -> Content {
        if (self.drops)(key.name()) {
            return Content::Dropped {
                size: data.len() as u64,
            };
        }
        // Copied, so that a slice does not hold a pooled buffer many times its size.
        if data.len() > SHARED_UP_TO {
            return Content::Kept(Bytes::copy_from_slice(data));
        }
        let mut hasher = DefaultHasher::new();
        hasher.write(data);
        let bytes = state
            .shared
            .entry((data.len(), hasher.finish()))
            .or_insert_with(|| Bytes::copy_from_slice(data));
        if bytes == data {
            Content::Kept(bytes.clone())
        } else {
            Content::Kept(Bytes::copy_from_slice(data))
        }
    }
}

fn find<'a>(state: &'a mut State, name: &str) -> Option<&'a mut Stored> {
    state
        .containers
        .iter_mut()
        .find_map(|(container, objects)| {
            let object = name.strip_prefix(container.as_str())?.strip_prefix('/')?;
            objects.get_mut(object)
        })
}

fn container_of<'a>(
    state: &'a mut MutexGuard<'_, State>,
    operation: &'static str,
    container: &ContainerName,
) -> Result<&'a mut BTreeMap<String, Stored>> {
    state.containers.get_mut(container).ok_or_else(|| {
        Error::new(ErrorKind::NotFound, operation).on(format!("container {container}"))
    })
}

impl fmt::Debug for MemoryRepository {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MemoryRepository").finish_non_exhaustive()
    }
}

fn stream_of<T: Send + 'static>(items: Vec<T>) -> BoxStream<T> {
    Box::pin(futures::stream::iter(items.into_iter().map(Ok)))
}

#[async_trait]
impl Repository for MemoryRepository {
    fn limits(&self) -> Limits {
        self.limits.clone()
    }

    fn layout(&self) -> Layout {
        self.layout.clone()
    }

    fn describe(&self) -> String {
        "memory".into()
    }

    async fn containers(&self) -> Result<BoxStream<ContainerName>> {
        let names = lock(&self.state)
            .containers
            .iter()
            .filter(|(_, objects)| !objects.is_empty())
            .map(|(name, _)| name.clone())
            .collect();
        Ok(stream_of(names))
    }

    async fn ensure_container(&self, container: &ContainerName) -> Result<()> {
        lock(&self.state)
            .containers
            .entry(container.clone())
            .or_default();
        Ok(())
    }

    async fn put(&self, key: &ObjectKey, data: Bytes, mode: PutMode) -> Result<()> {
        let size = data.len() as u64;
        if size > self.limits.max_put {
            let limit = self.limits.max_put;
            return Err(Error::invalid(
                "put object",
                format!("{size} bytes are more than a put takes, {limit}"),
            )
            .on(key));
        }
        let mut state = lock(&self.state);
        let content = self.content(&mut state, key, &data);
        let objects = container_of(&mut state, "put object", key.container())?;
        if mode == PutMode::CreateOnly && objects.contains_key(key.name()) {
            return Err(Error::new(ErrorKind::AlreadyExists, "put object").on(key));
        }
        objects.insert(
            key.name().to_owned(),
            Stored {
                content,
                modified: Timestamp::now(),
                durable: false,
            },
        );
        state.events.push(Event::Put {
            name: key.to_string(),
            size,
        });
        Ok(())
    }

    async fn begin(&self, key: &ObjectKey, _size_hint: Option<u64>) -> Result<Box<dyn Upload>> {
        let mut state = lock(&self.state);
        container_of(&mut state, "begin object", key.container())?;
        let id = state.next_upload;
        state.next_upload += 1;
        state.uploads.insert(id, (key.clone(), Timestamp::now()));
        Ok(Box::new(MemoryUpload::new(self.clone(), key.clone(), id)))
    }

    async fn get(&self, key: &ObjectKey, range: Option<ByteRange>) -> Result<Download> {
        let mut state = lock(&self.state);
        let objects = container_of(&mut state, "get object", key.container())?;
        let stored = objects
            .get(key.name())
            .ok_or_else(|| Error::new(ErrorKind::NotFound, "get object").on(key))?;
        let Content::Kept(bytes) = &stored.content else {
            return Err(Error::new(ErrorKind::Unsupported, "get object")
                .on(key)
                .because("this repository keeps only its size"));
        };
        let bytes = match range {
            None => bytes.clone(),
            Some(range) => {
                let length = bytes.len() as u64;
                let within = ByteRange::up_to(length)
                    .intersection(range)
                    .ok_or_else(|| {
                        Error::invalid(
                            "get object",
                            format!("range {range} lies outside of its {length} bytes"),
                        )
                        .on(key)
                    })?;
                // Both ends lie within the bytes in memory.
                let at = |offset: u64| usize::try_from(offset).unwrap_or(bytes.len());
                bytes.slice(at(within.start())..at(within.end()))
            }
        };
        let length = bytes.len() as u64;
        *state.fetched.entry(key.clone()).or_default() += length;
        let mut pieces = Vec::with_capacity(bytes.len().div_ceil(self.piece));
        let mut rest = bytes;
        while !rest.is_empty() {
            pieces.push(rest.split_to(self.piece.min(rest.len())));
        }
        Ok(Download {
            length,
            body: stream_of(pieces),
        })
    }

    async fn list(
        &self,
        container: &ContainerName,
        prefix: &str,
        delimiter: Option<char>,
    ) -> Result<BoxStream<Listed>> {
        let state = lock(&self.state);
        let Some(objects) = state.containers.get(container) else {
            return Ok(stream_of(Vec::new()));
        };
        let mut listed = Vec::new();
        let mut beginnings = BTreeSet::new();
        for (name, stored) in objects.range(prefix.to_owned()..) {
            let Some(rest) = name.strip_prefix(prefix) else {
                break;
            };
            if state.unlisted.is_some_and(|are| are(name)) {
                continue;
            }
            match delimiter.and_then(|d| Some((rest.find(d)?, d.len_utf8()))) {
                Some((at, width)) => {
                    let beginning = &name[..prefix.len() + at + width];
                    if beginnings.insert(beginning.to_owned()) {
                        listed.push(Listed::prefix(beginning));
                    }
                }
                None => listed.push(Listed::object(
                    name,
                    stored.content.size(),
                    Some(stored.modified),
                )),
            }
        }
        Ok(stream_of(listed))
    }

    async fn copy(&self, from: &ObjectKey, to: &ObjectKey) -> Result<()> {
        let mut state = lock(&self.state);
        let objects = container_of(&mut state, "copy object", from.container())?;
        let mut stored = objects
            .get(from.name())
            .ok_or_else(|| Error::new(ErrorKind::NotFound, "copy object").on(from))?
            .clone();
        stored.durable = false;
        stored.modified = Timestamp::now();
        container_of(&mut state, "copy object", to.container())?
            .insert(to.name().to_owned(), stored);
        state.events.push(Event::Copied {
            name: to.to_string(),
        });
        Ok(())
    }

    async fn delete(&self, keys: &[ObjectKey]) -> Vec<Result<()>> {
        let mut state = lock(&self.state);
        for key in keys {
            let objects = state.containers.get_mut(key.container());
            if objects.and_then(|o| o.remove(key.name())).is_some() {
                state.events.push(Event::Deleted {
                    name: key.to_string(),
                });
            }
        }
        keys.iter().map(|_| Ok(())).collect()
    }

    async fn barrier(&self, container: &ContainerName) -> Result<()> {
        let mut state = lock(&self.state);
        if let Some(objects) = state.containers.get_mut(container) {
            for stored in objects.values_mut() {
                stored.durable = true;
            }
        }
        state.events.push(Event::Barrier {
            container: container.to_string(),
        });
        Ok(())
    }

    async fn leftovers(&self, container: Option<&ContainerName>) -> Result<BoxStream<Leftover>> {
        let state = lock(&self.state);
        let open = state.uploads.iter().map(|(id, (key, begun))| {
            let mut leftover = Leftover::new("unfinished upload", key.clone(), id.to_string());
            leftover.modified = Some(*begun);
            leftover
        });
        let wanted = |l: &Leftover| container.is_none_or(|c| l.key.container() == c);
        Ok(stream_of(open.filter(wanted).collect()))
    }

    async fn remove_leftover(&self, leftover: &Leftover) -> Result<()> {
        if let Ok(id) = leftover.id.parse::<u64>() {
            lock(&self.state).uploads.remove(&id);
        }
        Ok(())
    }

    async fn clear_leftovers(&self, container: &ContainerName, prefix: &str) -> Result<()> {
        lock(&self.state)
            .uploads
            .retain(|_, (key, _)| key.container() != container || !key.name().starts_with(prefix));
        Ok(())
    }
}
