//! Our configuration out of a cinder.conf.

mod convert;
mod syntax;
mod table;

pub(crate) use convert::{Converted, REPOSITORY, convert};
