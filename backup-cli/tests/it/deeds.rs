//! What a process is killed at: deeds of random kinds, each ended by `kill -9` at a random moment.

use std::collections::BTreeMap;
use std::os::unix::process::ExitStatusExt;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use backup_core::BackupRecord;
use backup_core::record::BackupStatus;

use crate::state::{Dice, State};

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Deed {
    Full,
    Incremental,
    RestoreNew,
    RestoreOnto,
    Delete,
}

impl Deed {
    pub(crate) fn makes_a_backup(self) -> bool {
        matches!(self, Self::Full | Self::Incremental)
    }

    /// The command's words behind `options`: of the volume `v`, of `backup`, or of `backup` onto the volume `target`.
    pub(crate) fn words(self, options: &[&str], backup: Option<&str>) -> Vec<String> {
        let words: &[&str] = match self {
            Self::Full => &["create"],
            Self::Incremental => &["create", "--incremental"],
            Self::RestoreNew => &["restore", "--name", "new"],
            Self::RestoreOnto => &["restore"],
            Self::Delete => &["delete"],
        };
        let onto: &[&str] = if self == Self::RestoreOnto {
            &["target"]
        } else {
            &[]
        };
        let subject = [backup.unwrap_or("v")];
        let all = [options, &["volume", "backup"], words, &subject[..], onto].concat();
        all.iter().map(ToString::to_string).collect()
    }
}

/// The deeds of one test.
pub(crate) struct Deeds {
    pub(crate) dice: Dice,
    /// How many backups there are before most deeds are deletes.
    most: usize,
    /// How long each deed takes from start to end.
    usual: BTreeMap<Deed, Duration>,
    figures: BTreeMap<(Deed, &'static str), usize>,
}

impl Deeds {
    pub(crate) fn new(most: usize) -> Self {
        Self {
            dice: Dice::seeded(),
            most,
            usual: BTreeMap::new(),
            figures: BTreeMap::new(),
        }
    }

    /// A chain is deleted from its end.
    pub(crate) fn leaf(&mut self, state: &State) -> Option<String> {
        let leaves: Vec<_> = state
            .backups
            .values()
            .filter(|b| b.num_dependent_backups == 0)
            .map(|b| b.id.to_string())
            .collect();
        (!leaves.is_empty()).then(|| leaves[self.dice.below(leaves.len())].clone())
    }

    /// A deed that can be done now, and the backup that it is done to.
    pub(crate) fn choose(&mut self, state: &State) -> (Deed, Option<String>) {
        let Some(leaf) = self.leaf(state) else {
            return (Deed::Full, None);
        };
        let count = state.backups.len();
        let deed = match self.dice.below(10) {
            0 | 1 if count >= 3 => Deed::Delete,
            2..=5 if count >= self.most => Deed::Delete,
            2 | 3 => Deed::RestoreNew,
            4 => Deed::RestoreOnto,
            5 | 6 => Deed::Full,
            _ => Deed::Incremental,
        };
        (deed, (!deed.makes_a_backup()).then_some(leaf))
    }

    /// Does `deed`, and kills it at a random moment from its start to a little behind its usual end; not at all where it
    /// is done for the first time. Tells whether it was killed.
    pub(crate) fn killed(&mut self, deed: Deed, mut command: Command) -> bool {
        let before = Instant::now();
        let mut child = command
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
        assert!(output.status.success(), "{command:?}: {output:?}");
        // What a busy machine, or a wait for what a dead process holds, makes slow must not make kills come late for ever.
        let took = before.elapsed();
        let usual = self.usual.entry(deed).or_insert(took);
        *usual = (*usual).min(took * 2);
        false
    }

    /// Counts what became of a deed.
    pub(crate) fn note(&mut self, deed: Deed, killed: bool, became: &'static str) {
        let what = if killed { became } else { "ran to its end" };
        *self.figures.entry((deed, what)).or_default() += 1;
    }

    /// Runs rounds, each of which tells whether a process was killed, until as many were: `least`, or what
    /// `ASHLAR_MODEL_CASES` says if that is more.
    pub(crate) fn until_killed(least: usize, mut round: impl FnMut(usize) -> bool) {
        let kills = std::env::var("ASHLAR_MODEL_CASES")
            .ok()
            .and_then(|n| n.parse().ok())
            .map_or(least, |n: usize| n.max(least));
        let (mut killed, mut rounds) = (0, 0);
        while killed < kills {
            rounds += 1;
            assert!(
                rounds < kills * 5,
                "only {killed} of {rounds} were killed in time"
            );
            killed += usize::from(round(rounds));
        }
        eprintln!("{killed} killed of {rounds}");
    }

    pub(crate) fn tell(&self) {
        eprintln!("usual times {:?}", self.usual);
        for ((deed, what), n) in &self.figures {
            eprintln!("{n:4} {deed:?}: {what}");
        }
    }
}

/// The backup that a command was to make, where its record is there. One that is not complete says that it was interrupted.
pub(crate) fn made<'a>(before: &State, after: &'a State, killed: bool) -> Option<&'a BackupRecord> {
    let mut made = after
        .backups
        .iter()
        .filter(|(id, _)| !before.backups.contains_key(*id))
        .map(|(_, backup)| backup);
    let first = made.next();
    assert!(made.next().is_none(), "two backups by one command");
    let Some(first) = first else {
        assert!(killed, "it ended well, and there is no backup");
        return None;
    };
    if first.status != BackupStatus::Available {
        assert!(killed, "it ended well, and is in error");
        let reason = first.fail_reason.as_deref().unwrap();
        assert!(reason.starts_with("interrupted"), "{reason}");
    }
    Some(first)
}
