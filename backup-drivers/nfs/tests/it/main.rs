//! Exports of a real NFS server as repositories. The servers are named by variables that scripts set; without them these
//! tests print that they are skipped.
// Clippy takes only functions that are marked as tests for tests.
#![allow(clippy::unwrap_used, clippy::print_stdout)]

mod kernel;
