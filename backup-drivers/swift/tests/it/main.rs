//! The Swift repository against real servers, and against servers that misbehave.
//!
//! The real ones are named by `ASHLAR_TEST_SWIFT_V1`, `ASHLAR_TEST_SWIFT_V3` and others, which
//! `scripts/servers/swift/with-servers` sets; without them those tests print that they are skipped.

#![allow(clippy::unwrap_used, clippy::print_stdout)]

mod auth;
mod cinder;
mod conformance;
mod containers;
mod errors;
mod fake;
mod faults;
mod gateway;
mod keystone;
mod large;
mod life;
mod objects;
mod secrets;
mod servers;
mod shaky;
mod throughput;
