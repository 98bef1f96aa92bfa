//! HTTP with deadlines: no request and no body waits for ever, and none is cut off only because it is large.

use std::fmt;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use async_trait::async_trait;
use backup_core::{Error, Result};
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use bytes::Bytes;
use http::{HeaderValue, Method, StatusCode};
use http_body::{Body, Frame, SizeHint};
use md5::{Digest, Md5};
use object_store::ClientOptions;
use object_store::client::{
    HttpClient, HttpConnector, HttpError, HttpErrorKind, HttpRequest, HttpResponse,
    HttpResponseBody, HttpService,
};
use tokio::time::{Instant, Sleep, sleep, timeout};
use url::Url;

use crate::config::{ChecksumKind, Pace, S3Config};
use crate::credentials;

/// How many times the time-out a request may take for which the server copies bytes of its own.
const MOVING: u32 = 5;

/// Makes the connections of all buckets of a repository, which share them.
#[derive(Debug, Clone)]
pub(crate) struct Transport {
    client: reqwest::Client,
    pace: Pace,
    content_md5: bool,
    /// The address of the instance's metadata service, where that is not Amazon's own.
    metadata: Option<Url>,
}

impl Transport {
    /// A client with the settings' certificates and time-outs.
    pub(crate) fn new(config: &S3Config) -> Result<Self> {
        const OPERATION: &str = "set up the S3 client";
        let mut builder = reqwest::Client::builder()
            .user_agent(concat!("ashlar/", env!("CARGO_PKG_VERSION")))
            .connect_timeout(Duration::from_secs(config.connect_timeout))
            .tcp_nodelay(true)
            // A body on one of many HTTP/2 streams shares its window with the others; connections are cheap here.
            .http1_only()
            // A signature holds for one host. Following a redirect would send it, and the data, to another.
            .redirect(reqwest::redirect::Policy::none())
            .tls_danger_accept_invalid_certs(config.insecure);
        let plain = config
            .endpoint()?
            .is_some_and(|endpoint| endpoint.scheme() == "http");
        if let Some(path) = &config.ca_file {
            let pem =
                std::fs::read(path).map_err(|e| Error::io("read ca_file", path.display(), e))?;
            let certificates = reqwest::Certificate::from_pem_bundle(&pem).map_err(|e| {
                Error::invalid("read ca_file", "it holds no PEM certificate")
                    .on(path.display())
                    .caused_by(e)
            })?;
            if certificates.is_empty() {
                return Err(
                    Error::invalid("read ca_file", "it holds no PEM certificate")
                        .on(path.display()),
                );
            }
            builder = builder.tls_certs_merge(certificates);
        } else if plain || config.insecure {
            // Without TLS a machine needs no store of root certificates.
            builder = builder.tls_certs_only([]);
        }
        let client = builder
            .build()
            .map_err(|e| Error::internal(OPERATION, "it cannot be made").caused_by(e))?;
        Ok(Self {
            client,
            pace: config.pace(),
            content_md5: config.checksum == ChecksumKind::ContentMd5,
            metadata: credentials::metadata_endpoint(),
        })
    }

    pub(crate) fn http(&self) -> HttpClient {
        HttpClient::new(self.clone())
    }
}

impl HttpConnector for Transport {
    // The options are object_store's own defaults; ours are in the client.
    fn connect(&self, _: &ClientOptions) -> object_store::Result<HttpClient> {
        Ok(self.http())
    }
}

#[async_trait]
impl HttpService for Transport {
    async fn call(&self, mut request: HttpRequest) -> Result<HttpResponse, HttpError> {
        let sent = request.body().content_length() as u64;
        // The instance's metadata service answers at once or is not there.
        let metadata = credentials::asks_metadata(request.uri(), self.metadata.as_ref());
        let is_copy = request.headers().contains_key("x-amz-copy-source");
        // A copy and the end of an upload move bytes at the server before it answers.
        let query = request.uri().query().unwrap_or_default();
        let moves = is_copy || (request.method() == Method::POST && query.contains("uploadId="));
        let mut pace = self.pace;
        if moves {
            pace.timeout = pace.timeout.saturating_mul(MOVING);
        }
        let allowed = if metadata {
            Duration::from_secs(2)
        } else {
            pace.allow(sent)
        };
        if self.content_md5 && sent > 0 && request.method() == Method::PUT {
            add_content_md5(&mut request)?;
        }
        let Ok(answer) = timeout(allowed, HttpService::call(&self.client, request)).await else {
            return Err(no_answer(allowed));
        };
        let (mut parts, body) = answer?.into_parts();
        let body = HttpResponseBody::new(PacedBody::new(body, pace));
        if !(is_copy && parts.status == StatusCode::OK) {
            return Ok(HttpResponse::from_parts(parts, body));
        }
        // A copy answers 200 at once and tells an error in the body, which object_store does not look for.
        let text = body.bytes().await?;
        if text.windows(7).any(|w| w == b"<Error>") {
            parts.status = StatusCode::INTERNAL_SERVER_ERROR;
        }
        Ok(HttpResponse::from_parts(parts, text.into()))
    }
}

/// The header need not be signed, so it can be added here, behind the signature.
fn add_content_md5(request: &mut HttpRequest) -> Result<(), HttpError> {
    let mut md5 = Md5::new();
    let mut body = request.body().clone();
    let mut context = Context::from_waker(std::task::Waker::noop());
    // A request's body lies in memory, so it is always ready.
    while let Poll::Ready(Some(frame)) = Pin::new(&mut body).poll_frame(&mut context) {
        if let Some(data) = frame?.data_ref() {
            md5.update(data);
        }
    }
    let value = HeaderValue::from_str(&BASE64_STANDARD.encode(md5.finalize()))
        .map_err(|e| HttpError::new(HttpErrorKind::Unknown, e))?;
    request.headers_mut().insert("content-md5", value);
    Ok(())
}

fn no_answer(after: Duration) -> HttpError {
    HttpError::new(HttpErrorKind::Timeout, NoAnswer { after })
}

/// Nothing came for that long.
#[derive(Debug)]
struct NoAnswer {
    after: Duration,
}

impl fmt::Display for NoAnswer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "no answer within {} s", self.after.as_secs_f32().round())
    }
}

impl std::error::Error for NoAnswer {}

/// A body that fails when nothing comes for the time-out, or when it has been waited for longer than its bytes may
/// take at the lowest rate. Time in which nobody asks for bytes does not count: a reader may take its own.
struct PacedBody {
    inner: HttpResponseBody,
    pace: Pace,
    received: u64,
    waited: Duration,
    waiting: Option<(Instant, Pin<Box<Sleep>>)>,
}

impl PacedBody {
    fn new(inner: HttpResponseBody, pace: Pace) -> Self {
        Self {
            inner,
            pace,
            received: 0,
            waited: Duration::ZERO,
            waiting: None,
        }
    }
}

impl Body for PacedBody {
    type Data = Bytes;
    type Error = HttpError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, HttpError>>> {
        let this = &mut *self;
        if let Poll::Ready(frame) = Pin::new(&mut this.inner).poll_frame(cx) {
            if let Some((since, _)) = this.waiting.take() {
                this.waited += since.elapsed();
            }
            if let Some(Ok(data)) = frame.as_ref().map(|f| f.as_ref().map(Frame::data_ref)) {
                this.received += data.map_or(0, |d| d.len() as u64);
            }
            return Poll::Ready(frame);
        }
        let left = this
            .pace
            .allow(this.received)
            .saturating_sub(this.waited)
            .min(this.pace.timeout);
        let (_, timer) = this
            .waiting
            .get_or_insert_with(|| (Instant::now(), Box::pin(sleep(left))));
        ready!(timer.as_mut().poll(cx));
        Poll::Ready(Some(Err(no_answer(this.pace.timeout))))
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}
