//! The stored bytes, and nothing else: metadata, hash list, volume metadata, exported record.
//!
//! All of it is Cinder's format (driver version 1.0.0, metadata version 2), with the key `ashlar` of ours, which Cinder
//! ignores. Reading is streamed, bounded and suspicious; writing gives Cinder's exact style: JSON with sorted keys,
//! ASCII-escaped, indented by 2.

pub mod volume;
