//! All that reads, over one damaged repository, and what holds whatever the damage is.

use std::sync::Arc;

use backup_core::testing::{MemoryDevice, MemoryRepository};
use backup_core::{
    Algorithm, Backup, BlockDevice, Buf, ByteRange, Chain, Check, ChunkedBackup, ChunkedConfig,
    Error, ErrorKind, JobContext, Report, RestoreOptions, Result, ScanItem,
};
use futures::StreamExt;

use crate::faults::scene::{Scene, assert_told};

/// A chain in a sound repository and what it must restore to.
pub struct Sound {
    pub memory: MemoryRepository,
    pub chain: Chain,
    pub content: MemoryDevice,
    pub cx: JobContext,
}

/// What readers said of a damaged one.
pub struct Verdict {
    pub restored: Result<Report>,
    pub verified: Report,
}

impl Sound {
    /// A full backup of ours and two incrementals on it.
    pub async fn ours(algorithm: Algorithm) -> Self {
        let mut all = Self::versions(algorithm).await;
        all.remove(2)
    }

    /// The same with each of the three as the newest.
    pub async fn versions(algorithm: Algorithm) -> Vec<Self> {
        let scene = Scene::new(algorithm, false).await;
        (0..3)
            .map(|version| Self {
                memory: scene.sound.duplicate(),
                chain: Chain::new(scene.layers[..=version].to_vec()).unwrap(),
                content: scene.contents[version].copy(),
                cx: scene.cx.clone(),
            })
            .collect()
    }

    pub fn length(&self) -> u64 {
        self.content.geometry().length
    }

    /// The names of the objects that a restore of the chain's newest state looks at, hash lists of older layers left
    /// out.
    pub fn objects(&self) -> Vec<String> {
        let newest = self.chain.newest().location.hash_list().to_string();
        self.memory
            .objects()
            .into_iter()
            .map(|(name, _)| name)
            .filter(|name| !name.ends_with("_sha256file") || *name == newest)
            .filter(|name| {
                let layers = self.chain.layers().iter();
                layers
                    .map(|l| l.location.to_string())
                    .any(|l| name.starts_with(&l))
            })
            .collect()
    }

    pub fn engine(&self, memory: &MemoryRepository) -> ChunkedBackup {
        let config = ChunkedConfig::zlib().unwrap().with_block_size(512);
        ChunkedBackup::new(Arc::new(memory.clone()), config).unwrap()
    }

    fn target(&self) -> MemoryDevice {
        MemoryDevice::from_bytes(&vec![0xA5; usize::try_from(self.length()).unwrap() + 5000])
    }

    /// Restores, by each check and by salvage, verifies, and where `all`, reads and scans too.
    pub async fn read(&self, memory: &MemoryRepository, all: bool, label: &str) -> Verdict {
        let engine = self.engine(memory);
        let restored = self.restore(&engine, Check::Hashes, label).await;
        let verified = engine
            .verify(&self.chain, &self.cx)
            .await
            .unwrap_or_else(|e| panic!("{label}: verify tells damage in its report: {e:?}"));
        if let Err(e) = &restored {
            assert_damage(e, label);
            assert!(!verified.data_is_right(), "{label}: verify finds nothing");
        }
        if all {
            if let Err(e) = self.restore(&engine, Check::Md5, label).await {
                assert_damage(&e, label);
            }
            self.salvage(&engine, label).await;
            self.read_through(&engine, label).await;
            scan(&engine, &self.cx, label).await;
        }
        Verdict { restored, verified }
    }

    async fn restore(&self, engine: &ChunkedBackup, check: Check, label: &str) -> Result<Report> {
        let target = self.target();
        let device: Arc<dyn BlockDevice> = Arc::new(target.clone());
        let options = RestoreOptions::default().with_check(check);
        let report = engine
            .restore(&self.chain, &device, &options, &self.cx)
            .await?;
        assert_eq!(
            target
                .resized(self.length())
                .first_difference(&self.content),
            None,
            "{label}: wrong bytes and no error, {check:?}"
        );
        Ok(report)
    }

    /// What a salvage does not list is right.
    async fn salvage(&self, engine: &ChunkedBackup, label: &str) {
        let target = self.target();
        let device: Arc<dyn BlockDevice> = Arc::new(target.clone());
        let options = RestoreOptions::default().with_salvage(true);
        let report = match engine
            .restore(&self.chain, &device, &options, &self.cx)
            .await
        {
            Ok(report) => report,
            Err(e) => return assert_damage(&e, label),
        };
        let told: Vec<ByteRange> = report.problems.iter().filter_map(|p| p.range).collect();
        // A length that lies is told as damage of the blocks at the end.
        let length = usize::try_from(self.length().min(report.volume_length)).unwrap();
        assert!(length as u64 == self.length() || !report.data_is_right());
        let pairs = target.peek(0, length).into_iter();
        let wrong = (0u64..)
            .zip(pairs.zip(self.content.peek(0, length)))
            .filter(|(_, (held, right))| held != right)
            .map(|(at, _)| at)
            .find(|&at| !told.iter().any(|r| r.start() <= at && at < r.end()));
        assert_eq!(wrong, None, "{label}: a salvage lists what is wrong");
    }

    async fn read_through(&self, engine: &ChunkedBackup, label: &str) {
        let reader = match engine.open(&self.chain, &self.cx).await {
            Ok(reader) => reader,
            Err(e) => return assert_damage(&e, label),
        };
        if let Err(e) = reader
            .extents(ByteRange::up_to(reader.length().min(1 << 20)))
            .await
        {
            assert_damage(&e, label);
        }
        let length = self.length().min(reader.length());
        for piece in ByteRange::up_to(length).pieces(1 << 16) {
            let length = usize::try_from(piece.len()).unwrap();
            let (buf, read) = reader.read(piece.start(), Buf::zeroed(length)).await;
            match read {
                Ok(()) => assert!(
                    self.content.peek(piece.start(), length) == buf[..],
                    "{label}: a wrong byte of {piece} was read and no error"
                ),
                Err(e) => assert_damage(&e, label),
            }
        }
    }
}

async fn scan(engine: &ChunkedBackup, cx: &JobContext, label: &str) {
    let mut items = engine.scan(None, cx).await.unwrap();
    while let Some(item) = items.next().await {
        let item = item.unwrap_or_else(|e| panic!("{label}: damage ends a scan: {e:?}"));
        if let ScanItem::Broken(problem) = item {
            assert!(problem.object.ends_with("_metadata"), "{label}: {problem}");
        }
    }
}

/// It says that stored data is wrong, and of which object or where.
pub fn assert_damage(e: &Error, label: &str) {
    assert_told(e, label);
    assert!(
        matches!(
            e.kind(),
            ErrorKind::Corrupt
                | ErrorKind::NotFound
                | ErrorKind::Unsupported
                // A length that the target does not have.
                | ErrorKind::InvalidInput
        ),
        "{label}: {e:?}"
    );
}
