//! A repository in the containers of OpenStack's object store, laid out as Cinder's swift driver lays it out.
//!
//! [`SwiftRepository::open`] takes [`SwiftConfig`], the settings of `type = "swift"`: Swift itself, with its own users
//! (version 1) or Keystone's (version 3: password, application credential, token), or Ceph's radosgw with its Swift
//! API. The client is our own.
//!
//! * A token is fetched once for all who wait for it, renewed before it ends, and renewed once for a request that was
//!   refused.
//! * Retries are the client's own: exponential, with a random part, bounded in number and time
//!   ([`SwiftConfig::retries`], [`SwiftConfig::retry_timeout`]); a server that asks for time is given it, within
//!   bounds. [`Limits::retries`](backup_core::Limits::retries) says so.
//! * Each request has a deadline that grows with its size ([`SwiftConfig::timeout`], [`SwiftConfig::min_rate`]).
//! * What is sent is covered by its MD5, which the server checks; a download that breaks goes on where it broke if the
//!   object is still the same.
//! * What fits into one put is one object. What does not is a static large object; segments that belong to none are
//!   found by [`SwiftRepository::unfinished_uploads`].
//!
//! ```no_run
//! use backup_core::{ObjectKey, PutMode, Repository};
//! use backup_swift::{SwiftConfig, SwiftRepository};
//!
//! # async fn run() -> backup_core::Result<()> {
//! let config = SwiftConfig::new("https://keystone.example.org:5000/v3")
//!     .with_user("backup", "password")
//!     .with_project("service");
//! let repository = SwiftRepository::open(&config)?;
//! let container = "volumebackups".to_owned().try_into()?;
//! repository.ensure_container(&container).await?;
//! let key = ObjectKey::new(&container, "volume_1/az_nova_backup_1-00001")?;
//! repository.put(&key, "data".into(), PutMode::Overwrite).await?;
//! # Ok(())
//! # }
//! ```
#![forbid(unsafe_code)]

mod auth;
mod bulk;
mod config;
mod copy;
mod delete;
mod error;
mod get;
mod info;
mod list;
mod payload;
mod repository;
mod retry;
mod segments;
mod spool;
mod store;
mod sums;
mod transport;
mod unfinished;
mod upload;
mod wire;

pub use backup_core::Secret;
pub use config::{AuthKind, AuthVersion, Interface, SwiftConfig};
pub use repository::SwiftRepository;
pub use unfinished::UnfinishedUpload;
