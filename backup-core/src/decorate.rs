//! Repositories around a repository: what every store needs and none should build for itself.
//!
//! * [`Retrying`] repeats what may succeed later. It belongs around a repository whose
//!   [`Limits::retries`](crate::Limits::retries) is false, and around no other: two layers of retries multiply.
//! * [`Limited`] holds back requests and bytes.
//!
//! ```
//! # #[cfg(feature = "testing")] {
//! use std::sync::Arc;
//! use backup_core::decorate::{Limited, RetryPolicy, Retrying};
//! # use backup_core::testing::MemoryRepository;
//! use backup_core::Repository;
//!
//! let store: Arc<dyn Repository> = Arc::new(MemoryRepository::new());
//! let steady = Arc::new(Retrying::new(store, RetryPolicy::default()));
//! let gentle = Limited::new(steady, 8).with_bandwidth(50 << 20);
//! assert_eq!(gentle.describe(), "memory");
//! # }
//! ```

mod limit;
mod retry;

pub use limit::Limited;
pub use retry::{RetryPolicy, Retrying};
