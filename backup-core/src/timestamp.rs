//! Points in time, in microseconds since 1970, with the texts that Cinder writes.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};

/// A point in time, UTC, with a resolution of one microsecond.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Timestamp(i64);

impl Timestamp {
    /// The beginning of 1970.
    pub const EPOCH: Self = Self(0);

    /// Now, by the system's clock.
    pub fn now() -> Self {
        Self(jiff::Timestamp::now().as_microsecond())
    }

    /// From microseconds since 1970.
    ///
    /// # Errors
    /// [`InvalidInput`](crate::ErrorKind::InvalidInput) outside the years -9999 to 9999.
    pub fn from_micros(micros: i64) -> Result<Self> {
        jiff::Timestamp::from_microsecond(micros)
            .map(|t| Self(t.as_microsecond()))
            .map_err(|e| Error::invalid("read time", e.to_string()))
    }

    /// Microseconds since 1970.
    pub fn as_micros(self) -> i64 {
        self.0
    }

    fn civil(self) -> jiff::civil::DateTime {
        // Every value that can be constructed is in jiff's range.
        jiff::Timestamp::from_microsecond(self.0)
            .unwrap_or(jiff::Timestamp::UNIX_EPOCH)
            .to_zoned(jiff::tz::TimeZone::UTC)
            .datetime()
    }

    /// `20261123011922`, as in a backup's prefix.
    pub fn compact(self) -> String {
        self.civil().strftime("%Y%m%d%H%M%S").to_string()
    }

    /// `2026-11-23 01:14:22.909467+00:00`, as in metadata; the fraction is left out where it is 0, as Python does.
    pub fn python(self) -> String {
        let t = self.civil();
        let micros = self.0.rem_euclid(1_000_000);
        if micros == 0 {
            t.strftime("%Y-%m-%d %H:%M:%S+00:00").to_string()
        } else {
            format!("{}.{micros:06}+00:00", t.strftime("%Y-%m-%d %H:%M:%S"))
        }
    }

    /// `2026-11-23T01:15:29Z`, as in an exported record.
    pub fn record(self) -> String {
        self.civil().strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
    }

    /// `2026-11-23T01:15:29.000000`, as the `openstack` client prints it.
    pub fn openstack(self) -> String {
        let micros = self.0.rem_euclid(1_000_000);
        format!("{}.{micros:06}", self.civil().strftime("%Y-%m-%dT%H:%M:%S"))
    }
}

impl FromStr for Timestamp {
    type Err = Error;

    /// Reads any of the forms above: `T` or a space between date and time, a fraction or none, `Z`, an offset, or
    /// none (then UTC).
    fn from_str(s: &str) -> Result<Self> {
        let wrong = || Error::invalid("read time", format!("{s:?} is not a date and time"));
        if s.len() > 64 {
            return Err(Error::invalid(
                "read time",
                "a time of more than 64 characters",
            ));
        }
        if let Ok(t) = s.parse::<jiff::Timestamp>() {
            return Ok(Self(t.as_microsecond()));
        }
        let t: jiff::civil::DateTime = s.parse().map_err(|_| wrong())?;
        let t = t
            .to_zoned(jiff::tz::TimeZone::UTC)
            .map_err(|_| wrong())?
            .timestamp();
        Ok(Self(t.as_microsecond()))
    }
}

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.openstack())
    }
}

impl TryFrom<String> for Timestamp {
    type Error = Error;
    fn try_from(s: String) -> Result<Self> {
        s.parse()
    }
}

impl From<Timestamp> for String {
    fn from(t: Timestamp) -> String {
        t.openstack()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_form_that_cinder_writes_is_read_back() {
        let t: Timestamp = "2026-11-23 01:14:22.909467+00:00".parse().unwrap();
        assert_eq!(t.python(), "2026-11-23 01:14:22.909467+00:00");
        assert_eq!(t.compact(), "20261123011422");
        assert_eq!(t.record(), "2026-11-23T01:14:22Z");
        for s in [
            "2026-11-23T01:14:22Z",
            "2026-11-23 01:14:22+00:00",
            "2026-11-23T01:14:22.000000",
            "2026-11-23T02:14:22+01:00",
        ] {
            let t: Timestamp = s.parse().unwrap();
            assert_eq!(t.python(), "2026-11-23 01:14:22+00:00", "{s}");
        }
        assert!("yesterday".parse::<Timestamp>().is_err());
    }
}
