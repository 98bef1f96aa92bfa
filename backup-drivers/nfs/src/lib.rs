//! An export of an NFS server as a repository, laid out as Cinder's nfs driver lays it out: the same folders and files
//! as a repository in a folder, with the export's root as its root. So Cinder and this share one export, and one mount.
//!
//! By the client of the kernel ([`Client::Kernel`]) the share is mounted, where it is not mounted yet, by the first call
//! that needs it, at the mount point that Cinder would give it. It stays mounted. docs/nfs.md says which mount options to
//! use, and why.
//!
//! What a folder on a network promises less than one on a disk is made up for:
//! * A call that gets no answer ends by its deadline with
//!   [`Timeout`](backup_core::ErrorKind::Timeout), and leaves its thread behind; nothing waits for that one at the end.
//! * What the client only remembers, what went stale, and what was done although its answer was lost is looked at twice.
//! * Every file is made durable before it counts, and what the server then says of it (full, over a quota, broken)
//!   reaches the caller. No lock is taken on the share.
//!
//! ```no_run
//! # fn main() -> backup_core::Result<()> {
//! use backup_nfs::NfsConfig;
//!
//! let config = NfsConfig::new("[2001:db8::1]:/export/backups").with_mount_options("vers=4.2,softerr");
//! let repository = backup_nfs::open(&config)?; // mounts nothing yet
//! println!("{}", repository.describe());
//! # Ok(())
//! # }
//! ```
#![forbid(unsafe_code)]

mod config;
mod kernel;
mod share;
mod userspace;

use std::sync::Arc;
use std::time::Duration;

use backup_core::decorate::{RetryPolicy, Retrying};
use backup_core::{Repository, Result};

pub use config::{Client, NfsConfig};
pub use share::Share;

use kernel::KernelRepository;
use userspace::UserspaceRepository;

/// The repository that `config` names. The server is not asked yet.
///
/// # Errors
/// [`InvalidInput`](backup_core::ErrorKind::InvalidInput) for settings that make no sense.
pub fn open(config: &NfsConfig) -> Result<Arc<dyn Repository>> {
    let patience = Duration::from_secs(config.timeout_seconds.max(1));
    match config.client {
        Client::Kernel => {
            let share = KernelRepository::new(config)?;
            let policy = RetryPolicy::default().with_deadline(patience);
            Ok(Arc::new(Retrying::new(Arc::new(share), policy)))
        }
        // It repeats what may pass itself.
        Client::Userspace => Ok(Arc::new(UserspaceRepository::open(config)?)),
    }
}
