//! One connection to the export, and the handles of the folders that it has met.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Mutex, PoisonError};

use backup_core::{Error, ErrorKind};
use bytes::Bytes;
use nfs_rs::{Attr, Mount, ObjRes};

use super::failure::{Failure, exists, kind};

/// What `type_` of attributes says, in both versions of the protocol.
pub(super) const FILE: u32 = 1;
pub(super) const FOLDER: u32 = 2;
const LINK: u32 = 5;

/// Handles that are kept. A job works in one container, a few folders deep.
const FOLDERS: usize = 256;

/// Bytes of one request at most, whatever the server takes: a deadline is for one request.
const REQUEST: u32 = 1 << 20;

/// Mode of folders above a container's own: open to the group, so that Cinder, another user of it, makes its own there.
const ABOVE_MODE: u32 = 0o775;

/// A mounted export, as the library calls it. Nothing is mounted on this host.
pub(super) struct Connection {
    mount: Box<dyn Mount>,
    /// Counts the connections of this process to the export.
    pub(super) number: u64,
    root: Bytes,
    /// The root's group. What is made gets it, as what Cinder makes has it, whoever runs this.
    group: u32,
    /// By their path below the root, without a slash at either end.
    folders: Mutex<HashMap<String, Bytes>>,
}

impl fmt::Debug for Connection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Connection")
            .field("number", &self.number)
            .finish_non_exhaustive()
    }
}

/// The path of `name` in `folder`, both below the root.
pub(super) fn joined(folder: &str, name: &str) -> String {
    if folder.is_empty() {
        name.to_owned()
    } else {
        format!("{folder}/{name}")
    }
}

/// A path's folder and its last part.
pub(super) fn split(path: &str) -> (&str, &str) {
    path.rsplit_once('/').unwrap_or(("", path))
}

impl Connection {
    /// Takes a fresh mount. Paths are below the export's root until [`enter`](Self::enter).
    pub(super) async fn new(mount: Box<dyn Mount>, number: u64) -> Self {
        let root = mount.getfh().await;
        Self {
            mount,
            number,
            root,
            group: 0,
            folders: Mutex::default(),
        }
    }

    /// Makes the folder at `path`, which must be there, the root of all paths.
    pub(super) async fn enter(&mut self, path: &str) -> Result<(), Failure> {
        self.root = self.folder(path).await?;
        self.group = self.mount.getattr(self.root.clone()).await?.gid;
        self.forget_folders();
        Ok(())
    }

    pub(super) fn mount(&self) -> &dyn Mount {
        &*self.mount
    }

    /// Bytes of a READ at most.
    pub(super) fn read_size(&self) -> u32 {
        self.mount.get_max_read_size().clamp(1, REQUEST)
    }

    /// Bytes of a WRITE at most.
    pub(super) fn write_size(&self) -> u32 {
        self.mount.get_max_write_size().clamp(1, REQUEST)
    }

    fn folders(&self) -> std::sync::MutexGuard<'_, HashMap<String, Bytes>> {
        self.folders.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn remember(&self, path: &str, handle: &Bytes) {
        let mut folders = self.folders();
        if folders.len() >= FOLDERS {
            folders.clear();
        }
        folders.insert(path.to_owned(), handle.clone());
    }

    /// Forgets all handles: one of them was stale, or a name was not where it was.
    pub(super) fn forget_folders(&self) {
        self.folders().clear();
    }

    /// Whether a handle of `path` is remembered, which then may be of a folder that is gone.
    pub(super) fn remembers(&self, path: &str) -> bool {
        self.folders().contains_key(path)
    }

    /// What `name` in a folder is. The library's calls by path would clean odd names; here each part is looked up as it
    /// is.
    pub(super) async fn look_up(
        &self,
        folder: &Bytes,
        name: &str,
    ) -> Result<(Bytes, Attr), Failure> {
        let found = self.mount.lookup(folder.clone(), name).await?;
        self.with_attributes(found).await
    }

    /// The same of what a call gave, asking where the server left them out.
    pub(super) async fn with_attributes(&self, found: ObjRes) -> Result<(Bytes, Attr), Failure> {
        let attributes = match found.attr {
            Some(attributes) => attributes,
            None => self.mount.getattr(found.fh.clone()).await?,
        };
        Ok((found.fh, attributes))
    }

    /// The handle of the folder at `path`. A link on the way is refused: who may write to the repository could plant
    /// one. (No NFS server follows one by itself.)
    pub(super) async fn folder(&self, path: &str) -> Result<Bytes, Failure> {
        self.walk(path, None).await
    }

    /// The same; what is missing of it is made: `mode` is that of the last one. `doubtful`: an earlier try of this
    /// call may have made it already, without its mode.
    pub(super) async fn make_folder(
        &self,
        path: &str,
        mode: u32,
        doubtful: bool,
    ) -> Result<Bytes, Failure> {
        self.walk(path, Some(Making { mode, doubtful })).await
    }

    async fn walk(&self, path: &str, making: Option<Making>) -> Result<Bytes, Failure> {
        let mut at = self.root.clone();
        let mut walked = String::new();
        for part in path.split('/').filter(|part| !part.is_empty()) {
            walked = joined(&walked, part);
            let known = self.folders().get(&walked).cloned();
            if let Some(known) = known {
                at = known;
                continue;
            }
            let found = match (self.look_up(&at, part).await, making) {
                (Err(failure), Some(making)) if failure.is_missing() => {
                    let mode = if walked == path {
                        making.mode
                    } else {
                        ABOVE_MODE
                    };
                    self.make_one(&at, part, mode, making.doubtful).await?
                }
                (found, _) => found?,
            };
            refuse_all_but_folders(&walked, &found.1)?;
            at = found.0;
            self.remember(&walked, &at);
        }
        Ok(at)
    }

    async fn make_one(
        &self,
        above: &Bytes,
        name: &str,
        mode: u32,
        doubtful: bool,
    ) -> Result<(Bytes, Attr), Failure> {
        let (handle, attributes) = match self.mount.mkdir(above.clone(), name, mode).await {
            Ok(made) => {
                let made = self.with_attributes(made).await?;
                self.give(&made.0, &made.1, mode).await?;
                return Ok(made);
            }
            // Another process was faster, or an earlier try of ours whose answer was lost.
            Err(error) if exists(&error) => self.look_up(above, name).await?,
            Err(error) => return Err(error.into()),
        };
        if doubtful && attributes.type_ == FOLDER {
            self.give(&handle, &attributes, mode).await?;
        }
        Ok((handle, attributes))
    }

    /// Gives what was just made the root's group and its mode, where it has them not: version 4 of the library only tries
    /// to set a mode. A server that maps all users to one, or a user who is no member of the group, changes no group.
    pub(super) async fn give(
        &self,
        handle: &Bytes,
        attributes: &Attr,
        mode: u32,
    ) -> Result<(), Failure> {
        let handle = || handle.clone();
        if attributes.gid != self.group {
            let group = Some(self.group);
            let given = self
                .mount
                .setattr(handle(), None, None, None, group, None, None, None);
            match given.await {
                Err(error) if kind(&error) == ErrorKind::PermissionDenied => {
                    tracing::debug!(%error, "the group of what was made stays as the server made it");
                }
                given => given?,
            }
        }
        if attributes.file_mode & 0o7777 == mode {
            return Ok(());
        }
        let set = self
            .mount
            .setattr(handle(), None, Some(mode), None, None, None, None, None);
        Ok(set.await?)
    }
}

#[derive(Clone, Copy)]
struct Making {
    mode: u32,
    doubtful: bool,
}

fn refuse_all_but_folders(path: &str, attributes: &Attr) -> Result<(), Error> {
    let operation = "find folder";
    match attributes.type_ {
        FOLDER => Ok(()),
        LINK => Err(Error::corrupt(
            operation,
            path,
            "a link stands where a folder of the repository should be, and links are not followed",
        )
        .hint("remove the link; to keep a part of a repository elsewhere, mount it there on the server")),
        _ => Err(Error::new(ErrorKind::Conflict, operation)
            .on(path)
            .because("a file is in the way where a folder should be")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_joined_and_split_without_slashes_at_their_ends() {
        assert_eq!(joined("", "a"), "a");
        assert_eq!(joined("a/b", "c"), "a/b/c");
        assert_eq!(split("a/b/c"), ("a/b", "c"));
        assert_eq!(split("a"), ("", "a"));
    }
}
