//! What the service promises, over the real engine with volumes and a repository in memory.
#![allow(clippy::unwrap_used, reason = "tests")]

mod accounts;
mod differences;
mod faults;
mod images;
mod jobs;
mod orphans;
mod records;
mod recovery;
mod rules;
mod world;
