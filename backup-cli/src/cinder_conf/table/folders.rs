//! Options of the drivers of folders: posix and nfs.

use super::{CinderOption, Way, of};

const FOLDERS: &[&str] = &["posix", "nfs"];
const POSIX: &[&str] = &["posix"];
const NFS: &[&str] = &["nfs"];

pub(super) const OPTIONS: &[CinderOption] = &[
    of(
        FOLDERS,
        "backup_container",
        Way::Text,
        "backup.container",
        "",
    ),
    of(
        FOLDERS,
        "backup_file_size",
        Way::Chunk,
        "backup.chunk_size",
        "not where it is above 256 MiB: it need not be the same, and chunks take memory",
    ),
    of(
        FOLDERS,
        "backup_sha_block_size_bytes",
        Way::Block,
        "backup.hash_block_size",
        "",
    ),
    of(
        FOLDERS,
        "backup_enable_progress_timer",
        Way::Nothing,
        "",
        "there are no such notifications",
    ),
    of(
        POSIX,
        "backup_posix_path",
        Way::Special,
        "repository.NAME.path",
        "",
    ),
    of(NFS, "backup_share", Way::Text, "repository.NAME.share", ""),
    of(
        NFS,
        "backup_mount_options",
        Way::Special,
        "repository.NAME.mount_options",
        "",
    ),
    of(
        NFS,
        "backup_mount_point_base",
        Way::Special,
        "repository.NAME.mount_point_base",
        "",
    ),
    of(
        NFS,
        "backup_mount_attempts",
        Way::Integer,
        "repository.NAME.mount_attempts",
        "",
    ),
];
