//! A volume and the backups that were made of it, with what each must restore to.

use std::sync::Arc;

use backup_core::testing::{MemoryDevice, MemoryRepository};
use backup_core::{
    Attachment, Backup, BackupId, BackupRequest, BlockDevice, Buf, Chain, ChunkedBackup,
    ChunkedConfig, JobContext, Layer, Outcome, Report, Repository, RestoreOptions, Result,
    Timestamp, VolumeId,
};

pub struct Version {
    pub layer: Layer,
    pub parent: Option<usize>,
    pub content: MemoryDevice,
    pub outcome: Outcome,
    pub deleted: bool,
}

pub struct History {
    pub repository: Arc<dyn Repository>,
    pub memory: MemoryRepository,
    pub engine: ChunkedBackup,
    pub volume: MemoryDevice,
    pub volume_id: VolumeId,
    pub versions: Vec<Version>,
    pub cx: JobContext,
}

pub fn context() -> JobContext {
    JobContext::new(64 << 20).unwrap()
}

/// Small chunks and blocks, so that little data crosses many borders.
pub fn small(config: ChunkedConfig) -> ChunkedConfig {
    config.with_chunk_size(64 << 10).with_block_size(4 << 10)
}

impl History {
    pub fn new(length: u64, config: ChunkedConfig) -> Self {
        let memory = MemoryRepository::new();
        Self::over(Arc::new(memory.clone()), memory, length, config)
    }

    pub fn over(
        repository: Arc<dyn Repository>,
        memory: MemoryRepository,
        length: u64,
        config: ChunkedConfig,
    ) -> Self {
        Self {
            engine: ChunkedBackup::new(Arc::clone(&repository), config).unwrap(),
            repository,
            memory,
            volume: MemoryDevice::new(length),
            volume_id: VolumeId::generate(),
            versions: Vec::new(),
            cx: context(),
        }
    }

    /// Goes on with another configuration over the same repository.
    pub fn configure(&mut self, config: ChunkedConfig) {
        self.engine = ChunkedBackup::new(Arc::clone(&self.repository), config).unwrap();
    }

    pub async fn try_back_up(&mut self, parent: Option<usize>) -> Result<usize> {
        let mut request = BackupRequest::new(self.volume_id, Timestamp::now());
        request.name = Some(format!("version {}", self.versions.len()));
        let plan = self.engine.plan(&request)?;
        let source = Attachment::new(Arc::new(self.volume.clone()));
        let outcome = self
            .engine
            .create(
                &plan,
                parent.map(|p| &self.versions[p].layer),
                &source,
                &self.cx,
            )
            .await?;
        self.versions.push(Version {
            layer: Layer {
                id: plan.id,
                location: plan.location,
            },
            parent,
            content: self.volume.copy(),
            outcome,
            deleted: false,
        });
        Ok(self.versions.len() - 1)
    }

    pub async fn full(&mut self) -> usize {
        self.try_back_up(None).await.unwrap()
    }

    /// An incremental on the last version.
    pub async fn incremental(&mut self) -> usize {
        self.try_back_up(Some(self.versions.len() - 1))
            .await
            .unwrap()
    }

    /// Deletes a version that no other one stands on, and sees that nothing of it is left.
    pub async fn delete(&mut self, version: usize) {
        let layer = self.versions[version].layer.clone();
        self.engine.delete(&layer, &self.cx).await.unwrap();
        let location = layer.location;
        let prefix = format!("{}/{}", location.container, location.prefix);
        let left: Vec<_> = self
            .memory
            .objects()
            .into_iter()
            .filter(|(path, _)| path.starts_with(&prefix))
            .collect();
        assert_eq!(left, [], "what is left of version {version}");
        self.versions[version].deleted = true;
    }

    /// The versions that are there, and of those the ones that no other one stands on.
    pub fn alive_and_leaves(&self) -> (Vec<usize>, Vec<usize>) {
        let alive: Vec<usize> = (0..self.versions.len())
            .filter(|&v| !self.versions[v].deleted)
            .collect();
        let leaves = alive
            .iter()
            .copied()
            .filter(|&v| alive.iter().all(|&c| self.versions[c].parent != Some(v)))
            .collect();
        (alive, leaves)
    }

    pub fn chain(&self, version: usize) -> Chain {
        let mut layers = Vec::new();
        let mut at = Some(version);
        while let Some(v) = at {
            layers.insert(0, self.versions[v].layer.clone());
            at = self.versions[v].parent;
        }
        Chain::new(layers).unwrap()
    }

    pub async fn restore_onto(
        &self,
        version: usize,
        target: &MemoryDevice,
        options: &RestoreOptions,
    ) -> Result<Report> {
        let target: Arc<dyn BlockDevice> = Arc::new(target.clone());
        self.engine
            .restore(&self.chain(version), &target, options, &self.cx)
            .await
    }

    /// Restores `version` into a new target, a dirty one and a dirty, larger one, and compares.
    pub async fn check(&self, version: usize) {
        let expected = &self.versions[version].content;
        let length = expected.geometry().length;
        let new = MemoryDevice::new(length).with_known_zero(true);
        let report = self
            .restore_onto(version, &new, &RestoreOptions::default())
            .await
            .unwrap();
        assert_eq!(report.volume_length, length);
        assert_eq!(report.checked_bytes, length, "every byte is checked");
        assert_eq!(
            new.first_difference(expected),
            None,
            "version {version} into a new volume"
        );
        let exact = MemoryDevice::new(length);
        exact.poke(0, &noise(length, usize::try_from(length).unwrap()));
        self.restore_onto(version, &exact, &RestoreOptions::default())
            .await
            .unwrap();
        assert_eq!(
            exact.first_difference(expected),
            None,
            "version {version} into a dirty volume of its length"
        );
        let dirty = MemoryDevice::new(length + 7777);
        let junk: Vec<u8> = (1..=251u8)
            .cycle()
            .take(usize::try_from(length).unwrap() + 7777)
            .collect();
        dirty.poke(0, &junk);
        self.restore_onto(version, &dirty, &RestoreOptions::default())
            .await
            .unwrap();
        assert_eq!(
            dirty.resized(length).first_difference(expected),
            None,
            "version {version} into a dirty volume"
        );
        let behind = usize::try_from(length).unwrap();
        assert_eq!(
            dirty.peek(length, 7777),
            junk[behind..],
            "what lies behind the end is left"
        );
    }

    pub async fn check_all(&self) {
        for version in self.alive_and_leaves().0 {
            self.check(version).await;
            let report = self
                .engine
                .verify(&self.chain(version), &self.cx)
                .await
                .unwrap();
            assert_eq!(report.problems, [], "version {version}");
        }
    }

    pub async fn read(&self, version: usize, at: u64, length: usize) -> Vec<u8> {
        let reader = self
            .engine
            .open(&self.chain(version), &self.cx)
            .await
            .unwrap();
        let (buf, result) = reader.read(at, Buf::zeroed(length)).await;
        result.unwrap();
        buf.to_vec()
    }

    pub fn id(&self, version: usize) -> BackupId {
        self.versions[version].layer.id
    }
}

/// Bytes that do not compress.
pub fn noise(seed: u64, length: usize) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
    let mut out = Vec::with_capacity(length + 8);
    while out.len() < length {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        out.extend_from_slice(&state.to_le_bytes());
    }
    out.truncate(length);
    out
}

/// Bytes that compress.
pub fn text(seed: u64, length: usize) -> Vec<u8> {
    let words = [
        "volume ", "backup ", "restore ", "chunk ", "block ", "extent\n",
    ];
    let mut out = Vec::with_capacity(length + 8);
    for r in noise(seed, length) {
        out.extend_from_slice(words[usize::from(r) % words.len()].as_bytes());
        if out.len() >= length {
            break;
        }
    }
    out.truncate(length);
    out
}
