//! Raw bindings to Ceph's librados and librbd (LGPL-2.1: linked dynamically), restricted to what Ashlar uses.
//!
//! `src/bindings.rs` is made by bindgen and committed, so that nobody needs libclang to build;
//! `scripts/librbd-bindings` makes it again, and with `--check` compares. The declarations are those of Ceph 16
//! (Pacific); newer releases keep them.
//!
//! The libraries are linked with the feature `link` only. Without it this crate compiles anywhere, so that the safe
//! layer above it is checked and linted on machines without Ceph; what calls it cannot be made into a program there.
#![no_std]
#![allow(non_camel_case_types)]

mod bindings;
mod mapext;

pub use bindings::*;
pub use mapext::*;
