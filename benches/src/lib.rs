//! Benches of the chunk pipeline and its stages.
