//! The table of all settings.

use super::{Key, Kind};

/// The types of repositories. Not each is in every build.
pub(super) const TYPES: &[&str] = &["posix", "nfs", "s3", "swift", "ceph"];

const POSIX: &[&str] = &["posix"];
const NFS: &[&str] = &["nfs"];
const FILES: &[&str] = &["posix", "nfs"];
const S3: &[&str] = &["s3"];
const SWIFT: &[&str] = &["swift"];
const CEPH: &[&str] = &["ceph"];
const REMOTE: &[&str] = &["s3", "swift"];
const NETWORKED: &[&str] = &["s3", "swift", "ceph"];
const WITH_REQUESTS: &[&str] = &["posix", "nfs", "s3", "swift"];

/// All settings of this build. docs/operator.md has the same list with words; a test compares them.
pub(crate) const KEYS: &[Key] = &[
    key("backup.repository", Kind::Text),
    key("backup.compression", Kind::Compression),
    key("backup.level", integer(-100, 22)),
    key("backup.container", Kind::Text),
    key("backup.chunk_size", Kind::Size { least: 4096 }),
    key("backup.hash_block_size", Kind::Size { least: 512 }),
    key("backup.join_gap", Kind::Size { least: 0 }),
    key("backup.audit_percent", integer(0, 100)),
    key("backup.memory", Kind::Size { least: 64 << 20 }),
    key("backup.concurrency", integer(1, 1024)),
    key("backup.max_bandwidth", Kind::Size { least: 0 }),
    key("backup.availability_zone", Kind::Text),
    key("repository.*.type", Kind::Word(TYPES)),
    key("repository.*.max_bandwidth", Kind::Size { least: 0 }),
    of(POSIX, "repository.*.path", Kind::Path),
    of(
        POSIX,
        "repository.*.sync",
        Kind::Word(&["barrier", "never"]),
    ),
    of(FILES, "repository.*.service", Kind::Text),
    of(FILES, "repository.*.timeout_seconds", integer(1, 86_400)),
    of(NFS, "repository.*.share", Kind::Text),
    of(NFS, "repository.*.folder", Kind::Text),
    of(
        NFS,
        "repository.*.client",
        Kind::Word(&["kernel", "userspace"]),
    ),
    of(NFS, "repository.*.mount_options", Kind::Text),
    of(NFS, "repository.*.mount_point_base", Kind::Path),
    of(NFS, "repository.*.mount_attempts", integer(1, 1000)),
    of(S3, "repository.*.endpoint_url", Kind::Text),
    of(S3, "repository.*.bucket", Kind::Text),
    of(S3, "repository.*.region", Kind::Text),
    of(S3, "repository.*.access_key", Kind::Text),
    of(S3, "repository.*.secret_key", Kind::Text),
    of(S3, "repository.*.secret_key_file", Kind::Path),
    of(S3, "repository.*.session_token", Kind::Text),
    of(S3, "repository.*.session_token_file", Kind::Path),
    of(S3, "repository.*.profile", Kind::Text),
    of(S3, "repository.*.credentials_file", Kind::Path),
    of(S3, "repository.*.virtual_host_style", Kind::Boolean),
    of(REMOTE, "repository.*.ca_file", Kind::Path),
    of(REMOTE, "repository.*.insecure", Kind::Boolean),
    of(S3, "repository.*.checksum", Kind::Word(CHECKSUMS)),
    of(S3, "repository.*.sse", Kind::Word(ENCRYPTIONS)),
    of(S3, "repository.*.sse_kms_key_id", Kind::Text),
    of(S3, "repository.*.sse_customer_key", Kind::Text),
    of(S3, "repository.*.sse_customer_key_file", Kind::Path),
    of(S3, "repository.*.storage_class", Kind::Text),
    of(
        NETWORKED,
        "repository.*.connect_timeout",
        integer(1, 86_400),
    ),
    of(NETWORKED, "repository.*.timeout", integer(1, 86_400)),
    of(REMOTE, "repository.*.min_rate", Kind::Size { least: 1 }),
    of(REMOTE, "repository.*.retries", integer(0, 1000)),
    of(REMOTE, "repository.*.retry_timeout", integer(0, 86_400)),
    of(REMOTE, "repository.*.create_containers", Kind::Boolean),
    of(REMOTE, "repository.*.bulk_delete", Kind::Boolean),
    of(S3, "repository.*.conditional_put", Kind::Boolean),
    of(S3, "repository.*.part_size", Kind::Size { least: 5 << 20 }),
    of(WITH_REQUESTS, "repository.*.requests", integer(1, 1024)),
    of(REMOTE, "repository.*.availability_zone", Kind::Text),
    of(
        SWIFT,
        "repository.*.auth",
        Kind::Word(&["single_user", "per_user"]),
    ),
    of(SWIFT, "repository.*.auth_url", Kind::Text),
    of(SWIFT, "repository.*.auth_version", Kind::Version),
    of(SWIFT, "repository.*.username", Kind::Text),
    of(SWIFT, "repository.*.user_id", Kind::Text),
    of(SWIFT, "repository.*.password", Kind::Text),
    of(SWIFT, "repository.*.password_file", Kind::Path),
    of(SWIFT, "repository.*.user_domain_name", Kind::Text),
    of(SWIFT, "repository.*.user_domain_id", Kind::Text),
    of(SWIFT, "repository.*.project_name", Kind::Text),
    of(SWIFT, "repository.*.project_id", Kind::Text),
    of(SWIFT, "repository.*.project_domain_name", Kind::Text),
    of(SWIFT, "repository.*.project_domain_id", Kind::Text),
    of(SWIFT, "repository.*.application_credential_id", Kind::Text),
    of(
        SWIFT,
        "repository.*.application_credential_name",
        Kind::Text,
    ),
    of(
        SWIFT,
        "repository.*.application_credential_secret",
        Kind::Text,
    ),
    of(
        SWIFT,
        "repository.*.application_credential_secret_file",
        Kind::Path,
    ),
    of(SWIFT, "repository.*.token", Kind::Text),
    of(SWIFT, "repository.*.token_file", Kind::Path),
    of(SWIFT, "repository.*.region_name", Kind::Text),
    of(
        SWIFT,
        "repository.*.interface",
        Kind::Word(&["public", "internal", "admin"]),
    ),
    of(SWIFT, "repository.*.service_type", Kind::Text),
    of(SWIFT, "repository.*.service_name", Kind::Text),
    of(SWIFT, "repository.*.storage_url", Kind::Text),
    of(SWIFT, "repository.*.container", Kind::Text),
    of(SWIFT, "repository.*.storage_policy", Kind::Text),
    of(SWIFT, "repository.*.segment_container", Kind::Text),
    of(
        SWIFT,
        "repository.*.segment_size",
        Kind::Size { least: 1 << 20 },
    ),
    of(
        SWIFT,
        "repository.*.max_object_size",
        Kind::Size { least: 1 << 20 },
    ),
    of(CEPH, "repository.*.pool", Kind::Text),
    of(CEPH, "repository.*.conf", Kind::Path),
    of(CEPH, "repository.*.user", Kind::Text),
    of(CEPH, "repository.*.keyring", Kind::Path),
    of(CEPH, "repository.*.stripe_unit", Kind::Size { least: 0 }),
    of(CEPH, "repository.*.stripe_count", integer(0, 1024)),
    of(CEPH, "repository.*.image_journals", Kind::Boolean),
    of(CEPH, "repository.*.data_pool", Kind::Text),
    key("volumes.provider", Kind::Word(&["file", "rbd"])),
    key("volumes.path", Kind::Path),
    key("volumes.pool", Kind::Text),
    key("volumes.conf", Kind::Path),
    key("volumes.user", Kind::Text),
    key("volumes.keyring", Kind::Path),
    key("volumes.connect_timeout", integer(1, 86_400)),
    key("volumes.timeout", integer(1, 86_400)),
    key("volumes.max_snapshots", integer(0, 1000)),
    key("volumes.fast_diff", Kind::Boolean),
    key("catalog.url", Kind::Text),
];

const CHECKSUMS: &[&str] = &["signature", "content-md5", "sha256", "crc64nvme", "none"];
const ENCRYPTIONS: &[&str] = &["s3", "kms", "kms-dsse", "customer"];

const fn key(name: &'static str, kind: Kind) -> Key {
    of(&[], name, kind)
}

const fn of(types: &'static [&'static str], name: &'static str, kind: Kind) -> Key {
    Key { name, kind, types }
}

const fn integer(least: i64, most: i64) -> Kind {
    Kind::Integer { least, most }
}
