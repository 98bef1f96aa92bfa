//! `kill -9` at random moments of everything that takes time, with volumes on Ceph: what was complete stays, what was cut
//! leaves no snapshot, no image, no note and no object.

use std::collections::{BTreeMap, BTreeSet};
use std::os::unix::process::ExitStatusExt;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use backup_core::format::ceph;
use backup_core::record::BackupStatus;
use backup_core::volume::VolumeStatus;
use backup_core::{BackupId, ErrorKind, VolumeId};
use backup_drivers::rbd::{Image, Pool};
use sha2::{Digest, Sha256};

use super::{Ceph, MIB};
use crate::ashlar::noise;
use crate::state::{Dice, State, settled};

/// Bytes of the volume: three objects.
const LENGTH: usize = 12 * MIB;

/// How many processes are killed while they run, with each of the two repositories, unless `ASHLAR_MODEL_CASES` says more.
const KILLS: usize = 15;

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Deed {
    Full,
    Incremental,
    RestoreNew,
    RestoreOnto,
    Delete,
}

/// A volume with backups in one repository, and what each of them must restore to.
struct World {
    c: Ceph,
    repository: &'static str,
    image: String,
    images: Vec<String>,
    expected: BTreeMap<String, [u8; 32]>,
    /// All backups that were available once.
    ever: BTreeSet<String>,
    dice: Dice,
    /// How long each deed takes from start to end.
    usual: BTreeMap<Deed, Duration>,
    figures: BTreeMap<(Deed, &'static str), usize>,
}

impl World {
    fn new(repository: &'static str) -> Option<Self> {
        let c = Ceph::new()?;
        let image = c.adopt("v", LENGTH);
        c.write("v", 0, noise(9 * MIB, 1));
        let images = vec![
            image.clone(),
            c.adopt("target", LENGTH),
            c.adopt("check", LENGTH),
        ];
        Some(Self {
            c,
            repository,
            image,
            images,
            expected: BTreeMap::new(),
            ever: BTreeSet::new(),
            dice: Dice::seeded(),
            usual: BTreeMap::new(),
            figures: BTreeMap::new(),
        })
    }

    /// Changes a few places of the volume.
    fn change(&mut self) {
        let image = self.c.image("v");
        for _ in 0..4 {
            let length = 1 + self.dice.below(400_000);
            let at = self.dice.below(LENGTH - length) as u64;
            let data = noise(length, self.dice.next());
            self.c
                .runtime
                .block_on(image.write(at, data.into()))
                .unwrap();
        }
        self.c.runtime.block_on(image.close()).unwrap();
    }

    fn sum(&self, volume: &str) -> [u8; 32] {
        Sha256::digest(self.c.content(volume, LENGTH)).into()
    }

    /// A chain is deleted from its end.
    fn leaf(&mut self, state: &State) -> Option<String> {
        let leaves: Vec<_> = state
            .backups
            .values()
            .filter(|b| b.num_dependent_backups == 0)
            .map(|b| b.id.to_string())
            .collect();
        (!leaves.is_empty()).then(|| leaves[self.dice.below(leaves.len())].clone())
    }

    /// A deed that can be done now, and the backup that it is done to.
    fn choose(&mut self, state: &State) -> (Deed, Option<String>) {
        let Some(leaf) = self.leaf(state) else {
            return (Deed::Full, None);
        };
        let count = state.backups.len();
        let deed = match self.dice.below(10) {
            0 if count >= 2 => Deed::Delete,
            1..=4 if count >= 5 => Deed::Delete,
            1 => Deed::RestoreNew,
            2 => Deed::RestoreOnto,
            3 | 4 => Deed::Full,
            _ => Deed::Incremental,
        };
        let done_to_one = !matches!(deed, Deed::Full | Deed::Incremental);
        (deed, done_to_one.then_some(leaf))
    }

    fn arguments(&self, deed: Deed, backup: Option<&str>) -> Vec<String> {
        let repository = format!("backup.repository={}", self.repository);
        let words: &[&str] = match deed {
            Deed::Full => &["create"],
            Deed::Incremental => &["create", "--incremental"],
            Deed::RestoreNew => &["restore", "--name", "new"],
            Deed::RestoreOnto => &["restore"],
            Deed::Delete => &["delete"],
        };
        let options = ["-o", &repository, "-o", "backup.chunk_size=256KiB"];
        let mut all: Vec<String> = [&options[..], &["volume", "backup"], words]
            .concat()
            .iter()
            .map(ToString::to_string)
            .collect();
        all.push(backup.unwrap_or("v").into());
        if deed == Deed::RestoreOnto {
            all.push("target".into());
        }
        all
    }

    /// Does `deed`, and kills it at a random moment from its start to a little behind its usual end; not at all where
    /// it is done for the first time. Tells whether it was killed.
    fn done(&mut self, deed: Deed, backup: Option<&str>) -> bool {
        let arguments = self.arguments(deed, backup);
        let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
        let before = Instant::now();
        let mut child = self
            .c
            .home
            .command(&words)
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        if let Some(usual) = self.usual.get(&deed) {
            let permille = u32::try_from(self.dice.below(1100)).unwrap();
            std::thread::sleep(*usual * permille / 1000);
            child.kill().unwrap();
        }
        let output = child.wait_with_output().unwrap();
        if output.status.signal() == Some(9) {
            return true;
        }
        assert!(output.status.success(), "{words:?}: {output:?}");
        // A wait for a dead client's watch is not what a deed usually takes, and kills must not come late for ever.
        let took = before.elapsed();
        let usual = self.usual.entry(deed).or_insert(took);
        *usual = (*usual).min(took * 2);
        false
    }

    /// Volumes that the catalogue knew when the process died.
    fn volumes_in_the_catalogue(&self) -> BTreeSet<VolumeId> {
        let path = self.c.home.path().join("catalogue.sqlite");
        let url = format!("sqlite:{}", path.display());
        let filter = backup_core::catalog::VolumeFilter::default();
        self.c.runtime.block_on(async {
            let catalog = backup_drivers::open_catalog(&url).await.unwrap();
            let volumes = catalog.volumes(&filter).await.unwrap();
            volumes.into_iter().map(|v| v.id).collect()
        })
    }

    /// Commands, until what the dead process held in the cluster is free and all of it is settled.
    fn settle(&self) {
        for _ in 0..10 {
            let next = self.c.home.run(&["volume", "list"]);
            assert_eq!(next.status, 0, "{next:?}");
            // Of a backup that was cut before its base image was made it is said that there is none.
            let good = |l: &str| {
                l.starts_with("note: settled")
                    || l.contains("tries again")
                    || l.contains("is not there: backups/")
            };
            assert!(next.err.lines().all(good), "{next:?}");
            if !next.err.contains("tries again") {
                return;
            }
        }
        panic!("what the dead process left is not settled after ten commands");
    }

    /// One deed with its kill, the next command, and all that must hold then. Tells whether it was killed.
    fn round(&mut self) -> bool {
        let before = settled(&self.c.home);
        let (deed, subject) = self.choose(&before);
        if matches!(deed, Deed::Full | Deed::Incremental) {
            self.change();
        }
        let killed = self.done(deed, subject.as_deref());
        let known = self.volumes_in_the_catalogue();
        self.settle();
        let after = settled(&self.c.home);
        let volume = after
            .volumes
            .iter()
            .find(|v| v.name.as_deref() == Some("v"));
        assert_eq!(volume.unwrap().status, VolumeStatus::Available);
        for id in known {
            if !after.volumes.iter().any(|v| v.id == id) {
                let left = self.named(&self.c.pool, &format!("volume-{id}"));
                assert_eq!(left, [""; 0], "an image of a volume that is none");
            }
        }
        let became = match deed {
            Deed::Full | Deed::Incremental => self.after_create(&before, &after, killed),
            Deed::Delete => self.after_delete(&subject.unwrap(), &after, killed),
            Deed::RestoreNew | Deed::RestoreOnto => {
                self.after_restore(deed, &subject.unwrap(), &after, killed)
            }
        };
        self.nothing_else_is_there();
        let what = if killed { became } else { "ran to its end" };
        *self.figures.entry((deed, what)).or_default() += 1;
        killed
    }

    fn after_create(&mut self, before: &State, after: &State, killed: bool) -> &'static str {
        let made: Vec<_> = after
            .backups
            .values()
            .filter(|b| !before.backups.contains_key(&b.id.to_string()))
            .collect();
        assert!(made.len() <= 1, "{made:?}");
        let Some(made) = made.first() else {
            assert!(killed, "it ended well, and there is no backup");
            return "not begun";
        };
        let id = made.id.to_string();
        if made.status == BackupStatus::Available {
            self.expected.insert(id.clone(), self.sum("v"));
            self.ever.insert(id.clone());
            if killed {
                self.check(&id);
            }
            return "complete";
        }
        assert!(killed, "it ended well, and is in error");
        let reason = made.fail_reason.as_deref().unwrap();
        assert!(reason.starts_with("interrupted"), "{reason}");
        self.c.home.good(&["volume", "backup", "delete", &id]);
        "in error"
    }

    fn after_delete(&mut self, subject: &str, after: &State, killed: bool) -> &'static str {
        let Some(left) = after.backups.get(subject) else {
            self.expected.remove(subject);
            return "deleted";
        };
        assert!(killed, "it ended well, and the backup is there");
        assert_eq!(left.status, BackupStatus::Available);
        self.check(subject);
        "not begun"
    }

    fn after_restore(
        &mut self,
        deed: Deed,
        subject: &str,
        after: &State,
        killed: bool,
    ) -> &'static str {
        assert_eq!(after.backups[subject].status, BackupStatus::Available);
        let new = deed == Deed::RestoreNew;
        let name = if new { "new" } else { "target" };
        let target = after
            .volumes
            .iter()
            .find(|v| v.name.as_deref() == Some(name));
        let Some(target) = target else {
            assert!(killed && new);
            return "not begun";
        };
        let outcome = match target.status {
            VolumeStatus::ErrorRestoring => {
                assert!(killed);
                if !new {
                    self.c
                        .home
                        .good(&["volume", "set", "--state", "available", name]);
                }
                "in error"
            }
            VolumeStatus::Available if self.sum(name) == self.expected[subject] => "complete",
            status => {
                // An old target may be as it was; a new one is whole.
                assert!(
                    killed && !new && status == VolumeStatus::Available,
                    "{status}"
                );
                "not begun"
            }
        };
        if new {
            self.c.home.good(&["volume", "delete", name]);
        }
        outcome
    }

    fn check(&self, backup: &str) {
        self.c
            .home
            .good(&["volume", "backup", "restore", backup, "check"]);
        assert!(
            self.sum("check") == self.expected[backup],
            "backup {backup} restores to something else"
        );
    }

    fn named(&self, pool: &Pool, prefix: &str) -> Vec<String> {
        self.c.runtime.block_on(pool.images(prefix)).unwrap()
    }

    fn look(&self, pool: &Pool, name: &str) -> Image {
        let opened = pool.open_read_only(name, None);
        self.c.runtime.block_on(opened).unwrap()
    }

    /// Every snapshot of the volume is of a backup that was complete; all in the pool is of one that the catalogue has.
    fn nothing_else_is_there(&self) {
        let is_of_one =
            |id: Option<BackupId>| id.is_some_and(|id| self.expected.contains_key(&id.to_string()));
        let kept = self.c.snapshots(&self.image);
        assert!(kept.len() <= 2, "max_snapshots: {kept:?}");
        for snapshot in &kept {
            // That of a deleted backup stays until newer ones take its place; that of a cut one never does.
            let id = ceph::backup_of_snapshot(snapshot).unwrap();
            assert!(self.ever.contains(&id.to_string()), "{snapshot} is left");
        }
        let mut whole = 0;
        for name in self.named(&self.c.backups, &self.image) {
            let image = self.look(&self.c.backups, &name);
            let (snapshots, notes) = self.c.runtime.block_on(async {
                let snapshots = image.snapshots().await.unwrap();
                let notes = image.all_metadata().await.unwrap();
                image.close().await.unwrap();
                (snapshots, notes)
            });
            assert!(!snapshots.is_empty(), "{name} holds no backup");
            for snapshot in &snapshots {
                let id = ceph::backup_of_snapshot(&snapshot.name);
                assert!(is_of_one(id), "{name}@{}", snapshot.name);
            }
            for key in notes.keys().filter(|k| k.starts_with(ceph::NOTE_PREFIX)) {
                let id = ceph::BackupNote::backup_of(key);
                assert!(is_of_one(id), "{name} has a note {key}");
            }
            whole += snapshots.len();
        }
        if self.repository == "pool" {
            assert_eq!(
                whole,
                self.expected.len(),
                "snapshots in the pool of backups"
            );
        }
    }

    fn check_all(&self) {
        let state = settled(&self.c.home);
        assert!(self.expected.keys().eq(state.backups.keys()));
        for (id, backup) in &state.backups {
            assert_eq!(backup.status, BackupStatus::Available);
            self.check(id);
        }
    }

    /// Children first; then nothing is left in the repository.
    fn end(mut self) {
        loop {
            let state = settled(&self.c.home);
            let Some(leaf) = self.leaf(&state) else {
                break;
            };
            self.c.home.good(&["volume", "backup", "delete", &leaf]);
        }
        assert_eq!(self.named(&self.c.backups, &self.image), [""; 0]);
        assert_eq!(self.c.home.stored().len(), 0);
        for name in &self.images {
            remove(&self.c, name);
        }
        for ((deed, what), n) in &self.figures {
            eprintln!("{n:4} {deed:?}: {what}");
        }
    }
}

/// Removes an adopted image with its snapshots, as its owner would. A process that was killed has it open for the half
/// minute after which the cluster takes it for dead. Ceph 16 forgets that now and then for minutes: who is listed then is
/// shut out, as docs/ceph.md says.
pub(super) fn remove(c: &Ceph, name: &str) {
    c.runtime.block_on(async {
        let image = c.pool.open_image(name).await.unwrap();
        for snapshot in image.snapshots().await.unwrap() {
            image.remove_snapshot(&snapshot.name).await.unwrap();
        }
        image.close().await.unwrap();
        let mut removed = c.pool.remove(name).await;
        for second in 0..90 {
            match &removed {
                Err(e) if e.is(ErrorKind::Conflict) => {}
                _ => break,
            }
            tokio::time::sleep(Duration::from_secs(1)).await;
            if second == 45 {
                let look = c.pool.open_read_only(name, None).await.unwrap();
                for dead in look.watchers().await.unwrap() {
                    shut_out(&dead.address);
                }
            }
            removed = c.pool.remove(name).await;
        }
        removed.unwrap();
    });
}

fn shut_out(address: &str) {
    eprintln!("{address} is dead and still listed");
    let conf = std::env::var("ASHLAR_TEST_CEPH_CONF").unwrap();
    let status = Command::new("ceph")
        .args(["--conf", &conf, "osd", "blocklist", "add", address])
        .status();
    assert!(status.unwrap().success());
}

fn kills_leave_nothing(repository: &'static str) {
    let kills = std::env::var("ASHLAR_MODEL_CASES")
        .ok()
        .and_then(|n| n.parse().ok())
        .map_or(KILLS, |n: usize| n.max(KILLS));
    let Some(mut world) = World::new(repository) else {
        return;
    };
    let (mut killed, mut rounds) = (0, 0);
    while killed < kills {
        rounds += 1;
        assert!(
            rounds < kills * 5,
            "only {killed} of {rounds} were killed in time"
        );
        killed += usize::from(world.round());
    }
    world.check_all();
    eprintln!("{killed} killed of {rounds}; usual times {:?}", world.usual);
    world.end();
}

#[test]
fn model_kills_of_jobs_with_a_pool_lose_nothing_that_was_complete_and_leave_nothing_of_the_rest() {
    kills_leave_nothing("pool");
}

#[test]
fn model_kills_of_jobs_with_volumes_on_ceph_lose_nothing_that_was_complete_and_leave_nothing_of_the_rest()
 {
    kills_leave_nothing("default");
}
