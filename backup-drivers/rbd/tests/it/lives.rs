//! The model: a volume has a random life, is backed up now and then, and every backup restores to what it held, onto new
//! volumes and onto ones that hold something else; from a pool and from files. Nothing is audited: what the change source does
//! not tell is not found otherwise.

use std::sync::Arc;

use backup_core::{
    AttachSource, Backup, Buf, ByteRange, Chain, ChunkedBackup, ChunkedConfig, DeviceAttacher,
    RestoreOptions, VolumeId, VolumeProvider,
};
use backup_posix::{PosixConfig, PosixRepository};
use backup_rbd::{CloneOptions, CreateOptions, Features, Image, RbdVolumes};
use bytes::Bytes;

use crate::ceph::{Random, conf, noise, unique, volumes_config};
use crate::repository::engine;
use crate::subject::Subject;

const MIB: u64 = 1 << 20;
const BACKUPS: usize = 6;

fn number(variable: &str) -> Option<u64> {
    std::env::var(variable).ok()?.parse().ok()
}

/// How many lives are lived with each engine: few in a test run, more in a soak.
fn lives() -> u64 {
    number("ASHLAR_MODEL_CASES").map_or(3, |cases| cases.div_ceil(4).max(3))
}

struct Life {
    s: Subject,
    /// What the volume held at each backup.
    held: Vec<Vec<u8>>,
    random: Random,
    log: Vec<String>,
}

impl Life {
    async fn begin(conf: &str, engine: Arc<dyn Backup>, seed: u64) -> Self {
        let mut random = Random(seed);
        let volumes = RbdVolumes::new(volumes_config(conf)).unwrap();
        let pool = volumes.pool().await.unwrap().clone();
        let id = VolumeId::generate();
        let name = format!("volume-{id}");
        let mut options = CreateOptions::default();
        let object_sizes = [16 << 10, MIB, 2 * MIB, 4 * MIB];
        options.object_size = Some(object_sizes[usize::try_from(random.below(4)).unwrap()]);
        let shape = random.below(4);
        if shape == 0 {
            // Neither object map nor fast-diff: every object is looked at.
            options.features = Some(Features::LAYERING | Features::EXCLUSIVE_LOCK);
        }
        let size = 10 * MIB + random.below(4) * 512;
        let mut log = vec![format!("seed {seed}: {size} bytes, {options:?}")];
        if random.below(2) == 0 {
            let parent = unique("parent");
            pool.create(&parent, size, &options).await.unwrap();
            let image = pool.open_image(&parent).await.unwrap();
            let filled = noise(seed, 3 << 20);
            image.write(2 * MIB, Bytes::from(filled)).await.unwrap();
            image.create_snapshot("s").await.unwrap();
            image.close().await.unwrap();
            let cloned = CloneOptions::default();
            pool.clone_image(&pool, &parent, "s", &name, &cloned)
                .await
                .unwrap();
            log.push(format!("a clone of {parent}"));
        } else {
            pool.create(&name, size, &options).await.unwrap();
        }
        Self {
            s: Subject::of(volumes, id, format!("volumes/{name}"), engine),
            held: Vec::new(),
            random,
            log,
        }
    }

    async fn live(&mut self) {
        let mut image = self.s.image().await;
        for _ in 0..12 {
            let end = image.info().size;
            let which = usize::try_from(self.random.below(5)).unwrap();
            let align = [512, 4096, 32 << 10, 64 << 10, MIB][which];
            let at = self.random.below(end.div_ceil(align)) * align;
            let length = (1 + self.random.below(20)) * align.min(64 << 10);
            let range = ByteRange::new(at, (at + length).min(end)).unwrap();
            match self.random.below(10) {
                0..5 => {
                    self.log.push(format!("write {range}"));
                    let length = usize::try_from(range.len()).unwrap();
                    let data = noise(self.random.next(), length);
                    image.write(at, Bytes::from(data)).await.unwrap();
                }
                5 | 6 => {
                    self.log.push(format!("zero {range}"));
                    image.write_zeroes(range).await.unwrap();
                }
                7 | 8 => {
                    self.log.push(format!("discard {range}"));
                    image.discard(range).await.unwrap();
                }
                _ => image = self.change_its_shape(image).await,
            }
        }
        image.close().await.unwrap();
    }

    async fn change_its_shape(&mut self, image: Image) -> Image {
        let snapshots = image.snapshots().await.unwrap();
        match self.random.below(3) {
            0 if image.info().is_clone() => {
                self.log.push("flatten".into());
                image.flatten().await.unwrap();
            }
            1 if !snapshots.is_empty() => {
                let which = usize::try_from(self.random.below(snapshots.len() as u64)).unwrap();
                let name = &snapshots[which].name;
                self.log.push(format!("roll back to {name}"));
                image.roll_back(name).await.unwrap();
            }
            _ => {
                let size = 6 * MIB + self.random.below(10 * MIB / 512) * 512;
                self.log.push(format!("resize to {size}"));
                image.resize(size).await.unwrap();
            }
        }
        // What a handle knows of its image is as old as itself.
        image.close().await.unwrap();
        self.s.image().await
    }

    async fn back_up(&mut self) {
        self.log.push("back up".into());
        let outcome = self.s.back_up().await;
        let snapshot = self.s.snapshots.last().unwrap();
        let pool = self.s.volumes.pool().await.unwrap();
        let image = pool
            .open_read_only(&self.s.name(), Some(snapshot))
            .await
            .unwrap();
        let content = crate::ceph::content(&image).await;
        image.close().await.unwrap();
        assert_eq!(outcome.volume_length, content.len() as u64);
        assert!(outcome.read_bytes <= outcome.volume_length, "{outcome:?}");
        self.held.push(content);
    }

    async fn check(&self) {
        let s = &self.s;
        let longest = self.held.iter().map(Vec::len).max().unwrap() as u64;
        let id = VolumeId::generate();
        let location = s.volumes.create_volume(id, longest).await.unwrap();
        let target = backup_core::VolumeRef {
            id,
            provider_location: Some(location),
        };
        // The first time it is new, then it holds another version.
        for (n, content) in self.held.iter().enumerate() {
            let source = AttachSource::Target(target.clone());
            let plan = s.volumes.plan(&source, s.layers[n].id).await.unwrap();
            let attachment = s.volumes.execute(&plan).await.unwrap();
            let chain = Chain::new(s.layers[..=n].to_vec()).unwrap();
            let options = RestoreOptions::default();
            s.engine
                .restore(&chain, &attachment.device, &options, &s.cx)
                .await
                .unwrap();
            let (read, done) = attachment.device.read(0, Buf::zeroed(content.len())).await;
            done.unwrap();
            let same = read[..] == content[..];
            assert!(same, "backup {n} onto a volume: {:#?}", self.log);
            drop(attachment);
            s.volumes.undo(&plan).await.unwrap();
            let restored = s.restored(n).await;
            assert!(restored == *content, "backup {n}: {:#?}", self.log);
        }
        s.volumes.delete_volume(&target).await.unwrap();
    }
}

async fn every_backup_restores(conf: &str, engine: Arc<dyn Backup>) {
    let first = number("ASHLAR_SEED").unwrap_or(1);
    for seed in first..first + lives() {
        println!("seed {seed}");
        let mut life = Life::begin(conf, Arc::clone(&engine), seed).await;
        for _ in 0..BACKUPS {
            life.live().await;
            life.back_up().await;
        }
        life.check().await;
        life.s.end().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn model_lives_of_rbd_volumes_restore_at_every_point_from_a_pool() {
    let Some(conf) = conf() else {
        return;
    };
    let engine = Arc::new(engine(&conf, 0));
    every_backup_restores(&conf, engine).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn model_lives_of_rbd_volumes_restore_at_every_point_from_files() {
    let Some(conf) = conf() else {
        return;
    };
    let folder = tempfile::tempdir().unwrap();
    let repository = PosixRepository::open(&PosixConfig::new(folder.path())).unwrap();
    let config = ChunkedConfig::zlib().unwrap().with_audit(0);
    let engine = Arc::new(ChunkedBackup::new(Arc::new(repository), config).unwrap());
    every_backup_restores(&conf, engine).await;
}
