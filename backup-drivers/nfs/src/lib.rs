//! An export of an NFS server as a repository, laid out as Cinder's nfs driver lays it out: the same folders and files
//! as a repository in a folder, with the export's root as its root.
#![forbid(unsafe_code)]

mod config;
mod share;

pub use config::{Client, NfsConfig};
pub use share::Share;
