//! The binary itself, over temporary homes: what its user is promised.

// Clippy takes only functions marked as tests for tests, not what they call.
#![allow(clippy::unwrap_used)]

mod ashlar;
mod cinder;
mod crash;
mod life;
mod protect;
mod shapes;
mod usage;
