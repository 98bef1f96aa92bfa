//! HTTP with deadlines: no request and no body waits for ever, and none is cut off only because it is large.

use std::path::Path;
use std::time::Duration;

use backup_core::{Error, Result};
use bytes::{Bytes, BytesMut};
use reqwest::{Certificate, Request, Response};
use tokio::time::{Instant, timeout};

use crate::config::{Pace, SwiftConfig};
use crate::error::Failure;

/// Makes requests; clones share their connections.
#[derive(Debug, Clone)]
pub(crate) struct Transport {
    client: reqwest::Client,
    pace: Pace,
}

impl Transport {
    /// A client with the settings' certificates and time-outs.
    pub(crate) fn new(config: &SwiftConfig) -> Result<Self> {
        let base = || {
            reqwest::Client::builder()
                .user_agent(concat!("ashlar/", env!("CARGO_PKG_VERSION")))
                .connect_timeout(Duration::from_secs(config.connect_timeout))
                .tcp_nodelay(true)
                // A body on one of many HTTP/2 streams shares its window with the others; connections are cheap here.
                .http1_only()
                // Following a redirect would send the token, and the data, to another host.
                .redirect(reqwest::redirect::Policy::none())
                .tls_danger_accept_invalid_certs(config.insecure)
        };
        let addresses = [&config.auth_url, &config.storage_url];
        let plain = addresses
            .into_iter()
            .flatten()
            .all(|url| url.trim_start().starts_with("http://"));
        let made = if let Some(path) = &config.ca_file {
            base().tls_certs_merge(certificates(path)?).build()
        } else if config.insecure {
            base().tls_certs_only([]).build()
        } else {
            match base().build() {
                // Without TLS a machine needs no store of root certificates.
                Err(_) if plain => base().tls_certs_only([]).build(),
                made => made,
            }
        };
        let client = made.map_err(|e| {
            Error::internal("set up the Swift client", "it cannot be made").caused_by(e)
        })?;
        Ok(Self {
            client,
            pace: config.pace(),
        })
    }

    pub(crate) fn pace(&self) -> Pace {
        self.pace
    }

    /// Sends a request and waits at most `allowed` for its body to be taken and the head of the answer to come.
    pub(crate) async fn head(
        &self,
        request: Request,
        allowed: Duration,
    ) -> Result<Response, Failure> {
        match timeout(allowed, self.client.execute(request)).await {
            Ok(answer) => answer.map_err(|e| Failure::http(&e)),
            Err(_) => Err(Failure::late(allowed)),
        }
    }

    /// The rest of an answer, which may be `most` bytes long.
    pub(crate) async fn body(
        &self,
        response: Response,
        most: usize,
        pace: Pace,
    ) -> Result<Bytes, Failure> {
        let mut body = PacedBody::new(response, pace);
        let mut read = BytesMut::new();
        while let Some(piece) = body.next().await? {
            if read.len() + piece.len() > most {
                return Err(Failure::malformed(format!(
                    "it is longer than {most} bytes"
                )));
            }
            read.extend_from_slice(&piece);
        }
        Ok(read.freeze())
    }
}

fn certificates(path: &Path) -> Result<Vec<Certificate>> {
    const OPERATION: &str = "read ca_file";
    let pem = std::fs::read(path).map_err(|e| Error::io(OPERATION, path.display(), e))?;
    let none = || Error::invalid(OPERATION, "it holds no PEM certificate").on(path.display());
    let certificates = Certificate::from_pem_bundle(&pem).map_err(|e| none().caused_by(e))?;
    if certificates.is_empty() {
        return Err(none());
    }
    Ok(certificates)
}

/// A body that fails when nothing comes for the time-out, or when it has been waited for longer than its bytes may
/// take at the lowest rate. Time in which nobody asks for bytes does not count: a reader may take its own.
pub(crate) struct PacedBody {
    response: Response,
    pace: Pace,
    received: u64,
    waited: Duration,
}

impl PacedBody {
    pub(crate) fn new(response: Response, pace: Pace) -> Self {
        Self {
            response,
            pace,
            received: 0,
            waited: Duration::ZERO,
        }
    }

    pub(crate) async fn next(&mut self) -> Result<Option<Bytes>, Failure> {
        let left = self
            .pace
            .allow(self.received)
            .saturating_sub(self.waited)
            .min(self.pace.timeout);
        let since = Instant::now();
        let Ok(piece) = timeout(left, self.response.chunk()).await else {
            return Err(Failure::late(self.pace.timeout));
        };
        self.waited += since.elapsed();
        let piece = piece.map_err(|e| Failure::http(&e))?;
        self.received += piece.as_ref().map_or(0, |p| p.len() as u64);
        Ok(piece)
    }
}
