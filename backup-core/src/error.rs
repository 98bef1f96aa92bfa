//! What can go wrong, told so that the reader knows what to do.
//!
//! The rules:
//! * An error says **what** was tried ([`Error::operation`]), **on what** ([`Error::target`]: an object's key, a
//!   device's path, an offset), **why** it failed ([`Error::reason`] and the chain of sources), and, where one
//!   exists, **what to do** ([`Error::hint`]).
//! * [`Error::kind`] is for programs: match on it, never on a text.
//! * [`Error::is_retryable`] says that the same call may succeed later without anyone changing anything.
//! * An error is logged once, where it is handled, never on its way there.

use std::borrow::Cow;
use std::fmt;

/// The result of this crate's fallible calls.
pub type Result<T, E = Error> = std::result::Result<T, E>;

type Source = Box<dyn std::error::Error + Send + Sync + 'static>;

/// What class of failure it is. More kinds may come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ErrorKind {
    /// The object, record, volume or container is not there.
    NotFound,
    /// It is there already and must not be overwritten.
    AlreadyExists,
    /// The caller's request makes no sense or breaks a rule; retrying it unchanged cannot help.
    InvalidInput,
    /// The state of a backup or volume does not allow it now.
    Conflict,
    /// Stored bytes are not what was written: damaged, cut, or of another make.
    Corrupt,
    /// A valid request for something that this build, repository or format version cannot do.
    Unsupported,
    /// The other side knows us and refuses.
    PermissionDenied,
    /// The other side does not accept our credentials.
    Unauthenticated,
    /// The disk or the account is full.
    NoSpace,
    /// A quota of the project or of the storage would be exceeded.
    QuotaExceeded,
    /// No answer within the deadline.
    Timeout,
    /// The other side cannot be reached or is not able to serve now.
    Unavailable,
    /// The job was cancelled on request.
    Cancelled,
    /// An input or output error of the operating system with no better kind.
    Io,
    /// A bug: an invariant of ours did not hold.
    Internal,
}

impl ErrorKind {
    /// The kind in words, for people.
    pub fn describe(self) -> &'static str {
        match self {
            Self::NotFound => "not found",
            Self::AlreadyExists => "already exists",
            Self::InvalidInput => "invalid request",
            Self::Conflict => "not possible in the present state",
            Self::Corrupt => "damaged data",
            Self::Unsupported => "not supported",
            Self::PermissionDenied => "permission denied",
            Self::Unauthenticated => "not authenticated",
            Self::NoSpace => "no space left",
            Self::QuotaExceeded => "quota exceeded",
            Self::Timeout => "timed out",
            Self::Unavailable => "unavailable",
            Self::Cancelled => "cancelled",
            Self::Io => "input/output error",
            Self::Internal => "internal error",
        }
    }
}

/// An error with kind, operation, target, reason, hint and cause. One pointer wide.
pub struct Error(Box<Inner>);

struct Inner {
    kind: ErrorKind,
    operation: Cow<'static, str>,
    target: Option<String>,
    reason: Option<String>,
    hint: Option<String>,
    retryable: bool,
    source: Option<Source>,
}

impl Error {
    /// An error of `kind` while doing `operation` (a verb phrase: "restore", "read object").
    pub fn new(kind: ErrorKind, operation: impl Into<Cow<'static, str>>) -> Self {
        let retryable = matches!(kind, ErrorKind::Timeout | ErrorKind::Unavailable);
        Self(Box::new(Inner {
            kind,
            operation: operation.into(),
            target: None,
            reason: None,
            hint: None,
            retryable,
            source: None,
        }))
    }

    /// [`ErrorKind::Corrupt`]: `target` holds bytes that are wrong because of `reason`.
    pub fn corrupt(
        operation: impl Into<Cow<'static, str>>,
        target: impl fmt::Display,
        reason: impl Into<String>,
    ) -> Self {
        Self::new(ErrorKind::Corrupt, operation)
            .on(target)
            .because(reason)
    }

    /// [`ErrorKind::InvalidInput`] because of `reason`.
    pub fn invalid(operation: impl Into<Cow<'static, str>>, reason: impl Into<String>) -> Self {
        Self::new(ErrorKind::InvalidInput, operation).because(reason)
    }

    /// [`ErrorKind::Internal`]: an invariant of ours did not hold.
    pub fn internal(operation: impl Into<Cow<'static, str>>, reason: impl Into<String>) -> Self {
        Self::new(ErrorKind::Internal, operation)
            .because(reason)
            .hint("this is a bug in Ashlar; please report it")
    }

    /// [`ErrorKind::Cancelled`].
    pub fn cancelled(operation: impl Into<Cow<'static, str>>) -> Self {
        Self::new(ErrorKind::Cancelled, operation)
    }

    /// An operating-system error, with the kind that its number stands for.
    pub fn io(
        operation: impl Into<Cow<'static, str>>,
        target: impl fmt::Display,
        source: std::io::Error,
    ) -> Self {
        use std::io::ErrorKind as K;
        let kind = match source.kind() {
            K::NotFound => ErrorKind::NotFound,
            K::AlreadyExists => ErrorKind::AlreadyExists,
            K::PermissionDenied | K::ReadOnlyFilesystem => ErrorKind::PermissionDenied,
            K::StorageFull | K::FileTooLarge => ErrorKind::NoSpace,
            K::QuotaExceeded => ErrorKind::QuotaExceeded,
            K::TimedOut => ErrorKind::Timeout,
            K::Unsupported => ErrorKind::Unsupported,
            _ => ErrorKind::Io,
        };
        let error = Self::new(kind, operation).on(target).caused_by(source);
        match kind {
            ErrorKind::NoSpace => {
                error.hint("free some space on that filesystem, then run it again")
            }
            ErrorKind::PermissionDenied => {
                error.hint("check the owner and the mode of that path, and the user that runs this")
            }
            _ => error,
        }
    }

    /// Names the thing that the operation failed on.
    pub fn on(mut self, target: impl fmt::Display) -> Self {
        self.0.target = Some(target.to_string());
        self
    }

    /// Says why, in a sentence without a full stop.
    pub fn because(mut self, reason: impl Into<String>) -> Self {
        self.0.reason = Some(reason.into());
        self
    }

    /// Says what the reader can do about it.
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.0.hint = Some(hint.into());
        self
    }

    /// Sets whether the same call may succeed later by itself.
    pub fn retryable(mut self, yes: bool) -> Self {
        self.0.retryable = yes;
        self
    }

    /// Keeps the cause.
    pub fn caused_by(mut self, source: impl Into<Source>) -> Self {
        self.0.source = Some(source.into());
        self
    }

    /// The class of failure.
    pub fn kind(&self) -> ErrorKind {
        self.0.kind
    }

    /// What was tried.
    pub fn operation(&self) -> &str {
        &self.0.operation
    }

    /// What it was tried on.
    pub fn target(&self) -> Option<&str> {
        self.0.target.as_deref()
    }

    /// Why it failed.
    pub fn reason(&self) -> Option<&str> {
        self.0.reason.as_deref()
    }

    /// What to do about it.
    pub fn hint_text(&self) -> Option<&str> {
        self.0.hint.as_deref()
    }

    /// Whether the same call may succeed later by itself.
    pub fn is_retryable(&self) -> bool {
        self.0.retryable
    }

    /// Whether it is of `kind`.
    pub fn is(&self, kind: ErrorKind) -> bool {
        self.0.kind == kind
    }
}

impl fmt::Display for Error {
    /// One line: operation, target, reason or kind, and the texts of all causes.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let e = &self.0;
        write!(f, "{}", e.operation)?;
        if let Some(target) = &e.target {
            write!(f, " {target}")?;
        }
        match (&e.reason, &e.source) {
            (Some(reason), _) => write!(f, ": {reason}")?,
            (None, Some(_)) => {}
            (None, None) => write!(f, ": {}", e.kind.describe())?,
        }
        if let Some(source) = &e.source {
            write!(f, ": {source}")?;
        }
        Ok(())
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let e = &self.0;
        f.debug_struct("Error")
            .field("kind", &e.kind)
            .field("operation", &e.operation)
            .field("target", &e.target)
            .field("reason", &e.reason)
            .field("hint", &e.hint)
            .field("retryable", &e.retryable)
            .field("source", &e.source)
            .finish()
    }
}

impl std::error::Error for Error {
    // Display already tells the causes, so that no reader needs to walk the chain to see them.
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.0.source.as_ref().map(|s| &**s as _)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_tells_what_on_what_and_why_in_one_line() {
        let e = Error::corrupt("restore", "vol_00001", "MD5 differs").hint("run verify");
        assert_eq!(e.to_string(), "restore vol_00001: MD5 differs");
        assert_eq!(e.hint_text(), Some("run verify"));
    }

    #[test]
    fn a_full_disk_is_told_as_no_space() {
        let e = Error::io("write", "/x", std::io::Error::from_raw_os_error(28));
        assert_eq!(e.kind(), ErrorKind::NoSpace);
        assert!(e.hint_text().is_some());
    }

    #[test]
    fn an_error_is_one_pointer_wide() {
        assert_eq!(size_of::<Error>(), size_of::<usize>());
    }
}
