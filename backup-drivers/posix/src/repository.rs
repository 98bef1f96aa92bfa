use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use async_trait::async_trait;
use backup_core::{
    BoxStream, BufferPool, ByteRange, ContainerName, DefaultContainer, Download, Error, ErrorKind,
    Layout, Leftover, Limits, Listed, ObjectKey, PrefixStyle, PutMode, Repository, Result, Upload,
};
use bytes::Bytes;
use tokio::sync::OwnedSemaphorePermit;

use crate::config::{PosixConfig, Sync};
use crate::durability::Durability;
use crate::error::{is_missing, missing, on_path};
use crate::files::{FileSystem, LocalFiles};
use crate::lane::{Answers, Lane};
use crate::layout::{is_temporary, is_temporary_below, is_temporary_of};
use crate::leftovers;
use crate::list;
use crate::read::Reader;
use crate::threads::Threads;
use crate::tree::Tree;
use crate::upload::{PosixUpload, Temporary, Uploader};

/// Threads that write at once: the disk is reached by a few, and the CPU is for hashing.
const WRITERS: usize = 4;
/// Threads that read at once: an array or a server wants several requests at hand.
const READERS: usize = 8;
/// Threads that list, make folders and delete at once.
const KEEPERS: usize = 4;
/// Entries of a folder that are looked at within one deadline when temporary files are cleared.
const CLEARED_AT_ONCE: usize = 1000;

/// Memory kept for reading again, in bytes.
const BUFFERS: u64 = 64 << 20;

/// The longest file that Linux knows.
const LONGEST: u64 = i64::MAX.cast_unsigned();

/// A folder as a repository. Cheap to share; a process should have one for each folder, since durability is tracked
/// in it.
#[derive(Debug)]
pub struct PosixRepository {
    tree: Tree,
    service: String,
    writers: Lane,
    keepers: Lane,
    reader: Reader,
    durability: Option<Arc<Durability>>,
}

impl PosixRepository {
    /// Opens the folder. Nothing in it is changed.
    ///
    /// # Errors
    /// [`NotFound`](ErrorKind::NotFound) where it is not there, [`InvalidInput`](ErrorKind::InvalidInput) where it is
    /// no folder.
    pub fn open(config: &PosixConfig) -> Result<Self> {
        Self::open_on(config, Arc::new(LocalFiles))
    }

    /// Opens the folder on a filesystem that is called in a way of its own.
    ///
    /// # Errors
    /// As [`open`](Self::open).
    pub fn open_on(config: &PosixConfig, files: Arc<dyn FileSystem>) -> Result<Self> {
        let patience = std::time::Duration::from_secs(config.timeout_seconds.max(1));
        let answers = Answers::default();
        let tree = Tree::open(&config.path, files)?;
        Ok(Self {
            tree: tree.clone(),
            service: config.service.clone(),
            writers: Lane::new(WRITERS, patience, &answers),
            keepers: Lane::new(KEEPERS, patience, &answers),
            reader: Reader {
                lane: Lane::new(READERS, patience, &answers),
                buffers: BufferPool::new(BUFFERS),
                tree,
            },
            durability: match config.sync {
                Sync::Barrier => Some(Durability::new()),
                Sync::Never => None,
            },
        })
    }

    /// Waits for room among what is written but not yet durable.
    async fn room(&self, key: &ObjectKey, bytes: usize) -> Result<Option<OwnedSemaphorePermit>> {
        let Some(durability) = &self.durability else {
            return Ok(None);
        };
        let deadline = self.writers.deadline(bytes as u64);
        match tokio::time::timeout(deadline, durability.room(bytes)).await {
            Ok(room) => room.map(Some),
            Err(_) => Err(Error::new(ErrorKind::Timeout, "write object")
                .on(key)
                .because("the disk does not take what was written before")),
        }
    }

    /// Runs `write`, which makes the object's file, and sees to its durability.
    async fn store(
        &self,
        operation: &'static str,
        key: &ObjectKey,
        bytes: usize,
        write: impl FnOnce(&Tree, &ObjectKey, &Path) -> Result<File> + Send + 'static,
    ) -> Result<()> {
        let path = self.tree.writable_file(operation, key)?;
        let room = self.room(key, bytes).await?;
        let (tree, key) = (self.tree.clone(), key.clone());
        let durability = self.durability.clone();
        let target = path.clone();
        self.writers
            .run(operation, target, bytes as u64, move || {
                let file = write(&tree, &key, &path)?;
                if let (Some(durability), Some(room)) = (durability, room) {
                    note_subfolders(&tree, &durability, &key, &path);
                    durability.written(key.container(), path, file, room);
                }
                Ok(())
            })
            .await
    }
}

/// Takes note of the folders that an object's own name made.
fn note_subfolders(tree: &Tree, durability: &Durability, key: &ObjectKey, path: &Path) {
    if !key.name().contains('/') {
        return;
    }
    let top = tree.folder(key.container());
    for folder in path.ancestors().skip(1).take_while(|f| f.starts_with(&top)) {
        durability.folder_changed(key.container(), folder, true);
    }
}

/// Writes a new file. What could not be written whole is removed.
fn write_new(tree: &Tree, file: File, path: &Path, data: &[u8]) -> Result<File> {
    match tree.files().fill(&file, data) {
        Ok(()) => Ok(file),
        Err(e) => {
            // The error that counts is the first one; what stays behind is found by its name.
            drop(file);
            let _left = tree.files().remove_file(path);
            Err(on_path("write object", path, e))
        }
    }
}

/// Writes a file beside `path` and gives it that name, so that a reader sees the old or the new one.
fn replace(
    tree: &Tree,
    key: &ObjectKey,
    path: &Path,
    data: &[u8],
    sync: bool,
    closers: &Threads,
) -> Result<File> {
    let mut temporary = Temporary::create(tree, key, path, closers)?;
    temporary.write(data)?;
    temporary.name(path, sync)
}

/// Copies a file by the kernel: a reflink where the filesystem can.
fn copy_file(
    tree: &Tree,
    from: &Path,
    key: &ObjectKey,
    path: &Path,
    sync: bool,
    closers: &Threads,
) -> Result<File> {
    let (mut source, length) = crate::read::open(tree.files(), from)?;
    let temporary = Temporary::create(tree, key, path, closers)?;
    let mut target = temporary.file()?;
    let copied =
        std::io::copy(&mut source, &mut target).map_err(|e| on_path("copy object", path, e))?;
    if copied != length {
        return Err(Error::corrupt(
            "copy object",
            from.display(),
            "its length changed while it was copied",
        ));
    }
    temporary.name(path, sync)
}

fn delete_one(tree: &Tree, durability: Option<&Durability>, key: &ObjectKey) -> Result<()> {
    let path = tree.file(key);
    tree.refuse_links("delete object", &path)?;
    match tree.files().remove_file(&path) {
        Ok(()) => {
            if let Some(durability) = durability {
                durability.replaced(key.container(), &path);
            }
            tree.remove_empty_subfolders(key, &path);
            Ok(())
        }
        // A folder of that name is no object.
        Err(e) if is_missing(&e) || e.kind() == std::io::ErrorKind::IsADirectory => Ok(()),
        Err(e) => Err(on_path("delete object", &path, e)),
    }
}

/// Deletes the objects, and what killed processes left behind of them.
fn delete_all(tree: &Tree, durability: Option<&Durability>, keys: &[ObjectKey]) -> Vec<Result<()>> {
    let mut results: Vec<_> = keys
        .iter()
        .map(|key| delete_one(tree, durability, key))
        .collect();
    let mut folders = std::collections::BTreeMap::<PathBuf, Vec<usize>>::new();
    for (i, key) in keys.iter().enumerate() {
        if let Some(folder) = tree.file(key).parent() {
            folders.entry(folder.to_path_buf()).or_default().push(i);
        }
    }
    for (folder, indices) in folders {
        if tree.refuse_linked_folder("delete object", &folder).is_err() {
            // Each of its objects was refused already.
            continue;
        }
        let names: Vec<&str> = indices
            .iter()
            .map(|&i| keys[i].name().rsplit('/').next().unwrap_or_default())
            .collect();
        let of_these = |file: &str| names.iter().any(|name| is_temporary_of(file, name));
        if let Err(e) = tree.remove_temporaries(&folder, of_these)
            && let Some(result) = indices.first().and_then(|&i| results.get_mut(i))
            && result.is_ok()
        {
            *result = Err(on_path("delete object", &folder, e));
        }
    }
    results
}

#[async_trait]
impl Repository for PosixRepository {
    fn limits(&self) -> Limits {
        // Nothing that fails here gets better by being done again.
        Limits::new(LONGEST).with_retries(true)
    }

    fn layout(&self) -> Layout {
        Layout {
            service: self.service.clone(),
            container: DefaultContainer::PerBackup,
            prefix: PrefixStyle::Flat,
            account: None,
        }
    }

    fn describe(&self) -> String {
        self.tree.root().display().to_string()
    }

    /// The folders that hold a file themselves. Those without the right to be read are left out.
    async fn containers(&self) -> Result<BoxStream<ContainerName>> {
        Ok(list::containers(self.keepers.clone(), &self.tree))
    }

    async fn ensure_container(&self, container: &ContainerName) -> Result<()> {
        let (tree, container) = (self.tree.clone(), container.clone());
        let durability = self.durability.clone();
        let path = tree.folder(&container);
        let work = self.keepers.run("make container", path, 0, move || {
            let mut folders = tree.make_folder(&container)?.into_iter();
            if let Some(durability) = durability {
                // Those above may be another process's work of a moment ago: its entries are not durable either.
                if let Some(own) = folders.next() {
                    durability.folder_changed(&container, &own, true);
                }
                for above in folders {
                    durability.folder_changed(&container, &above, false);
                }
            }
            Ok(())
        });
        work.await
    }

    /// Stores an object under its final name; one that replaces another takes its place at once. Dropped, it is done
    /// all the same. After an error the new object is not there, unless the process was killed.
    async fn put(&self, key: &ObjectKey, data: Bytes, mode: PutMode) -> Result<()> {
        let operation = "write object";
        let sync = self.durability.is_some();
        let closers = self.writers.threads().clone();
        self.store(operation, key, data.len(), move |tree, key, path| {
            match (tree.create(operation, key, path)?, mode) {
                (Some(file), _) => write_new(tree, file, path, &data),
                (None, PutMode::Overwrite) => replace(tree, key, path, &data, sync, &closers),
                (None, PutMode::CreateOnly) => {
                    Err(Error::new(ErrorKind::AlreadyExists, operation).on(path.display()))
                }
            }
        })
        .await
    }

    /// Begins a temporary file beside the object's. A killed process leaves it behind, where listings hide it and
    /// [`delete`](Self::delete) of the object removes it.
    async fn begin(&self, key: &ObjectKey, _size_hint: Option<u64>) -> Result<Box<dyn Upload>> {
        let operation = "begin object";
        let target = self.tree.writable_file(operation, key)?;
        let (tree, key) = (self.tree.clone(), key.clone());
        let container = key.container().clone();
        let path = target.clone();
        let durability = self.durability.clone();
        let closers = self.writers.threads().clone();
        let temporary = self
            .writers
            .run(operation, target.clone(), 0, move || {
                let temporary = Temporary::create(&tree, &key, &path, &closers)?;
                if let Some(durability) = durability {
                    note_subfolders(&tree, &durability, &key, &path);
                }
                Ok(temporary)
            })
            .await?;
        let uploader = Uploader {
            lane: self.writers.clone(),
            durability: self.durability.clone(),
        };
        Ok(Box::new(PosixUpload::new(
            uploader, container, target, temporary,
        )))
    }

    /// Reads up to 16 MiB as one piece, more in pieces of 4 MiB, of which one is read ahead.
    async fn get(&self, key: &ObjectKey, range: Option<ByteRange>) -> Result<Download> {
        self.reader.get(self.tree.file(key), range).await
    }

    async fn list(
        &self,
        container: &ContainerName,
        prefix: &str,
        delimiter: Option<char>,
    ) -> Result<BoxStream<Listed>> {
        let folder = self.tree.folder(container);
        Ok(list::objects(
            self.keepers.clone(),
            &self.tree,
            folder,
            prefix,
            delimiter,
        ))
    }

    async fn copy(&self, from: &ObjectKey, to: &ObjectKey) -> Result<()> {
        let source = self.tree.file(from);
        let sync = self.durability.is_some();
        let (path, from) = (source.clone(), from.clone());
        let tree = self.tree.clone();
        let measured = self.keepers.run("copy object", source.clone(), 0, move || {
            tree.refuse_links("copy object", &path)?;
            match tree.files().look(&path) {
                Ok(metadata) => Ok(usize::try_from(metadata.len()).unwrap_or(usize::MAX)),
                Err(e) if is_missing(&e) => Err(missing("copy object", from)),
                Err(e) => Err(on_path("copy object", &path, e)),
            }
        });
        let length = measured.await?;
        let closers = self.writers.threads().clone();
        self.store("copy object", to, length, move |tree, key, path| {
            copy_file(tree, &source, key, path, sync, &closers)
        })
        .await
    }

    /// Deletes the files and the temporary files that belong to them. A container's folder stays, as Cinder leaves it;
    /// folders that only an object's name with slashes made go with the last object in them.
    async fn delete(&self, keys: &[ObjectKey]) -> Vec<Result<()>> {
        let mut results = Vec::with_capacity(keys.len());
        for some in keys.chunks(1000) {
            let (tree, owned) = (self.tree.clone(), some.to_vec());
            let durability = self.durability.clone();
            let path = self.tree.root().to_path_buf();
            let work = self.keepers.run("delete objects", path, 0, move || {
                Ok(delete_all(&tree, durability.as_deref(), &owned))
            });
            match work.await {
                Ok(done) => results.extend(done),
                Err(error) => {
                    let failed = |key| {
                        Error::new(error.kind(), "delete object")
                            .on(key)
                            .because(error.to_string())
                    };
                    results.extend(some.iter().map(|key| Err(failed(key))));
                }
            }
        }
        results
    }

    async fn barrier(&self, container: &ContainerName) -> Result<()> {
        let Some(durability) = &self.durability else {
            return Ok(());
        };
        let patience = self.writers.deadline(256 << 20);
        durability.settled(container, patience).await?;
        let (this, name) = (Arc::clone(durability), container.clone());
        let path = self.tree.folder(container);
        let folders = self
            .keepers
            .run("make durable", path, 0, move || this.sync_folders(&name));
        folders.await?;
        durability.verdict(container)
    }

    /// The temporary files. Of a given container only those in its own folder.
    async fn leftovers(&self, container: Option<&ContainerName>) -> Result<BoxStream<Leftover>> {
        Ok(leftovers::find(self.keepers.clone(), &self.tree, container))
    }

    async fn remove_leftover(&self, leftover: &Leftover) -> Result<()> {
        let operation = "remove temporary file";
        let path = self.tree.file(&leftover.key);
        let name = leftover.key.name().rsplit('/').next().unwrap_or_default();
        if !is_temporary(name) {
            return Err(Error::invalid(operation, "it is none").on(path.display()));
        }
        let tree = self.tree.clone();
        let work = self.keepers.run(operation, path.clone(), 0, move || {
            match tree.files().remove_file(&path) {
                Err(e) if !is_missing(&e) => Err(on_path(operation, &path, e)),
                _ => Ok(()),
            }
        });
        work.await
    }

    /// Removes temporary files of objects that lie in the container's own folder.
    async fn clear_leftovers(&self, container: &ContainerName, prefix: &str) -> Result<()> {
        let operation = "remove temporary files";
        let folder = self.tree.folder(container);
        let (tree, path) = (self.tree.clone(), folder.clone());
        let opened = self.keepers.run(operation, folder.clone(), 0, move || {
            tree.refuse_linked_folder(operation, &path)?;
            tree.entries(&path)
                .map_err(|e| on_path(operation, &path, e))
        });
        let mut entries = opened.await?;
        // In a folder that many share there may be any number of entries: each round has a deadline of its own.
        loop {
            let (tree, path, prefix) = (self.tree.clone(), folder.clone(), prefix.to_owned());
            let round = self.keepers.run(operation, folder.clone(), 0, move || {
                let of_these = |file: &str| is_temporary_below(file, &prefix);
                let more = tree.remove_some(&mut entries, CLEARED_AT_ONCE, of_these);
                let more = more.map_err(|e| on_path(operation, &path, e))?;
                Ok((entries, more))
            });
            let more;
            (entries, more) = round.await?;
            if !more {
                return Ok(());
            }
        }
    }
}
