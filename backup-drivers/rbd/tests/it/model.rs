//! Random lives of images: whatever happens, no byte that differs is told as unchanged, none that is there as a hole.

use std::collections::BTreeSet;

use backup_core::{BackupId, BlockDevice, ByteRange, ChangeSource, Extent, ExtentKind};
use backup_rbd::{CloneOptions, CreateOptions, Features, Image, RbdChanges, RbdDevice};
use bytes::Bytes;

use crate::ceph::{Ceph, Random, content, noise, unique};

const MIB: u64 = 1 << 20;

/// How many lives are lived: few in a test run, more in a soak.
fn lives() -> u64 {
    number("ASHLAR_MODEL_CASES").map_or(3, |cases| cases.div_ceil(8))
}

fn number(variable: &str) -> Option<u64> {
    std::env::var(variable).ok()?.parse().ok()
}

/// An image with its snapshots and what each showed.
struct Life {
    ceph: Ceph,
    random: Random,
    image: Image,
    snapshots: Vec<(String, Vec<u8>)>,
    log: Vec<String>,
}

impl Life {
    async fn begin(seed: u64) -> Option<Self> {
        let ceph = Ceph::connect().await?;
        let mut random = Random(seed);
        let mut options = CreateOptions::default();
        options.object_size = Some(MIB);
        let shape = random.below(9);
        if shape < 3 {
            options.stripe_unit = Some(65_536);
            options.stripe_count = Some(3);
            options.features = Some(
                Features::LAYERING
                    | Features::STRIPING
                    | Features::EXCLUSIVE_LOCK
                    | Features::OBJECT_MAP
                    | Features::FAST_DIFF,
            );
        } else if shape < 5 {
            // Neither object map nor fast-diff: every object is looked at.
            options.features = Some(Features::LAYERING | Features::EXCLUSIVE_LOCK);
        } else if shape < 7 {
            // So many objects that most are not there, and some lie far from the others.
            options.object_size = Some(16 << 10);
        }
        let mut log = vec![format!("{options:?}")];
        let mut image = ceph.image_with(12 * MIB, &options).await;
        if random.below(2) == 0 {
            let filled = 5 * MIB + random.below(3 * MIB);
            let data = noise(seed, usize::try_from(filled).unwrap());
            image.write(MIB, Bytes::from(data)).await.unwrap();
            image.create_snapshot("parent").await.unwrap();
            let name = unique("life");
            ceph.pool
                .clone_image(
                    &ceph.pool,
                    image.name(),
                    "parent",
                    &name,
                    &CloneOptions::default(),
                )
                .await
                .unwrap();
            image = ceph.pool.open_image(&name).await.unwrap();
            log.push(format!("a clone of {filled} bytes"));
        }
        Some(Self {
            ceph,
            random,
            image,
            snapshots: Vec::new(),
            log,
        })
    }

    fn range(&mut self) -> ByteRange {
        let size = self.image.info().size;
        let align =
            [1, 512, 4096, 32_768, 65_536, MIB][usize::try_from(self.random.below(6)).unwrap()];
        let start = self.random.below(size) / align * align;
        let length = (self.random.below(8) + 1) * align.max(512);
        ByteRange::new(start, (start + length).min(size)).unwrap()
    }

    async fn step(&mut self) {
        let range = self.range();
        match self.random.below(20) {
            0..8 => {
                let length = usize::try_from(range.len()).unwrap();
                let data = noise(self.random.next(), length);
                self.log.push(format!("write {range}"));
                self.image
                    .write(range.start(), Bytes::from(data))
                    .await
                    .unwrap();
            }
            8..11 => {
                self.log.push(format!("zero {range}"));
                self.image.write_zeroes(range).await.unwrap();
            }
            11..13 => {
                self.log.push(format!("discard {range}"));
                self.image.discard(range).await.unwrap();
            }
            13 => {
                let size = 6 * MIB + self.random.below(12 * MIB);
                self.log.push(format!("resize to {size}"));
                self.image.resize(size).await.unwrap();
                self.reopen().await;
            }
            14 if !self.snapshots.is_empty() => {
                let which = self.random.below(self.snapshots.len() as u64);
                let name = self.snapshots[usize::try_from(which).unwrap()].0.clone();
                self.log.push(format!("roll back to {name}"));
                self.image.roll_back(&name).await.unwrap();
                self.reopen().await;
            }
            15 if self.image.info().is_clone() && self.random.below(3) == 0 => {
                self.log.push("flatten".into());
                self.image.flatten().await.unwrap();
                self.reopen().await;
            }
            16 if self.snapshots.len() > 2 && self.random.below(3) == 0 => {
                let which = self.random.below(self.snapshots.len() as u64);
                let (name, _) = self.snapshots.remove(usize::try_from(which).unwrap());
                self.log.push(format!("remove {name}"));
                self.image.remove_snapshot(&name).await.unwrap();
            }
            17.. => {
                let name = format!("s{}", self.log.len());
                self.log.push(format!("snapshot {name}"));
                self.image.create_snapshot(&name).await.unwrap();
                self.reopen().await;
                self.snapshots.push((name, content(&self.image).await));
            }
            _ => {}
        }
    }

    async fn reopen(&mut self) {
        // Closed first: it may hold the exclusive lock, which a roll-back needs.
        let name = self.image.name().to_owned();
        let look = self.ceph.pool.open_read_only(&name, None).await.unwrap();
        let old = std::mem::replace(&mut self.image, look);
        old.close().await.unwrap();
        self.image = self.ceph.pool.open_image(&name).await.unwrap();
    }

    async fn at(&self, snapshot: &str) -> Image {
        let name = self.image.name();
        self.ceph
            .pool
            .open_read_only(name, Some(snapshot))
            .await
            .unwrap()
    }

    /// Asks in small windows, as the engine does, and holds each answer against the bytes.
    async fn check(&self, older: usize, newer: usize) {
        let (from, before) = &self.snapshots[older];
        let (to, now) = &self.snapshots[newer];
        let told = || format!("{from} to {to} after {:#?}", self.log);
        let since = RbdChanges::new(self.at(from).await).unwrap();
        let since = since.mark(BackupId::generate()).await.unwrap();
        let image = self.at(to).await;
        assert!(content(&image).await == *now, "{}", told());
        let changes = RbdChanges::new(image.clone()).unwrap();
        let device = RbdDevice::new(image);
        let mut changed = 0;
        for range in ByteRange::up_to(now.len() as u64).pieces(3 * MIB) {
            for extent in covering(range, changes.changed(&since, range).await.unwrap()) {
                let (start, end) = bounds(extent.range);
                match extent.kind {
                    ExtentKind::Unchanged => assert!(
                        before.get(start..end) == Some(&now[start..end]),
                        "{}: {} differs: {}",
                        extent.range,
                        (start..end)
                            .find(|&i| before.get(i) != Some(&now[i]))
                            .unwrap_or(end),
                        told()
                    ),
                    ExtentKind::Zero => assert!(
                        now[start..end].iter().all(|&b| b == 0),
                        "{} is not zero: {}",
                        extent.range,
                        told()
                    ),
                    _ => changed += extent.range.len(),
                }
            }
            for extent in covering(range, device.allocated(range).await.unwrap()) {
                let (start, end) = bounds(extent.range);
                assert!(
                    extent.kind != ExtentKind::Zero || now[start..end].iter().all(|&b| b == 0),
                    "{} is no hole: {}",
                    extent.range,
                    told()
                );
            }
        }
        assert!(changed <= now.len() as u64);
    }
}

fn covering(range: ByteRange, extents: Vec<Extent>) -> Vec<Extent> {
    let mut at = range.start();
    for extent in &extents {
        assert_eq!(extent.range.start(), at, "no gap, no overlap");
        at = extent.range.end();
    }
    assert_eq!(at, range.end());
    extents
}

fn bounds(range: ByteRange) -> (usize, usize) {
    (
        usize::try_from(range.start()).unwrap(),
        usize::try_from(range.end()).unwrap(),
    )
}

#[tokio::test(flavor = "multi_thread")]
async fn model_no_change_is_missed_in_the_random_life_of_an_image() {
    let first = number("ASHLAR_SEED").unwrap_or(1);
    for seed in first..first + lives() {
        println!("seed {seed}");
        let Some(mut life) = Life::begin(seed).await else {
            return;
        };
        while life.snapshots.len() < 5 && life.log.len() < 150 {
            life.step().await;
        }
        let count = life.snapshots.len();
        let mut pairs: BTreeSet<(usize, usize)> = (1..count).map(|i| (i - 1, i)).collect();
        if count > 2 {
            pairs.insert((0, count - 1));
            pairs.insert((1, count - 1));
        }
        for (older, newer) in pairs {
            life.check(older, newer).await;
        }
    }
}

#[tokio::test]
async fn a_roll_back_between_two_backups_is_seen() {
    let Some(ceph) = Ceph::connect().await else {
        return;
    };
    let image = ceph.image(16 * MIB).await;
    image
        .write(0, Bytes::from(noise(1, 16 << 20)))
        .await
        .unwrap();
    // By `a` the object maps call everything unchanged since `before`, and a roll-back to `a` brings that map back.
    image.create_snapshot("before").await.unwrap();
    image.create_snapshot("a").await.unwrap();
    image
        .write(5 * MIB, Bytes::from(noise(2, 4096)))
        .await
        .unwrap();
    image.create_snapshot("b").await.unwrap();
    // Back to `a`: to `b` the image differs where it was written in between, though nobody has written since.
    image.roll_back("a").await.unwrap();
    image.create_snapshot("c").await.unwrap();
    let open = async |name: &str| {
        let opened = ceph.pool.open_read_only(image.name(), Some(name)).await;
        RbdChanges::new(opened.unwrap()).unwrap()
    };
    let since = open("b").await.mark(BackupId::generate()).await.unwrap();
    let range = ByteRange::new(5 * MIB, 5 * MIB + 4096).unwrap();
    let told = open("c").await.changed(&since, range).await.unwrap();
    assert!(
        told.iter().all(|e| e.kind != ExtentKind::Unchanged),
        "{told:?}"
    );
    // Why object maps are not believed by default: they miss it. Where a release does not, docs/ceph.md can be mended.
    let fast = open("c").await.with_fast_diff(true);
    let told = fast.changed(&since, range).await.unwrap();
    assert_eq!(told, [Extent::new(range, ExtentKind::Unchanged)]);
}
