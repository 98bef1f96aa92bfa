//! What must hold of a home between commands, whatever happened to the last one: looked up in the catalogue and on the
//! disk, not asked of the binary.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use backup_core::BackupRecord;
use backup_core::catalog::{BackupFilter, VolumeFilter};
use backup_core::record::BackupStatus;
use backup_core::volume::{VolumeRecord, VolumeStatus};
use sha2::{Digest, Sha256};

use crate::ashlar::{Home, files};

/// A random number at a time; the same ones for the same seed.
pub(crate) struct Dice(u64);

impl Dice {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1)
    }

    /// The seed that `ASHLAR_SEED` names, else a new one; printed, so that a failure can be repeated.
    pub(crate) fn seeded() -> Self {
        let seed = std::env::var("ASHLAR_SEED")
            .ok()
            .and_then(|s| s.parse().ok())
            .unwrap_or_else(|| (u64::from(std::process::id()) << 20) | u64::from(now_nanos()));
        eprintln!("ASHLAR_SEED={seed}");
        Self::new(seed)
    }

    pub(crate) fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    /// From 0 to below `n`.
    pub(crate) fn below(&mut self, n: usize) -> usize {
        usize::try_from(self.next() % n as u64).unwrap()
    }
}

fn now_nanos() -> u32 {
    std::time::UNIX_EPOCH.elapsed().unwrap().subsec_nanos()
}

pub(crate) fn sha256(path: &Path) -> [u8; 32] {
    Sha256::digest(fs::read(path).unwrap()).into()
}

/// The catalogue's rows and the repository's files.
pub(crate) struct State {
    pub(crate) backups: BTreeMap<String, BackupRecord>,
    pub(crate) volumes: Vec<VolumeRecord>,
    pub(crate) stored: Vec<PathBuf>,
}

/// Reads the state of a home in which no command runs, and checks all that holds of every such home: no job, no lock,
/// no record in the middle of something, usage as counted, no file in the repository that is not of a complete backup,
/// no image that is not of a volume.
pub(crate) fn settled(home: &Home) -> State {
    let url = format!("sqlite:{}", home.path().join("catalogue.sqlite").display());
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let (backups, volumes) = runtime.block_on(async {
        let catalog = backup_drivers::open_catalog(&url).await.unwrap();
        let jobs = catalog.jobs().await.unwrap();
        assert!(jobs.is_empty(), "{jobs:?}");
        let backups = catalog.backups(&BackupFilter::default()).await.unwrap();
        let project = catalog.identity().await.unwrap().project_id;
        let usage = catalog.usage(&project).await.unwrap();
        assert_eq!(usage.backups, backups.len() as u64);
        let gib: u64 = backups.iter().map(|b| b.size_gib).sum();
        assert_eq!(usage.gigabytes, gib);
        let volumes = catalog.volumes(&VolumeFilter::default()).await.unwrap();
        (backups, volumes)
    });
    assert_eq!(files(&home.path().join("jobs")), Vec::<PathBuf>::new());
    for b in &backups {
        let settled = matches!(b.status, BackupStatus::Available | BackupStatus::Error);
        assert!(settled, "{b:?}");
        let children = backups.iter().filter(|c| c.parent_id == Some(b.id)).count();
        assert_eq!(b.num_dependent_backups, children as u64, "{b:?}");
        let parent = |id| backups.iter().find(|p| p.id == id);
        if let Some(id) = b.parent_id {
            let parent = parent(id).unwrap_or_else(|| panic!("{b:?} has lost its parent"));
            assert_eq!(parent.status, BackupStatus::Available, "of {b:?}");
        }
    }
    for v in &volumes {
        let settled = matches!(
            v.status,
            VolumeStatus::Available | VolumeStatus::InUse | VolumeStatus::ErrorRestoring
        );
        assert!(settled, "{v:?}");
    }

    let stored = home.stored();
    // Those in the home's own folder.
    let complete: Vec<_> = backups
        .iter()
        .filter(|b| b.status == BackupStatus::Available && b.repository == "default")
        .collect();
    for file in &stored {
        let text = file.to_str().unwrap();
        let owned = complete.iter().any(|b| {
            let location = b.location.as_ref().unwrap();
            text.contains(&format!("/{}/{}", location.container, location.prefix))
        });
        assert!(owned, "{text} belongs to no complete backup");
    }
    for b in &complete {
        let prefix = b.location.as_ref().unwrap().prefix.as_str();
        let of_it = stored
            .iter()
            .filter(|f| f.to_str().unwrap().contains(prefix));
        assert_eq!(of_it.count() as u64, b.object_count + 2, "{b:?}");
    }
    let images: Vec<_> = volumes
        .iter()
        .filter_map(|v| v.provider_location.clone().map(PathBuf::from))
        .collect();
    for file in files(&home.path().join("volumes")) {
        assert!(images.contains(&file), "{} is no volume's", file.display());
    }
    State {
        backups: backups.into_iter().map(|b| (b.id.to_string(), b)).collect(),
        volumes,
        stored,
    }
}

/// Restores a backup into a new volume, which is removed again, and gives the SHA-256 of what came.
pub(crate) fn restored(home: &Home, backup: &str) -> [u8; 32] {
    let made = home.json(&["volume", "backup", "restore", "--name", "check", backup]);
    let volume = made["volume_id"].as_str().unwrap();
    let sum = sha256(&home.path().join(format!("volumes/volume-{volume}.img")));
    home.good(&["volume", "delete", volume]);
    sum
}
