//! A volume that is an image, or a plain device, and its backups in a store of images.

use std::sync::Arc;

use backup_core::format::ceph;
use backup_core::testing::{MemoryDevice, MemoryImages, SnapshotChanges};
use backup_core::{
    Attachment, Backup, BackupRequest, BlockDevice, Buf, Chain, ContainerName, Image, ImageBackup,
    ImageKey, ImageRepository, ImagedConfig, JobContext, Layer, Outcome, RestoreOptions, Result,
    Timestamp, VolumeId,
};

use crate::history::{context, noise};

/// How the volume is given to the engine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Way {
    /// By a snapshot of its image, with its change source.
    Tracked,
    /// By a snapshot of its image, without one.
    Untracked,
    /// As a device that tells no holes.
    Plain,
}

impl Way {
    pub const ALL: [Self; 3] = [Self::Tracked, Self::Untracked, Self::Plain];
}

/// What a volume was attached by.
pub struct Source {
    pub attachment: Attachment,
    pub snapshot: Option<String>,
}

#[derive(Debug)]
pub struct Version {
    pub layer: Layer,
    pub parent: Option<usize>,
    pub content: Vec<u8>,
    pub outcome: Outcome,
    pub deleted: bool,
}

pub struct Life {
    pub backups: MemoryImages,
    pub volumes: Arc<dyn ImageRepository>,
    pub engine: ImageBackup,
    pub volume_id: VolumeId,
    pub key: ImageKey,
    pub image: Arc<dyn Image>,
    pub versions: Vec<Version>,
    pub cx: JobContext,
}

pub fn pool(name: &str) -> ContainerName {
    ContainerName::new(name).unwrap()
}

/// Attaches the image `key` of `volumes` for the backup of `layer`.
pub async fn attach(
    volumes: &Arc<dyn ImageRepository>,
    key: &ImageKey,
    layer: &Layer,
    way: Way,
) -> Source {
    let image = volumes.open_to_write(key).await.unwrap();
    let snapshot = ceph::snapshot_name(layer.id, Timestamp::now());
    image.snapshot(&snapshot).await.unwrap();
    let shown = volumes.open(key, Some(&snapshot)).await.unwrap();
    let device = Arc::<dyn Image>::clone(&shown);
    let attachment = match way {
        Way::Tracked => Attachment::new(device).with_changes(Arc::new(SnapshotChanges::new(
            image,
            shown,
            snapshot.clone(),
        ))),
        Way::Untracked => Attachment::new(device),
        Way::Plain => {
            let content = read_all(&shown).await;
            image.remove_snapshot(&snapshot).await.unwrap();
            let device = MemoryDevice::from_bytes(&content).without_holes();
            return Source {
                attachment: Attachment::new(Arc::new(device)),
                snapshot: None,
            };
        }
    };
    Source {
        attachment,
        snapshot: Some(snapshot),
    }
}

pub async fn read_all(image: &Arc<dyn Image>) -> Vec<u8> {
    let length = usize::try_from(image.geometry().length).unwrap();
    let (buf, result) = image.read(0, Buf::zeroed(length)).await;
    result.unwrap();
    buf.to_vec()
}

impl Life {
    pub async fn new(length: u64, config: ImagedConfig) -> Self {
        let backups = MemoryImages::new(pool("backups"));
        let volumes = MemoryImages::new(pool("volumes"));
        let volume_id = VolumeId::generate();
        let key = ImageKey::new(&pool("volumes"), format!("volume-{volume_id}")).unwrap();
        let image = volumes.create(&key, length).await.unwrap();
        Self {
            engine: ImageBackup::new(Arc::new(backups.clone()), config).unwrap(),
            backups,
            volumes: Arc::new(volumes),
            volume_id,
            key,
            image,
            versions: Vec::new(),
            cx: context(),
        }
    }

    pub fn request(&self, parent: Option<usize>) -> BackupRequest {
        let mut request = BackupRequest::new(self.volume_id, Timestamp::now());
        request.name = Some(format!("version {}", self.versions.len()));
        request.project_id = "project".into();
        request.user_id = "user".into();
        request.properties.insert("key".into(), "value".into());
        request.parent = parent.map(|p| self.versions[p].layer.clone());
        request
    }

    /// A backup on `parent`, or a full one. What a failed one was attached by is removed.
    pub async fn try_back_up(&mut self, parent: Option<usize>, way: Way) -> Result<usize> {
        let plan = self.engine.plan(&self.request(parent))?;
        let layer = plan.layer();
        let source = attach(&self.volumes, &self.key, &layer, way).await;
        let content = read_all(&self.image).await;
        let parent_layer = parent.map(|p| self.versions[p].layer.clone());
        let created = self
            .engine
            .create(&plan, parent_layer.as_ref(), &source.attachment, &self.cx)
            .await;
        if let Some(snapshot) = source.snapshot
            && (created.is_err() || way != Way::Tracked)
        {
            self.image.remove_snapshot(&snapshot).await.unwrap();
        }
        self.versions.push(Version {
            layer,
            parent,
            content,
            outcome: created?,
            deleted: false,
        });
        Ok(self.versions.len() - 1)
    }

    pub async fn full(&mut self, way: Way) -> usize {
        self.try_back_up(None, way).await.unwrap()
    }

    /// An incremental on the last version.
    pub async fn incremental(&mut self, way: Way) -> usize {
        let parent = self.versions.len() - 1;
        self.try_back_up(Some(parent), way).await.unwrap()
    }

    pub fn base(&self, version: usize) -> ImageKey {
        let location = &self.versions[version].layer.location;
        ImageKey::new(
            &location.container,
            ceph::base_of(&location.prefix).unwrap(),
        )
        .unwrap()
    }

    /// The newest version in the base image of `version` that is there.
    pub fn newest_beside(&self, version: usize) -> Option<usize> {
        let prefix = &self.versions[version].layer.location.prefix;
        (0..self.versions.len()).rev().find(|&v| {
            !self.versions[v].deleted && self.versions[v].layer.location.prefix == *prefix
        })
    }

    pub async fn delete(&mut self, version: usize) {
        let layer = self.versions[version].layer.clone();
        self.engine.delete(&layer, &self.cx).await.unwrap();
        let id = layer.id.to_string();
        // A full backup's ID stays in the name of the base image, as long as that is needed.
        let left: Vec<_> = self
            .backups
            .inventory()
            .into_iter()
            .filter(|line| {
                line.contains(&format!("backup.{id}.snap"))
                    || line.contains(&format!("backup.{id}.meta"))
                    || line.contains(&format!("ashlar.backup.{id}"))
            })
            .collect();
        assert_eq!(left, Vec::<String>::new(), "what is left of {version}");
        self.versions[version].deleted = true;
    }

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

    async fn restore(&self, version: usize, target: Arc<dyn BlockDevice>) {
        let report = self
            .engine
            .restore(
                &self.chain(version),
                &target,
                &RestoreOptions::default(),
                &self.cx,
            )
            .await
            .unwrap();
        let length = self.versions[version].content.len();
        assert_eq!(report.volume_length, length as u64);
        assert_eq!(report.problems, []);
    }

    /// Restores `version` into new and dirty devices and images, larger ones too, and compares.
    pub async fn check(&self, version: usize) {
        let expected = &self.versions[version].content;
        let length = expected.len() as u64;
        let new = MemoryDevice::new(length).with_known_zero(true);
        self.restore(version, Arc::new(new.clone())).await;
        assert!(
            new.peek(0, expected.len()) == *expected,
            "version {version} into a new device"
        );
        let junk = noise(length, expected.len() + 7777);
        for holes in [true, false] {
            let dirty = MemoryDevice::from_bytes(&junk).with_holes(holes);
            self.restore(version, Arc::new(dirty.clone())).await;
            assert!(
                dirty.peek(0, expected.len()) == *expected,
                "version {version} into a dirty device"
            );
            assert_eq!(
                dirty.peek(length, 7777),
                junk[expected.len()..],
                "what lies behind the end is left"
            );
        }
        let targets = MemoryImages::new(pool("targets"));
        let key = ImageKey::new(&pool("targets"), "volume-x").unwrap();
        let image = targets.create(&key, length).await.unwrap();
        let written = if version.is_multiple_of(2) {
            Arc::<dyn Image>::clone(&image)
        } else {
            image
                .write(0, junk[..expected.len()].to_vec().into())
                .await
                .unwrap();
            targets.open_to_write(&key).await.unwrap()
        };
        self.restore(version, written).await;
        assert!(
            targets.content(&key, None).unwrap() == *expected,
            "version {version} into an image"
        );
    }

    /// Everything that is there restores, is sound, and is Cinder's layout.
    pub async fn check_all(&self) {
        for version in self.alive_and_leaves().0 {
            self.check(version).await;
            let report = self
                .engine
                .verify(&self.chain(version), &self.cx)
                .await
                .unwrap();
            assert_eq!(report.problems, [], "version {version}");
            let v = &self.versions[version];
            let base = self.backups.open(&self.base(version), None).await.unwrap();
            let mine: Vec<_> = base
                .snapshots()
                .await
                .unwrap()
                .into_iter()
                .filter(|s| ceph::backup_of_snapshot(&s.name) == Some(v.layer.id))
                .collect();
            assert_eq!(mine.len(), 1, "version {version} has {mine:?}");
            if let Some(point) = &v.outcome.change_point {
                assert_eq!(mine[0].name, point.as_str(), "as on the source");
            }
        }
    }
}
