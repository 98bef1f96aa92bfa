//! Image files and block devices as volumes; snapshots by reflink or copy.
