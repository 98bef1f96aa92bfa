//! What the server's refusals and the network's failures mean, in our kinds and in words.
//!
//! A server's error body is never passed on as it is: for a wrong signature it echoes the request's headers, in which
//! a session token or a customer's encryption key may lie. Only its code and its message are told.

use std::borrow::Cow;
use std::error::Error as StdError;
use std::fmt;

use backup_core::{Error, ErrorKind};
use object_store::client::{HttpError, HttpErrorKind};

/// Longest text of a server that is told.
const LONGEST: usize = 300;

/// Why a request failed.
#[derive(Debug, Clone)]
pub(crate) enum Failure {
    /// The server answered with an error.
    Answer {
        status: u16,
        /// S3's code (`NoSuchKey`), empty where the body held none.
        code: String,
        message: String,
    },
    /// No answer came, or only a part of one.
    Broken { kind: HttpErrorKind, reason: String },
    /// No keys were found.
    NoCredentials { reason: String },
    /// An answer that makes no sense.
    Malformed { reason: String },
    /// The store's own refusal.
    Local { kind: ErrorKind, reason: String },
}

impl Failure {
    /// From the status and the body of an answer.
    pub(crate) fn answer(status: u16, body: &str) -> Self {
        Self::Answer {
            status,
            code: shorten(element(body, "Code").unwrap_or_default()),
            message: shorten(element(body, "Message").unwrap_or_default()),
        }
    }

    pub(crate) fn http(error: &HttpError) -> Self {
        let mut deepest: &dyn StdError = error;
        while let Some(source) = deepest.source() {
            deepest = source;
        }
        Self::Broken {
            kind: error.kind(),
            reason: shorten(&deepest.to_string()),
        }
    }

    pub(crate) fn malformed(reason: impl fmt::Display) -> Self {
        Self::Malformed {
            reason: shorten(&reason.to_string()),
        }
    }

    /// From what object_store returned. Its inner errors are private, so a status and a body are read from its text.
    pub(crate) fn store(error: &object_store::Error) -> Self {
        let text = error.to_string();
        // The credential providers fail with texts of their own kind.
        let asks_for_keys = [
            "169.254.",
            "/latest/api/token",
            "/latest/meta-data/",
            "token request",
        ];
        if asks_for_keys.iter().any(|part| text.contains(part)) {
            return Self::NoCredentials {
                reason: "no keys are set, and the instance's metadata service gives none".into(),
            };
        }
        let mut source: Option<&(dyn StdError + 'static)> = Some(error);
        while let Some(inner) = source {
            if let Some(http) = inner.downcast_ref::<HttpError>() {
                return Self::http(http);
            }
            source = inner.source();
        }
        if let Some(status) = status_in(&text) {
            return Self::answer(status, &text);
        }
        if text.contains("Server returned error response") {
            return Self::answer(500, &text);
        }
        if text.contains("redirect without LOCATION") {
            return Self::answer(301, &text);
        }
        if text.contains("Wanted range starting at") {
            return Self::answer(416, "");
        }
        let kind = match error {
            object_store::Error::NotFound { .. } => ErrorKind::NotFound,
            object_store::Error::AlreadyExists { .. }
            | object_store::Error::Precondition { .. } => ErrorKind::AlreadyExists,
            object_store::Error::InvalidPath { .. } => ErrorKind::InvalidInput,
            object_store::Error::NotSupported { .. }
            | object_store::Error::NotImplemented { .. } => ErrorKind::Unsupported,
            object_store::Error::PermissionDenied { .. } => ErrorKind::PermissionDenied,
            object_store::Error::Unauthenticated { .. } => ErrorKind::Unauthenticated,
            _ => ErrorKind::Io,
        };
        // Nothing behind a markup's begin is told, see above.
        let reason = text.split('<').next().unwrap_or_default();
        Self::Local {
            kind,
            reason: shorten(reason),
        }
    }

    /// S3's code, empty where there is none.
    pub(crate) fn code(&self) -> &str {
        match self {
            Self::Answer { code, .. } => code,
            _ => "",
        }
    }

    pub(crate) fn kind(&self) -> ErrorKind {
        self.meaning().0
    }

    /// Whether the same request may do better.
    pub(crate) fn is_passing(&self) -> bool {
        match self {
            Self::Broken { kind, .. } => *kind != HttpErrorKind::Decode,
            _ => matches!(self.kind(), ErrorKind::Unavailable | ErrorKind::Timeout),
        }
    }

    /// The error of `operation` on `target`.
    pub(crate) fn into_error(
        self,
        operation: impl Into<Cow<'static, str>>,
        target: impl fmt::Display,
    ) -> Error {
        let (kind, hint) = self.meaning();
        let error = Error::new(kind, operation)
            .on(target)
            .because(self.to_string());
        let error = match hint {
            Some(hint) => error.hint(hint),
            None => error,
        };
        // A body that was damaged on the way out is stored right the next time.
        let damaged = matches!(
            self.code(),
            "BadDigest" | "XAmzContentSHA256Mismatch" | "XAmzContentChecksumMismatch"
        );
        if damaged {
            error.retryable(true)
        } else {
            error
        }
    }

    fn meaning(&self) -> (ErrorKind, Option<&'static str>) {
        match self {
            Self::Answer { status, code, .. } => of_answer(*status, code),
            Self::Broken { kind, reason } => match kind {
                _ if is_certificate(reason) => (ErrorKind::PermissionDenied, Some(CERTIFICATE)),
                HttpErrorKind::Timeout => (
                    ErrorKind::Timeout,
                    Some("check that endpoint_url answers, or raise timeout"),
                ),
                _ => (
                    ErrorKind::Unavailable,
                    Some("check endpoint_url, and that the server runs and can be reached"),
                ),
            },
            Self::NoCredentials { .. } => (ErrorKind::Unauthenticated, Some(NO_KEYS)),
            Self::Malformed { .. } => (
                ErrorKind::Io,
                Some("check that endpoint_url is an S3 server's"),
            ),
            Self::Local { kind, .. } => (*kind, None),
        }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Answer {
                status,
                code,
                message,
            } => {
                write!(f, "the server answered {status}")?;
                if !code.is_empty() {
                    write!(f, " {code}")?;
                }
                if !message.is_empty() {
                    write!(f, ", {message:?}")?;
                }
                Ok(())
            }
            Self::Broken { reason, .. }
            | Self::NoCredentials { reason }
            | Self::Local { reason, .. } => f.write_str(reason),
            Self::Malformed { reason } => write!(f, "the answer makes no sense: {reason}"),
        }
    }
}

const NO_KEYS: &str =
    "set access_key and secret_key, a profile, or AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY";
const CERTIFICATE: &str = "set ca_file to the certificate that signed the server's";
const CLOCK: &str =
    "this machine's clock and the server's differ by more than 15 minutes; set the clock (NTP)";
const RIGHT: &str = "the key lacks this right; docs/s3.md lists the rights that are needed";
const REGION: &str = "the bucket lies in another region; set region (and endpoint_url) to its own";

/// The table of S3's codes. Statuses decide where a gateway has a code of its own or sends none.
fn of_answer(status: u16, code: &str) -> (ErrorKind, Option<&'static str>) {
    use ErrorKind as K;
    match code {
        "NoSuchKey" | "NoSuchUpload" => (K::NotFound, None),
        "NoSuchBucket" => (
            K::NotFound,
            Some("the bucket does not exist; make it, or set create_containers = true"),
        ),
        "AccessDenied" | "AllAccessDisabled" | "AccountProblem" => {
            (K::PermissionDenied, Some(RIGHT))
        }
        "InvalidAccessKeyId" => (
            K::Unauthenticated,
            Some("the server does not know this access key; check access_key"),
        ),
        "SignatureDoesNotMatch" => (
            K::Unauthenticated,
            Some("the secret key is wrong; check secret_key (and that no proxy rewrites requests)"),
        ),
        "ExpiredToken" | "InvalidToken" | "InvalidClientTokenId" | "TokenRefreshRequired" => (
            K::Unauthenticated,
            Some("the session token has expired or is wrong; get new temporary keys"),
        ),
        "RequestTimeTooSkewed" | "RequestExpired" => (K::Unauthenticated, Some(CLOCK)),
        "AuthorizationHeaderMalformed"
        | "PermanentRedirect"
        | "TemporaryRedirect"
        | "IllegalLocationConstraintException"
        | "InvalidLocationConstraint" => (K::InvalidInput, Some(REGION)),
        "QuotaExceeded" | "TooManyBuckets" => (
            K::QuotaExceeded,
            Some("the account's or the bucket's quota is used up; raise it or delete backups"),
        ),
        "XMinioStorageFull"
        | "XMinioAdminBucketQuotaExceeded"
        | "InsufficientStorage"
        | "StorageFull"
        | "NotEnoughSpace" => (
            K::NoSpace,
            Some("the storage is full; free some space or delete backups"),
        ),
        "BucketAlreadyExists" => (
            K::AlreadyExists,
            Some("someone else has a bucket of that name; choose another"),
        ),
        "InvalidObjectState" => (
            K::Conflict,
            Some("the object lies in an archive class; restore it to a readable class first"),
        ),
        "BadDigest"
        | "XAmzContentSHA256Mismatch"
        | "XAmzContentChecksumMismatch"
        | "IncompleteBody" => (
            K::Io,
            Some("the bytes were damaged on the way; run it again"),
        ),
        "RequestTimeout" => (K::Timeout, None),
        "SlowDown" | "ServiceUnavailable" | "InternalError" | "OperationAborted" | "Throttling" => {
            (K::Unavailable, None)
        }
        _ => of_status(status),
    }
}

fn of_status(status: u16) -> (ErrorKind, Option<&'static str>) {
    use ErrorKind as K;
    match status {
        301 | 302 | 307 | 308 => (K::InvalidInput, Some(REGION)),
        401 => (K::Unauthenticated, Some("check access_key and secret_key")),
        403 => (K::PermissionDenied, Some(RIGHT)),
        404 => (K::NotFound, None),
        405 | 501 => (K::Unsupported, None),
        408 => (K::Timeout, None),
        409 | 412 => (K::AlreadyExists, None),
        400..=428 | 430..=499 => (K::InvalidInput, None),
        507 => (
            K::NoSpace,
            Some("the storage is full; free some space or delete backups"),
        ),
        429 | 500..=599 => (K::Unavailable, None),
        _ => (K::Io, None),
    }
}

fn is_certificate(reason: &str) -> bool {
    reason.contains("certificate") || reason.contains("UnknownIssuer")
}

/// The text of the first element `name` in an S3 error body.
fn element<'a>(body: &'a str, name: &str) -> Option<&'a str> {
    let start = body.find(&format!("<{name}>"))? + name.len() + 2;
    let length = body[start..].find("</")?;
    Some(body[start..start + length].trim())
}

fn status_in(text: &str) -> Option<u16> {
    let rest = text.split_once("status code: ")?.1;
    rest.get(..3)?.parse().ok()
}

fn shorten(text: &str) -> String {
    let text = text.trim();
    match text.char_indices().nth(LONGEST) {
        Some((at, _)) => format!("{}...", &text[..at]),
        None => text.into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn body(code: &str) -> String {
        format!(
            "<?xml version=\"1.0\"?><Error><Code>{code}</Code><Message>no</Message>\
             <CanonicalRequest>x-amz-security-token:hush</CanonicalRequest></Error>"
        )
    }

    #[test]
    fn a_wrong_key_a_wrong_secret_and_a_missing_right_are_told_apart() {
        let of = |code| {
            let error = Failure::answer(403, &body(code)).into_error("put object", "b/k");
            (
                error.kind(),
                error.hint_text().unwrap_or_default().to_owned(),
            )
        };
        let (kind, hint) = of("InvalidAccessKeyId");
        assert_eq!(kind, ErrorKind::Unauthenticated);
        assert!(hint.contains("access_key"));
        let (kind, hint) = of("SignatureDoesNotMatch");
        assert_eq!(kind, ErrorKind::Unauthenticated);
        assert!(hint.contains("secret_key"));
        assert_eq!(of("AccessDenied").0, ErrorKind::PermissionDenied);
        let (kind, hint) = of("RequestTimeTooSkewed");
        assert_eq!(kind, ErrorKind::Unauthenticated);
        assert!(hint.contains("clock"));
        assert_eq!(of("QuotaExceeded").0, ErrorKind::QuotaExceeded);
    }

    #[test]
    fn what_the_server_echoes_is_not_told() {
        let error = Failure::answer(403, &body("SignatureDoesNotMatch")).into_error("get", "b/k");
        assert!(!format!("{error} {error:?}").contains("hush"));
    }

    #[test]
    fn an_answer_without_a_body_is_judged_by_its_status() {
        for (status, kind) in [
            (401, ErrorKind::Unauthenticated),
            (403, ErrorKind::PermissionDenied),
            (404, ErrorKind::NotFound),
            (416, ErrorKind::InvalidInput),
            (429, ErrorKind::Unavailable),
            (503, ErrorKind::Unavailable),
            (507, ErrorKind::NoSpace),
        ] {
            assert_eq!(Failure::answer(status, "").kind(), kind, "{status}");
        }
    }

    #[test]
    fn a_servers_long_text_is_cut() {
        let long = "ü".repeat(10_000);
        let text = Failure::answer(500, &format!("<Message>{long}</Message>")).to_string();
        assert!(text.len() < 1000);
    }
}
