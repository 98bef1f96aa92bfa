//! Requests to the account: with a token, in time, repeated where that helps.

use std::fmt::Write as _;

use backup_core::{ContainerName, Error, ErrorKind, ObjectKey};
use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use reqwest::{Request, Response};
use std::sync::Arc;
use url::Url;

use crate::auth::{Account, Session};
use crate::config::{Pace, is_container_name};
use crate::error::{Failure, hide};
use crate::payload::Payload;
use crate::retry::{Retry, Tries};
use crate::transport::Transport;

/// Longest answer that is read: a page of 10 000 names of 1024 bytes, all of them escaped, fits.
const LONGEST_ANSWER: usize = 128 << 20;
/// Longest body of an error that is read.
const LONGEST_ERROR: usize = 64 << 10;
/// How many times the time-out a request may take for which the server reads or moves bytes of its own.
const MOVING: u32 = 5;

/// What need not be encoded in a query.
const UNRESERVED: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'_')
    .remove(b'.')
    .remove(b'~');

const IN_PATH: &AsciiSet = &UNRESERVED.remove(b'/');

/// A name as it stands in a path.
pub(crate) fn encoded(name: &str) -> String {
    utf8_percent_encode(name, IN_PATH).to_string()
}

/// The container's path behind the account's, for which nothing but a plain name will do.
pub(crate) fn container_path(container: &ContainerName) -> backup_core::Result<String> {
    if is_container_name(container.as_str()) {
        return Ok(format!("/{}", encoded(container.as_str())));
    }
    Err(
        Error::invalid("open container", "it is no container name of Swift's")
            .on(container)
            .hint("use a name without slashes, of at most 256 bytes"),
    )
}

pub(crate) fn object_path(key: &ObjectKey) -> backup_core::Result<String> {
    let container = container_path(key.container())?;
    Ok(format!("{container}/{}", encoded(key.name())))
}

/// A request that may be repeated: it asks, makes or removes, and does the same the second time.
#[derive(Debug, Clone)]
pub(crate) struct Ask {
    method: Method,
    /// Behind the account's, encoded: empty, `/container` or `/container/object`.
    path: String,
    query: String,
    headers: Vec<(HeaderName, String)>,
    payload: Payload,
    /// Bytes that the server reads or moves by itself before it answers.
    moves: Option<u64>,
    /// A refusal that is not repeated, though it may pass as a rule: the caller asks in another way then.
    last: Option<StatusCode>,
}

impl Ask {
    pub(crate) fn new(method: Method, path: impl Into<String>) -> Self {
        Self {
            method,
            path: path.into(),
            query: String::new(),
            headers: Vec::new(),
            payload: Payload::None,
            moves: None,
            last: None,
        }
    }

    pub(crate) fn query(mut self, name: &str, value: &str) -> Self {
        let mark = if self.query.is_empty() { '?' } else { '&' };
        let value = utf8_percent_encode(value, UNRESERVED);
        // Writing to a String cannot fail.
        let _ = write!(self.query, "{mark}{name}={value}");
        self
    }

    pub(crate) fn header(mut self, name: HeaderName, value: impl Into<String>) -> Self {
        self.headers.push((name, value.into()));
        self
    }

    pub(crate) fn payload(mut self, payload: Payload) -> Self {
        self.payload = payload;
        self
    }

    /// One for which the server reads, moves or deletes so many bytes, or things, of its own before it answers.
    pub(crate) fn moving(mut self, bytes: u64) -> Self {
        self.moves = Some(bytes);
        self
    }

    /// One that is not repeated once the server has refused it with this status.
    pub(crate) fn once_refused(mut self, status: StatusCode) -> Self {
        self.last = Some(status);
        self
    }

    fn is_settled_by(&self, failure: &Failure) -> bool {
        self.last
            .is_some_and(|last| failure.status() == last.as_u16())
    }

    fn pace(&self, mut pace: Pace) -> Pace {
        if self.moves.is_some() {
            pace.timeout = pace.timeout.saturating_mul(MOVING);
        }
        pace
    }

    fn request(&self, session: &Session) -> Result<Request, Failure> {
        let url = format!("{}{}{}", session.storage, self.path, self.query);
        let url = Url::parse(&url).map_err(Failure::malformed)?;
        let mut request = Request::new(self.method.clone(), url);
        let headers = request.headers_mut();
        headers.insert("x-auth-token", session.token.clone());
        for (name, value) in &self.headers {
            let value = HeaderValue::from_bytes(value.as_bytes());
            headers.insert(name, value.map_err(Failure::malformed)?);
        }
        if self.method == Method::PUT || self.method == Method::POST {
            // A body that comes from a file has no length of its own.
            headers.insert(header::CONTENT_LENGTH, self.payload.length().into());
        }
        *request.body_mut() = self.payload.body();
        Ok(request)
    }
}

/// An answer with all of its body.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
}

/// Makes requests to the account.
#[derive(Debug, Clone)]
pub(crate) struct Wire {
    pub(crate) transport: Transport,
    pub(crate) account: Arc<Account>,
    pub(crate) retry: Retry,
}

impl Wire {
    /// Sends a request until it is done, and reads the answer.
    pub(crate) async fn send(&self, ask: &Ask) -> Result<Answer, Failure> {
        self.send_in(ask, &mut self.retry.start()).await
    }

    /// The same, with tries that the caller looks at.
    pub(crate) async fn send_in(&self, ask: &Ask, tries: &mut Tries) -> Result<Answer, Failure> {
        loop {
            match self.whole(ask).await {
                Ok(answer) => return Ok(answer),
                Err(failure) if ask.is_settled_by(&failure) => return Err(failure),
                Err(failure) => tries.after(failure).await?,
            }
        }
    }

    /// Sends a request until its answer begins.
    pub(crate) async fn open(&self, ask: &Ask, tries: &mut Tries) -> Result<Response, Failure> {
        loop {
            match self.once(ask).await {
                Ok(response) => return Ok(response),
                Err(failure) => tries.after(failure).await?,
            }
        }
    }

    async fn whole(&self, ask: &Ask) -> Result<Answer, Failure> {
        let response = self.once(ask).await?;
        let (status, headers) = (response.status(), response.headers().clone());
        let pace = ask.pace(self.transport.pace());
        let body = self.transport.body(response, LONGEST_ANSWER, pace).await?;
        Ok(Answer {
            status,
            headers,
            body,
        })
    }

    async fn once(&self, ask: &Ask) -> Result<Response, Failure> {
        let mut session = self.account.session().await?;
        let mut renewals = 0;
        loop {
            let bytes = ask.payload.length().saturating_add(ask.moves.unwrap_or(0));
            let allowed = ask.pace(self.transport.pace()).allow(bytes);
            let response = self.transport.head(ask.request(&session)?, allowed).await?;
            if response.status().is_success() {
                return Ok(response);
            }
            let (status, headers) = (response.status(), response.headers().clone());
            // Read to its end, so that the connection serves again; what cannot be read tells no more than the status.
            let body = {
                let pace = self.transport.pace();
                self.transport.body(response, LONGEST_ERROR, pace).await
            };
            // Once; a second time only for a token that ended between its renewal and its use.
            let is_renewable = renewals == 0 || (renewals == 1 && session.is_over());
            if status == StatusCode::UNAUTHORIZED && is_renewable {
                renewals += 1;
                session = self.account.renewed(&session).await?;
                continue;
            }
            let body = body.unwrap_or_default();
            let token = session.token.to_str().unwrap_or_default();
            return Err(Failure::answer(status, &headers, &hide(&body, token)));
        }
    }
}

/// A failure of a request on a container or in it: a missing container is told with what to do about it.
pub(crate) fn in_container(
    failure: Failure,
    operation: &'static str,
    target: impl std::fmt::Display,
) -> Error {
    let missing = failure.is(ErrorKind::NotFound);
    let error = failure.into_error(operation, target);
    if missing {
        error.hint("the container does not exist; make it, or set create_containers = true")
    } else {
        error
    }
}
