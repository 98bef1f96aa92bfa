//! Options of the s3 driver.

use super::{CinderOption, Way, of};

const S3: &[&str] = &["s3"];

pub(super) const OPTIONS: &[CinderOption] = &[
    of(
        S3,
        "backup_s3_endpoint_url",
        Way::Text,
        "repository.NAME.endpoint_url",
        "",
    ),
    of(
        S3,
        "backup_s3_store_bucket",
        Way::Text,
        "repository.NAME.bucket",
        "",
    ),
    of(
        S3,
        "backup_s3_store_access_key",
        Way::Text,
        "repository.NAME.access_key",
        "",
    ),
    of(
        S3,
        "backup_s3_store_secret_key",
        Way::Secret,
        "repository.NAME.secret_key_file",
        "the secret goes into a file of its own",
    ),
    of(
        S3,
        "backup_s3_object_size",
        Way::Chunk,
        "backup.chunk_size",
        "not where it is above 256 MiB",
    ),
    of(
        S3,
        "backup_s3_block_size",
        Way::Block,
        "backup.hash_block_size",
        "",
    ),
    of(
        S3,
        "backup_s3_timeout",
        Way::Integer,
        "repository.NAME.timeout",
        "whole seconds",
    ),
    of(
        S3,
        "backup_s3_max_pool_connections",
        Way::Integer,
        "repository.NAME.requests",
        "",
    ),
    of(
        S3,
        "backup_s3_retry_max_attempts",
        Way::Integer,
        "repository.NAME.retries",
        "",
    ),
    of(
        S3,
        "backup_s3_retry_mode",
        Way::Nothing,
        "",
        "waits always grow",
    ),
    of(
        S3,
        "backup_s3_verify_ssl",
        Way::Inverted,
        "repository.NAME.insecure",
        "the opposite",
    ),
    of(
        S3,
        "backup_s3_ca_cert_file",
        Way::Text,
        "repository.NAME.ca_file",
        "",
    ),
    of(
        S3,
        "backup_s3_md5_validation",
        Way::Nothing,
        "",
        "checksums are on by default: `checksum`",
    ),
    of(
        S3,
        "backup_s3_sse_customer_key",
        Way::Special,
        "repository.NAME.sse_customer_key_file",
        "in base64, in a file of its own, with `sse = \"customer\"`",
    ),
    of(
        S3,
        "backup_s3_sse_customer_algorithm",
        Way::Nothing,
        "",
        "AES256 is the only one",
    ),
    of(
        S3,
        "backup_s3_http_proxy",
        Way::Nothing,
        "",
        "set HTTP_PROXY in the environment",
    ),
    of(
        S3,
        "backup_s3_https_proxy",
        Way::Nothing,
        "",
        "set HTTPS_PROXY in the environment",
    ),
    of(
        S3,
        "backup_s3_enable_progress_timer",
        Way::Nothing,
        "",
        "there are no such notifications",
    ),
];
