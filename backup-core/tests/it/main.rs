#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::print_stdout,
    missing_docs,
    unreachable_pub,
    reason = "tests"
)]
//! The engine over repositories in memory and over what Cinder wrote.

mod blocking;
mod cached;
mod cancel;
mod changes;
mod cinder;
mod corpus;
mod damage;
mod engine;
mod faults;
mod history;
mod imaged;
mod model;
mod reader;
mod scan;
mod schedules;
mod split;
