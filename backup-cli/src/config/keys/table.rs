//! The table of all settings.

use super::{Key, Kind};

/// The types of repositories. Not each is in every build.
pub(super) const TYPES: &[&str] = &["posix", "nfs", "s3", "swift", "ceph"];

const POSIX: &[&str] = &["posix"];
const S3: &[&str] = &["s3"];

/// All settings of this build. docs/operator.md has the same list with words; a test compares them.
pub(crate) const KEYS: &[Key] = &[
    key("backup.repository", Kind::Text),
    key("backup.compression", Kind::Compression),
    key("backup.level", integer(-100, 22)),
    key("backup.container", Kind::Text),
    key("backup.chunk_size", Kind::Size { least: 4096 }),
    key("backup.hash_block_size", Kind::Size { least: 512 }),
    key("backup.join_gap", Kind::Size { least: 0 }),
    key("backup.memory", Kind::Size { least: 64 << 20 }),
    key("backup.concurrency", integer(1, 1024)),
    key("backup.availability_zone", Kind::Text),
    key("repository.*.type", Kind::Word(TYPES)),
    of(POSIX, "repository.*.path", Kind::Path),
    of(
        POSIX,
        "repository.*.sync",
        Kind::Word(&["barrier", "never"]),
    ),
    of(POSIX, "repository.*.service", Kind::Text),
    of(POSIX, "repository.*.timeout_seconds", integer(1, 86_400)),
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
    of(S3, "repository.*.ca_file", Kind::Path),
    of(S3, "repository.*.insecure", Kind::Boolean),
    of(S3, "repository.*.checksum", Kind::Word(CHECKSUMS)),
    of(S3, "repository.*.sse", Kind::Word(ENCRYPTIONS)),
    of(S3, "repository.*.sse_kms_key_id", Kind::Text),
    of(S3, "repository.*.sse_customer_key", Kind::Text),
    of(S3, "repository.*.sse_customer_key_file", Kind::Path),
    of(S3, "repository.*.storage_class", Kind::Text),
    of(S3, "repository.*.connect_timeout", integer(1, 86_400)),
    of(S3, "repository.*.timeout", integer(1, 86_400)),
    of(S3, "repository.*.min_rate", Kind::Size { least: 1 }),
    of(S3, "repository.*.retries", integer(0, 1000)),
    of(S3, "repository.*.retry_timeout", integer(0, 86_400)),
    of(S3, "repository.*.create_containers", Kind::Boolean),
    of(S3, "repository.*.bulk_delete", Kind::Boolean),
    of(S3, "repository.*.conditional_put", Kind::Boolean),
    of(S3, "repository.*.part_size", Kind::Size { least: 5 << 20 }),
    of(S3, "repository.*.requests", integer(1, 1024)),
    of(S3, "repository.*.availability_zone", Kind::Text),
    key("volumes.provider", Kind::Word(&["file"])),
    key("volumes.path", Kind::Path),
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
