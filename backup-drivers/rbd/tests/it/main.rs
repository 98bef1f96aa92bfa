//! The layer over librbd, volumes and change tracking, on a real cluster.
//!
//! The cluster is named by `ASHLAR_TEST_CEPH_CONF`, which `scripts/servers/ceph/with-servers` sets; without it the tests
//! print that they are skipped.

#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "tests")]

mod ceph;
mod changes;
mod cluster;
mod diff;
mod faults;
mod images;
mod incremental;
mod io;
mod model;
mod repository;
mod volumes;
