//! Options of the ceph driver.

use super::{CinderOption, Way, of};

const CEPH: &[&str] = &["ceph"];

pub(super) const OPTIONS: &[CinderOption] = &[
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
];
