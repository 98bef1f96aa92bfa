//! A repository in S3 buckets, laid out as Cinder's s3 driver lays it out.
//!
//! [`S3Repository::new`] takes [`S3Config`], the settings of `type = "s3"`: Amazon's S3, Ceph's radosgw, MinIO and
//! others that speak its language. Requests are made by [`object_store`]; buckets, listings by any beginning and
//! deletes of many are our own requests over the same connections, since object_store has none, or none that keep
//! every name as it is.
//!
//! * Retries are object_store's: exponential, with a random part, bounded in number and time
//!   ([`S3Config::retries`], [`S3Config::retry_timeout`]). [`Limits::retries`](backup_core::Limits::retries) says so.
//! * Each request has a deadline that grows with its size ([`S3Config::timeout`], [`S3Config::min_rate`]).
//! * What is sent is covered by a checksum that the server verifies ([`S3Config::checksum`]).
//! * An upload in parts that is not completed stays on the server: [`S3Repository::unfinished_uploads`].
//!
//! # Other clouds
//! An embedder hands in any store of object_store, here one in memory in the place of Google's or Azure's:
//!
//! ```
//! use std::sync::Arc;
//!
//! use backup_core::{ObjectKey, PutMode, Repository};
//! use backup_s3::S3Repository;
//! use backup_s3::object_store::{ObjectStore, memory::InMemory};
//! use futures::TryStreamExt;
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> backup_core::Result<()> {
//! // For Google's: GoogleCloudStorageBuilder::from_env().with_bucket_name(container.as_str()).build()
//! let repository = S3Repository::from_stores(|_container| {
//!     Ok(Arc::new(InMemory::new()) as Arc<dyn ObjectStore>)
//! })?;
//!
//! let container = "volumebackups".to_owned().try_into()?;
//! let key = ObjectKey::new(&container, "volume_1/az_nova_backup_1-00001")?;
//! repository.put(&key, "data".into(), PutMode::Overwrite).await?;
//! let listed: Vec<_> = repository.list(&container, "volume_1/az", None).await?.try_collect().await?;
//! assert_eq!(listed[0].name, key.name());
//! # Ok(())
//! # }
//! ```
#![forbid(unsafe_code)]

mod config;
mod credentials;
mod delete;
mod error;
mod list;
mod repository;
mod retry;
mod stores;
mod transport;
mod unfinished;
mod upload;
mod wire;
mod xml;

pub use backup_core::Secret;
pub use config::{ChecksumKind, Encryption, S3Config};
pub use object_store;
pub use repository::S3Repository;
pub use unfinished::UnfinishedUpload;
