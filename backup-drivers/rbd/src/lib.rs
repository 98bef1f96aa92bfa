//! Ceph: a safe, asynchronous layer over librbd, and on it RBD images as volumes.
//!
//! # The layer
//!
//! [`Cluster`] → [`Pool`] → [`Image`]. Handles are cheap to clone, may be used from any task, and are closed with their
//! last clone.
//!
//! ```no_run
//! # async fn example() -> backup_core::Result<()> {
//! use backup_core::{Buf, ByteRange};
//! use backup_rbd::{Cluster, ClusterConfig, CreateOptions, DiffRequest};
//!
//! let cluster = Cluster::connect(&ClusterConfig::new("/etc/ceph/ceph.conf", "cinder")).await?;
//! let pool = cluster.pool("volumes").await?;
//! pool.create("scratch", 1 << 30, &CreateOptions::default()).await?;
//! let image = pool.open_image("scratch").await?;
//! image.create_snapshot("before").await?;
//! image.write(4096, "hello".into()).await?;
//! image.write_zeroes(ByteRange::new(1 << 20, 2 << 20).unwrap()).await?;
//! image.create_snapshot("after").await?;
//!
//! let after = pool.open_read_only("scratch", Some("after")).await?;
//! let mut at = 0;
//! while at < after.info().size {
//!     let range = ByteRange::new(at, after.info().size).unwrap();
//!     let diff = after.diff(&DiffRequest::new(Some("before"), range)).await?;
//!     for extent in &diff.extents {
//!         println!("{} {}", extent.range, if extent.data { "data" } else { "zeroes" });
//!     }
//!     at = diff.end;
//! }
//! let (buffer, read) = after.read(4096, Buf::zeroed(5)).await;
//! read?;
//! assert_eq!(&buffer[..], b"hello");
//! # Ok(())
//! # }
//! ```
//!
//! What holds:
//!
//! * Reads and writes own their buffers until librbd has called back, also where their future is dropped. 64 of an
//!   image are in flight at most.
//! * Calls that block run on threads of their own, and each call has a deadline ([`ClusterConfig::timeout`], more for
//!   long ones). A call that is given up goes on by itself. A *write* that is given up may still land: its handle then
//!   refuses everything else.
//! * Differences and holes of snapshots are exact to the byte: holes within objects are told too, where this build can ask
//!   for them ([`HOLES_IN_OBJECTS`]).
//! * librbd's cache is off, so a write is durable when it returns. Zeroes are written by `rbd_write_zeroes`, never by a
//!   discard.
//! * Errors name the operation and `pool/image@snapshot`, and keep the number of the operating system
//!   ([`errno_of`]).
//! * Handles are closed on threads of their own; the end of the process waits for them ([`wait_until_closed`]).
//!
//! # Volumes
//!
//! [`RbdVolumes`] is a [`VolumeProvider`](backup_core::VolumeProvider) over the images of a pool, named as Cinder names
//! them, and [`RbdDevice`] a [`BlockDevice`](backup_core::BlockDevice) over one image. Backups are made of snapshots,
//! which are kept as change points: an incremental then reads only what changed ([`RbdChanges`]).
//!
//! # Repository
//!
//! [`CephRepository`] is an [`ImageRepository`](backup_core::ImageRepository) over a pool, for
//! [`ImageBackup`](backup_core::ImageBackup): backups in the layout of Cinder's ceph driver.

mod changes;
#[allow(unsafe_code)] // calls librados
mod cluster;
mod config;
mod device;
mod differences;
mod error;
#[allow(unsafe_code)] // calls librbd
mod image;
mod names;
#[allow(unsafe_code)] // registers what waits at the end of the process
mod open;
#[allow(unsafe_code)] // calls librados and librbd
mod pool;
mod presence;
mod repository;
mod thread;
mod volumes;

pub use changes::RbdChanges;
pub use cluster::{Cluster, ClusterConfig};
pub use config::RbdVolumesConfig;
pub use device::RbdDevice;
pub use error::errno_of;
pub use image::{
    Diff, DiffExtent, DiffRequest, Features, Image, ImageInfo, LockOwner, Parent, Snapshot, Watcher,
};
pub use open::wait_until_closed;
pub use pool::{CloneOptions, CreateOptions, Pool};
pub use repository::{CephConfig, CephRepository};
pub use volumes::RbdVolumes;

/// Whether this build can ask objects which parts of them hold data (`librados.hpp` was there). Without it, what lies before
/// the last byte of an object that is new is read, though it is a hole.
pub const HOLES_IN_OBJECTS: bool = librbd_sys::HAS_MAPEXT;
