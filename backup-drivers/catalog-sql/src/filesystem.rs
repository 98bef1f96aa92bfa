//! Whether the catalogue's filesystem is one that several hosts share.

use std::path::Path;

use backup_core::{Error, ErrorKind, Result};

/// Filesystems, by the magic number that statfs tells, whose locks and shared memory do not hold between hosts: SQLite's
/// write-ahead log would be damaged there sooner or later.
const NETWORK: [(u32, &str); 11] = [
    (0x6969, "NFS"),
    (0x517b, "SMB"),
    (0xff53_4d42, "CIFS"),
    (0xfe53_4d42, "SMB2"),
    (0x564c, "NCP"),
    (0x5346_414f, "AFS"),
    (0x7375_7245, "Coda"),
    (0x00c3_6400, "CephFS"),
    (0x0102_1997, "9P"),
    (0x0bd0_0bd0, "Lustre"),
    (0x4750_4653, "GPFS"),
];

fn name_of(magic: u32) -> Option<&'static str> {
    NETWORK
        .iter()
        .find(|(number, _)| *number == magic)
        .map(|(_, name)| *name)
}

/// Refuses a `folder` on a network filesystem.
pub(crate) fn check(folder: &Path) -> Result<()> {
    let stat = rustix::fs::statfs(folder)
        .map_err(|e| Error::io("look at the filesystem of", folder.display(), e.into()))?;
    // The number has 32 bits; the field's type differs by architecture.
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
    let magic = stat.f_type as u32;
    match name_of(magic) {
        None => Ok(()),
        Some(name) => Err(Error::new(ErrorKind::Unsupported, "open catalogue in")
            .on(folder.display())
            .because(format!(
                "that folder is on a network filesystem ({name}), where SQLite's locks do not hold"
            ))
            .hint("choose a home on a local disk (--home or ASHLAR_HOME); repositories and volumes may be on the network")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_local_folder_is_accepted_and_nfs_is_known() {
        let folder = tempfile::tempdir().unwrap();
        check(folder.path()).unwrap();
        assert_eq!(name_of(0x6969), Some("NFS"));
        assert_eq!(name_of(0xef53), None);
    }
}
