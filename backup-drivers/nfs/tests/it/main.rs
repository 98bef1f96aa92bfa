//! Exports of real NFS servers as repositories. The servers are named by variables that scripts set
//! (`scripts/servers/nfs/with-servers` for the client without a mount); without them these tests print that they are
//! skipped.
// Clippy takes only functions that are marked as tests for tests.
#![allow(clippy::unwrap_used, clippy::print_stdout)]

mod cinder;
mod conformance;
mod folder;
mod kernel;
mod killed;
mod line;
mod proxy;
mod refused;
mod servers;
mod throughput;
