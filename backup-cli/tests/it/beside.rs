//! Several processes on one home at once: nothing is lost, nothing is told of the database's locks, chains stay whole.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use backup_core::record::BackupStatus;

use crate::ashlar::{Home, Ran, noise, overwrite};
use crate::state::{Dice, restored, settled, sha256};

const LENGTH: usize = 600_000;

/// What a command may be refused for, since another does its work at that moment.
const REFUSALS: [&str; 14] = [
    "it is backing-up",
    "it is creating",
    "it is deleting",
    "it is restoring",
    "is being restored",
    "has incrementals",
    "is deleting",
    "is creating",
    "is restoring",
    "is error",
    "no backup of the volume",
    "backups is available",
    "was deleted",
    "no backup with that name",
];

/// What is told by commands that ended well.
#[derive(Default)]
struct Ledger {
    made: BTreeMap<String, [u8; 32]>,
    deleted: Vec<String>,
    refused: BTreeMap<&'static str, usize>,
    done: BTreeMap<&'static str, usize>,
}

impl Ledger {
    /// Whether it was done; else it must have been refused for a reason that its user can do something about.
    fn take(&mut self, what: &'static str, ran: &Ran) -> bool {
        let told = ran.err.to_lowercase();
        for word in [
            "database", "sqlite", "locked", "busy", "panicked", "internal",
        ] {
            assert!(!told.contains(word), "{what}: {ran:?}");
        }
        if ran.status == 0 {
            *self.done.entry(what).or_default() += 1;
            return true;
        }
        assert_eq!(ran.status, 1, "{what}: {ran:?}");
        let known = REFUSALS.iter().any(|r| ran.err.contains(r));
        assert!(known, "{what}: {ran:?}");
        *self.refused.entry(what).or_default() += 1;
        false
    }
}

/// One user at work: backs up a volume of its own, which it changes, and one that all share; restores and deletes
/// whatever is there.
fn work(home: &Home, me: usize, rounds: usize, mut dice: Dice, ledger: &Mutex<Ledger>) {
    let own = format!("own-{me}");
    let image = home.dir.path().join(format!("{own}.img"));
    let shared = sha256(&home.dir.path().join("shared.img"));
    for round in 0..rounds {
        let any = {
            let ledger = ledger.lock().unwrap();
            let made: Vec<_> = ledger.made.keys().cloned().collect();
            (!made.is_empty()).then(|| made[dice.below(made.len())].clone())
        };
        // Each deed is tried, then chance rules.
        let deed = match round {
            0 => 0,
            1 => 6,
            2 => 8,
            _ => dice.below(10),
        };
        match (deed, any) {
            (0..6, _) | (_, None) => {
                let on_own = dice.below(2) == 0;
                let mut words = vec!["-f", "json", "volume", "backup", "create"];
                if dice.below(3) > 0 {
                    words.push("--incremental");
                }
                words.push(if on_own { &own } else { "shared" });
                let content = if on_own {
                    let at = dice.below(LENGTH - 50_000) as u64;
                    overwrite(&image, at, &noise(50_000, dice.next()));
                    sha256(&image)
                } else {
                    shared
                };
                let ran = home.run(&words);
                let mut ledger = ledger.lock().unwrap();
                if ledger.take("create", &ran) {
                    let told: serde_json::Value = serde_json::from_str(&ran.out).unwrap();
                    let id = told["id"].as_str().unwrap().to_owned();
                    ledger.made.insert(id, content);
                }
            }
            (6..8, Some(id)) => {
                let name = format!("restored-{me}");
                let ran = home.run(&["volume", "backup", "restore", "--name", &name, &id]);
                let expected = ledger.lock().unwrap().made.get(&id).copied();
                if ledger.lock().unwrap().take("restore", &ran) {
                    let path = home.json(&["volume", "show", &name])["path"].clone();
                    let sum = sha256(path.as_str().unwrap().as_ref());
                    // Another may have deleted it since, and struck it from the ledger.
                    assert!(
                        expected.is_none_or(|e| e == sum),
                        "{id} restored to something else"
                    );
                    home.good(&["volume", "delete", &name]);
                }
            }
            (_, Some(id)) => {
                let ran = home.run(&["volume", "backup", "delete", &id]);
                let mut ledger = ledger.lock().unwrap();
                if ledger.take("delete", &ran) {
                    ledger.made.remove(&id);
                    ledger.deleted.push(id);
                }
            }
        }
    }
}

fn side_by_side(processes: usize, rounds: usize) {
    let home = Arc::new(Home::new());
    home.volume("shared", LENGTH);
    for me in 0..processes {
        home.volume(&format!("own-{me}"), LENGTH);
    }
    let ledger = Arc::new(Mutex::new(Ledger::default()));
    let mut dice = Dice::seeded();
    let workers: Vec<_> = (0..processes)
        .map(|me| {
            let (home, ledger) = (Arc::clone(&home), Arc::clone(&ledger));
            let dice = Dice::new(dice.next());
            std::thread::spawn(move || work(&home, me, rounds, dice, &ledger))
        })
        .collect();
    for worker in workers {
        worker.join().unwrap();
    }

    let ledger = ledger.lock().unwrap();
    eprintln!("done {:?}, refused {:?}", ledger.done, ledger.refused);
    let state = settled(&home);
    assert!(
        state.backups.keys().eq(ledger.made.keys()),
        "the catalogue has {:?}, the commands told {:?}",
        state.backups.keys(),
        ledger.made.keys()
    );
    for (id, backup) in &state.backups {
        assert_eq!(backup.status, BackupStatus::Available);
        assert!(restored(&home, id) == ledger.made[id], "{id}");
    }
    for volume in home.json(&["volume", "list"]).as_array().unwrap() {
        assert_eq!(volume["status"], "available", "{volume}");
    }
    assert!(ledger.done.contains_key("create"), "nothing was done");
}

#[test]
fn model_two_processes_work_on_one_home_and_lose_nothing() {
    side_by_side(2, 20);
}

#[test]
fn model_four_processes_work_on_one_home_and_lose_nothing() {
    side_by_side(4, 12);
}

/// The parent is deleted while its child is being made: one of the two is refused, and says why.
#[test]
fn a_parent_deleted_while_its_child_is_made_costs_one_of_them_a_refusal_and_the_chain_nothing() {
    let home = Arc::new(Home::new());
    let image = home.volume("v", LENGTH);
    let (mut children, mut orphans) = (0, 0);
    for round in 0..10u64 {
        let full = home.json(&["volume", "backup", "create", "v"]);
        let full = full["id"].as_str().unwrap().to_owned();
        let content = sha256(&image);
        overwrite(&image, 5000 * round, &noise(9000, round));
        let child = {
            let home = Arc::clone(&home);
            std::thread::spawn(move || {
                home.run(&[
                    "-f",
                    "json",
                    "volume",
                    "backup",
                    "create",
                    "--incremental",
                    "v",
                ])
            })
        };
        // At different moments of the child's making.
        std::thread::sleep(std::time::Duration::from_millis(4 * round));
        let deleted = home.run(&["volume", "backup", "delete", &full]);
        let child = child.join().unwrap();
        let state = settled(&home);
        match (child.status, deleted.status) {
            (0, 1) => {
                assert!(deleted.err.contains("has incrementals"), "{deleted:?}");
                let told: serde_json::Value = serde_json::from_str(&child.out).unwrap();
                let id = told["id"].as_str().unwrap();
                assert!(restored(&home, id) == sha256(&image));
                assert!(restored(&home, &full) == content);
                home.good(&["volume", "backup", "delete", id]);
                home.good(&["volume", "backup", "delete", &full]);
                children += 1;
            }
            (1, 0) => {
                assert!(REFUSALS.iter().any(|r| child.err.contains(r)), "{child:?}");
                assert!(state.backups.is_empty(), "{:?}", state.backups);
                orphans += 1;
            }
            _ => panic!("{child:?} {deleted:?}"),
        }
    }
    eprintln!("{children} times the child was made, {orphans} times the parent went");
    assert_eq!(children + orphans, 10);
}
