//! The catalogue in SQLite.

mod catalog;
mod figures;
mod services;
