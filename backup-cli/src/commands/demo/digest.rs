//! A file's checksum, read the plain way: no code of the engine may vouch for itself.

use std::fs::File;
use std::io::Read;
use std::path::Path;

use backup_core::{Error, Result};
use sha2::{Digest, Sha256};

pub(super) fn sha256(path: &Path) -> Result<String> {
    let failed = |e| Error::io("read", path.display(), e);
    let mut file = File::open(path).map_err(failed)?;
    let mut hasher = Sha256::new();
    let mut buffer = vec![0; 1 << 20];
    loop {
        let n = file.read(&mut buffer).map_err(failed)?;
        if n == 0 {
            return Ok(hex::encode(hasher.finalize()));
        }
        hasher.update(&buffer[..n]);
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn it_is_sha256() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("f");
        std::fs::write(&path, "abc").unwrap();
        assert_eq!(
            super::sha256(&path).unwrap(),
            "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
        );
    }
}
