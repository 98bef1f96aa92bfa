//! Image files and block devices as volumes.
//!
//! * [`FileDevice`]: a [`BlockDevice`](backup_core::BlockDevice) over a raw image file or a block device of Linux.
//! * [`FileVolumes`]: a [`VolumeProvider`](backup_core::VolumeProvider) over a folder of image files, which also
//!   adopts images and devices that lie elsewhere. Snapshots are reflinks where the filesystem has them (xfs, btrfs),
//!   and copies elsewhere, then only of volumes that nobody uses.
//!
//! Everything runs on tokio's threads for blocking work, so a tokio runtime must be there.
//!
//! ```
//! use backup_core::{BlockDevice, ByteRange, Buf, VolumeId, VolumeProvider};
//! use backup_file::{DeviceOptions, FileDevice, FileVolumes};
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> backup_core::Result<()> {
//! # let home = tempfile::tempdir().map_err(|e| backup_core::Error::io("make folder", "tmp", e))?;
//! let volumes = FileVolumes::new(home.path().join("volumes"))?;
//! let path = volumes.create_volume(VolumeId::generate(), 1 << 20).await?;
//!
//! let device = FileDevice::open(&path, DeviceOptions::writable()).await?;
//! device.write(4096, b"hello".as_slice().into()).await?;
//! device.write_zeroes(ByteRange::new(4098, 8192).unwrap()).await?;
//! device.flush().await?;
//!
//! let (buf, result) = device.read(4096, Buf::zeroed(5)).await;
//! result?;
//! assert_eq!(&*buf, b"he\0\0\0");
//! # Ok(())
//! # }
//! ```
#![forbid(unsafe_code)]

mod blocking;
mod device;
mod holes;
mod mounts;
mod volumes;

pub use device::{DeviceOptions, DirectReads, FileDevice};
pub use holes::Holes;
pub use volumes::FileVolumes;
