//! Names and numbers that identify things, each a type of its own that cannot hold a wrong value.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::error::{Error, Result};

macro_rules! uuid_id {
    ($(#[$doc:meta])* $name:ident, $what:literal) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(Uuid);

        impl $name {
            /// A new random ID.
            pub fn generate() -> Self {
                Self(Uuid::new_v4())
            }

            /// The ID with these bytes, in the order in which they are printed.
            pub fn from_bytes(bytes: [u8; 16]) -> Self {
                Self(Uuid::from_bytes(bytes))
            }
        }

        impl FromStr for $name {
            type Err = Error;
            fn from_str(s: &str) -> Result<Self> {
                Uuid::parse_str(s).map(Self).map_err(|_| {
                    Error::invalid(concat!("parse ", $what, " ID"), format!("{s:?} is not a UUID"))
                })
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.hyphenated().fmt(f)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{}({})", stringify!($name), self.0.hyphenated())
            }
        }
    };
}

uuid_id!(
    /// A backup's ID: a UUID.
    BackupId,
    "backup"
);
impl BackupId {
    /// 64 of its bits: a number that differs from backup to backup.
    pub(crate) fn low_bits(self) -> u64 {
        self.0.as_u64_pair().1
    }
}

uuid_id!(
    /// A volume's ID: a UUID.
    VolumeId,
    "volume"
);
uuid_id!(
    /// A snapshot's ID: a UUID.
    SnapshotId,
    "snapshot"
);
uuid_id!(
    /// The ID of one attempt at a job: a UUID. A record in a transitional state carries it as a lease.
    JobId,
    "job"
);

/// Longest container name or object name that is accepted, in bytes (S3 and Swift allow 1024).
const MAX_NAME: usize = 1024;

/// Checks a slash-separated name that may end as a path below a repository's root.
///
/// Names come from records and metadata that anyone may have written, so this is where one that climbs out of the
/// root is refused.
fn check_path_name(what: &'static str, name: &str) -> Result<()> {
    let refuse = |why: &str| {
        Err(Error::invalid(
            format!("check {what}"),
            format!("{name:?} {why}"),
        ))
    };
    if name.is_empty() {
        return refuse("is empty");
    }
    if name.len() > MAX_NAME {
        return Err(Error::invalid(
            format!("check {what}"),
            format!("a name of {} bytes is longer than {MAX_NAME}", name.len()),
        ));
    }
    if name.chars().any(char::is_control) {
        return refuse("holds a control character");
    }
    if name.split('/').any(|part| matches!(part, "" | "." | "..")) {
        return refuse("has an empty, '.' or '..' part");
    }
    Ok(())
}

macro_rules! path_name {
    ($(#[$doc:meta])* $name:ident, $what:literal) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $name(String);

        impl $name {
            /// Checks and takes a name.
            ///
            /// # Errors
            /// [`InvalidInput`](crate::ErrorKind::InvalidInput) for one that is empty, longer than 1024 bytes, holds a
            /// control character, or has an empty, `.` or `..` part between slashes.
            pub fn new(name: impl Into<String>) -> Result<Self> {
                let name = name.into();
                check_path_name($what, &name)?;
                Ok(Self(name))
            }

            /// The name.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl TryFrom<String> for $name {
            type Error = Error;
            fn try_from(s: String) -> Result<Self> {
                Self::new(s)
            }
        }

        impl From<$name> for String {
            fn from(n: $name) -> String {
                n.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
    };
}

path_name!(
    /// A Swift container, S3 bucket, Ceph pool or folder below a repository's root (may hold slashes there).
    ContainerName,
    "container name"
);
path_name!(
    /// What all objects of one backup begin with. Cinder keeps it as `service_metadata`.
    Prefix,
    "object prefix"
);

impl Prefix {
    /// Name of data object number `number` (from 1): `P-00001`; past 99999 the number gets wider.
    pub fn data_object(&self, number: u64) -> String {
        format!("{}-{number:05}", self.0)
    }

    /// Name of the metadata object: `P_metadata`.
    pub fn metadata(&self) -> String {
        format!("{}_metadata", self.0)
    }

    /// Name of the hash list: `P_sha256file`.
    pub fn hash_list(&self) -> String {
        format!("{}_sha256file", self.0)
    }

    /// Whether `name` is one of this backup's objects by its name: `P_metadata`, `P_sha256file` or `P-` and digits.
    pub fn owns(&self, name: &str) -> bool {
        let Some(rest) = name.strip_prefix(self.0.as_str()) else {
            return false;
        };
        match rest {
            "_metadata" | "_sha256file" => true,
            _ => rest
                .strip_prefix('-')
                .is_some_and(|n| !n.is_empty() && n.bytes().all(|b| b.is_ascii_digit())),
        }
    }
}

/// An object's full address in a repository: its container and its name there.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ObjectKey {
    container: ContainerName,
    name: String,
}

impl ObjectKey {
    /// The object `name` in `container`.
    ///
    /// # Errors
    /// [`InvalidInput`](crate::ErrorKind::InvalidInput) for a name that [`Prefix::new`] would refuse.
    pub fn new(container: &ContainerName, name: impl Into<String>) -> Result<Self> {
        let name = name.into();
        check_path_name("object name", &name)?;
        Ok(Self {
            container: container.clone(),
            name,
        })
    }

    /// The container.
    pub fn container(&self) -> &ContainerName {
        &self.container
    }

    /// The name in the container.
    pub fn name(&self) -> &str {
        &self.name
    }
}

impl fmt::Display for ObjectKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.container, self.name)
    }
}

/// Where a backup lies within its repository.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Location {
    /// The container.
    pub container: ContainerName,
    /// What its objects begin with.
    pub prefix: Prefix,
}

impl Location {
    /// The key of data object `number` (from 1).
    pub fn data_object(&self, number: u64) -> ObjectKey {
        self.key(self.prefix.data_object(number))
    }

    /// The key of the metadata object.
    pub fn metadata(&self) -> ObjectKey {
        self.key(self.prefix.metadata())
    }

    /// The key of the hash list.
    pub fn hash_list(&self) -> ObjectKey {
        self.key(self.prefix.hash_list())
    }

    // A checked prefix with one of the fixed endings stays a valid name.
    fn key(&self, name: String) -> ObjectKey {
        ObjectKey {
            container: self.container.clone(),
            name,
        }
    }
}

impl fmt::Display for Location {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.container, self.prefix)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_that_climbs_out_is_refused() {
        for bad in [
            "", "..", "a/../b", "/a", "a//b", "a/", "a\0b", "./a", "a\nb",
        ] {
            assert!(ContainerName::new(bad).is_err(), "{bad:?}");
            assert!(Prefix::new(bad).is_err(), "{bad:?}");
        }
        for good in ["ab/cd/x", "volumebackups", "..x", "a b", "größe"] {
            assert!(ContainerName::new(good).is_ok(), "{good:?}");
        }
    }

    #[test]
    fn object_numbers_are_five_wide_and_grow_past_that() {
        let p = Prefix::new("v").unwrap();
        assert_eq!(p.data_object(1), "v-00001");
        assert_eq!(p.data_object(123_456), "v-123456");
        assert!(p.owns("v-123456") && p.owns("v_metadata") && p.owns("v_sha256file"));
        assert!(!p.owns("v-") && !p.owns("v-1x") && !p.owns("v") && !p.owns("w-1"));
    }
}
