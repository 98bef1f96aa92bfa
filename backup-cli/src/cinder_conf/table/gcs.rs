//! Options of the driver for Google's store, for which there is no driver here.

use super::{CinderOption, Way, of};

const GCS: &[&str] = &["gcs"];

pub(super) const OPTIONS: &[CinderOption] = &[
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
];
