//! Read → hash → compare → compress → store: bounded in memory, parallel, in order where the format needs it.

mod units;
mod zero;

pub(crate) use units::{AuditSample, Unit, UnitKind, UnitPlanner, check_cover};
pub use zero::{ZeroObject, ZeroStreams};
