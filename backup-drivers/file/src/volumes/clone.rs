//! Points in time of volumes: reflinks, and copies where nothing else can be had.

mod copy;
mod reflink;

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use backup_core::error::{Error, ErrorKind, Result};
use backup_core::id::SnapshotId;

use super::places::{Places, Role, text_of};
use super::{create_private, exists, make_folder, remove, sync_folder_of};
use crate::device::{Kind, identify, length_of};
use crate::mounts;

pub(super) use copy::Copying;

/// Makes the snapshot and answers its provider location.
pub(super) fn snapshot(
    places: &Places,
    volume: &Path,
    id: SnapshotId,
    in_use: bool,
    copying: &Copying,
) -> Result<String> {
    const OPERATION: &str = "create snapshot";
    let role = Role::Snapshot(id);
    let source = Source::open(OPERATION, volume)?;
    for path in places.candidates(volume, role) {
        let location = text_of(&path)?;
        if exists(&path) {
            return Err(Error::new(ErrorKind::AlreadyExists, OPERATION).on(location));
        }
        if !source.can_reflink_into(places, &path) {
            continue;
        }
        if build(places, role, &path, |part| {
            reflink::reflink(&source.file, part)
        })? {
            return Ok(location);
        }
    }
    if in_use {
        return Err(no_point_in_time(OPERATION, volume, source.kind));
    }
    source.refuse_mounted(OPERATION)?;
    make_folder(&places.snapshots)?;
    let path = places.snapshots.join(role.file_name());
    copy::refuse_without_space(&source, &places.snapshots)?;
    build(places, role, &path, |part| {
        copy::copy(&source, part, copying).map(|()| true)
    })?;
    text_of(&path)
}

/// Fills a new file and gives it its name once it is complete and on disk. `false`, and nothing left, where `fill`
/// says that it cannot.
fn build(
    places: &Places,
    role: Role,
    path: &Path,
    fill: impl FnOnce(&File) -> Result<bool>,
) -> Result<bool> {
    const OPERATION: &str = "create snapshot";
    if path.starts_with(&places.snapshots) {
        make_folder(&places.snapshots)?;
    }
    let part = role.part_of(path);
    remove(OPERATION, &part)?; // of an earlier try that was killed
    let filled = create_private(&part)
        .map_err(|e| Error::io(OPERATION, part.display(), e))
        .and_then(|file| {
            Ok(fill(&file)? && {
                file.sync_all()
                    .map_err(|e| Error::io("sync snapshot", part.display(), e))?;
                true
            })
        });
    match filled {
        Ok(true) => fs::rename(&part, path)
            .map_err(|e| Error::io(OPERATION, path.display(), e))
            .and_then(|()| sync_folder_of(path))
            .map(|()| true),
        other => {
            let _ = fs::remove_file(&part);
            other
        }
    }
}

/// Where the temporary point in time of a volume in use can be made: a folder, tried with two nameless files.
///
/// # Errors
/// `Unsupported` where it cannot be made anywhere.
pub(super) fn point_in_time_place(places: &Places, volume: &Path) -> Result<Place> {
    const OPERATION: &str = "take a point in time of";
    let source = Source::open(OPERATION, volume)?;
    let mut refused = None;
    if source.kind == Kind::Regular {
        let folders = [
            (
                Place::Snapshots,
                Some(&*places.snapshots).filter(|folder| source.is_with(folder)),
            ),
            (Place::BesideVolume, volume.parent()),
        ];
        for (place, folder) in folders {
            match folder.map(|folder| reflink::works(&source.file, existing(folder))) {
                Some(Ok(true)) => return Ok(place),
                Some(Err(e)) => refused = Some(e),
                Some(Ok(false)) | None => {}
            }
        }
    }
    let error = no_point_in_time(OPERATION, volume, source.kind);
    Err(match refused {
        Some(cause) => error.caused_by(cause),
        None => error,
    })
}

/// Where a temporary point in time is made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Place {
    Snapshots,
    BesideVolume,
}

impl Place {
    pub(super) fn path(self, places: &Places, volume: &Path, role: Role) -> PathBuf {
        let mut candidates = places.candidates(volume, role).into_iter();
        let (first, second) = (candidates.next(), candidates.next());
        match self {
            Self::Snapshots => first,
            Self::BesideVolume => second.or(first),
        }
        .unwrap_or_default()
    }
}

/// Makes the temporary point in time `path` of `volume`, in place of an earlier try's.
pub(super) fn temporary(places: &Places, volume: &Path, path: &Path) -> Result<()> {
    const OPERATION: &str = "take a point in time of";
    let source = Source::open(OPERATION, volume)?;
    if path.starts_with(&places.snapshots) {
        make_folder(&places.snapshots)?;
    }
    remove(OPERATION, path)?;
    let file = create_private(path).map_err(|e| Error::io(OPERATION, path.display(), e))?;
    if reflink::reflink(&source.file, &file)? {
        return Ok(());
    }
    remove(OPERATION, path)?;
    Err(no_point_in_time(OPERATION, volume, source.kind))
}

/// A volume whose point in time is wanted.
struct Source {
    file: File,
    path: PathBuf,
    kind: Kind,
    length: u64,
    device: u64,
}

impl Source {
    fn open(operation: &'static str, path: &Path) -> Result<Self> {
        use std::os::unix::fs::MetadataExt;
        let error = |e: io::Error| Error::io(operation, path.display(), e);
        let (kind, metadata) = identify(operation, path)?;
        let file = File::open(path).map_err(error)?;
        Ok(Self {
            length: length_of(&file, kind).map_err(error)?,
            device: metadata.dev(),
            path: path.to_owned(),
            kind,
            file,
        })
    }

    /// Whether `folder`, or the nearest one above it that exists, is on the volume's filesystem.
    fn is_with(&self, folder: &Path) -> bool {
        use std::os::unix::fs::MetadataExt;
        fs::metadata(existing(folder)).is_ok_and(|m| m.dev() == self.device)
    }

    fn can_reflink_into(&self, places: &Places, path: &Path) -> bool {
        let folder = path.parent().unwrap_or(Path::new("/"));
        self.kind == Kind::Regular
            && (self.is_with(folder) || !path.starts_with(&places.snapshots))
            && reflink::works(&self.file, existing(folder)).unwrap_or(false)
    }

    /// A copy of a device that is mounted for writing is torn, whatever the catalogue says of its use.
    fn refuse_mounted(&self, operation: &'static str) -> Result<()> {
        refuse_mounted(operation, &self.path, self.kind)
    }
}

/// Refuses to read a block device that is mounted for writing: what is read is no point in time.
pub(super) fn refuse_mounted(operation: &'static str, path: &Path, kind: Kind) -> Result<()> {
    let Kind::Block { major, minor } = kind else {
        return Ok(());
    };
    match mounts::mount_of(major, minor)? {
        Some(mount) if mount.writable => Err(Error::new(ErrorKind::Conflict, operation)
            .on(path.display())
            .because(format!(
                "the device is mounted on {} for writing, and what is read from it meanwhile is torn",
                mount.point.display()
            ))
            .hint(format!(
                "umount {0}, or mount it read-only, or take a snapshot with the storage's own tools (LVM, for one) \
                 and adopt that",
                mount.point.display()
            ))),
        _ => Ok(()),
    }
}

/// The nearest folder that exists: `folder` or one above it.
fn existing(folder: &Path) -> &Path {
    folder
        .ancestors()
        .find(|f| f.is_dir())
        .unwrap_or(Path::new("/"))
}

fn no_point_in_time(operation: &'static str, volume: &Path, kind: Kind) -> Error {
    let (why, instead) = match kind {
        Kind::Regular => (
            "the volume is in use, and its image cannot be reflinked where it lies; a copy made meanwhile would be torn",
            "keep its image on xfs or btrfs",
        ),
        Kind::Block { .. } => (
            "the volume is in use, and a block device cannot be reflinked; a copy made meanwhile would be torn",
            "take a snapshot with the storage's own tools (LVM, for one) and adopt that",
        ),
    };
    Error::new(ErrorKind::Unsupported, operation)
        .on(volume.display())
        .because(why)
        .hint(format!(
            "detach it or stop its guest, so that it is available; or {instead}"
        ))
}
