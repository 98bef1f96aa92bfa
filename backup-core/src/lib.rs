//! Engine, formats, traits and rules of block-volume backup.
//!
//! The crate reads a [`BlockDevice`], finds what changed since the last backup, compresses it and stores it in a
//! [`Repository`], in the format of OpenStack's cinder-backup; and it restores any of the backups, checked, bit for bit.
//! Bring a device and a repository of your own, or take those of the driver crates.
//!
//! It is **not** a storage client: it knows no network, no database and no system library, and does nothing by itself.
//! There is no global state, no configuration file and no background thread: what a job may use is in the
//! [`JobContext`] that it is given. It needs a tokio runtime around it, or [`blocking`], which brings one.
//!
//! # A backup, a change, an incremental, a restore
//!
//! ```
//! # fn main() -> backup_core::Result<()> {
//! # let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
//! # runtime.block_on(async {
//! use std::sync::Arc;
//! use backup_core::testing::{MemoryDevice, MemoryRepository};
//! use backup_core::{
//!     Attachment, Backup, BackupRequest, BlockDevice, Chain, ChunkedBackup, ChunkedConfig,
//!     JobContext, RestoreOptions, Timestamp, VolumeId,
//! };
//!
//! // One context for the process: 64 MiB for all of its jobs, and a CPU thread a core.
//! let cx = JobContext::new(64 << 20)?;
//! let engine = ChunkedBackup::new(Arc::new(MemoryRepository::new()), ChunkedConfig::zlib()?)?;
//! let device = MemoryDevice::from_bytes(&b"a volume's content ".repeat(100_000));
//! let source = Attachment::new(Arc::new(device.clone()));
//! let volume = VolumeId::generate();
//!
//! // A plan chooses location and names before the first byte is written. Store it: should the process be killed,
//! // `engine.delete(&plan.layer(), ..)` removes what it left.
//! let plan = engine.plan(&BackupRequest::new(volume, Timestamp::now()))?;
//! engine.create(&plan, None, &source, &cx).await?;
//! let full = plan.layer();
//!
//! device.poke(700_000, b"something else");
//!
//! let plan = engine.plan(&BackupRequest::new(volume, Timestamp::now()))?;
//! let outcome = engine.create(&plan, Some(&full), &source, &cx).await?;
//! assert_eq!(outcome.covered_bytes, ChunkedConfig::BLOCK_SIZE, "one block changed");
//! let incremental = plan.layer();
//!
//! // A chain: the full backup and what stands on it, oldest first. Its last layer is what is restored.
//! let chain = Chain::new(vec![full, incremental]).expect("it has two layers");
//! let restored = MemoryDevice::new(engine.length(&chain, &cx).await?);
//! let target: Arc<dyn BlockDevice> = Arc::new(restored.clone());
//! let report = engine.restore(&chain, &target, &RestoreOptions::default(), &cx).await?;
//!
//! assert_eq!(report.checked_bytes, report.volume_length, "every byte was checked");
//! assert_eq!(restored.first_difference(&device), None);
//! # Ok(())
//! # })
//! # }
//! ```
//!
//! # The modules
//!
//! | what | where |
//! | --- | --- |
//! | the seams to storage: flat objects | [`repository`], and [`decorate`]: retries and limits around one |
//! | ... and images with snapshots | [`image`] |
//! | volumes: their bytes, and how one is attached | [`device`], [`attach`], [`volume`] |
//! | what all stands on: make, restore, verify, delete, find backups and [orphans](orphan) | [`backup`], done over objects by [`chunked`], over images by [`imaged`] |
//! | the same for callers without a runtime | [`blocking`] |
//! | stages of the engine | [`diff`], [`compress`], [`pipeline`] |
//! | the stored bytes | [`format`](mod@format) |
//! | what a job runs with: memory, CPU threads, progress, cancel | [`job`], [`buffer`] |
//! | records of volumes and backups, as whole transactions | [`catalog`], [`record`] |
//! | Cinder's rules of states and chains over all of these | `service`, with the feature `service` |
//! | words: IDs, ranges, times, errors | [`id`], [`range`], [`timestamp`], [`error`](mod@error) |
//! | memory repository and devices, planned faults, the suite for repositories | `testing`, with the feature `testing` |
//!
//! **Unstable**: [`image`], until a driver for Ceph RBD has proven it.
//!
//! # Features
//!
//! `zlib-fast` (default: libdeflate; needs a C compiler), `zstd` (default), `service`, `testing`. Without `zlib-fast`,
//! zlib is done by zlib-rs; bzip2 is always there.
#![forbid(unsafe_code)]

pub mod attach;
pub mod backup;
pub mod blocking;
pub mod buffer;
pub mod catalog;
pub mod chunked;
pub mod compress;
pub mod decorate;
pub mod device;
pub mod diff;
pub mod error;
pub mod format;
pub mod id;
pub mod image;
pub mod imaged;
pub mod job;
pub mod orphan;
pub mod pipeline;
pub mod range;
pub mod record;
pub mod repository;
pub mod secret;
#[cfg(feature = "service")]
pub mod service;
#[cfg(feature = "testing")]
pub mod testing;
pub mod timestamp;
pub mod volume;

pub use attach::{AttachPlan, AttachSource, Attachment, DeviceAttacher};
pub use backup::{
    Backup, BackupPlan, BackupReader, BackupRequest, Chain, Check, Layer, Outcome, Problem, Report,
    RestoreOptions, ScanItem, Scanned,
};
pub use buffer::{Buf, BufferPool};
pub use catalog::Catalog;
pub use chunked::{ChunkedBackup, ChunkedConfig};
pub use compress::{Algorithm, Compressor, Decoder};
pub use device::{BlockDevice, ChangePoint, ChangeSource, Geometry};
pub use error::{Error, ErrorKind, Result};
pub use id::{BackupId, ContainerName, JobId, Location, ObjectKey, Prefix, SnapshotId, VolumeId};
pub use image::{Image, ImageKey, ImageLayout, ImageRepository, ImageSnapshot};
pub use imaged::{ImageBackup, ImagedConfig};
pub use job::{
    CancelToken, Clock, CpuPool, CpuTask, JobContext, MemoryBudget, NoObserver, Observer, Phase,
    Progress, SystemClock,
};
pub use orphan::{Orphan, OrphanKind};
pub use range::{ByteRange, Extent, ExtentKind};
pub use record::{BackupRecord, BackupStatus};
pub use repository::{
    BoxStream, DefaultContainer, Download, Layout, Leftover, Limits, Listed, PrefixStyle, PutMode,
    Repository, Upload,
};
pub use secret::Secret;
pub use timestamp::Timestamp;
pub use volume::{
    BackupSnapshot, SnapshotRecord, SnapshotRef, VolumeProvider, VolumeRecord, VolumeRef,
    VolumeStatus,
};
