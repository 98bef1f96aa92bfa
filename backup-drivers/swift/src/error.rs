//! What the servers' refusals and the network's failures mean, in our kinds and in words.
//!
//! A server's body is never passed on as it is: who debugs a server may let it echo what it was sent. Only the message
//! in it is told, and a secret that stands in it is taken out ([`hide`]).

use std::borrow::Cow;
use std::error::Error as StdError;
use std::fmt;
use std::time::Duration;

use backup_core::{Error, ErrorKind};
use http::StatusCode;
use serde::Deserialize;

/// Longest text of a server that is told.
const LONGEST: usize = 300;

/// Why a request failed.
#[derive(Debug, Clone)]
pub(crate) enum Failure {
    /// Swift answered with an error.
    Answer {
        status: u16,
        message: String,
        /// How long the server wants not to be asked again.
        asked: Option<Duration>,
    },
    /// No answer came, or only a part of one.
    Broken { timed_out: bool, reason: String },
    /// An answer that makes no sense.
    Malformed { reason: String },
    /// Signing in failed, or what it gave serves for nothing. Its own tries are over.
    SignIn {
        kind: ErrorKind,
        reason: String,
        hint: Cow<'static, str>,
    },
    /// Our own refusal.
    Local { kind: ErrorKind, reason: String },
}

impl Failure {
    /// From the status, the headers and the body of Swift's answer.
    pub(crate) fn answer(status: StatusCode, headers: &http::HeaderMap, body: &[u8]) -> Self {
        let seconds = headers
            .get(http::header::RETRY_AFTER)
            .and_then(|v| v.to_str().ok())
            .and_then(|v| v.trim().parse().ok());
        Self::Answer {
            status: status.as_u16(),
            message: message(body),
            asked: seconds.map(Duration::from_secs),
        }
    }

    pub(crate) fn http(error: &reqwest::Error) -> Self {
        // The text of the error itself holds the URL; its deepest cause tells what happened.
        let mut deepest: &dyn StdError = error;
        while let Some(source) = deepest.source() {
            deepest = source;
        }
        let reason = match error.source() {
            Some(_) => shorten(&deepest.to_string()),
            None if error.is_timeout() => "no answer in time".into(),
            None => "the connection broke".into(),
        };
        Self::Broken {
            timed_out: error.is_timeout(),
            reason,
        }
    }

    pub(crate) fn late(after: Duration) -> Self {
        Self::Broken {
            timed_out: true,
            reason: format!("no answer within {} s", after.as_secs_f32().round()),
        }
    }

    pub(crate) fn broken(reason: impl fmt::Display) -> Self {
        Self::Broken {
            timed_out: false,
            reason: shorten(&reason.to_string()),
        }
    }

    pub(crate) fn malformed(reason: impl fmt::Display) -> Self {
        Self::Malformed {
            reason: shorten(&reason.to_string()),
        }
    }

    pub(crate) fn local(kind: ErrorKind, reason: impl Into<String>) -> Self {
        Self::Local {
            kind,
            reason: reason.into(),
        }
    }

    /// The status, 0 where there is none.
    pub(crate) fn status(&self) -> u16 {
        match self {
            Self::Answer { status, .. } => *status,
            _ => 0,
        }
    }

    pub(crate) fn kind(&self) -> ErrorKind {
        self.meaning().0
    }

    pub(crate) fn is(&self, kind: ErrorKind) -> bool {
        self.kind() == kind
    }

    /// How long the server wants not to be asked again.
    pub(crate) fn asked(&self) -> Option<Duration> {
        match self {
            Self::Answer { asked, .. } => *asked,
            _ => None,
        }
    }

    /// Whether the same request may do better.
    pub(crate) fn is_passing(&self) -> bool {
        match self {
            Self::Broken { reason, .. } => !is_certificate(reason),
            // What was damaged on the way is stored right the next time.
            Self::Answer { status, .. } => {
                matches!(status, 408 | 422 | 429 | 498 | 499 | 500 | 502..=504)
            }
            Self::Malformed { .. } | Self::SignIn { .. } | Self::Local { .. } => false,
        }
    }

    /// The error of `operation` on `target`.
    pub(crate) fn into_error(
        self,
        operation: impl Into<Cow<'static, str>>,
        target: impl fmt::Display,
    ) -> Error {
        let (kind, hint) = self.meaning();
        let passing = self.is_passing();
        let error = Error::new(kind, operation)
            .on(target)
            .because(self.to_string());
        let error = match hint {
            Some(hint) => error.hint(hint.into_owned()),
            None => error,
        };
        if passing {
            error.retryable(true)
        } else {
            error
        }
    }

    fn meaning(&self) -> (ErrorKind, Option<Cow<'static, str>>) {
        let told = |(kind, hint): (_, Option<&'static str>)| (kind, hint.map(Cow::Borrowed));
        match self {
            Self::Answer {
                status, message, ..
            } => told(of_answer(*status, message)),
            Self::Broken { timed_out, reason } => told(if is_certificate(reason) {
                (ErrorKind::PermissionDenied, Some(CERTIFICATE))
            } else if *timed_out {
                (
                    ErrorKind::Timeout,
                    Some("check that the server answers, or raise timeout"),
                )
            } else {
                (
                    ErrorKind::Unavailable,
                    Some(
                        "check that the server runs and can be reached at the address in the settings",
                    ),
                )
            }),
            Self::Malformed { .. } => told((
                ErrorKind::Io,
                Some("check that auth_url and storage_url are those of OpenStack's servers"),
            )),
            Self::SignIn { kind, hint, .. } => (*kind, Some(hint.clone())),
            Self::Local { kind, .. } => (*kind, None),
        }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Answer {
                status, message, ..
            } => write!(f, "{}", Told(*status, message)),
            Self::Broken { reason, .. }
            | Self::SignIn { reason, .. }
            | Self::Local { reason, .. } => f.write_str(reason),
            Self::Malformed { reason } => write!(f, "the answer makes no sense: {reason}"),
        }
    }
}

/// A status with its name, and the server's message.
pub(crate) struct Told<'a>(pub(crate) u16, pub(crate) &'a str);

impl fmt::Display for Told<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the server answered {}", self.0)?;
        let status = StatusCode::from_u16(self.0).ok();
        if let Some(name) = status.and_then(|s| s.canonical_reason()) {
            write!(f, " {name}")?;
        }
        if !self.1.is_empty() {
            write!(f, ", {:?}", self.1)?;
        }
        Ok(())
    }
}

pub(crate) const CERTIFICATE: &str = "set ca_file to the certificate that signed the server's";
const RIGHT: &str = "the user lacks a role that may do this in the account; docs/swift.md lists the rights that are needed";
const TOKEN: &str =
    "the token is not accepted: it has expired, was revoked, or is of another cloud; get a new one";
const QUOTA: &str = "the account's or the container's quota is used up; raise it or delete backups";
const FULL: &str = "the storage is full; free some space or delete backups";

fn of_answer(status: u16, message: &str) -> (ErrorKind, Option<&'static str>) {
    use ErrorKind as K;
    match status {
        301 | 302 | 307 | 308 => (
            K::InvalidInput,
            Some("the server is at another address; set auth_url or storage_url to it"),
        ),
        401 => (K::Unauthenticated, Some(TOKEN)),
        403 => (K::PermissionDenied, Some(RIGHT)),
        404 => (K::NotFound, None),
        405 | 501 => (K::Unsupported, None),
        408 => (K::Timeout, None),
        409 => (K::Conflict, None),
        412 => (K::AlreadyExists, None),
        // Swift says so for an object that is too large, too, but none is sent that is.
        413 if message.to_lowercase().contains("too large") => (
            K::InvalidInput,
            Some("the server takes only smaller objects; set max_object_size to its limit"),
        ),
        413 => (K::QuotaExceeded, Some(QUOTA)),
        422 => (
            K::Io,
            Some("the bytes were damaged on the way; run it again"),
        ),
        507 => (K::NoSpace, Some(FULL)),
        429 | 498 | 499 | 500..=599 => (K::Unavailable, None),
        400..=428 | 430..=497 => (K::InvalidInput, None),
        _ => (K::Io, None),
    }
}

fn is_certificate(reason: &str) -> bool {
    reason.contains("certificate") || reason.contains("UnknownIssuer")
}

/// The message in an error's body: Keystone's JSON, the paragraph of Swift's HTML, or a line of text.
pub(crate) fn message(body: &[u8]) -> String {
    #[derive(Deserialize)]
    struct Body {
        error: Inner,
    }
    #[derive(Deserialize)]
    struct Inner {
        message: String,
    }
    if let Ok(body) = serde_json::from_slice::<Body>(body) {
        return shorten(&body.error.message);
    }
    let text = String::from_utf8_lossy(body);
    if let Some(paragraph) = text.split_once("<p>").map(|(_, rest)| rest) {
        let paragraph = paragraph.split("</p>").next().unwrap_or_default();
        return shorten(&without_tags(paragraph));
    }
    if text.contains('<') || text.trim_start().starts_with('{') {
        return String::new();
    }
    shorten(text.lines().next().unwrap_or_default())
}

fn without_tags(text: &str) -> String {
    let mut inside = false;
    let kept = text.chars().filter(|c| match c {
        '<' => {
            inside = true;
            false
        }
        '>' => !std::mem::replace(&mut inside, false),
        _ => !inside,
    });
    kept.collect()
}

pub(crate) fn shorten(text: &str) -> String {
    let text = text.trim();
    match text.char_indices().nth(LONGEST) {
        Some((at, _)) => format!("{}...", &text[..at]),
        None => text.into(),
    }
}

/// Takes `secret` out of a body before anything of it is told.
pub(crate) fn hide<'a>(body: &'a [u8], secret: &str) -> Cow<'a, [u8]> {
    let found = !secret.is_empty() && body.windows(secret.len()).any(|w| w == secret.as_bytes());
    if !found {
        return Cow::Borrowed(body);
    }
    let text = String::from_utf8_lossy(body).replace(secret, "(secret)");
    Cow::Owned(text.into_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(status: u16, body: &str) -> Failure {
        let status = StatusCode::from_u16(status).unwrap();
        Failure::answer(status, &http::HeaderMap::new(), body.as_bytes())
    }

    #[test]
    fn each_status_has_its_kind() {
        for (status, kind, passing) in [
            (401, ErrorKind::Unauthenticated, false),
            (403, ErrorKind::PermissionDenied, false),
            (404, ErrorKind::NotFound, false),
            (412, ErrorKind::AlreadyExists, false),
            (413, ErrorKind::QuotaExceeded, false),
            (416, ErrorKind::InvalidInput, false),
            (422, ErrorKind::Io, true),
            (429, ErrorKind::Unavailable, true),
            (498, ErrorKind::Unavailable, true),
            (503, ErrorKind::Unavailable, true),
            (507, ErrorKind::NoSpace, false),
        ] {
            assert_eq!(answer(status, "").kind(), kind, "{status}");
            assert_eq!(answer(status, "").is_passing(), passing, "{status}");
        }
    }

    #[test]
    fn an_object_too_large_is_no_full_account() {
        let body = "<html><h1>Request Entity Too Large</h1><p>The body of your request was too large for this server.</p></html>";
        assert_eq!(answer(413, body).kind(), ErrorKind::InvalidInput);
        assert_eq!(
            answer(413, "Upload exceeds quota.").kind(),
            ErrorKind::QuotaExceeded
        );
    }

    #[test]
    fn only_the_message_of_a_body_is_told() {
        let keystone =
            r#"{"error": {"code": 401, "message": "no such user", "title": "Unauthorized"}}"#;
        assert_eq!(message(keystone.as_bytes()), "no such user");
        let swift =
            b"<html><h1>Not Found</h1><p>The <b>resource</b> could not be found.</p></html>";
        assert_eq!(message(swift), "The resource could not be found.");
        assert_eq!(
            message(b"Upload exceeds quota.\nmore"),
            "Upload exceeds quota."
        );
        assert_eq!(message(b"<html>echo hush</html>"), "");
        assert_eq!(message(b"{\"token\": \"hush\"}"), "");
    }

    #[test]
    fn a_secret_in_a_body_is_taken_out() {
        let body = hide(b"you sent hush-token.", "hush-token");
        assert_eq!(&*body, b"you sent (secret).");
        assert!(matches!(hide(b"nothing", "hush"), Cow::Borrowed(_)));
    }

    #[test]
    fn a_servers_long_text_is_cut() {
        let long = "ü".repeat(10_000);
        assert!(answer(500, &long).to_string().len() < 1000);
    }
}
