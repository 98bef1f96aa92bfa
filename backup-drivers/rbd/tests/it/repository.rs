//! A pool as a repository of backups, on a real cluster: what every image store promises, chains of RBD volumes and of other
//! devices, what Cinder wrote, and Cinder reading what we wrote.

mod chain;
mod cinder;
mod fixture;

use std::sync::Arc;

use backup_core::testing::image_conformance;
use backup_core::{BlockDevice, Buf, ContainerName, ImageBackup, ImagedConfig};
use backup_rbd::{CephConfig, CephRepository};
use sha2::{Digest, Sha256};

use crate::ceph::conf;

pub(crate) fn config(conf: &str) -> CephConfig {
    let mut config = CephConfig::new("backups");
    config.conf = conf.into();
    config.timeout = 60;
    config
}

pub(crate) fn repository(conf: &str) -> Arc<CephRepository> {
    Arc::new(CephRepository::new(&config(conf)).unwrap())
}

pub(crate) fn engine(conf: &str, audit_per_million: u32) -> ImageBackup {
    let config = ImagedConfig::new().with_audit(audit_per_million);
    ImageBackup::new(repository(conf), config).unwrap()
}

pub(crate) fn backups() -> ContainerName {
    ContainerName::new("backups").unwrap()
}

/// SHA-256 of a file, as text.
pub(crate) fn file_sha256(path: &std::path::Path) -> String {
    use std::io::Read;
    let mut file = std::fs::File::open(path).unwrap();
    let mut hash = Sha256::new();
    let mut buf = vec![0; 1 << 20];
    loop {
        match file.read(&mut buf).unwrap() {
            0 => return text(hash),
            n => hash.update(&buf[..n]),
        }
    }
}

fn text(hash: Sha256) -> String {
    let digest: [u8; 32] = hash.finalize().into();
    digest.iter().fold(String::new(), |mut text, byte| {
        use std::fmt::Write;
        write!(text, "{byte:02x}").unwrap();
        text
    })
}

/// SHA-256 of the first `length` bytes of a device, as text.
pub(crate) async fn sha256(device: &dyn BlockDevice, length: u64) -> String {
    const STEP: u64 = 8 << 20;
    let mut hash = Sha256::new();
    let mut buf = Buf::zeroed(usize::try_from(STEP).unwrap());
    let mut at = 0;
    while at < length {
        let n = usize::try_from(STEP.min(length - at)).unwrap();
        if n < buf.len() {
            buf = Buf::zeroed(n);
        }
        let (filled, read) = device.read(at, buf).await;
        read.unwrap();
        hash.update(&filled[..]);
        buf = filled;
        at += n as u64;
    }
    text(hash)
}

#[tokio::test(flavor = "multi_thread")]
async fn the_pool_keeps_every_promise_of_an_image_store() {
    let Some(conf) = conf() else {
        return;
    };
    let passed = image_conformance(repository(&conf), &backups())
        .await
        .unwrap();
    assert!(passed.len() > 14, "{passed:#?}");
}
