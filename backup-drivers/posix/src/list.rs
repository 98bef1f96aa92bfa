//! Listing: a walk over folders that goes on only while its results are taken, and keeps no thread meanwhile.

use std::collections::BTreeSet;
use std::fs::{DirEntry, ReadDir};
use std::io;
use std::path::{Path, PathBuf};
use std::time::UNIX_EPOCH;

use backup_core::{BoxStream, ContainerName, Listed, Result, Timestamp};
use futures::TryStreamExt;

use crate::error::{is_missing, on_path};
use crate::files::FileSystem;
use crate::lane::Lane;
use crate::layout::is_temporary;
use crate::tree::Tree;

const LIST: &str = "list";

/// Results that one step of a walk gathers.
const BATCH: usize = 512;
/// Folders below each other that a walk follows; deeper ones are no work of ours.
pub(crate) const DEPTH: usize = 32;

/// A walk that yields batches of `T`.
pub(crate) trait Walk: Send + 'static {
    type Item: Send + 'static;
    /// The next results; an empty batch ends it. Blocks.
    fn step(&mut self) -> Result<Vec<Self::Item>>;
}

pub(crate) fn stream_of<W: Walk>(lane: Lane, root: PathBuf, walk: W) -> BoxStream<W::Item> {
    let batches = futures::stream::try_unfold(walk, move |mut walk| {
        let step = lane.run(LIST, root.clone(), 0, move || {
            let batch = walk.step()?;
            Ok((batch, walk))
        });
        async move {
            let (batch, walk) = step.await?;
            Ok((!batch.is_empty()).then_some((batch, walk)))
        }
    });
    let items = batches.map_ok(|batch| futures::stream::iter(batch.into_iter().map(Ok)));
    Box::pin(items.try_flatten())
}

/// What a folder's entry is to a listing.
enum Entry {
    File(String, DirEntry),
    Folder(String),
}

/// An entry by its own kind: a link is none, wherever it leads. `None` also for names that are no UTF-8: no key
/// spells them.
fn classify(files: &dyn FileSystem, entry: DirEntry) -> io::Result<Option<Entry>> {
    let Ok(name) = entry.file_name().into_string() else {
        return Ok(None);
    };
    let kind = entry.file_type()?;
    Ok(if kind.is_dir() {
        Some(Entry::Folder(name))
    } else if kind.is_file() && !is_temporary(&name) && !files.hides(&name) {
        Some(Entry::File(name, entry))
    } else {
        None
    })
}

/// A folder that is being read, and the part of the names that it stands for, with its slash.
struct Level {
    path: PathBuf,
    name: String,
    entries: ReadDir,
}

impl Level {
    /// `None` where it is not there (any more).
    fn open(files: &dyn FileSystem, path: PathBuf, name: String) -> Result<Option<Self>> {
        match files.entries(&path) {
            Ok(entries) => Ok(Some(Self {
                path,
                name,
                entries,
            })),
            Err(e) if is_missing(&e) => Ok(None),
            Err(e) => Err(on_path(LIST, &path, e)),
        }
    }

    fn next(&mut self, files: &dyn FileSystem) -> Result<Option<Entry>> {
        for entry in self.entries.by_ref() {
            let entry = entry
                .and_then(|entry| classify(files, entry))
                .or_else(|e| if is_missing(&e) { Ok(None) } else { Err(e) })
                .map_err(|e| on_path(LIST, &self.path, e))?;
            if entry.is_some() {
                return Ok(entry);
            }
        }
        Ok(None)
    }
}

/// Walks the objects of a container.
struct Objects {
    tree: Tree,
    prefix: String,
    delimiter: Option<char>,
    levels: Vec<Level>,
    beginnings: BTreeSet<String>,
}

/// Lists the objects in `folder` whose names begin with `prefix`.
pub(crate) fn objects(
    lane: Lane,
    tree: &Tree,
    folder: PathBuf,
    prefix: &str,
    delimiter: Option<char>,
) -> BoxStream<Listed> {
    // No object's name has an empty, '.' or '..' part, so no name begins so; a path made of it would lead elsewhere.
    let start = prefix.rfind('/').map_or("", |at| &prefix[..=at]);
    let parts = start.strip_suffix('/').map(|s| s.split('/'));
    if parts.is_some_and(|mut p| p.any(|part| matches!(part, "" | "." | "..")))
        || prefix.contains('\0')
    {
        return Box::pin(futures::stream::empty());
    }
    let walk = Objects {
        tree: tree.clone(),
        prefix: prefix.to_owned(),
        delimiter,
        levels: Vec::new(),
        beginnings: BTreeSet::new(),
    };
    let first = Start {
        path: folder.join(start.trim_end_matches('/')),
        name: start.to_owned(),
    };
    stream_of(lane, folder, Started(Some(first), walk))
}

/// Where a walk begins: opened by its first step, since that blocks.
struct Start {
    path: PathBuf,
    name: String,
}

struct Started<W>(Option<Start>, W);

impl Walk for Started<Objects> {
    type Item = Listed;
    fn step(&mut self) -> Result<Vec<Listed>> {
        if let Some(start) = self.0.take() {
            let tree = &self.1.tree;
            tree.refuse_linked_folder(LIST, &start.path)?;
            let level = Level::open(tree.files(), start.path, start.name)?;
            self.1.levels.extend(level);
        }
        self.1.step()
    }
}

impl Objects {
    fn step(&mut self) -> Result<Vec<Listed>> {
        let mut batch = Vec::new();
        while batch.len() < BATCH {
            let Some(level) = self.levels.last_mut() else {
                break;
            };
            match level.next(self.tree.files())? {
                None => {
                    self.levels.pop();
                }
                Some(Entry::File(name, entry)) => {
                    let name = format!("{}{name}", level.name);
                    batch.extend(self.object(name, &entry)?);
                }
                Some(Entry::Folder(name)) => {
                    let path = level.path.join(&name);
                    let name = format!("{}{name}/", level.name);
                    batch.extend(self.folder(path, name)?);
                }
            }
        }
        Ok(batch)
    }

    fn object(&mut self, name: String, entry: &DirEntry) -> Result<Option<Listed>> {
        let Some(rest) = name.strip_prefix(self.prefix.as_str()) else {
            return Ok(None);
        };
        if let Some(delimiter) = self.delimiter
            && let Some(at) = rest.find(delimiter)
        {
            let end = self.prefix.len() + at + delimiter.len_utf8();
            let beginning = name[..end].to_owned();
            return Ok(self
                .beginnings
                .insert(beginning.clone())
                .then(|| Listed::prefix(beginning)));
        }
        let metadata = match entry.metadata() {
            Ok(metadata) => metadata,
            // Deleted since its name was read.
            Err(e) if is_missing(&e) => return Ok(None),
            Err(e) => return Err(on_path(LIST, &entry.path(), e)),
        };
        let modified = metadata
            .modified()
            .ok()
            .and_then(|time| time.duration_since(UNIX_EPOCH).ok())
            .and_then(|since| i64::try_from(since.as_micros()).ok())
            .and_then(|micros| Timestamp::from_micros(micros).ok());
        Ok(Some(Listed::object(name, metadata.len(), modified)))
    }

    /// Goes into a folder whose names (`name` ends with a slash) may have the prefix.
    fn folder(&mut self, path: PathBuf, name: String) -> Result<Option<Listed>> {
        let below = name.starts_with(&self.prefix);
        if !(below || self.prefix.starts_with(&name)) || self.levels.len() >= DEPTH {
            return Ok(None);
        }
        if self.delimiter == Some('/') && below && name.len() > self.prefix.len() {
            // All that is in it has this beginning: it counts if there is anything.
            let holds_one = holds_a_file(self.tree.files(), &path, DEPTH)?;
            return Ok(holds_one.then(|| Listed::prefix(name)));
        }
        self.levels
            .extend(Level::open(self.tree.files(), path, name)?);
        Ok(None)
    }
}

fn holds_a_file(files: &dyn FileSystem, path: &Path, depth: usize) -> Result<bool> {
    let Some(mut level) = Level::open(files, path.to_path_buf(), String::new())? else {
        return Ok(false);
    };
    while let Some(entry) = level.next(files)? {
        match entry {
            Entry::File(..) => return Ok(true),
            Entry::Folder(name) if depth > 0 => {
                if holds_a_file(files, &path.join(name), depth - 1)? {
                    return Ok(true);
                }
            }
            Entry::Folder(_) => {}
        }
    }
    Ok(false)
}

/// Walks the folders that hold a file themselves.
struct Containers {
    tree: Tree,
    waiting: Vec<(PathBuf, String)>,
}

/// Lists the containers below the root.
pub(crate) fn containers(lane: Lane, tree: &Tree) -> BoxStream<ContainerName> {
    let root = tree.root().to_path_buf();
    let walk = Containers {
        tree: tree.clone(),
        waiting: vec![(root.clone(), String::new())],
    };
    stream_of(lane, root, walk)
}

impl Walk for Containers {
    type Item = ContainerName;

    fn step(&mut self) -> Result<Vec<ContainerName>> {
        let mut batch = Vec::new();
        while batch.is_empty() {
            let Some((path, name)) = self.waiting.pop() else {
                break;
            };
            let level = match self.tree.files().entries(&path) {
                Ok(entries) => Level {
                    path,
                    name,
                    entries,
                },
                // lost+found and what else is not for us; the root must be.
                Err(e) if is_missing(&e) && !name.is_empty() => continue,
                Err(e) if e.kind() == io::ErrorKind::PermissionDenied && !name.is_empty() => {
                    tracing::warn!(folder = %path.display(), "left out: no right to read it");
                    continue;
                }
                Err(e) => return Err(on_path(LIST, &path, e)),
            };
            batch.extend(self.look_through(level)?);
        }
        Ok(batch)
    }
}

impl Containers {
    fn look_through(&mut self, mut level: Level) -> Result<Option<ContainerName>> {
        let depth = level.name.matches('/').count();
        let mut holds_one = false;
        while let Some(entry) = level.next(self.tree.files())? {
            match entry {
                Entry::File(..) => holds_one = true,
                Entry::Folder(name) if depth < DEPTH => {
                    let path = level.path.join(&name);
                    self.waiting.push((path, format!("{}{name}/", level.name)));
                }
                Entry::Folder(_) => {}
            }
        }
        let name = level.name.trim_end_matches('/');
        // A folder whose name is none that a container can have was not made as one.
        Ok(holds_one.then(|| ContainerName::new(name).ok()).flatten())
    }
}
