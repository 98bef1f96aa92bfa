//! A folder as a repository, laid out as Cinder's posix driver lays it out.
//!
//! A container is a folder below the root (its name may hold slashes), an object is a file in it. What Cinder's driver
//! wrote is read, and what is written here Cinder's driver restores.
//!
//! Durability: an object is written under its final name and made durable in the background while the next ones come;
//! [`barrier`](backup_core::Repository::barrier) waits for what is left and for the folders. An
//! [`Upload`](backup_core::Upload), the commit point of a backup, is a temporary file that is made durable and then
//! renamed. docs/adr/0003-posix-durability.md has the figures behind it.
//!
//! ```
//! # fn main() -> backup_core::Result<()> {
//! # tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
//! # let folder = tempfile::tempdir().unwrap();
//! # let path = folder.path();
//! use backup_core::{ContainerName, ObjectKey, PutMode, Repository};
//! use backup_posix::{PosixConfig, PosixRepository};
//!
//! let repository = PosixRepository::open(&PosixConfig::new(path))?;
//! let container = ContainerName::new("ab/cd/abcd")?;
//! repository.ensure_container(&container).await?;
//! let key = ObjectKey::new(&container, "volume-00001")?;
//! repository.put(&key, "data".into(), PutMode::CreateOnly).await?;
//! repository.barrier(&container).await?;
//! assert_eq!(std::fs::read(path.join("ab/cd/abcd/volume-00001")).unwrap(), b"data");
//! # Ok(())
//! # })
//! # }
//! ```
#![forbid(unsafe_code)]

mod config;
mod durability;
mod error;
mod files;
mod lane;
pub mod layout;
mod leftovers;
mod list;
mod read;
mod repository;
mod threads;
mod tree;
mod upload;

pub use config::{PosixConfig, Sync};
pub use files::{FileSystem, LocalFiles};
pub use repository::PosixRepository;
