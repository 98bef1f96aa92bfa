//! The S3 repository against real servers, and against servers that misbehave.
//!
//! The real ones are named by `ASHLAR_TEST_S3_RGW`, `ASHLAR_TEST_S3_MOTO` and `ASHLAR_TEST_S3_TLS`, which
//! `scripts/servers/s3/with-servers` sets; without them those tests print that they are skipped.

#![allow(clippy::unwrap_used, clippy::print_stdout)]

mod buckets;
mod cinder;
mod conformance;
mod errors;
mod fake;
mod faults;
mod life;
mod objects;
mod secrets;
mod servers;
mod stores;
mod throughput;
mod tls;
mod uploads;
