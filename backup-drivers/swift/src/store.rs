//! What all calls share: the wire, the server's limits, containers, and single puts.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use backup_core::{ContainerName, Error, ErrorKind, ObjectKey, Result};
use http::{HeaderMap, HeaderName, Method, header};
use tokio::sync::OnceCell;

use crate::config::SwiftConfig;
use crate::error::Failure;
use crate::info::{self, Info};
use crate::payload::Payload;
use crate::retry::{Retry, Tries};
use crate::sums::Sums;
use crate::wire::{Answer, Ask, Wire, container_path, in_container};

const STATIC_LARGE_OBJECT: &str = "x-static-large-object";

/// An account, and what the settings say about it.
#[derive(Debug)]
pub(crate) struct Store {
    pub(crate) wire: Wire,
    pub(crate) segment_size: u64,
    pub(crate) bulk_delete: bool,
    create_containers: bool,
    storage_policy: Option<String>,
    segment_container: Option<ContainerName>,
    max_object_size: Option<u64>,
    info: OnceCell<Info>,
    pub(crate) sums: Arc<Sums>,
    /// Whether the server takes a manifest only without an ETag.
    pub(crate) bare_manifests: AtomicBool,
}

/// What a HEAD tells of an object.
#[derive(Debug, Clone)]
pub(crate) struct Head {
    pub(crate) length: u64,
    pub(crate) etag: String,
    /// Whether it is the manifest of a static large object.
    pub(crate) is_large: bool,
}

impl Store {
    pub(crate) fn new(config: &SwiftConfig, wire: Wire) -> Result<Self> {
        let segments = config.segment_container.clone();
        Ok(Self {
            wire,
            segment_size: config.segment_size,
            bulk_delete: config.bulk_delete,
            create_containers: config.create_containers,
            storage_policy: config.storage_policy.clone(),
            segment_container: segments.map(ContainerName::new).transpose()?,
            max_object_size: config.max_object_size,
            info: OnceCell::new(),
            sums: Arc::default(),
            bare_manifests: AtomicBool::new(false),
        })
    }

    /// What the server can take; asked once.
    pub(crate) async fn info(&self) -> Result<Info, Failure> {
        let mut info = *self.info.get_or_try_init(|| info::ask(&self.wire)).await?;
        if let Some(most) = self.max_object_size {
            info.most_put = most;
        }
        Ok(info)
    }

    /// The largest object of one put that may be counted on before the server has been asked.
    pub(crate) fn likely_most_put(&self) -> u64 {
        let told = self.info.get().map_or(info::MOST_PUT, |info| info.most_put);
        self.max_object_size.unwrap_or(told)
    }

    /// The container for the segments of large objects in `container`.
    pub(crate) fn segment_container(&self, container: &ContainerName) -> Result<ContainerName> {
        match &self.segment_container {
            Some(segments) if segments == container => Err(Error::invalid(
                "store large object",
                "its container is the one for segments",
            )
            .on(container)),
            Some(segments) => Ok(segments.clone()),
            None => ContainerName::new(format!("{container}_segments")),
        }
    }

    pub(crate) fn is_segment_container(&self, container: &ContainerName) -> bool {
        self.segment_container.as_ref() == Some(container)
    }

    /// Whether an object of so many bytes needs segments. Asks the server for its limit only where that may matter.
    pub(crate) async fn may_be_large(&self, length: u64) -> Result<bool, Failure> {
        const SURE: u64 = 1 << 20;
        if length <= SURE.min(self.likely_most_put()) {
            return Ok(false);
        }
        Ok(length > self.info().await?.most_put)
    }

    pub(crate) async fn has_container(&self, container: &ContainerName) -> Result<bool> {
        let path = container_path(container)?;
        match self.wire.send(&Ask::new(Method::HEAD, path)).await {
            Ok(_) => Ok(true),
            Err(failure) if failure.is(ErrorKind::NotFound) => Ok(false),
            Err(failure) => Err(failure.into_error("look up container", container)),
        }
    }

    pub(crate) async fn ensure_container(&self, container: &ContainerName) -> Result<()> {
        if self.has_container(container).await? {
            return Ok(());
        }
        if !self.create_containers {
            return Err(Error::new(ErrorKind::NotFound, "look up container")
                .on(container)
                .because("it does not exist")
                .hint("make the container, or set create_containers = true"));
        }
        tracing::info!(%container, "make container");
        let mut ask = Ask::new(Method::PUT, container_path(container)?);
        if let Some(policy) = &self.storage_policy {
            let name = HeaderName::from_static("x-storage-policy");
            ask = ask.header(name, policy);
        }
        match self.wire.send(&ask).await {
            Ok(_) => Ok(()),
            Err(failure) => {
                let of_policy = failure.status() == 400 && self.storage_policy.is_some();
                let error = failure.into_error("make container", container);
                Err(if of_policy {
                    error.hint("check storage_policy: the server must have a policy of that name")
                } else {
                    error
                })
            }
        }
    }

    /// Stores an object by one put, which is atomic. The server checks the bytes by their MD5, and its answer is
    /// checked.
    pub(crate) async fn put(
        &self,
        path: &str,
        payload: Payload,
        md5: &str,
        condition: Option<(HeaderName, &'static str)>,
        tries: &mut Tries,
    ) -> Result<(), Failure> {
        let mut ask = Ask::new(Method::PUT, path)
            .header(header::ETAG, md5)
            .header(header::CONTENT_TYPE, "application/octet-stream")
            .payload(payload);
        if let Some((name, value)) = condition {
            ask = ask.header(name, value);
        }
        loop {
            let answer = self.wire.send_in(&ask, tries).await?;
            match etag(&answer.headers) {
                Some(stored) if stored != md5 => {
                    let failure = Failure::broken(
                        "the server stored other bytes than were sent: its ETag differs",
                    );
                    tries.after(failure).await?;
                }
                _ => return Ok(()),
            }
        }
    }

    pub(crate) async fn head(&self, path: &str) -> Result<Head, Failure> {
        let Answer { headers, .. } = self.wire.send(&Ask::new(Method::HEAD, path)).await?;
        let length = headers.get(header::CONTENT_LENGTH);
        let length = length.and_then(|v| v.to_str().ok()?.parse().ok());
        Ok(Head {
            length: length.ok_or_else(|| Failure::malformed("it tells no length"))?,
            etag: etag(&headers).unwrap_or_default(),
            is_large: is_large(&headers),
        })
    }

    pub(crate) fn tries(&self) -> Tries {
        self.retry().start()
    }

    fn retry(&self) -> Retry {
        self.wire.retry
    }
}

/// Whether the headers are those of a static large object.
pub(crate) fn is_large(headers: &HeaderMap) -> bool {
    let told = headers.get(STATIC_LARGE_OBJECT);
    told.is_some_and(|v| v.as_bytes().eq_ignore_ascii_case(b"true"))
}

/// The ETag without the quotes that some servers put around it.
pub(crate) fn etag(headers: &HeaderMap) -> Option<String> {
    let text = headers.get(header::ETAG)?.to_str().ok()?;
    Some(text.trim_matches('"').to_owned())
}

/// The error of a put into `key`.
pub(crate) fn put_failed(failure: Failure, key: &ObjectKey) -> Error {
    in_container(failure, "put object", key)
}
