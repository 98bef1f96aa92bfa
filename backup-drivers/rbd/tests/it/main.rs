//! The layer over librbd, volumes and change tracking, on a real cluster.
//!
//! The cluster is named by `ASHLAR_TEST_CEPH_CONF`, which `scripts/servers/ceph/with-servers` sets; without it the tests
//! print that they are skipped.

#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "tests")]

mod beside;
mod ceph;
mod changes;
mod cluster;
mod cost;
mod diff;
mod faults;
mod holes;
mod images;
mod incremental;
mod io;
#[cfg(target_env = "gnu")] // the figure is of its allocator
mod leak;
mod lives;
mod model;
mod repository;
mod sparse;
mod subject;
mod vanished;
mod volumes;
mod wrong;
