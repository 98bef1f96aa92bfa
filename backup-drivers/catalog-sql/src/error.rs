//! What SQLite says, in our errors.

use backup_core::{Error, ErrorKind};
use std::path::Path;

/// SQLite's primary result code, where `error` comes from it.
fn code(error: &sqlx::Error) -> Option<i32> {
    let sqlx::Error::Database(error) = error else {
        return None;
    };
    // The extended code carries the primary one in its low byte.
    error.code()?.parse::<i32>().ok().map(|code| code & 0xff)
}

/// Whether somebody else holds a lock: the same call may succeed in a moment.
pub(crate) fn is_busy(error: &sqlx::Error) -> bool {
    const BUSY: i32 = 5;
    const LOCKED: i32 = 6;
    matches!(code(error), Some(BUSY | LOCKED))
}

/// An error of the database at `path`.
pub(crate) fn from_sql(operation: &'static str, path: &Path, error: sqlx::Error) -> Error {
    const READ_ONLY: i32 = 8;
    const CORRUPT: i32 = 11;
    const FULL: i32 = 13;
    const CANNOT_OPEN: i32 = 14;
    const NOT_A_DATABASE: i32 = 26;
    if is_busy(&error) {
        return Error::new(ErrorKind::Unavailable, operation)
            .on(path.display())
            .because("another process has held the catalogue for too long")
            .hint("look for a process that hangs with the catalogue open, then try again")
            .caused_by(error);
    }
    let (kind, hint) = match code(&error) {
        Some(READ_ONLY | CANNOT_OPEN) => (
            ErrorKind::PermissionDenied,
            "check the owner and the mode of that file and its folder",
        ),
        Some(FULL) => (
            ErrorKind::NoSpace,
            "free some space on that filesystem, then try again",
        ),
        Some(CORRUPT | NOT_A_DATABASE) => (
            ErrorKind::Corrupt,
            "move the file away; `volume backup scan --import` brings the backups' records back \
             from the repository",
        ),
        _ => (ErrorKind::Io, ""),
    };
    let error = Error::new(kind, operation)
        .on(path.display())
        .caused_by(error);
    if hint.is_empty() {
        error
    } else {
        error.hint(hint)
    }
}
