//! What tests stand on: repositories and devices in memory, planned faults, and the suite that every repository must
//! pass. Feature `testing`.
//!
//! * [`MemoryRepository`]: a [`Repository`](crate::Repository) in RAM, with helpers to look into it and to damage it.
//! * [`FaultRepository`]: a decorator whose n-th call fails, loses its answer, is delayed, cut, corrupted or
//!   lengthened.
//! * [`MemoryDevice`], [`HoleDevice`]: block devices, the second of any length up to 16 TiB and more.
//! * [`MemoryChangeSource`]: knows what changed on a [`MemoryDevice`].
//! * [`MemoryImages`]: an image store with snapshots and differences, and [`FaultImages`] around one, which fails at a
//!   call; [`SnapshotChanges`]: tells an image's changes. [`MemoryAttacher`]: attaches memory devices.
//! * [`conformance`]: the suite that every repository must pass; [`image_conformance`]: that every image store must.
//! * [`TestClock`]: a clock that stands still.
//!
//! ```
//! # tokio_test_like(async {
//! use backup_core::testing::{Call, Fault, FaultPlan, FaultRepository, MemoryRepository, When};
//! use backup_core::{ContainerName, ErrorKind, ObjectKey, PutMode, Repository};
//!
//! let memory = MemoryRepository::new();
//! let plan = FaultPlan::new().rule(
//!     When::call(Call::Put).nth(0),
//!     Fault::LoseAnswer(ErrorKind::Timeout),
//! );
//! let repository = FaultRepository::new(std::sync::Arc::new(memory.clone()), plan);
//!
//! let container = ContainerName::new("c")?;
//! repository.ensure_container(&container).await?;
//! let key = ObjectKey::new(&container, "object")?;
//! let lost = repository.put(&key, "data".into(), PutMode::Overwrite).await;
//! assert!(lost.is_err_and(|e| e.is(ErrorKind::Timeout)));
//! assert_eq!(memory.object("c/object").as_deref(), Some(&b"data"[..]), "stored all the same");
//! # Ok(())
//! # });
//! # fn tokio_test_like(f: impl Future<Output = backup_core::Result<()>>) {
//! #     tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(f).unwrap();
//! # }
//! ```

mod attach;
mod changes;
mod clock;
mod conformance;
mod device;
mod fault;
mod hole;
mod image;
mod pages;
mod repository;

pub use attach::MemoryAttacher;
pub use changes::MemoryChangeSource;
pub use clock::TestClock;
pub use conformance::{ConformanceOptions, conformance};
pub use device::{DeviceCounters, MemoryDevice};
pub use fault::{Call, Fault, FaultPlan, FaultRepository, When};
pub use hole::HoleDevice;
pub use image::{FaultImages, ImageCall, MemoryImages, SnapshotChanges, image_conformance};
pub use repository::{Event, MemoryRepository};

use std::sync::{Mutex, MutexGuard, PoisonError};

/// One zlib stream of `input`, cut into segments of these lengths (in bytes, together as long as `input`), which are
/// stored as they are (`true`) or compressed at `level`, whatever they hold: how tests reach seams that the choice of
/// the segments would take much data to come to.
///
/// # Errors
/// [`Internal`](crate::ErrorKind::Internal) where libdeflate's output is not understood or there is no such level.
#[cfg(feature = "zlib-fast")]
pub fn zlib_of_segments(
    level: i32,
    input: &[u8],
    segments: &[(usize, bool)],
) -> crate::Result<Vec<u8>> {
    crate::compress::zlib_of_segments(level, input, segments)
}

/// Locks, also where a test panicked while it held the lock.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
