//! The catalogue in SQLite.

mod catalog;
