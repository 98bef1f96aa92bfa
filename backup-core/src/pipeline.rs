//! Read → hash → compare → compress → store: bounded in memory, parallel, in order where the format needs it.

mod zero;

pub use zero::{ZeroObject, ZeroStreams};
