//! `kill -9` at random moments of everything that takes time: what was complete stays, what was cut leaves nothing.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use backup_core::record::BackupStatus;
use backup_core::volume::VolumeStatus;

use crate::ashlar::{Home, noise, overwrite};
use crate::deeds::{Deed, Deeds, made};
use crate::state::{State, restored, settled, sha256};

/// Bytes of the volume; some 30 chunks.
const LENGTH: usize = 8 << 20;
const CHUNK: &str = "256KiB";

/// How many processes are killed while they run, unless `ASHLAR_MODEL_CASES` says more.
const KILLS: usize = 52;

/// A home, and what each of its backups must restore to.
struct World {
    home: Home,
    image: PathBuf,
    in_use: bool,
    expected: BTreeMap<String, [u8; 32]>,
    deeds: Deeds,
}

impl World {
    /// On a filesystem with reflinks, where the tests are given one, the volume is in use, so that each backup makes a
    /// temporary snapshot.
    fn new() -> Self {
        let xfs = std::env::var_os("ASHLAR_TEST_XFS").map(PathBuf::from);
        let home = xfs
            .as_ref()
            .map_or_else(Home::new, |folder| Home::within(folder));
        let image = home.volume("v", LENGTH);
        home.image("target.img", LENGTH, 9);
        let target = home.dir.path().join("target.img");
        home.good(&[
            "volume",
            "create",
            "--file",
            target.to_str().unwrap(),
            "target",
        ]);
        if xfs.is_some() {
            home.good(&["volume", "set", "--state", "in-use", "v"]);
        }
        Self {
            home,
            image,
            in_use: xfs.is_some(),
            expected: BTreeMap::new(),
            deeds: Deeds::new(6),
        }
    }

    /// Changes a few places of the volume.
    fn change(&mut self) {
        for _ in 0..6 {
            let length = 1 + self.deeds.dice.below(300_000);
            let at = self.deeds.dice.below(LENGTH - length) as u64;
            let seed = self.deeds.dice.next();
            overwrite(&self.image, at, &noise(length, seed));
        }
    }

    fn command(&self, deed: Deed, backup: Option<&str>) -> Command {
        let size = format!("backup.chunk_size={CHUNK}");
        let mut words = deed.words(&["-o", &size], backup);
        if self.in_use && deed.makes_a_backup() {
            words.push("--force".into());
        }
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        self.home.command(&words)
    }

    /// One deed with its kill, the next command, and all that must hold then. Tells whether it was killed.
    fn round(&mut self) -> bool {
        let before = settled(&self.home);
        let (deed, subject) = self.deeds.choose(&before);
        if deed.makes_a_backup() {
            self.change();
        }
        let target = sha256(&self.home.dir.path().join("target.img"));
        let command = self.command(deed, subject.as_deref());
        let killed = self.deeds.killed(deed, command);

        let next = self.home.run(&["volume", "list"]);
        assert_eq!(next.status, 0, "{next:?}");
        assert!(
            next.err.lines().all(|l| l.starts_with("note: settled")),
            "{next:?}"
        );
        let after = settled(&self.home);
        let volume = after
            .volumes
            .iter()
            .find(|v| v.name.as_deref() == Some("v"));
        let state = if self.in_use {
            VolumeStatus::InUse
        } else {
            VolumeStatus::Available
        };
        assert_eq!(volume.unwrap().status, state, "{volume:?}");
        // No temporary snapshot beside the image.
        let mut beside: Vec<_> = std::fs::read_dir(self.home.dir.path())
            .unwrap()
            .map(|entry| entry.unwrap().file_name())
            .collect();
        beside.sort();
        assert_eq!(beside, ["home", "target.img", "v.img"]);
        let became = match deed {
            Deed::Full | Deed::Incremental => self.after_create(&before, &after, killed),
            Deed::Delete => self.after_delete(&subject.unwrap(), &after, killed),
            Deed::RestoreNew | Deed::RestoreOnto => {
                self.after_restore(deed, &subject.unwrap(), target, &after, killed)
            }
        };
        self.deeds.note(deed, killed, became);
        killed
    }

    fn after_create(&mut self, before: &State, after: &State, killed: bool) -> &'static str {
        let Some(made) = made(before, after, killed) else {
            return "not begun";
        };
        let id = made.id.to_string();
        if made.status == BackupStatus::Available {
            self.expected.insert(id.clone(), sha256(&self.image));
            self.check(&id);
            return "complete";
        }
        assert_eq!(after.stored, before.stored, "the cut one left something");
        self.home.good(&["volume", "backup", "delete", &id]);
        if let Some(parent) = made.parent_id {
            self.check(&parent.to_string());
        }
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
        target_before: [u8; 32],
        after: &State,
        killed: bool,
    ) -> &'static str {
        let backup = &after.backups[subject];
        assert_eq!(backup.status, BackupStatus::Available);
        let volumes = self.home.json(&["volume", "list", "--long"]);
        let volumes = volumes.as_array().unwrap();
        let name = if deed == Deed::RestoreNew {
            "new"
        } else {
            "target"
        };
        let target = volumes.iter().find(|v| v["name"] == name);
        let outcome = match target.map(|v| (v["status"].as_str().unwrap(), v)) {
            None => {
                assert!(killed && deed == Deed::RestoreNew);
                "not begun"
            }
            Some(("error_restoring", v)) => {
                assert!(killed);
                let id = v["id"].as_str().unwrap();
                if deed == Deed::RestoreOnto {
                    self.home
                        .good(&["volume", "set", "--state", "available", id]);
                }
                "in error"
            }
            Some(("available", v)) => {
                let path = PathBuf::from(v["path"].as_str().unwrap());
                let now = sha256(&path);
                if now == self.expected[subject] {
                    "complete"
                } else {
                    // An old target that is available is whole, or as it was; a new one is whole.
                    assert!(killed && deed == Deed::RestoreOnto && now == target_before);
                    "not begun"
                }
            }
            Some((status, v)) => panic!("{status}: {v}"),
        };
        if deed == Deed::RestoreNew && outcome != "not begun" {
            self.home.good(&["volume", "delete", "new"]);
        }
        self.check(subject);
        outcome
    }

    fn check(&self, backup: &str) {
        assert!(
            restored(&self.home, backup) == self.expected[backup],
            "backup {backup} restores to something else"
        );
    }

    fn check_all(&self, state: &State) {
        for (id, backup) in &state.backups {
            assert_eq!(backup.status, BackupStatus::Available);
            self.check(id);
        }
        assert!(self.expected.keys().eq(state.backups.keys()));
    }
}

#[test]
fn model_kills_at_random_moments_lose_nothing_that_was_complete_and_leave_nothing_of_the_rest() {
    let mut world = World::new();
    Deeds::until_killed(KILLS, |round| {
        let killed = world.round();
        if round % 25 == 0 {
            let state = settled(&world.home);
            world.check_all(&state);
        }
        killed
    });
    let state = settled(&world.home);
    world.check_all(&state);
    // Children first.
    loop {
        let state = settled(&world.home);
        let Some(leaf) = world.deeds.leaf(&state) else {
            break;
        };
        world.home.good(&["volume", "backup", "delete", &leaf]);
    }
    assert_eq!(world.home.stored(), Vec::<PathBuf>::new());
    world.deeds.tell();
}

#[test]
fn a_backup_whose_metadata_appeared_is_available_however_soon_its_process_is_killed() {
    let home = Home::new();
    let image = home.volume("v", 1 << 20);
    let mut by_recovery = 0;
    for round in 0..8 {
        overwrite(&image, 1000 * round, &noise(2000, round));
        let before = home.stored();
        let mut child = home
            .command(&["volume", "backup", "create", "v"])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let appeared = |home: &Home| {
            let is_new = |f: &PathBuf| f.to_str().unwrap().ends_with("_metadata");
            home.stored()
                .into_iter()
                .find(|f| is_new(f) && !before.contains(f))
        };
        let deadline = Instant::now() + Duration::from_secs(30);
        while appeared(&home).is_none() {
            assert!(Instant::now() < deadline, "no backup was made");
        }
        child.kill().unwrap();
        child.wait().unwrap();
        let next = home.run(&["volume", "list"]);
        assert_eq!(next.status, 0, "{next:?}");
        by_recovery += usize::from(next.err.contains("complete and available"));
        let state = settled(&home);
        assert!(
            state
                .backups
                .values()
                .all(|b| b.status == BackupStatus::Available)
        );
        assert_eq!(state.backups.len() as u64, round + 1);
        let newest = state.backups.values().max_by_key(|b| b.created_at).unwrap();
        assert!(restored(&home, &newest.id.to_string()) == sha256(&image));
    }
    eprintln!("{by_recovery} of 8 were made available by the next command");
}
