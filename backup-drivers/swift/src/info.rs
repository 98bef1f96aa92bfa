//! What the server can take and do, as it tells at `/info`.

use bytes::Bytes;
use http::Method;
use reqwest::Request;
use serde::Deserialize;
use url::Url;

use crate::error::Failure;
use crate::wire::Wire;

/// Swift's default for the largest object of one put: 5 GiB.
pub(crate) const MOST_PUT: u64 = 5 << 30;
/// Swift's default for the segments of a static large object.
pub(crate) const MOST_SEGMENTS: u64 = 1000;
const LONGEST_ANSWER: usize = 1 << 20;

/// What the server can take and do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Info {
    /// Bytes of the largest object of one put.
    pub(crate) most_put: u64,
    /// Segments of a static large object; none where it has no such.
    pub(crate) most_segments: Option<u64>,
    /// Objects of one bulk delete; none where it has no such.
    pub(crate) bulk_delete: Option<usize>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Body {
    swift: Swift,
    slo: Option<Slo>,
    bulk_delete: Option<BulkDelete>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Swift {
    max_file_size: Option<u64>,
}

#[derive(Deserialize)]
struct Slo {
    #[serde(default)]
    max_manifest_segments: Option<u64>,
}

#[derive(Deserialize)]
struct BulkDelete {
    #[serde(default)]
    max_deletes_per_request: Option<usize>,
}

impl Info {
    /// Where a server does not tell: Swift's defaults, and no bulk delete.
    pub(crate) fn unknown() -> Self {
        Self {
            most_put: MOST_PUT,
            most_segments: Some(MOST_SEGMENTS),
            bulk_delete: None,
        }
    }

    fn read(body: &Bytes) -> Result<Self, Failure> {
        let body: Body = serde_json::from_slice(body).map_err(Failure::malformed)?;
        let most = body.swift.max_file_size.filter(|size| *size > 0);
        Ok(Self {
            // Swift's own default is 2 bytes more than 5 GiB.
            most_put: most.unwrap_or(MOST_PUT),
            most_segments: body.slo.map(|slo| {
                let most = slo.max_manifest_segments.filter(|most| *most > 0);
                most.unwrap_or(MOST_SEGMENTS)
            }),
            bulk_delete: body.bulk_delete.map(|bulk| {
                let most = bulk.max_deletes_per_request.filter(|most| *most > 0);
                most.unwrap_or(1000)
            }),
        })
    }
}

/// Asks the server. One that does not tell is answered for with the defaults; only one in trouble is a failure.
pub(crate) async fn ask(wire: &Wire) -> Result<Info, Failure> {
    let session = wire.account.session().await?;
    let url = address(&session.storage)?;
    let mut tries = wire.retry.brief().start();
    loop {
        let request = Request::new(Method::GET, url.clone());
        let answered = async {
            let transport = &wire.transport;
            let response = transport.head(request, transport.pace().timeout).await?;
            let (status, headers) = (response.status(), response.headers().clone());
            let body = transport
                .body(response, LONGEST_ANSWER, transport.pace())
                .await?;
            if status.is_success() {
                return Info::read(&body);
            }
            Err(Failure::answer(status, &headers, &[]))
        };
        match answered.await {
            Ok(info) => return Ok(info),
            Err(failure) if failure.is_passing() => tries.after(failure).await?,
            Err(failure) => {
                tracing::debug!(%url, %failure, "the server does not tell its limits");
                return Ok(Info::unknown());
            }
        }
    }
}

/// `https://host/v1/AUTH_account` tells at `https://host/info`, radosgw's `http://host/swift/v1` at
/// `http://host/swift/info`.
fn address(storage: &str) -> Result<Url, Failure> {
    let mut url = Url::parse(storage).map_err(Failure::malformed)?;
    let base = url
        .path()
        .rfind("/v1")
        .map(|at| url.path()[..at].to_owned());
    url.set_path(&format!("{}/info", base.unwrap_or_default()));
    Ok(url)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_lies_beside_the_version() {
        let at = |storage| address(storage).unwrap().to_string();
        assert_eq!(at("http://h:8080/v1/AUTH_a"), "http://h:8080/info");
        assert_eq!(at("http://h:7480/swift/v1"), "http://h:7480/swift/info");
        assert_eq!(at("https://h/elsewhere"), "https://h/info");
    }

    #[test]
    fn what_a_server_tells_is_used_and_the_rest_is_swifts_default() {
        let read = |text: &'static str| Info::read(&Bytes::from_static(text.as_bytes())).unwrap();
        let all = read(
            r#"{"swift": {"max_file_size": 5368709122, "version": "2.38"},
                "slo": {"max_manifest_segments": 500, "min_segment_size": 1},
                "bulk_delete": {"max_deletes_per_request": 10000}}"#,
        );
        assert_eq!(all.most_put, 5_368_709_122);
        assert_eq!(all.most_segments, Some(500));
        assert_eq!(all.bulk_delete, Some(10_000));
        let none = read("{}");
        assert_eq!(none.most_put, MOST_PUT);
        assert_eq!((none.most_segments, none.bulk_delete), (None, None));
        assert!(Info::read(&Bytes::from_static(b"<html>")).is_err());
    }
}
