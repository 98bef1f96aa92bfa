//! Many deletes in one request, and what its answer says: its status is that of the request, not of the deletes.

use std::collections::HashMap;

use backup_core::ErrorKind;
use bytes::Bytes;
use http::{HeaderMap, Method, StatusCode, header};
use percent_encoding::percent_decode_str;
use serde::Deserialize;

use crate::error::Failure;
use crate::payload::Payload;
use crate::store::Store;
use crate::wire::Ask;

#[derive(Debug, Deserialize)]
struct Report {
    #[serde(rename = "Response Status")]
    status: String,
    #[serde(rename = "Response Body", default)]
    message: String,
    #[serde(rename = "Number Deleted", default)]
    deleted: usize,
    #[serde(rename = "Number Not Found", default)]
    missing: usize,
    #[serde(rename = "Errors", default)]
    errors: Vec<(String, String)>,
}

/// What came of a request that deletes many.
#[derive(Debug)]
pub(crate) struct Outcome {
    /// Those that could not be deleted, by path as it stands in the account: `/container/object`.
    pub(crate) errors: HashMap<String, Failure>,
    /// Deleted or not there.
    pub(crate) gone: usize,
}

/// Deletes objects by their encoded paths. What the answer leaves open is for the caller to see by the count.
pub(crate) async fn delete(store: &Store, paths: &[String]) -> Result<Outcome, Failure> {
    let body = paths.join("\n");
    let ask = Ask::new(Method::POST, "")
        .query("bulk-delete", "true")
        .header(header::CONTENT_TYPE, "text/plain")
        .header(header::ACCEPT, "application/json")
        .payload(Payload::Bytes(body.into()))
        // It answers at once, and tells the outcome once all are done.
        .moving(0);
    let answer = store.wire.send(&ask).await?;
    read(&answer.body)
}

/// Deletes a large object with its segments.
pub(crate) async fn delete_large(store: &Store, path: &str) -> Result<Outcome, Failure> {
    let ask = Ask::new(Method::DELETE, path)
        .query("multipart-manifest", "delete")
        .header(header::ACCEPT, "application/json")
        .moving(0);
    match store.wire.send(&ask).await {
        Ok(answer) => read(&answer.body),
        Err(failure) if failure.is(ErrorKind::NotFound) => Ok(Outcome {
            errors: HashMap::new(),
            gone: 0,
        }),
        Err(failure) => Err(failure),
    }
}

fn read(body: &Bytes) -> Result<Outcome, Failure> {
    let report: Report = serde_json::from_slice(body).map_err(Failure::malformed)?;
    let status = status_of(&report.status);
    let mut errors = HashMap::new();
    for (path, told) in report.errors {
        let path = percent_decode_str(&path).decode_utf8_lossy().into_owned();
        let status = status_of(&told).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let failure = Failure::answer(status, &HeaderMap::new(), told.as_bytes());
        errors.insert(path, failure);
    }
    let gone = report.deleted + report.missing;
    match status {
        Some(status) if status.is_success() => {}
        // Errors of single deletes make it a 400, too.
        _ if gone + errors.len() > 0 => {}
        Some(StatusCode::NOT_FOUND) => {}
        status => {
            let status = status.unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
            return Err(Failure::answer(
                status,
                &HeaderMap::new(),
                report.message.as_bytes(),
            ));
        }
    }
    Ok(Outcome { errors, gone })
}

/// `404 Not Found` and the like.
fn status_of(text: &str) -> Option<StatusCode> {
    text.get(..3)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(text: &str) -> Result<Outcome, Failure> {
        read(&Bytes::from(text.to_owned()))
    }

    #[test]
    fn errors_are_told_for_each_object_though_the_request_succeeded() {
        let outcome = of(
            r#"  {"Number Deleted": 2, "Number Not Found": 1, "Response Status": "400 Bad Request",
            "Response Body": "", "Errors": [["/c/a%20b", "403 Forbidden"], ["/c/d", "503 Service Unavailable"]]}"#,
        );
        let outcome = outcome.unwrap();
        assert_eq!(outcome.gone, 3);
        assert_eq!(outcome.errors["/c/a b"].kind(), ErrorKind::PermissionDenied);
        assert!(outcome.errors["/c/d"].is_passing());
    }

    #[test]
    fn a_request_that_failed_as_a_whole_is_a_failure() {
        let failure = of(
            r#"{"Number Deleted": 0, "Response Status": "502 Bad Gateway", "Response Body": "x", "Errors": []}"#,
        );
        assert!(failure.unwrap_err().is_passing());
        assert!(of("<html>").is_err());
        let gone = of(
            r#"{"Number Deleted": 0, "Number Not Found": 0, "Response Status": "404 Not Found", "Errors": []}"#,
        );
        assert_eq!(gone.unwrap().gone, 0);
    }
}
