//! Where containers and objects lie below the root, and the rules for making what is not there.

use std::fs::{File, ReadDir};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use backup_core::{ContainerName, Error, ObjectKey, Result};

use crate::error::{is_missing, on_path};
use crate::files::FileSystem;
use crate::layout::{FILE_MODE, FOLDER_MODE, is_temporary, temporary_name};

/// The root folder, and how the filesystem that it lies on is called.
#[derive(Clone, Debug)]
pub(crate) struct Tree {
    root: PathBuf,
    files: Arc<dyn FileSystem>,
}

impl Tree {
    /// The tree below `root`, which must be a folder.
    pub(crate) fn open(root: &Path, files: Arc<dyn FileSystem>) -> Result<Self> {
        let open = "open repository";
        let absolute = std::path::absolute(root).map_err(|e| on_path(open, root, e))?;
        let metadata = std::fs::metadata(&absolute).map_err(|e| {
            on_path(open, &absolute, e).hint("make that folder, or mount what belongs there")
        })?;
        if !metadata.is_dir() {
            return Err(Error::invalid(open, "it is not a folder").on(absolute.display()));
        }
        Ok(Self {
            root: absolute,
            files,
        })
    }

    pub(crate) fn files(&self) -> &dyn FileSystem {
        &*self.files
    }

    pub(crate) fn root(&self) -> &Path {
        &self.root
    }

    /// The folder of a container. Its name cannot climb: the type refuses such.
    pub(crate) fn folder(&self, container: &ContainerName) -> PathBuf {
        self.root.join(container.as_str())
    }

    /// The file of an object.
    pub(crate) fn file(&self, key: &ObjectKey) -> PathBuf {
        self.folder(key.container()).join(key.name())
    }

    /// The file of an object that is to be written.
    ///
    /// # Errors
    /// `InvalidInput` for a name of the form that temporary files have: listings hide those.
    pub(crate) fn writable_file(
        &self,
        operation: &'static str,
        key: &ObjectKey,
    ) -> Result<PathBuf> {
        let last = key.name().rsplit('/').next().unwrap_or_default();
        if is_temporary(last) {
            return Err(
                Error::invalid(operation, "names of this form are for temporary files").on(key),
            );
        }
        Ok(self.file(key))
    }

    /// Refuses a path that leads through a link below the root: who may write to the repository could plant one, and
    /// have us read, write or delete elsewhere. What `path` itself is, is looked at by who opens it. The root may be a
    /// link.
    pub(crate) fn refuse_links(&self, operation: &'static str, path: &Path) -> Result<()> {
        let above = path
            .ancestors()
            .skip(1)
            .take_while(|f| *f != self.root && f.starts_with(&self.root));
        for folder in above {
            self.refuse_link(operation, folder)?;
        }
        Ok(())
    }

    /// The same for the folder of a container itself.
    pub(crate) fn refuse_linked_folder(
        &self,
        operation: &'static str,
        folder: &Path,
    ) -> Result<()> {
        self.refuse_links(operation, folder)?;
        if folder == self.root {
            return Ok(());
        }
        self.refuse_link(operation, folder)
    }

    /// Makes the folder of a container where it is missing, and answers all folders from it up to the root.
    pub(crate) fn make_folder(&self, container: &ContainerName) -> Result<Vec<PathBuf>> {
        let folder = self.folder(container);
        self.refuse_linked_folder("make folder", &folder)?;
        self.make_below(&self.root, &folder)?;
        Ok(self.folders_up(&folder))
    }

    /// All folders from `folder` up to the root.
    pub(crate) fn folders_up(&self, folder: &Path) -> Vec<PathBuf> {
        folder
            .ancestors()
            .take_while(|f| f.starts_with(&self.root))
            .map(Path::to_path_buf)
            .collect()
    }

    /// Makes the folders that an object's name has of its own, below its container's, which must exist.
    fn make_subfolders(&self, key: &ObjectKey, path: &Path) -> Result<()> {
        let top = self.folder(key.container());
        match path.parent() {
            Some(parent) if self.files.is_folder(&top) => self.make_below(&top, parent),
            _ => Err(crate::error::missing("find container", top.display())),
        }
    }

    /// Removes the folders that only the name of an object had made, where nothing is left in them.
    pub(crate) fn remove_empty_subfolders(&self, key: &ObjectKey, path: &Path) {
        let top = self.folder(key.container());
        let own = path
            .ancestors()
            .skip(1)
            .take_while(|f| *f != top && f.starts_with(&top));
        for folder in own {
            // One that is not empty stays, and those above it then are not empty either.
            if self.files.remove_folder(folder).is_err() {
                break;
            }
        }
    }

    /// Makes a new file at `path`, which is `key`'s or beside it. `None` where something is there.
    pub(crate) fn create(
        &self,
        operation: &'static str,
        key: &ObjectKey,
        path: &Path,
    ) -> Result<Option<File>> {
        self.refuse_links(operation, path)?;
        // The mode is fixed, since Cinder's own processes need its bits.
        let open = || self.files.create(path, FILE_MODE);
        let mut opened = open();
        // More than once, since a delete may remove the folder again while it is empty.
        for _ in 0..5 {
            if !matches!(&opened, Err(e) if e.kind() == io::ErrorKind::NotFound) {
                break;
            }
            self.make_subfolders(key, path)?;
            opened = open();
        }
        match opened {
            Ok(file) => Ok(Some(file)),
            Err(e) if e.kind() == io::ErrorKind::AlreadyExists => Ok(None),
            Err(e) => Err(on_path(operation, path, e)),
        }
    }

    /// Makes a temporary file beside `path`.
    pub(crate) fn create_temporary(
        &self,
        operation: &'static str,
        key: &ObjectKey,
        path: &Path,
    ) -> Result<(File, PathBuf)> {
        let last = path.file_name().unwrap_or_default().to_string_lossy();
        let temporary = path.with_file_name(temporary_name(&last));
        match self.create(operation, key, &temporary)? {
            Some(file) => Ok((file, temporary)),
            None => {
                Err(Error::internal(operation, "a random name was taken").on(temporary.display()))
            }
        }
    }

    /// Makes the folders between `top`, which must exist, and `folder`: those above it by the umask, itself with a fixed
    /// mode. Folders that exist are not touched.
    fn make_below(&self, top: &Path, folder: &Path) -> Result<()> {
        let make = "make folder";
        let missing: Vec<&Path> = folder
            .ancestors()
            .take_while(|f| *f != top && f.starts_with(top) && !self.files.is_folder(f))
            .collect();
        for path in missing.into_iter().rev() {
            let mode = (path == folder).then_some(FOLDER_MODE);
            let made = match self.files.make_folder(path, mode) {
                // Another process was faster.
                Err(e)
                    if e.kind() == io::ErrorKind::AlreadyExists && self.files.is_folder(path) =>
                {
                    Ok(())
                }
                other => other,
            };
            made.map_err(|e| on_path(make, path, e))?;
        }
        Ok(())
    }

    /// Removes the temporary files in `folder` whose names are such as `wanted` wants: what a killed process left behind.
    pub(crate) fn remove_temporaries(
        &self,
        folder: &Path,
        wanted: impl Fn(&str) -> bool,
    ) -> io::Result<()> {
        let mut entries = self.entries(folder)?;
        while self.remove_some(&mut entries, usize::MAX, &wanted)? {}
        Ok(())
    }

    /// The entries of a folder; none where it is not there.
    pub(crate) fn entries(&self, folder: &Path) -> io::Result<Option<ReadDir>> {
        match self.files.entries(folder) {
            Ok(entries) => Ok(Some(entries)),
            Err(e) if is_missing(&e) => Ok(None),
            Err(e) => Err(e),
        }
    }

    /// Looks at the next `most` entries, and removes the temporary files among them whose names are such as `wanted`
    /// wants. Answers whether there may be more.
    pub(crate) fn remove_some(
        &self,
        entries: &mut Option<ReadDir>,
        most: usize,
        wanted: impl Fn(&str) -> bool,
    ) -> io::Result<bool> {
        let mut looked_at = 0;
        for entry in entries.iter_mut().flatten().take(most) {
            looked_at += 1;
            let entry = entry?;
            let name = entry.file_name();
            if name
                .to_str()
                .is_some_and(|name| is_temporary(name) && wanted(name))
            {
                match self.files.remove_file(&entry.path()) {
                    Err(e) if !is_missing(&e) => return Err(e),
                    _ => {}
                }
            }
        }
        Ok(looked_at == most)
    }

    /// Refuses a folder that is a link; one that is not there is fine.
    fn refuse_link(&self, operation: &'static str, folder: &Path) -> Result<()> {
        match self.files.look(folder) {
            Ok(metadata) if metadata.is_symlink() => Err(Error::corrupt(
                operation,
                folder.display(),
                "a link stands where a folder of the repository should be, and links are not followed",
            )
            .hint("remove the link; to keep a part of a repository elsewhere, mount it there")),
            Err(e) if !is_missing(&e) => Err(on_path(operation, folder, e)),
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::files::LocalFiles;

    #[test]
    fn temporary_files_are_removed_some_at_a_time_and_all_in_the_end() {
        let folder = tempfile::tempdir().unwrap();
        for n in 0..7 {
            std::fs::write(folder.path().join(temporary_name(&format!("a-{n}"))), "x").unwrap();
        }
        for name in ["object".to_owned(), temporary_name("b-1")] {
            std::fs::write(folder.path().join(name), "x").unwrap();
        }
        let count = || std::fs::read_dir(folder.path()).unwrap().count();
        let tree = Tree::open(folder.path(), Arc::new(LocalFiles)).unwrap();
        let of_a = |name: &str| crate::layout::is_temporary_below(name, "a-");
        let mut entries = tree.entries(folder.path()).unwrap();
        let mut before = count();
        let mut rounds = 0;
        while tree.remove_some(&mut entries, 2, of_a).unwrap() {
            let left = count();
            assert!(before - left <= 2, "{before} became {left}");
            before = left;
            rounds += 1;
        }
        assert!(rounds >= 4, "{rounds}");
        assert_eq!(count(), 2);
        let mut none = tree.entries(&folder.path().join("missing")).unwrap();
        assert!(!tree.remove_some(&mut none, 2, of_a).unwrap());
    }
}
