//! A folder of image files as volumes, and images and devices that lie elsewhere.

mod attach;
mod clone;
mod places;

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use async_trait::async_trait;
use backup_core::error::{Error, Result};
use backup_core::id::{SnapshotId, VolumeId};
use backup_core::volume::{SnapshotRef, VolumeProvider, VolumeRef};

use crate::blocking::blocking;
use crate::device::{Kind, identify, length_of};
use clone::Copying;
use places::{Places, Role, text_of};

/// Volumes as raw image files in one folder, and adopted image files and block devices anywhere.
///
/// * A volume made here is `volume-ID.img` in the folder: sparse, mode 0600. Its provider location is its absolute
///   path; so is an adopted one's.
/// * Snapshots are `snapshot-ID.img` in the folder `snapshots` beside it, by reflink where the filesystem has them;
///   for an adopted image on another filesystem with reflinks a hidden file next to the image; else a copy that keeps
///   holes, only of a volume that nobody uses.
/// * A volume in use is backed up from a temporary reflink, `backup-snap-ID.img` in the same place, named in the plan.
///   A reflink is a point in time: the kernel makes it between two writes, with all that was written before.
///
/// Only names of these forms are ever removed. Snapshots get their names after they are complete and on disk, so that
/// a crash leaves no half one; what it does leave (`.snapshot-ID.img.part`) goes with `delete_snapshot`.
#[derive(Debug, Clone)]
pub struct FileVolumes {
    places: Arc<Places>,
}

impl FileVolumes {
    /// Volumes in the folder `volumes`, snapshots in `snapshots` beside it. Folders are made when they are first
    /// needed, mode 0700.
    ///
    /// # Errors
    /// [`InvalidInput`](backup_core::ErrorKind::InvalidInput) for a path that is empty or has no folder above it.
    pub fn new(volumes: impl AsRef<Path>) -> Result<Self> {
        let given = volumes.as_ref();
        let volumes = std::path::absolute(given)
            .map_err(|e| Error::io("find folder of volumes", given.display(), e))?;
        let snapshots = volumes
            .parent()
            .ok_or_else(|| {
                Error::invalid(
                    "find folder of volumes",
                    "nothing lies beside the root folder",
                )
            })?
            .join("snapshots");
        Ok(Self {
            places: Arc::new(Places { volumes, snapshots }),
        })
    }

    /// Whether a point in time of `volume` can be had while it is in use. Tries it with two small nameless files where
    /// the snapshot would be made; nothing is left of them, whatever happens. `false` also where the volume is missing.
    pub async fn supports_point_in_time(&self, volume: &VolumeRef) -> bool {
        let (places, volume) = (Arc::clone(&self.places), volume.clone());
        blocking("look for reflinks", move || {
            let path = places.volume(&volume);
            clone::point_in_time_place(&places, &path).is_ok()
        })
        .await
        .unwrap_or(false)
    }
}

/// Makes a folder for this user alone, with those above it, where it is missing.
fn make_folder(folder: &Path) -> Result<()> {
    fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(folder)
        .map_err(|e| Error::io("make folder", folder.display(), e))
}

/// Makes names in the folder of `path` durable.
fn sync_folder_of(path: &Path) -> Result<()> {
    let folder = path.parent().unwrap_or(Path::new("/"));
    File::open(folder)
        .and_then(|f| f.sync_all())
        .map_err(|e| Error::io("sync folder", folder.display(), e))
}

/// Removes a file, durably. One that is missing is success, on a read-only filesystem too.
fn remove(operation: &'static str, path: &Path) -> Result<()> {
    if !exists(path) {
        return Ok(());
    }
    match fs::remove_file(path) {
        Ok(()) => sync_folder_of(path),
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(e) => Err(Error::io(operation, path.display(), e)),
    }
}

fn exists(path: &Path) -> bool {
    fs::symlink_metadata(path).map_or_else(
        |e| {
            !matches!(
                e.kind(),
                io::ErrorKind::NotFound | io::ErrorKind::NotADirectory
            )
        },
        |_| true,
    )
}

fn create_private(path: &Path) -> io::Result<File> {
    fs::OpenOptions::new()
        .read(true)
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path)
}

fn create_volume(path: &Path, length: u64) -> Result<String> {
    const OPERATION: &str = "create volume";
    let location = text_of(path)?;
    if length == 0 {
        return Err(Error::invalid(OPERATION, "a length of 0 bytes makes no volume").on(&location));
    }
    make_folder(path.parent().unwrap_or(Path::new("/")))?;
    let file = create_private(path).map_err(|e| Error::io(OPERATION, &location, e))?;
    let made = file
        .set_len(length)
        .and_then(|()| file.sync_all())
        .map_err(|e| match e.kind() {
            io::ErrorKind::FileTooLarge | io::ErrorKind::InvalidInput => Error::invalid(
                OPERATION,
                format!("its filesystem allows no file of {length} bytes"),
            )
            .on(&location)
            .caused_by(e),
            _ => Error::io(OPERATION, &location, e),
        })
        .and_then(|()| sync_folder_of(path));
    if let Err(e) = made {
        // The error tells more than a failure to clean up would; `delete_volume` finds what is left by its name.
        let _ = fs::remove_file(path);
        return Err(e);
    }
    Ok(location)
}

fn adopt(existing: &str) -> Result<(String, u64)> {
    const OPERATION: &str = "adopt volume";
    let path = fs::canonicalize(existing).map_err(|e| Error::io(OPERATION, existing, e))?;
    let (kind, _) = identify(OPERATION, &path)?;
    let length = current_length(OPERATION, &path, kind)?;
    if length == 0 {
        return Err(Error::invalid(OPERATION, "it is empty").on(path.display()));
    }
    Ok((text_of(&path)?, length))
}

fn current_length(operation: &'static str, path: &Path, kind: Kind) -> Result<u64> {
    File::open(path)
        .and_then(|file| length_of(&file, kind))
        .map_err(|e| Error::io(operation, path.display(), e))
}

#[async_trait]
impl VolumeProvider for FileVolumes {
    fn describe(&self) -> String {
        format!("image files in {}", self.places.volumes.display())
    }

    async fn create_volume(&self, id: VolumeId, length: u64) -> Result<String> {
        let path = self.places.own_volume(id);
        blocking("create volume", move || create_volume(&path, length)).await?
    }

    /// Takes a regular file or a block device where it is; its provider location is its path with all links resolved.
    /// Whether another volume has the same location is for the catalogue to see.
    async fn adopt(&self, _id: VolumeId, existing: &str) -> Result<(String, u64)> {
        let existing = existing.to_owned();
        blocking("adopt volume", move || adopt(&existing)).await?
    }

    /// Removes `volume-ID.img` of this folder; anything else is refused, since it was not made here.
    async fn delete_volume(&self, volume: &VolumeRef) -> Result<()> {
        let (places, volume) = (Arc::clone(&self.places), volume.clone());
        blocking("delete volume", move || {
            let path: PathBuf = places.volume(&volume);
            if !places.is_own_volume(&path, volume.id) {
                return Err(Error::invalid(
                    "delete volume",
                    format!("it was not made in {}, and stays", places.volumes.display()),
                )
                .on(path.display()));
            }
            remove("delete volume", &path)
        })
        .await?
    }

    async fn length(&self, volume: &VolumeRef) -> Result<u64> {
        let path = self.places.volume(volume);
        blocking("find length of volume", move || {
            let (kind, metadata) = identify("find length of volume", &path)?;
            match kind {
                Kind::Regular => Ok(metadata.len()),
                Kind::Block { .. } => current_length("find length of volume", &path, kind),
            }
        })
        .await?
    }

    /// Makes a snapshot by reflink, else (not in use) by a copy that keeps holes.
    ///
    /// A dropped future stops a copy at its next step and removes it.
    ///
    /// # Errors
    /// * [`Unsupported`](backup_core::ErrorKind::Unsupported) for a volume in use whose filesystem has no reflinks;
    /// * [`NoSpace`](backup_core::ErrorKind::NoSpace) before a copy that would not fit;
    /// * [`Conflict`](backup_core::ErrorKind::Conflict) where the volume was written or resized while it was copied.
    async fn create_snapshot(
        &self,
        volume: &VolumeRef,
        snapshot: SnapshotId,
        in_use: bool,
    ) -> Result<String> {
        let places = Arc::clone(&self.places);
        let source = places.volume(volume);
        let copying = Copying::default();
        let stop = copying.stop_on_drop();
        let made = blocking("create snapshot", move || {
            clone::snapshot(&places, &source, snapshot, in_use, &copying)
        })
        .await?;
        drop(stop);
        made
    }

    async fn delete_snapshot(&self, snapshot: &SnapshotRef) -> Result<()> {
        let (places, snapshot) = (Arc::clone(&self.places), snapshot.clone());
        blocking("delete snapshot", move || {
            let role = Role::Snapshot(snapshot.id);
            let volume = places.volume(&snapshot.volume);
            let candidates = match &snapshot.provider_location {
                Some(location) => vec![PathBuf::from(location)],
                None => places.candidates(&volume, role), // killed before it could be noted
            };
            if let Some(path) = candidates.iter().find(|path| !role.names(path)) {
                return Err(Error::invalid(
                    "delete snapshot",
                    "that is not the name of this snapshot's file",
                )
                .on(path.display()));
            }
            for path in candidates {
                remove("delete snapshot", &path)?;
                remove("delete snapshot", &role.part_of(&path))?;
            }
            Ok(())
        })
        .await?
    }
}
