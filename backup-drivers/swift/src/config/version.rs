//! Versions of signing in.

use std::fmt;

use serde::de::{Error, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// How to sign in. Read from `1`, `"1.0"`, `3`, `"v3"` and the like.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum AuthVersion {
    /// By Swift itself: tempauth, swauth, radosgw.
    V1,
    /// By Keystone.
    V3,
}

impl AuthVersion {
    fn read(text: &str) -> Result<Self, String> {
        let number = text.trim().trim_start_matches(['v', 'V']);
        match number.trim_end_matches(".0") {
            "1" => Ok(Self::V1),
            "3" => Ok(Self::V3),
            "2" => Err("auth_version 2 is gone from Keystone since 2018; use 3".into()),
            _ => Err(format!("auth_version {text:?} is neither 1 nor 3")),
        }
    }
}

impl Serialize for AuthVersion {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(match self {
            Self::V1 => "1",
            Self::V3 => "3",
        })
    }
}

impl<'de> Deserialize<'de> for AuthVersion {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Reader)
    }
}

struct Reader;

impl Visitor<'_> for Reader {
    type Value = AuthVersion;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("auth_version: 1 or 3")
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<AuthVersion, E> {
        AuthVersion::read(text).map_err(E::custom)
    }

    fn visit_i64<E: Error>(self, number: i64) -> Result<AuthVersion, E> {
        self.visit_str(&number.to_string())
    }

    fn visit_u64<E: Error>(self, number: u64) -> Result<AuthVersion, E> {
        self.visit_str(&number.to_string())
    }

    // TOML reads 1.0 without quotes as this.
    fn visit_f64<E: Error>(self, number: f64) -> Result<AuthVersion, E> {
        self.visit_str(&number.to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, Serialize, Deserialize)]
    struct Table {
        auth_version: AuthVersion,
    }

    #[test]
    fn it_is_read_however_people_write_it() {
        for text in ["1", "1.0", "\"1\"", "\"1.0\"", "\"v1.0\""] {
            let table: Table = toml::from_str(&format!("auth_version = {text}")).unwrap();
            assert_eq!(table.auth_version, AuthVersion::V1, "{text}");
        }
        for text in ["3", "3.0", "\"3\"", "\"v3\""] {
            let table: Table = toml::from_str(&format!("auth_version = {text}")).unwrap();
            assert_eq!(table.auth_version, AuthVersion::V3, "{text}");
            let written = toml::to_string(&table).unwrap();
            assert_eq!(written.trim(), "auth_version = \"3\"");
        }
    }

    #[test]
    fn what_is_gone_or_unknown_is_told() {
        let error = |text: &str| {
            let read = toml::from_str::<Table>(&format!("auth_version = {text}"));
            read.unwrap_err().to_string()
        };
        assert!(error("\"2.0\"").contains("gone"));
        assert!(error("4").contains("neither 1 nor 3"));
    }
}
