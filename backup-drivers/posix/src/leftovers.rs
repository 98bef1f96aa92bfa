//! Temporary files that killed processes left behind: listings hide them, and nothing else would ever find them.

use std::fs::FileType;
use std::io;
use std::path::PathBuf;
use std::time::UNIX_EPOCH;

use backup_core::{BoxStream, ContainerName, Leftover, ObjectKey, Result, Timestamp};

use crate::error::{is_missing, on_path};
use crate::lane::Lane;
use crate::layout::is_temporary;
use crate::list::{DEPTH, Walk, stream_of};
use crate::tree::Tree;

/// What such a file is called.
pub(crate) const WHAT: &str = "temporary file";

/// Finds the temporary files in the folder of `container`, or in every folder below the root.
pub(crate) fn find(
    lane: Lane,
    tree: &Tree,
    container: Option<&ContainerName>,
) -> BoxStream<Leftover> {
    let (path, name) = match container {
        Some(container) => (tree.folder(container), container.to_string()),
        None => (tree.root().to_path_buf(), String::new()),
    };
    let walk = Temporaries {
        tree: tree.clone(),
        waiting: vec![(path, name)],
        deeper: container.is_none(),
    };
    stream_of(lane, tree.root().to_path_buf(), walk)
}

struct Temporaries {
    tree: Tree,
    /// Folders and the containers that they are.
    waiting: Vec<(PathBuf, String)>,
    deeper: bool,
}

impl Walk for Temporaries {
    type Item = Leftover;

    fn step(&mut self) -> Result<Vec<Leftover>> {
        let mut batch = Vec::new();
        while batch.is_empty() {
            let Some((folder, name)) = self.waiting.pop() else {
                break;
            };
            match self.look_through(&folder, &name, &mut batch) {
                // lost+found and what else is not for us, and what was deleted meanwhile.
                Err(e) if is_missing(&e) => {}
                Err(e) if e.kind() == io::ErrorKind::PermissionDenied && !name.is_empty() => {}
                done => done.map_err(|e| on_path("look for temporary files", &folder, e))?,
            }
        }
        Ok(batch)
    }
}

impl Temporaries {
    fn look_through(
        &mut self,
        folder: &std::path::Path,
        container: &str,
        batch: &mut Vec<Leftover>,
    ) -> io::Result<()> {
        for entry in self.tree.files().entries(folder)? {
            let entry = entry?;
            let Ok(name) = entry.file_name().into_string() else {
                continue;
            };
            let kind: FileType = entry.file_type()?;
            if kind.is_dir() {
                if self.deeper && container.matches('/').count() < DEPTH {
                    let below = if container.is_empty() {
                        name
                    } else {
                        format!("{container}/{name}")
                    };
                    self.waiting.push((entry.path(), below));
                }
                continue;
            }
            if !kind.is_file() || !is_temporary(&name) {
                continue;
            }
            let metadata = match entry.metadata() {
                Ok(metadata) => metadata,
                Err(e) if is_missing(&e) => continue,
                Err(e) => return Err(e),
            };
            // A file in the root itself, or in a folder that can be no container, is none of ours.
            let key = ContainerName::new(container).and_then(|c| ObjectKey::new(&c, name.clone()));
            if let Ok(key) = key {
                let mut leftover = Leftover::new(WHAT, key, name);
                leftover.size = Some(metadata.len());
                leftover.modified = metadata
                    .modified()
                    .ok()
                    .and_then(|time| time.duration_since(UNIX_EPOCH).ok())
                    .and_then(|since| i64::try_from(since.as_micros()).ok())
                    .and_then(|micros| Timestamp::from_micros(micros).ok());
                batch.push(leftover);
            }
        }
        Ok(())
    }
}
