//! What librados and librbd answer, as our errors: negative numbers of the operating system.

use std::fmt;
use std::io;
use std::time::Duration;

use backup_core::error::{Error, ErrorKind, Result};

/// The numbers that are told apart, as Linux has them.
pub(crate) mod errno {
    pub(crate) const EPERM: i32 = 1;
    pub(crate) const ENOENT: i32 = 2;
    pub(crate) const EIO: i32 = 5;
    pub(crate) const EACCES: i32 = 13;
    pub(crate) const EBUSY: i32 = 16;
    pub(crate) const EEXIST: i32 = 17;
    pub(crate) const EINVAL: i32 = 22;
    pub(crate) const ENOSPC: i32 = 28;
    pub(crate) const EROFS: i32 = 30;
    pub(crate) const ERANGE: i32 = 34;
    pub(crate) const ENOSYS: i32 = 38;
    pub(crate) const ENOTEMPTY: i32 = 39;
    pub(crate) const EOPNOTSUPP: i32 = 95;
    pub(crate) const ESHUTDOWN: i32 = 108;
    pub(crate) const ETIMEDOUT: i32 = 110;
    pub(crate) const EDQUOT: i32 = 122;
    pub(crate) const ECANCELED: i32 = 125;
}

use errno as e;

/// The error that `code`, a negative errno, stands for.
pub(crate) fn failed(operation: &'static str, target: impl fmt::Display, code: i64) -> Error {
    let number = i32::try_from(code.unsigned_abs()).unwrap_or(e::EIO);
    let kind = match number {
        e::ENOENT => ErrorKind::NotFound,
        e::EEXIST => ErrorKind::AlreadyExists,
        e::EPERM | e::EACCES => ErrorKind::PermissionDenied,
        e::EBUSY | e::ENOTEMPTY | e::EROFS => ErrorKind::Conflict,
        e::EINVAL | e::ERANGE => ErrorKind::InvalidInput,
        e::ENOSPC => ErrorKind::NoSpace,
        e::EDQUOT => ErrorKind::QuotaExceeded,
        e::ETIMEDOUT => ErrorKind::Timeout,
        e::ENOSYS | e::EOPNOTSUPP => ErrorKind::Unsupported,
        e::ECANCELED => ErrorKind::Cancelled,
        e::ESHUTDOWN => ErrorKind::Unavailable,
        _ => ErrorKind::Io,
    };
    let error = Error::new(kind, operation)
        .on(target)
        .caused_by(io::Error::from_raw_os_error(number));
    match number {
        e::EPERM | e::EACCES => {
            error.hint("look at the caps of this user (ceph auth get client.NAME); docs/ceph.md has the least ones")
        }
        e::ETIMEDOUT => error.hint("look whether the cluster is well: ceph -s"),
        e::ESHUTDOWN => error.retryable(false).hint(
            "the cluster has put this client on its blocklist, as when another one takes a dead one's lock; run it again",
        ),
        e::ENOSPC => error.hint("the pool or the cluster is full: ceph df"),
        _ => error,
    }
}

/// What a call answered: zero or more, or a negative errno.
pub(crate) fn check(
    operation: &'static str,
    target: impl fmt::Display,
    code: impl Into<i64>,
) -> Result<u64> {
    let code = code.into();
    u64::try_from(code).map_err(|_| failed(operation, target, code))
}

/// The call did not come back in time. It may still run.
pub(crate) fn late(operation: &'static str, target: impl fmt::Display, after: Duration) -> Error {
    Error::new(ErrorKind::Timeout, operation)
        .on(target)
        .because(format!("no answer within {} s", after.as_secs()))
        .hint("look whether the cluster is well: ceph -s")
}

/// The number of the operating system that an error of this crate stems from, where it does.
pub fn errno_of(error: &Error) -> Option<i32> {
    std::error::Error::source(error)?
        .downcast_ref::<io::Error>()?
        .raw_os_error()
}
