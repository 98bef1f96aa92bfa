//! MD5 of several messages side by side in vector lanes.
