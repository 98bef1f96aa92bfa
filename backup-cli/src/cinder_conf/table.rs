//! The table of cinder.conf's options and what becomes of each. docs/from-cinder.md has the same; a test compares them.

mod any_driver;
mod ceph;
mod folders;
mod gcs;
mod s3;
mod swift;

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
pub(super) fn options() -> impl Iterator<Item = &'static CinderOption> {
    let tables = [
        any_driver::OPTIONS,
        folders::OPTIONS,
        s3::OPTIONS,
        swift::OPTIONS,
        ceph::OPTIONS,
        gcs::OPTIONS,
    ];
    tables.into_iter().flatten()
}

/// The option of a name.
pub(super) fn find(name: &str) -> Option<&'static CinderOption> {
    options().find(|option| option.name == name)
}
