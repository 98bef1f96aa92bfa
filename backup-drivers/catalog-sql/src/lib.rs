//! The catalogue of records in SQLite: a file that several processes of one host share.
//!
//! ```no_run
//! # async fn f() -> backup_core::Result<()> {
//! use backup_catalog_sql::SqliteCatalog;
//! use backup_core::Catalog;
//! let catalog = SqliteCatalog::open("/var/lib/ashlar/catalogue.sqlite").await?;
//! let identity = catalog.identity().await?;
//! # Ok(()) }
//! ```
//!
//! [`SqliteCatalog`] keeps the rows; the rules are those of [`backup_core::catalog`]. Why the settings are as they are:
//! docs/adr/0004-catalogue.md.
#![forbid(unsafe_code)]

mod columns;
mod error;
mod filesystem;
mod rows;
mod schema;
mod store;

pub use store::SqliteCatalog;
