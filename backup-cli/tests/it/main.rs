//! The binary itself, over temporary homes: what its user is promised.

// Clippy takes only functions marked as tests for tests, not what they call.
#![allow(clippy::unwrap_used)]

mod ashlar;
mod beside;
mod cinder;
mod crash;
mod credentials;
mod deeds;
mod diagnosis;
mod difference;
mod faults;
mod from_cinder;
mod http;
mod kill;
mod life;
mod nfs;
mod nfs_clients;
mod orphans;
mod protect;
mod proxy;
#[cfg(feature = "rbd")]
mod rbd;
mod refused;
mod remote;
mod rights;
mod secrets;
mod servers;
mod shapes;
mod state;
mod usage;
