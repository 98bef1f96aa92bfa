//! Options of every driver, and of more than one.

use super::{CinderOption, Way, of};

const ALL: &[&str] = &[];
const BUCKETS: &[&str] = &["swift", "s3"];

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
    of(
        BUCKETS,
        "backup_create_containers",
        Way::Boolean,
        "repository.NAME.create_containers",
        "",
    ),
];
