//! The library's errors: what may be done about them, and how a repository tells them.

use std::fmt::Display;
use std::io;

use backup_core::{Error, ErrorKind};
use nfs_rs::{Nfs3ErrorCode as V3, Nfs3MountErrorCode as Mnt, Nfs4ErrorCode as V4, NfsError};

/// How one try of a call failed.
#[derive(Debug)]
pub(super) enum Failure {
    /// The library's word, to be judged.
    Nfs(NfsError),
    /// Found out by ourselves, and final.
    Told(Error),
}

impl From<NfsError> for Failure {
    fn from(error: NfsError) -> Self {
        Self::Nfs(error)
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self::Told(error)
    }
}

impl Failure {
    /// Whether it says that something is not there.
    pub(super) fn is_missing(&self) -> bool {
        matches!(self, Self::Nfs(error) if is_missing(error))
    }

    /// Whether it says that nothing can be at a path: a part of it is missing, or a file stands where a folder should.
    pub(super) fn leads_nowhere(&self) -> bool {
        self.is_missing() || matches!(self, Self::Told(error) if error.is(ErrorKind::Conflict))
    }
}

/// What is to be done after a failure.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verdict {
    /// It would fail again.
    Final,
    /// The server is busy, or in the grace time after its start: the same again, later.
    Busy,
    /// A handle is no longer the server's: its names are to be looked up again.
    Stale,
    /// The connection or its state is gone: a new one is needed.
    Lost,
}

/// The error within those that only tell how it came about.
pub(super) fn root(error: &NfsError) -> &NfsError {
    match error {
        NfsError::OperationOutcome(outcome) => root(&outcome.source),
        NfsError::ServerBusy(busy) => root(&busy.source),
        NfsError::FileClose(failures) => failures.first().map_or(error, |f| root(&f.error)),
        _ => error,
    }
}

/// The same, for whoever tells it: what lies around says nothing to people.
pub(super) fn into_root(error: NfsError) -> NfsError {
    match error {
        NfsError::OperationOutcome(outcome) => into_root(*outcome.source),
        NfsError::ServerBusy(busy) => into_root(*busy.source),
        error => error,
    }
}

/// Judges a failed call.
pub(super) fn judge(error: &NfsError) -> Verdict {
    match root(error) {
        NfsError::Nfs3(V3::NFS3ERR_JUKEBOX | V3::NFS3ERR_SERVERFAULT)
        | NfsError::Nfs4(
            V4::NFS4ERR_DELAY
            | V4::NFS4ERR_GRACE
            | V4::NFS4ERR_FILE_OPEN
            | V4::NFS4ERR_LOCKED
            | V4::NFS4ERR_SERVERFAULT
            | V4::NFS4ERR_CLIENTID_BUSY
            | V4::NFS4ERR_BACK_CHAN_BUSY,
        ) => Verdict::Busy,
        NfsError::Nfs3(V3::NFS3ERR_STALE | V3::NFS3ERR_BADHANDLE)
        | NfsError::Nfs4(V4::NFS4ERR_STALE | V4::NFS4ERR_BADHANDLE | V4::NFS4ERR_FHEXPIRED) => {
            Verdict::Stale
        }
        NfsError::Nfs4(code) if is_lost_state(*code) => Verdict::Lost,
        _ if may_not_bind(error) => Verdict::Final,
        NfsError::Io(_)
        | NfsError::Rpc(_)
        | NfsError::Xdr(_)
        | NfsError::ClosedResource(_)
        | NfsError::ClientClosed(_)
        | NfsError::LostOpenState(_)
        | NfsError::PositionUncertain(_) => Verdict::Lost,
        _ => Verdict::Final,
    }
}

/// What a restarted server, or one that has not heard from us for too long, says of sessions and open files.
fn is_lost_state(code: V4) -> bool {
    matches!(
        code,
        V4::NFS4ERR_BADSESSION
            | V4::NFS4ERR_DEADSESSION
            | V4::NFS4ERR_BADSLOT
            | V4::NFS4ERR_BAD_HIGH_SLOT
            | V4::NFS4ERR_SEQ_MISORDERED
            | V4::NFS4ERR_SEQ_FALSE_RETRY
            | V4::NFS4ERR_RETRY_UNCACHED_REP
            | V4::NFS4ERR_CONN_NOT_BOUND_TO_SESSION
            | V4::NFS4ERR_STALE_CLIENTID
            | V4::NFS4ERR_STALE_STATEID
            | V4::NFS4ERR_BAD_STATEID
            | V4::NFS4ERR_OLD_STATEID
            | V4::NFS4ERR_BAD_SEQID
            | V4::NFS4ERR_EXPIRED
            | V4::NFS4ERR_ADMIN_REVOKED
    )
}

/// Whether a name is not there.
pub(super) fn is_missing(error: &NfsError) -> bool {
    matches!(
        root(error),
        NfsError::Nfs3(V3::NFS3ERR_NOENT) | NfsError::Nfs4(V4::NFS4ERR_NOENT)
    )
}

/// Whether a name is there already.
pub(super) fn exists(error: &NfsError) -> bool {
    matches!(
        root(error),
        NfsError::Nfs3(V3::NFS3ERR_EXIST) | NfsError::Nfs4(V4::NFS4ERR_EXIST)
    )
}

/// Whether a folder holds something. Some servers say so by "it exists".
pub(super) fn is_not_empty(error: &NfsError) -> bool {
    exists(error)
        || matches!(
            root(error),
            NfsError::Nfs3(V3::NFS3ERR_NOTEMPTY) | NfsError::Nfs4(V4::NFS4ERR_NOTEMPTY)
        )
}

/// Whether it is a folder where a file was meant.
pub(super) fn is_folder(error: &NfsError) -> bool {
    matches!(
        root(error),
        NfsError::Nfs3(V3::NFS3ERR_ISDIR) | NfsError::Nfs4(V4::NFS4ERR_ISDIR)
    )
}

/// Whether the server has no hard links, or no more of them for this file.
pub(super) fn has_no_links(error: &NfsError) -> bool {
    matches!(
        root(error),
        NfsError::Nfs3(
            V3::NFS3ERR_NOTSUPP | V3::NFS3ERR_MLINK | V3::NFS3ERR_PERM | V3::NFS3ERR_XDEV
        ) | NfsError::Nfs4(
            V4::NFS4ERR_NOTSUPP | V4::NFS4ERR_MLINK | V4::NFS4ERR_PERM | V4::NFS4ERR_XDEV
        )
    )
}

/// Whether a reply did not come in time while the connection may be well.
pub(super) fn is_late(error: &NfsError) -> bool {
    error.transport_error_kind() == Some(io::ErrorKind::TimedOut)
}

/// Whether this process was refused a port below 1024 by its own host.
pub(super) fn may_not_bind(error: &NfsError) -> bool {
    error.transport_error_kind() == Some(io::ErrorKind::PermissionDenied)
}

/// Whether the server started anew between a write and its commit.
pub(super) fn lost_unstable_data(error: &NfsError) -> bool {
    error
        .operation_outcome()
        .is_some_and(|outcome| outcome.context().operation == "write_verifier")
}

/// The kind that a repository tells it as.
pub(super) fn kind(error: &NfsError) -> ErrorKind {
    describe(root(error)).0
}

/// The error as a repository tells it.
pub(super) fn told(operation: &'static str, target: impl Display, error: NfsError) -> Error {
    let (kind, reason, hint) = describe(root(&error));
    let mut told = Error::new(kind, operation).on(target);
    if let Some(reason) = reason {
        told = told.because(reason);
    }
    if let Some(hint) = hint {
        told = told.hint(hint);
    }
    told.caused_by(into_root(error))
}

const RIGHTS: &str = "check the owner and the mode of that path, the export's squash option, and the user that runs this";
const SPACE: &str = "free some space on the server, then run it again";

type Description = (ErrorKind, Option<&'static str>, Option<&'static str>);

fn describe(error: &NfsError) -> Description {
    match error {
        NfsError::Nfs3(code) => describe_v3(code),
        NfsError::Nfs4(code) => describe_v4(*code),
        NfsError::Mount(code) => describe_mount(code),
        NfsError::Io(error) if error.kind() == io::ErrorKind::TimedOut => {
            (ErrorKind::Timeout, None, None)
        }
        NfsError::Io(error) if error.kind() == io::ErrorKind::PermissionDenied => {
            (ErrorKind::PermissionDenied, Some(NO_SUCH_PORT), None)
        }
        NfsError::Io(_) | NfsError::Rpc(_) | NfsError::Xdr(_) => {
            (ErrorKind::Unavailable, None, None)
        }
        NfsError::Unsupported(_) => (ErrorKind::Unsupported, None, None),
        NfsError::InvalidInput(_) => (ErrorKind::InvalidInput, None, None),
        _ => (ErrorKind::Io, None, None),
    }
}

fn describe_v3(code: &V3) -> Description {
    match code {
        V3::NFS3ERR_NOENT => (ErrorKind::NotFound, None, None),
        V3::NFS3ERR_EXIST => (ErrorKind::AlreadyExists, None, None),
        V3::NFS3ERR_PERM | V3::NFS3ERR_ACCES => (ErrorKind::PermissionDenied, None, Some(RIGHTS)),
        V3::NFS3ERR_ROFS => READ_ONLY,
        V3::NFS3ERR_NOSPC => (ErrorKind::NoSpace, None, Some(SPACE)),
        V3::NFS3ERR_FBIG => (ErrorKind::NoSpace, Some(TOO_LONG), None),
        V3::NFS3ERR_DQUOT => (ErrorKind::QuotaExceeded, None, Some(SPACE)),
        V3::NFS3ERR_NAMETOOLONG => (ErrorKind::InvalidInput, Some(LONG_NAME), None),
        V3::NFS3ERR_NOTDIR => (ErrorKind::Conflict, Some(FILE_IN_THE_WAY), None),
        V3::NFS3ERR_ISDIR => (ErrorKind::Conflict, Some(FOLDER_IN_THE_WAY), None),
        V3::NFS3ERR_NOTSUPP => (ErrorKind::Unsupported, None, None),
        V3::NFS3ERR_STALE | V3::NFS3ERR_BADHANDLE => (ErrorKind::Unavailable, None, Some(STALE)),
        V3::NFS3ERR_JUKEBOX | V3::NFS3ERR_SERVERFAULT => (ErrorKind::Unavailable, None, None),
        _ => (ErrorKind::Io, None, None),
    }
}

fn describe_v4(code: V4) -> Description {
    match code {
        V4::NFS4ERR_NOENT => (ErrorKind::NotFound, None, None),
        V4::NFS4ERR_EXIST => (ErrorKind::AlreadyExists, None, None),
        V4::NFS4ERR_PERM | V4::NFS4ERR_ACCESS => (ErrorKind::PermissionDenied, None, Some(RIGHTS)),
        V4::NFS4ERR_WRONGSEC => (
            ErrorKind::PermissionDenied,
            Some("the export wants another way of signing in than sec=sys"),
            Some("export it with sec=sys, or use client = \"kernel\""),
        ),
        V4::NFS4ERR_ROFS => READ_ONLY,
        V4::NFS4ERR_NOSPC => (ErrorKind::NoSpace, None, Some(SPACE)),
        V4::NFS4ERR_FBIG => (ErrorKind::NoSpace, Some(TOO_LONG), None),
        V4::NFS4ERR_DQUOT => (ErrorKind::QuotaExceeded, None, Some(SPACE)),
        V4::NFS4ERR_NAMETOOLONG => (ErrorKind::InvalidInput, Some(LONG_NAME), None),
        V4::NFS4ERR_BADNAME | V4::NFS4ERR_BADCHAR => (
            ErrorKind::InvalidInput,
            Some("the server takes no such name"),
            None,
        ),
        V4::NFS4ERR_NOTDIR => (ErrorKind::Conflict, Some(FILE_IN_THE_WAY), None),
        V4::NFS4ERR_ISDIR => (ErrorKind::Conflict, Some(FOLDER_IN_THE_WAY), None),
        V4::NFS4ERR_SHARE_DENIED => (
            ErrorKind::Conflict,
            Some("another client has it open for itself alone"),
            None,
        ),
        V4::NFS4ERR_NOTSUPP | V4::NFS4ERR_MINOR_VERS_MISMATCH => {
            (ErrorKind::Unsupported, None, None)
        }
        V4::NFS4ERR_STALE | V4::NFS4ERR_BADHANDLE | V4::NFS4ERR_FHEXPIRED => {
            (ErrorKind::Unavailable, None, Some(STALE))
        }
        V4::NFS4ERR_DELAY
        | V4::NFS4ERR_GRACE
        | V4::NFS4ERR_SERVERFAULT
        | V4::NFS4ERR_FILE_OPEN
        | V4::NFS4ERR_LOCKED => (ErrorKind::Unavailable, None, None),
        code if is_lost_state(code) => (ErrorKind::Unavailable, None, None),
        _ => (ErrorKind::Io, None, None),
    }
}

fn describe_mount(code: &Mnt) -> Description {
    match code {
        Mnt::MNT3ERR_NOENT | Mnt::MNT3ERR_NOTDIR => (ErrorKind::NotFound, None, None),
        Mnt::MNT3ERR_PERM | Mnt::MNT3ERR_ACCES => (ErrorKind::PermissionDenied, None, None),
        Mnt::MNT3ERR_NOTSUPP => (ErrorKind::Unsupported, None, None),
        Mnt::MNT3ERR_NAMETOOLONG | Mnt::MNT3ERR_INVAL => (ErrorKind::InvalidInput, None, None),
        _ => (ErrorKind::Unavailable, None, None),
    }
}

const READ_ONLY: Description = (
    ErrorKind::PermissionDenied,
    Some("the export is read-only"),
    Some("export it for writing (rw), then run it again"),
);
const NO_SUCH_PORT: &str = "this process may not use a port below 1024";
const TOO_LONG: &str = "the server takes no file of that length";
const LONG_NAME: &str = "the name is too long for the server";
const FILE_IN_THE_WAY: &str = "a file is in the way where a folder should be";
const FOLDER_IN_THE_WAY: &str = "a folder of that name is in the way";
const STALE: &str =
    "the export came back as another one: see whether the right filesystem is exported";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_trouble_of_a_server_is_told_by_its_kind_with_what_to_do() {
        let v3 = |code| told("write object", "a/b", NfsError::Nfs3(code));
        let v4 = |code| told("write object", "a/b", NfsError::Nfs4(code));
        for (error, kind, hinted) in [
            (v3(V3::NFS3ERR_NOSPC), ErrorKind::NoSpace, true),
            (v4(V4::NFS4ERR_NOSPC), ErrorKind::NoSpace, true),
            (v3(V3::NFS3ERR_DQUOT), ErrorKind::QuotaExceeded, true),
            (v4(V4::NFS4ERR_DQUOT), ErrorKind::QuotaExceeded, true),
            (v3(V3::NFS3ERR_IO), ErrorKind::Io, false),
            (v4(V4::NFS4ERR_IO), ErrorKind::Io, false),
            (v3(V3::NFS3ERR_ROFS), ErrorKind::PermissionDenied, true),
            (v4(V4::NFS4ERR_ROFS), ErrorKind::PermissionDenied, true),
            (v3(V3::NFS3ERR_ACCES), ErrorKind::PermissionDenied, true),
            (v4(V4::NFS4ERR_ACCESS), ErrorKind::PermissionDenied, true),
        ] {
            assert_eq!(error.kind(), kind, "{error}");
            assert_eq!(error.hint_text().is_some(), hinted, "{error}");
            assert!(!error.is_retryable(), "{error}");
        }
    }

    #[test]
    fn only_what_may_pass_is_tried_again() {
        for (error, verdict) in [
            (NfsError::Nfs4(V4::NFS4ERR_GRACE), Verdict::Busy),
            (NfsError::Nfs4(V4::NFS4ERR_DELAY), Verdict::Busy),
            (NfsError::Nfs3(V3::NFS3ERR_JUKEBOX), Verdict::Busy),
            (NfsError::Nfs3(V3::NFS3ERR_STALE), Verdict::Stale),
            (NfsError::Nfs4(V4::NFS4ERR_BAD_STATEID), Verdict::Lost),
            (NfsError::Rpc("cut".into()), Verdict::Lost),
            (
                io::Error::from(io::ErrorKind::ConnectionRefused).into(),
                Verdict::Lost,
            ),
            (NfsError::Nfs3(V3::NFS3ERR_NOSPC), Verdict::Final),
            (NfsError::Nfs4(V4::NFS4ERR_IO), Verdict::Final),
            (NfsError::Nfs4(V4::NFS4ERR_ROFS), Verdict::Final),
            (NfsError::Nfs4(V4::NFS4ERR_NOENT), Verdict::Final),
        ] {
            assert_eq!(judge(&error), verdict, "{error}");
        }
    }
}
