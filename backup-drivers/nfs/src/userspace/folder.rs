//! Reading a folder page by page.

use std::collections::{HashSet, VecDeque};
use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;

use backup_core::{Error, Result, Timestamp};
use nfs_rs::{Attr, DirectoryCookie, ReaddirplusEntry};

use super::connection::{Connection, FILE, FOLDER};
use super::failure::{Failure, is_missing};
use super::link::{Call, Link};

/// What an entry is to a listing: by its own kind, so that a link is none, wherever it leads.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Kind {
    File {
        size: u64,
        modified: Option<Timestamp>,
    },
    Folder,
    Other,
}

/// An entry of a folder.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Entry {
    pub(super) name: String,
    pub(super) kind: Kind,
}

/// A folder that is being read.
#[derive(Debug)]
pub(super) struct Entries {
    link: Arc<Link>,
    operation: &'static str,
    path: String,
    position: DirectoryCookie,
    over: bool,
    page: VecDeque<Entry>,
    /// Positions that pages ended at: a server that comes back to one would go round for ever.
    passed: HashSet<DirectoryCookie>,
    told: Told,
}

/// Names that were told, as a hash each, for a folder that must be read from its beginning again.
#[derive(Debug, Default)]
struct Told {
    names: HashSet<(u64, u64)>,
    hashers: (RandomState, RandomState),
}

impl Told {
    fn first(&mut self, name: &str) -> bool {
        let hashes = (self.hashers.0.hash_one(name), self.hashers.1.hash_one(name));
        self.names.insert(hashes)
    }
}

enum Page {
    Entries {
        entries: Vec<Entry>,
        next: DirectoryCookie,
        over: bool,
    },
    /// There is no such folder.
    Missing,
    /// The server knows the position no more.
    BadPosition,
}

impl Entries {
    /// Reads the folder at `path` below the root. One that is not there has no entries.
    pub(super) fn of(link: &Arc<Link>, operation: &'static str, path: String) -> Self {
        Self {
            link: Arc::clone(link),
            operation,
            path,
            position: DirectoryCookie::default(),
            over: false,
            page: VecDeque::new(),
            passed: HashSet::new(),
            told: Told::default(),
        }
    }

    pub(super) fn path(&self) -> &str {
        &self.path
    }

    pub(super) async fn next(&mut self) -> Result<Option<Entry>> {
        loop {
            while let Some(entry) = self.page.pop_front() {
                if self.told.first(&entry.name) {
                    return Ok(Some(entry));
                }
            }
            if self.over {
                return Ok(None);
            }
            self.turn().await?;
        }
    }

    async fn turn(&mut self) -> Result<()> {
        let call = Call::new(self.operation, &self.path, 1 << 20);
        let (path, position) = (self.path.clone(), self.position);
        let page = self.link.run(call, move |on, _| {
            let path = path.clone();
            async move { page(&on, &path, position).await }
        });
        match page.await? {
            Page::Missing => self.over = true,
            // Names that were told are not told again.
            Page::BadPosition => {
                self.position = DirectoryCookie::default();
                self.passed.clear();
            }
            Page::Entries {
                entries,
                next,
                over,
            } => {
                if !over && !self.passed.insert(next) {
                    return Err(Error::corrupt(
                        self.operation,
                        &self.path,
                        "the server tells the folder's entries in a circle",
                    ));
                }
                self.page.extend(entries);
                self.position = next;
                self.over = over;
            }
        }
        Ok(())
    }
}

async fn page(on: &Connection, path: &str, position: DirectoryCookie) -> Result<Page, Failure> {
    let folder = match on.folder(path).await {
        Err(failure) if failure.is_missing() => return Ok(Page::Missing),
        folder => folder?,
    };
    let page = match on.mount().readdirplus_page(folder.clone(), position).await {
        Err(error) if error.is_bad_directory_cookie() && position != DirectoryCookie::default() => {
            return Ok(Page::BadPosition);
        }
        Err(error) if is_missing(&error) => return Ok(Page::Missing),
        page => page?,
    };
    let mut entries = Vec::with_capacity(page.entries.len());
    for entry in page.entries {
        if matches!(entry.file_name.as_str(), "." | "..") {
            continue;
        }
        entries.extend(described(on, &folder, entry).await?);
    }
    Ok(Page::Entries {
        entries,
        next: page.next,
        over: page.eof,
    })
}

/// An entry with what it is. `None` for one that is gone, and for a name that is no UTF-8: the library shows it with
/// replacements, and no key spells it.
async fn described(
    on: &Connection,
    folder: &bytes::Bytes,
    entry: ReaddirplusEntry,
) -> Result<Option<Entry>, Failure> {
    let doubtful = entry.file_name.contains(char::REPLACEMENT_CHARACTER);
    let attributes = match entry.attr {
        Some(attributes) if !doubtful => attributes,
        _ => match on.look_up(folder, &entry.file_name).await {
            Ok((_, attributes)) => attributes,
            Err(failure) if failure.is_missing() => return Ok(None),
            Err(failure) => return Err(failure),
        },
    };
    Ok(Some(Entry {
        name: entry.file_name,
        kind: kind(&attributes),
    }))
}

fn kind(attributes: &Attr) -> Kind {
    match attributes.type_ {
        FILE => Kind::File {
            size: attributes.filesize,
            modified: time(attributes),
        },
        FOLDER => Kind::Folder,
        _ => Kind::Other,
    }
}

fn time(attributes: &Attr) -> Option<Timestamp> {
    let micros = i64::from(attributes.mtime.seconds) * 1_000_000
        + i64::from(attributes.mtime.nseconds) / 1000;
    Timestamp::from_micros(micros).ok()
}
