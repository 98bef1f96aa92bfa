//! Engine, formats, traits and rules of block-volume backup.
