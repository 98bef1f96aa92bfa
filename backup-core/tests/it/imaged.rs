//! Backups in a store of images: lives of a volume, random ones too, and what may go wrong on the way.

mod faults;
mod life;
mod model;
mod scene;
mod volume;
