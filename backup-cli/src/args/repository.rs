//! `ashlar repository ...`

use std::str::FromStr;
use std::time::Duration;

use clap::{Args, Subcommand};

/// `ashlar repository ...`
#[derive(Debug, Subcommand)]
pub(crate) enum RepositoryCommand {
    /// Lists the configured repositories
    List,
    /// Proves that a repository can do all that backups need
    Check {
        /// Its name in the configuration [default: the one that backups go to]
        repository: Option<String>,
    },
    /// Lists what belongs to no backup, and removes it with --delete
    Orphans(Orphans),
}

/// `ashlar repository orphans`
#[derive(Debug, Args)]
pub(crate) struct Orphans {
    /// Its name in the configuration [default: the one that backups go to]
    pub(crate) repository: Option<String>,
    /// Only in this container
    #[arg(long, value_name = "CONTAINER")]
    pub(crate) container: Option<String>,
    /// Leaves alone what was changed within this time: 90m, 24h, 7d ... A running backup of another host is not known
    /// here [default: 24h]
    #[arg(long, value_name = "AGE")]
    pub(crate) older_than: Option<Age>,
    /// Removes what is found
    #[arg(long)]
    pub(crate) delete: bool,
}

/// A time span: `90s`, `90m`, `24h`, `7d`, or a number of seconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Age(pub(crate) Duration);

impl FromStr for Age {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || format!("{text:?} is no time span like 90m, 24h or 7d");
        let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
        let number: u64 = digits.parse().map_err(|_| wrong())?;
        let unit: u64 = match &text[digits.len()..] {
            "" | "s" => 1,
            "m" => 60,
            "h" => 3600,
            "d" => 86_400,
            _ => return Err(wrong()),
        };
        number
            .checked_mul(unit)
            .map(|seconds| Self(Duration::from_secs(seconds)))
            .ok_or_else(wrong)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_age_is_read_as_people_write_it() {
        for (text, seconds) in [
            ("0", 0),
            ("90s", 90),
            ("90m", 5400),
            ("24h", 86_400),
            ("7d", 604_800),
        ] {
            assert_eq!(
                text.parse(),
                Ok(Age(Duration::from_secs(seconds))),
                "{text}"
            );
        }
        for text in [
            "",
            "h",
            "1w",
            "-1h",
            "1.5h",
            "99999999999999999999d",
            "9999999999999999d",
        ] {
            assert!(text.parse::<Age>().is_err(), "{text}");
        }
    }
}
