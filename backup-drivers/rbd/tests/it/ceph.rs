//! The cluster that the tests run on.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use backup_core::{Buf, BufferPool};
use backup_rbd::{Cluster, ClusterConfig, CreateOptions, Image, Pool, RbdVolumesConfig};

/// A pool of the test cluster.
pub(crate) struct Ceph {
    pub(crate) pool: Pool,
}

pub(crate) fn conf() -> Option<String> {
    let conf = std::env::var("ASHLAR_TEST_CEPH_CONF").ok();
    if conf.is_none() {
        println!(
            "skipped: ASHLAR_TEST_CEPH_CONF names no cluster (scripts/servers/ceph/with-servers)"
        );
    }
    conf
}

/// As the user with the least caps.
pub(crate) fn config(conf: &str) -> ClusterConfig {
    let mut config = ClusterConfig::new(conf, "cinder");
    config.connect_timeout = Duration::from_secs(20);
    config.timeout = Duration::from_mins(1);
    config
}

pub(crate) fn volumes_config(conf: &str) -> RbdVolumesConfig {
    let mut config = RbdVolumesConfig::new("volumes");
    config.conf = conf.into();
    config.timeout = 60;
    config
}

impl Ceph {
    pub(crate) async fn connect() -> Option<Self> {
        let conf = conf()?;
        let cluster = Cluster::connect(&config(&conf)).await.unwrap();
        let pool = cluster.pool("volumes").await.unwrap();
        Some(Self { pool })
    }

    /// A new image that no other test has.
    pub(crate) async fn image(&self, size: u64) -> Image {
        self.image_with(size, &CreateOptions::default()).await
    }

    pub(crate) async fn image_with(&self, size: u64, options: &CreateOptions) -> Image {
        let name = unique("image");
        self.pool.create(&name, size, options).await.unwrap();
        self.pool.open_image(&name).await.unwrap()
    }
}

/// A name that no other test has.
pub(crate) fn unique(what: &str) -> String {
    static COUNT: AtomicU64 = AtomicU64::new(0);
    let count = COUNT.fetch_add(1, Ordering::Relaxed);
    format!("test-{what}-{}-{count}", std::process::id())
}

/// Bytes that do not compress.
pub(crate) fn noise(seed: u64, length: usize) -> Vec<u8> {
    let mut random = Random(seed);
    let mut out = Vec::with_capacity(length + 8);
    while out.len() < length {
        out.extend_from_slice(&random.next().to_le_bytes());
    }
    out.truncate(length);
    out
}

/// Numbers that look random, the same for a seed.
pub(crate) struct Random(pub(crate) u64);

impl Random {
    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut x = self.0;
        x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        x ^ (x >> 31)
    }

    pub(crate) fn below(&mut self, end: u64) -> u64 {
        self.next() % end.max(1)
    }
}

/// All bytes that an image shows.
pub(crate) async fn content(image: &Image) -> Vec<u8> {
    let length = usize::try_from(image.info().size).unwrap();
    let (buf, read) = image.read(0, Buf::zeroed(length)).await;
    read.unwrap();
    buf.to_vec()
}

/// Waits until `done` says so.
pub(crate) async fn until(what: &str, mut done: impl FnMut() -> bool) {
    for _ in 0..600 {
        if done() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    panic!("no {what} within 30 s");
}

/// A pool whose buffers can be counted: one that is in use is not there to be taken again.
pub(crate) fn pool_of_one(length: usize) -> BufferPool {
    BufferPool::new(2 * (length as u64 + 8192))
}
