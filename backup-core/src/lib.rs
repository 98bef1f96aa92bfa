//! Engine, formats, traits and rules of block-volume backup.
#![forbid(unsafe_code)]

pub mod attach;
pub mod backup;
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
pub mod job;
pub mod pipeline;
pub mod range;
pub mod record;
pub mod repository;
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
pub use image::{Image, ImageRepository};
pub use job::{
    CancelToken, Clock, CpuPool, JobContext, MemoryBudget, NoObserver, Observer, Phase, Progress,
    SystemClock,
};
pub use range::{ByteRange, Extent, ExtentKind};
pub use record::{BackupRecord, BackupStatus};
pub use repository::{
    BoxStream, DefaultContainer, Download, Layout, Limits, Listed, PrefixStyle, PutMode,
    Repository, Upload,
};
pub use timestamp::Timestamp;
pub use volume::{
    SnapshotRecord, SnapshotRef, VolumeProvider, VolumeRecord, VolumeRef, VolumeStatus,
};
