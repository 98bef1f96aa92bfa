//! The table of cinder.conf's options and what becomes of each. docs/from-cinder.md has the same; a test compares them.

/// What becomes of an option's value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Way {
    /// It is the setting's value, as it is.
    Text,
    /// A truth value.
    Boolean,
    /// A truth value that means the opposite here.
    Inverted,
    /// A number, rounded up to a whole one.
    Integer,
    /// The length of an object.
    Chunk,
    /// The length of a block.
    Block,
    /// A secret, which goes into a file.
    Secret,
    /// Has a function of its own.
    Special,
    /// It is not carried over.
    Nothing,
}

/// An option of cinder.conf's.
#[derive(Debug)]
pub(super) struct CinderOption {
    pub(super) name: &'static str,
    /// The types of repositories that it is for; all where there are none.
    pub(super) types: &'static [&'static str],
    pub(super) way: Way,
    /// Our setting; `NAME` stands for the repository's name. Empty where there is none.
    pub(super) setting: &'static str,
    /// What else there is to say.
    pub(super) note: &'static str,
}

impl CinderOption {
    pub(super) fn is_for(&self, kind: &str) -> bool {
        self.types.is_empty() || self.types.contains(&kind)
    }

    /// Whether its value must not be shown.
    pub(super) fn is_secret(name: &str) -> bool {
        ["_key", "password", "secret", "token"]
            .iter()
            .any(|end| name.ends_with(end))
    }
}

const fn of(
    types: &'static [&'static str],
    name: &'static str,
    way: Way,
    setting: &'static str,
    note: &'static str,
) -> CinderOption {
    CinderOption {
        name,
        types,
        way,
        setting,
        note,
    }
}

const ALL: &[&str] = &[];
const FOLDERS: &[&str] = &["posix", "nfs"];
const POSIX: &[&str] = &["posix"];
const NFS: &[&str] = &["nfs"];
const S3: &[&str] = &["s3"];
const SWIFT: &[&str] = &["swift"];
const BUCKETS: &[&str] = &["swift", "s3"];
const CEPH: &[&str] = &["ceph"];
const GCS: &[&str] = &["gcs"];

/// The parameters of Red Hat OpenStack Platform's director, and the options that they set.
#[cfg(test)]
pub(super) const PARAMETERS: &[(&str, &str)] = &[
    ("CinderBackupBackend", "backup_driver"),
    (
        "CinderBackupCompressionAlgorithm",
        "backup_compression_algorithm",
    ),
    ("CinderBackupNfsShare", "backup_share"),
    ("CinderBackupNfsMountOptions", "backup_mount_options"),
    ("CinderBackupRbdPoolName", "backup_ceph_pool"),
    ("CinderBackupS3Bucket", "backup_s3_store_bucket"),
    ("CinderBackupS3AccessKey", "backup_s3_store_access_key"),
    ("CinderBackupS3SecretKey", "backup_s3_store_secret_key"),
    ("CinderBackupS3EndpointUrl", "backup_s3_endpoint_url"),
];

/// All options that have to do with backups.
pub(super) const OPTIONS: &[CinderOption] = &[
    of(
        ALL,
        "backup_driver",
        Way::Special,
        "repository.NAME.type",
        "posix, nfs, swift, s3, ceph by the class; Google's has no counterpart",
    ),
    of(
        ALL,
        "backup_compression_algorithm",
        Way::Special,
        "backup.compression",
        "ignored by ceph, as Cinder does",
    ),
    of(
        ALL,
        "storage_availability_zone",
        Way::Text,
        "backup.availability_zone",
        "",
    ),
    of(
        FOLDERS,
        "backup_container",
        Way::Text,
        "backup.container",
        "",
    ),
    of(
        BUCKETS,
        "backup_create_containers",
        Way::Boolean,
        "repository.NAME.create_containers",
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
    of(
        SWIFT,
        "backup_swift_auth",
        Way::Text,
        "repository.NAME.auth",
        "`per_user` needs a token of the user: `token_file`",
    ),
    of(
        SWIFT,
        "backup_swift_auth_url",
        Way::Text,
        "repository.NAME.auth_url",
        "",
    ),
    of(
        SWIFT,
        "backup_swift_auth_version",
        Way::Special,
        "repository.NAME.auth_version",
        "1 or 3; 2 is spoken by no Keystone of today",
    ),
    of(
        SWIFT,
        "backup_swift_user",
        Way::Text,
        "repository.NAME.username",
        "",
    ),
    of(
        SWIFT,
        "backup_swift_key",
        Way::Secret,
        "repository.NAME.password_file",
        "the secret goes into a file of its own",
    ),
    of(
        SWIFT,
        "backup_swift_tenant",
        Way::Nothing,
        "",
        "of version 2; version 3 has `backup_swift_project`",
    ),
    of(
        SWIFT,
        "backup_swift_project",
        Way::Text,
        "repository.NAME.project_name",
        "",
    ),
    of(
        SWIFT,
        "backup_swift_user_domain",
        Way::Text,
        "repository.NAME.user_domain_name",
        "",
    ),
    of(
        SWIFT,
        "backup_swift_project_domain",
        Way::Text,
        "repository.NAME.project_domain_name",
        "",
    ),
    of(
        SWIFT,
        "backup_swift_region_name",
        Way::Text,
        "repository.NAME.region_name",
        "",
    ),
    of(
        SWIFT,
        "backup_swift_url",
        Way::Special,
        "repository.NAME.storage_url",
        "for `per_user`; add the project ID that Cinder adds",
    ),
    of(
        SWIFT,
        "swift_catalog_info",
        Way::Special,
        "repository.NAME.service_type",
        "and `interface`, `service_name`",
    ),
    of(
        SWIFT,
        "backup_swift_container",
        Way::Text,
        "repository.NAME.container",
        "",
    ),
    of(
        SWIFT,
        "backup_swift_create_storage_policy",
        Way::Text,
        "repository.NAME.storage_policy",
        "",
    ),
    of(
        SWIFT,
        "backup_swift_object_size",
        Way::Chunk,
        "backup.chunk_size",
        "not where it is above 256 MiB",
    ),
    of(
        SWIFT,
        "backup_swift_block_size",
        Way::Block,
        "backup.hash_block_size",
        "",
    ),
    of(
        SWIFT,
        "backup_swift_retry_attempts",
        Way::Integer,
        "repository.NAME.retries",
        "",
    ),
    of(
        SWIFT,
        "backup_swift_retry_backoff",
        Way::Nothing,
        "",
        "waits always grow",
    ),
    of(
        SWIFT,
        "backup_swift_ca_cert_file",
        Way::Text,
        "repository.NAME.ca_file",
        "",
    ),
    of(
        SWIFT,
        "backup_swift_auth_insecure",
        Way::Boolean,
        "repository.NAME.insecure",
        "",
    ),
    of(
        SWIFT,
        "backup_swift_service_auth",
        Way::Nothing,
        "",
        "no service token is sent",
    ),
    of(
        SWIFT,
        "backup_swift_enable_progress_timer",
        Way::Nothing,
        "",
        "there are no such notifications",
    ),
    of(
        CEPH,
        "backup_ceph_conf",
        Way::Text,
        "repository.NAME.conf",
        "",
    ),
    of(
        CEPH,
        "backup_ceph_user",
        Way::Text,
        "repository.NAME.user",
        "",
    ),
    of(
        CEPH,
        "backup_ceph_pool",
        Way::Text,
        "repository.NAME.pool",
        "",
    ),
    of(
        CEPH,
        "backup_ceph_chunk_size",
        Way::Nothing,
        "",
        "extents are moved, in pieces of at most 4 MiB",
    ),
    of(
        CEPH,
        "backup_ceph_stripe_unit",
        Way::Integer,
        "repository.NAME.stripe_unit",
        "",
    ),
    of(
        CEPH,
        "backup_ceph_stripe_count",
        Way::Integer,
        "repository.NAME.stripe_count",
        "",
    ),
    of(
        CEPH,
        "backup_ceph_image_journals",
        Way::Boolean,
        "repository.NAME.image_journals",
        "",
    ),
    of(
        CEPH,
        "backup_ceph_max_snapshots",
        Way::Nothing,
        "",
        "where a backend is RBD it is volumes.max_snapshots; 0 is the default there",
    ),
    of(
        GCS,
        "backup_gcs_bucket",
        Way::Nothing,
        "",
        "no driver for Google's store; an embedder can bring one",
    ),
    of(
        GCS,
        "backup_gcs_object_size",
        Way::Nothing,
        "",
        "no driver for Google's store; an embedder can bring one",
    ),
    of(
        GCS,
        "backup_gcs_block_size",
        Way::Nothing,
        "",
        "no driver for Google's store; an embedder can bring one",
    ),
    of(
        GCS,
        "backup_gcs_reader_chunk_size",
        Way::Nothing,
        "",
        "no driver for Google's store; an embedder can bring one",
    ),
    of(
        GCS,
        "backup_gcs_writer_chunk_size",
        Way::Nothing,
        "",
        "no driver for Google's store; an embedder can bring one",
    ),
    of(
        GCS,
        "backup_gcs_num_retries",
        Way::Nothing,
        "",
        "no driver for Google's store; an embedder can bring one",
    ),
    of(
        GCS,
        "backup_gcs_retry_error_codes",
        Way::Nothing,
        "",
        "no driver for Google's store; an embedder can bring one",
    ),
    of(
        GCS,
        "backup_gcs_bucket_location",
        Way::Nothing,
        "",
        "no driver for Google's store; an embedder can bring one",
    ),
    of(
        GCS,
        "backup_gcs_storage_class",
        Way::Nothing,
        "",
        "no driver for Google's store; an embedder can bring one",
    ),
    of(
        GCS,
        "backup_gcs_credential_file",
        Way::Nothing,
        "",
        "no driver for Google's store; an embedder can bring one",
    ),
    of(
        GCS,
        "backup_gcs_project_id",
        Way::Nothing,
        "",
        "no driver for Google's store; an embedder can bring one",
    ),
    of(
        GCS,
        "backup_gcs_user_agent",
        Way::Nothing,
        "",
        "no driver for Google's store; an embedder can bring one",
    ),
    of(
        GCS,
        "backup_gcs_enable_progress_timer",
        Way::Nothing,
        "",
        "no driver for Google's store; an embedder can bring one",
    ),
    of(
        GCS,
        "backup_gcs_proxy_url",
        Way::Nothing,
        "",
        "no driver for Google's store; an embedder can bring one",
    ),
    of(
        FOLDERS,
        "backup_enable_progress_timer",
        Way::Nothing,
        "",
        "there are no such notifications",
    ),
    of(
        ALL,
        "backup_object_number_per_notification",
        Way::Nothing,
        "",
        "there are no such notifications",
    ),
    of(
        ALL,
        "backup_timer_interval",
        Way::Nothing,
        "",
        "there are no such notifications",
    ),
    of(
        ALL,
        "backup_metadata_version",
        Way::Nothing,
        "",
        "always 2, as Cinder's default",
    ),
    of(
        ALL,
        "backup_use_same_host",
        Way::Nothing,
        "",
        "there is one host",
    ),
    of(
        ALL,
        "backup_use_temp_snapshot",
        Way::Nothing,
        "",
        "a volume in use is always read as of one moment",
    ),
    of(
        ALL,
        "backup_workers",
        Way::Nothing,
        "",
        "one process does all; see `backup.concurrency`",
    ),
    of(
        ALL,
        "backup_max_operations",
        Way::Nothing,
        "",
        "see `backup.memory`, the budget of a process",
    ),
    of(
        ALL,
        "backup_native_threads_pool_size",
        Way::Nothing,
        "",
        "threads are as many as cores",
    ),
    of(
        ALL,
        "backup_driver_init_check_interval",
        Way::Nothing,
        "",
        "no service runs",
    ),
    of(
        ALL,
        "backup_driver_stats_polling_interval",
        Way::Nothing,
        "",
        "no service runs",
    ),
    of(
        ALL,
        "backup_service_inithost_offload",
        Way::Nothing,
        "",
        "the next command settles what was interrupted",
    ),
    of(
        ALL,
        "backup_api_class",
        Way::Nothing,
        "",
        "a class of Cinder's",
    ),
    of(
        ALL,
        "backup_manager",
        Way::Nothing,
        "",
        "a class of Cinder's",
    ),
];
