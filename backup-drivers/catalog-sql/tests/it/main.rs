//! The catalogue in SQLite.
#![allow(clippy::unwrap_used, clippy::cast_possible_wrap, reason = "tests")]

mod catalog;
mod figures;
mod services;
