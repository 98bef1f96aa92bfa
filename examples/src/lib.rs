//! Runnable examples of embedding the engine.
