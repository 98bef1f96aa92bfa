#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    missing_docs,
    unreachable_pub,
    reason = "tests"
)]
//! The engine over repositories in memory and over what Cinder wrote.

mod cancel;
mod cinder;
mod corpus;
mod engine;
mod history;
mod model;
mod scan;
mod schedules;
mod split;
