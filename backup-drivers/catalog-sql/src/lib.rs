//! The catalogue of records in SQLite.
