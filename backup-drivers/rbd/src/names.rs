//! Names of images and snapshots, as Cinder gives them.

use std::time::{Duration, SystemTime};

use backup_core::id::{BackupId, SnapshotId, VolumeId};

const VOLUME: &str = "volume-";

/// `volume-<id>`
pub(crate) fn volume(id: VolumeId) -> String {
    format!("{VOLUME}{id}")
}

/// The volume's ID in the name of an image that Cinder, or we, made.
pub(crate) fn volume_id(image: &str) -> Option<VolumeId> {
    image.strip_prefix(VOLUME)?.parse().ok()
}

/// `snapshot-<id>`
pub(crate) fn snapshot(id: SnapshotId) -> String {
    format!("snapshot-{id}")
}

/// `backup.<id>.snap.<seconds>`, the seconds with nine decimals. Cinder's have seven at most (a float's), so that ours
/// are told from those of a Cinder that backs up the same volume.
pub(crate) fn backup_snapshot(id: BackupId, at: SystemTime) -> String {
    let since = at
        .duration_since(SystemTime::UNIX_EPOCH)
        .unwrap_or(Duration::ZERO);
    format!(
        "backup.{id}.snap.{}.{:09}",
        since.as_secs(),
        since.subsec_nanos()
    )
}

/// The backup's ID and the time in the name of a backup's snapshot.
fn parts(name: &str) -> Option<(BackupId, &str)> {
    let (id, time) = name.strip_prefix("backup.")?.split_once(".snap.")?;
    Some((id.parse().ok()?, time))
}

/// Whether a snapshot is a backup's, Cinder's or ours.
pub(crate) fn is_backup_snapshot(name: &str) -> bool {
    parts(name).is_some()
}

/// The backup of ours that a snapshot is of.
pub(crate) fn own_backup(name: &str) -> Option<BackupId> {
    let (id, _) = parts(name)?;
    is_own_backup_snapshot(name).then_some(id)
}

/// Whether a snapshot is of a backup of ours.
pub(crate) fn is_own_backup_snapshot(name: &str) -> bool {
    let Some((_, time)) = parts(name) else {
        return false;
    };
    let digits = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    time.split_once('.')
        .is_some_and(|(seconds, nanos)| digits(seconds) && digits(nanos) && nanos.len() == 9)
}

/// Whether a snapshot is the backup `id`'s.
pub(crate) fn is_snapshot_of(name: &str, id: BackupId) -> bool {
    parts(name).is_some_and(|(of, _)| of == id)
}
