//! A step of the check: how it went, and what to do where it did not.

use backup_core::{Error, ErrorKind};

/// How a step ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::commands::repository) enum Verdict {
    Good,
    /// Works, but somebody should look.
    Doubtful,
    Failed,
    /// Not tried, since an earlier one that it needs failed.
    Skipped,
}

impl Verdict {
    pub(in crate::commands::repository) fn word(self) -> &'static str {
        match self {
            Self::Good => "good",
            Self::Doubtful => "look",
            Self::Failed => "failed",
            Self::Skipped => "skipped",
        }
    }
}

/// A step and how it went.
#[derive(Debug)]
pub(in crate::commands::repository) struct Step {
    pub(in crate::commands::repository) what: &'static str,
    pub(in crate::commands::repository) verdict: Verdict,
    pub(in crate::commands::repository) details: String,
    /// What to do where it is not good.
    pub(in crate::commands::repository) advice: Option<String>,
}

pub(super) fn failed(what: &'static str, e: &Error) -> Step {
    let advice = e
        .hint_text()
        .map_or_else(|| advice(e.kind()).to_owned(), str::to_owned);
    Step {
        what,
        verdict: Verdict::Failed,
        details: e.to_string(),
        advice: Some(advice),
    }
}

/// What an operator can do, where the driver has no better word.
fn advice(kind: ErrorKind) -> &'static str {
    match kind {
        ErrorKind::PermissionDenied => {
            "give the user that runs ashlar the right to read, write and delete there"
        }
        ErrorKind::Unauthenticated => "check the credentials in the configuration",
        ErrorKind::NoSpace | ErrorKind::QuotaExceeded => {
            "free some space there, or raise its quota"
        }
        ErrorKind::Timeout | ErrorKind::Unavailable => {
            "check that the storage is up and can be reached from this host"
        }
        ErrorKind::NotFound => "check the path or the address in the configuration",
        ErrorKind::Corrupt => {
            "do not store backups there: it gave back other bytes than were written"
        }
        _ => "do not store backups there before this works",
    }
}
