//! The stored bytes, and nothing else: metadata, hash list, volume metadata, exported record.
//!
//! All of it is Cinder's format (driver version 1.0.0, metadata version 2), with the key `ashlar` of ours, which Cinder
//! ignores. Reading is streamed, bounded and suspicious; writing gives Cinder's exact style: JSON with sorted keys,
//! ASCII-escaped, indented by 2.
//!
//! | module | what | Cinder's name |
//! | --- | --- | --- |
//! | [`metadata`] | what a backup is made of: written last, the commit point | `P_metadata` |
//! | [`hash_list`] | SHA-256 of every block of the volume | `P_sha256file` |
//! | [`volume`] | the volume's own metadata | `volume_meta` in the metadata, `backup.<id>.meta` on Ceph |
//! | [`ceph`] | names, and a note of ours, of backups that are images with snapshots | `volume-<id>.backup.<id>` |
//! | [`rbd_diff`] | what differs between two states, as a file of Ceph's own | `rbd export-diff` |
//! | [`record`] | what is known of a backup, to carry it to another catalogue | `backup_service`, `backup_url` |
//!
//! # What every reader holds to
//! * Input is read through a guard: no string above 4 MiB, no nesting deeper than 128, no number longer than
//!   1024 characters. Memory does not grow with the number of objects, hashes or unknown keys.
//! * Bytes that are not what the format says are [`Corrupt`](crate::ErrorKind::Corrupt), with line and column; a version
//!   or codec that this build does not know is [`Unsupported`](crate::ErrorKind::Unsupported).
//! * An error of the input comes back with its own kind; one that a callback returned comes back as it was.
//! * A reader does not know the name of what it reads: the caller adds it with [`Error::on`](crate::Error::on).

mod ashlar;
pub mod ceph;
#[cfg(test)]
mod fixtures;
mod guard;
pub mod hash_list;
mod json;
pub mod metadata;
pub mod rbd_diff;
pub mod record;
pub mod volume;

pub(crate) use json::shorten;

/// The one version of the stored format that Cinder has written so far.
const FORMAT_VERSION: &str = "1.0.0";

/// Whether a metadata object or hash list says that it is of the version that we know.
fn check_version(operation: &'static str, version: &str) -> crate::Result<()> {
    if version == FORMAT_VERSION {
        return Ok(());
    }
    Err(
        crate::Error::new(crate::ErrorKind::Unsupported, operation).because(format!(
            "its format is version {:?}; only {FORMAT_VERSION} can be read",
            json::shorten(version, 40)
        )),
    )
}
