//! Listing: a walk over folders that goes on only while its results are taken.

use std::collections::BTreeSet;
use std::sync::Arc;

use backup_core::{
    BoxStream, ContainerName, Error, ErrorKind, Leftover, Listed, ObjectKey, Result,
};
use backup_posix::layout::is_temporary;

use super::connection::joined;
use super::folder::{Entries, Entry, Kind};
use super::link::Link;

const LIST: &str = "list";

/// Folders below each other that a walk follows; deeper ones are no work of ours.
const DEPTH: usize = 32;

/// Walks the objects of a container.
struct Objects {
    link: Arc<Link>,
    prefix: String,
    delimiter: Option<char>,
    levels: Vec<Level>,
    beginnings: BTreeSet<String>,
}

/// A folder that is being read, and the part of the names that it stands for, with its slash.
struct Level {
    entries: Entries,
    name: String,
}

impl Level {
    fn of(link: &Arc<Link>, path: String, name: String) -> Self {
        Self {
            entries: Entries::of(link, LIST, path),
            name,
        }
    }
}

/// Lists the objects of `container` whose names begin with `prefix`.
pub(super) fn objects(
    link: &Arc<Link>,
    container: &ContainerName,
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
    let folder = match start.trim_end_matches('/') {
        "" => container.to_string(),
        below => joined(container.as_str(), below),
    };
    let walk = Objects {
        link: Arc::clone(link),
        prefix: prefix.to_owned(),
        delimiter,
        levels: vec![Level::of(link, folder, start.to_owned())],
        beginnings: BTreeSet::new(),
    };
    Box::pin(futures::stream::try_unfold(walk, |mut walk| async move {
        Ok(walk.next().await?.map(|listed| (listed, walk)))
    }))
}

impl Objects {
    async fn next(&mut self) -> Result<Option<Listed>> {
        while let Some(level) = self.levels.last_mut() {
            let entry = match level.entries.next().await {
                // A file where a folder was looked for: no name goes on below it.
                Err(e) if e.is(ErrorKind::Conflict) => None,
                entry => entry?,
            };
            let Some(entry) = entry else {
                self.levels.pop();
                continue;
            };
            let name = format!("{}{}", level.name, entry.name);
            let path = joined(level.entries.path(), &entry.name);
            let listed = match entry.kind {
                Kind::File { .. } if is_temporary(&entry.name) => None,
                Kind::File { size, modified } => self.object(name, size, modified),
                Kind::Folder => self.folder(path, format!("{name}/")).await?,
                Kind::Other => None,
            };
            if listed.is_some() {
                return Ok(listed);
            }
        }
        Ok(None)
    }

    fn object(
        &mut self,
        name: String,
        size: u64,
        modified: Option<backup_core::Timestamp>,
    ) -> Option<Listed> {
        let rest = name.strip_prefix(self.prefix.as_str())?;
        if let Some(delimiter) = self.delimiter
            && let Some(at) = rest.find(delimiter)
        {
            let end = self.prefix.len() + at + delimiter.len_utf8();
            let beginning = name[..end].to_owned();
            return self
                .beginnings
                .insert(beginning.clone())
                .then(|| Listed::prefix(beginning));
        }
        Some(Listed::object(name, size, modified))
    }

    /// Goes into a folder whose names (`name` ends with a slash) may have the prefix.
    async fn folder(&mut self, path: String, name: String) -> Result<Option<Listed>> {
        let below = name.starts_with(&self.prefix);
        if !(below || self.prefix.starts_with(&name)) || self.levels.len() >= DEPTH {
            return Ok(None);
        }
        if self.delimiter == Some('/') && below && name.len() > self.prefix.len() {
            // All that is in it has this beginning: it counts if there is anything.
            let any = holds_a_file(&self.link, path).await?;
            return Ok(any.then(|| Listed::prefix(name)));
        }
        self.levels.push(Level::of(&self.link, path, name));
        Ok(None)
    }
}

async fn holds_a_file(link: &Arc<Link>, path: String) -> Result<bool> {
    let mut levels = vec![Entries::of(link, LIST, path)];
    loop {
        let depth = levels.len();
        let Some(level) = levels.last_mut() else {
            return Ok(false);
        };
        match level.next().await? {
            None => {
                levels.pop();
            }
            Some(Entry { name, kind }) => match kind {
                Kind::File { .. } if !is_temporary(&name) => return Ok(true),
                Kind::Folder if depth < DEPTH => {
                    let below = joined(level.path(), &name);
                    levels.push(Entries::of(link, LIST, below));
                }
                _ => {}
            },
        }
    }
}

/// Walks folders, below each other or one alone, and tells what is in each.
struct Folders {
    link: Arc<Link>,
    /// Paths below the root, which are the names of containers.
    waiting: Vec<String>,
    deeper: bool,
}

/// What a walk has found in one folder.
struct Seen {
    path: String,
    holds_an_object: bool,
    temporaries: Vec<Entry>,
}

impl Folders {
    async fn next(&mut self) -> Result<Option<Seen>> {
        while let Some(path) = self.waiting.pop() {
            match self.look_through(path).await {
                // lost+found and what else is not for us; the root must be.
                Err((path, e)) if e.is(ErrorKind::PermissionDenied) && !path.is_empty() => {
                    tracing::warn!(folder = path, "left out: no right to read it");
                }
                Err((_, error)) => return Err(error),
                Ok(seen) => return Ok(Some(seen)),
            }
        }
        Ok(None)
    }

    async fn look_through(&mut self, path: String) -> Result<Seen, (String, Error)> {
        let mut entries = Entries::of(&self.link, LIST, path.clone());
        let mut seen = Seen {
            holds_an_object: false,
            temporaries: Vec::new(),
            path,
        };
        let depth = seen.path.matches('/').count();
        loop {
            let entry = match entries.next().await {
                Ok(Some(entry)) => entry,
                Ok(None) => return Ok(seen),
                Err(error) => return Err((seen.path, error)),
            };
            match entry.kind {
                Kind::File { .. } if is_temporary(&entry.name) => seen.temporaries.push(entry),
                Kind::File { .. } => seen.holds_an_object = true,
                Kind::Folder if self.deeper && depth < DEPTH => {
                    self.waiting.push(joined(&seen.path, &entry.name));
                }
                _ => {}
            }
        }
    }
}

/// Lists the folders that hold an object themselves.
pub(super) fn containers(link: &Arc<Link>) -> BoxStream<ContainerName> {
    let walk = Folders {
        link: Arc::clone(link),
        waiting: vec![String::new()],
        deeper: true,
    };
    Box::pin(futures::stream::try_unfold(walk, |mut walk| async move {
        while let Some(seen) = walk.next().await? {
            // A folder whose name is none that a container can have was not made as one.
            if seen.holds_an_object
                && let Ok(container) = ContainerName::new(seen.path)
            {
                return Ok(Some((container, walk)));
            }
        }
        Ok(None)
    }))
}

/// Finds the temporary files in the folder of `container`, or in every folder below the root.
pub(super) fn leftovers(
    link: &Arc<Link>,
    container: Option<&ContainerName>,
) -> BoxStream<Leftover> {
    let walk = Folders {
        link: Arc::clone(link),
        waiting: vec![container.map(ToString::to_string).unwrap_or_default()],
        deeper: container.is_none(),
    };
    let state = (walk, Vec::new());
    Box::pin(futures::stream::try_unfold(
        state,
        |(mut walk, mut found)| async move {
            loop {
                if let Some(leftover) = found.pop() {
                    return Ok(Some((leftover, (walk, found))));
                }
                match walk.next().await? {
                    Some(seen) => found = leftovers_of(seen),
                    None => return Ok(None),
                }
            }
        },
    ))
}

fn leftovers_of(seen: Seen) -> Vec<Leftover> {
    // A file in the root itself, or in a folder that can be no container, is none of ours.
    let Ok(container) = ContainerName::new(seen.path) else {
        return Vec::new();
    };
    let told = seen.temporaries.into_iter().filter_map(|entry| {
        let Kind::File { size, modified } = entry.kind else {
            return None;
        };
        let key = ObjectKey::new(&container, entry.name.clone()).ok()?;
        let mut leftover = Leftover::new("temporary file", key, entry.name);
        leftover.size = Some(size);
        leftover.modified = modified;
        Some(leftover)
    });
    told.collect()
}
