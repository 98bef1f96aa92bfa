//! The engine over repositories in memory and over what Cinder wrote.

mod cinder;
mod engine;
mod history;
mod model;
