//! The requests that object_store does not make, or makes in a way that a backup repository cannot use: buckets
//! (looked up, made, listed), listings by any beginning with names as they are, deletes with a result for each key,
//! unfinished uploads. Signed by object_store's own authorizer, over the same connections.

use std::collections::HashMap;
use std::fmt::Write as _;
use std::time::Duration;

use backup_core::ErrorKind;
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use bytes::{Bytes, BytesMut};
use futures::StreamExt;
use http::{HeaderMap, HeaderValue, Method, StatusCode, Uri};
use md5::{Digest, Md5};
use object_store::aws::{AwsAuthorizer, AwsCredentialProvider};
use object_store::client::{HttpClient, HttpErrorKind, HttpRequestBody};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use tokio::time::Instant;
use url::Url;

use crate::error::Failure;
use crate::retry::Retry;
use crate::xml::{self, BucketList, DeleteAnswer, ObjectPage, UploadPage};

/// Longest answer that is read: a page of 1000 names of 1024 bytes, all of them escaped, fits.
const LONGEST_ANSWER: usize = 32 << 20;

/// What need not be encoded in a query, by the rules of the signature.
const UNRESERVED: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'_')
    .remove(b'.')
    .remove(b'~');

const IN_PATH: &AsciiSet = &UNRESERVED.remove(b'/');

/// Where buckets are found.
#[derive(Debug, Clone)]
pub(crate) struct Address {
    /// The server.
    pub(crate) endpoint: Url,
    /// `https://BUCKET.host/` in place of `https://host/BUCKET/`.
    pub(crate) virtual_host: bool,
}

impl Address {
    /// The bucket's URL, without a slash at the end. `bucket` has been checked.
    pub(crate) fn bucket(&self, bucket: &str) -> String {
        let base = self.endpoint.as_str().trim_end_matches('/');
        if !self.virtual_host {
            return format!("{base}/{bucket}");
        }
        match base.split_once("://") {
            Some((scheme, host)) => format!("{scheme}://{bucket}.{host}"),
            None => format!("{base}/{bucket}"),
        }
    }
}

/// Makes signed requests.
#[derive(Debug, Clone)]
pub(crate) struct Wire {
    pub(crate) http: HttpClient,
    pub(crate) credentials: AwsCredentialProvider,
    pub(crate) region: String,
    pub(crate) address: Address,
    pub(crate) retry: Retry,
}

struct Answer {
    status: StatusCode,
    headers: HeaderMap,
    body: Bytes,
}

type Query<'a> = &'a [(&'a str, &'a str)];

impl Wire {
    /// Whether the bucket is there and may be listed: an answer with a reason, which a HEAD would not give.
    pub(crate) async fn probe(&self, bucket: &str) -> Result<(), Failure> {
        let brief = Self {
            retry: self.retry.brief(),
            ..self.clone()
        };
        let page = brief.objects(bucket, "", None, None, Some(1)).await;
        page.map(|_| ())
    }

    /// Makes a bucket. One that we have already is success.
    pub(crate) async fn create_bucket(&self, bucket: &str) -> Result<(), Failure> {
        let url = self.address.bucket(bucket);
        // Only Amazon must be told the region; gateways know no other and may refuse the name of one.
        let amazon = self
            .address
            .endpoint
            .host_str()
            .is_some_and(|host| host.ends_with(".amazonaws.com"));
        let located = Bytes::from(xml::create_request(&self.region));
        let body = if amazon && self.region != "us-east-1" {
            located.clone()
        } else {
            Bytes::new()
        };
        let mut made = self.send(Method::PUT, &url, &[], body).await;
        if let Err(failure) = &made
            && failure.code() == "IllegalLocationConstraintException"
        {
            made = self.send(Method::PUT, &url, &[], located).await;
        }
        match made {
            Err(failure) if failure.code() == "BucketAlreadyOwnedByYou" => Ok(()),
            made => made.map(|_| ()),
        }
    }

    /// The names of all buckets that the key's owner has.
    pub(crate) async fn buckets(&self) -> Result<Vec<String>, Failure> {
        let url = self.address.endpoint.as_str().to_owned();
        let answer = self.send(Method::GET, &url, &[], Bytes::new()).await?;
        let list: BucketList = xml::read("ListAllMyBucketsResult", &answer)?;
        Ok(list.buckets.bucket.into_iter().map(|b| b.name).collect())
    }

    /// A page of the objects whose names begin with `prefix`.
    pub(crate) async fn objects(
        &self,
        bucket: &str,
        prefix: &str,
        delimiter: Option<&str>,
        token: Option<&str>,
        most: Option<usize>,
    ) -> Result<ObjectPage, Failure> {
        let most = most.map(|n| n.to_string());
        let mut query = vec![("list-type", "2"), ("prefix", prefix)];
        query.extend(delimiter.map(|d| ("delimiter", d)));
        query.extend(token.map(|t| ("continuation-token", t)));
        query.extend(most.as_deref().map(|n| ("max-keys", n)));
        let url = self.address.bucket(bucket);
        let answer = self.send(Method::GET, &url, &query, Bytes::new()).await?;
        xml::read("ListBucketResult", &answer)
    }

    /// Deletes up to 1000 objects. A key that the answer does not name is in neither list.
    pub(crate) async fn delete(
        &self,
        bucket: &str,
        names: &[&str],
    ) -> Result<HashMap<String, Result<(), Failure>>, Failure> {
        let body = Bytes::from(xml::delete_request(names.iter().copied()));
        let url = self.address.bucket(bucket);
        let answer = self
            .send(Method::POST, &url, &[("delete", "")], body)
            .await?;
        let answer: DeleteAnswer = xml::read("DeleteResult", &answer)?;
        let mut results = HashMap::with_capacity(names.len());
        for deleted in answer.deleted {
            results.insert(deleted.key, Ok(()));
        }
        for error in answer.error {
            let failure = Failure::Answer {
                status: 0,
                code: error.code,
                message: error.message,
            };
            // One that is gone is what was wanted.
            let result = if failure.kind() == ErrorKind::NotFound {
                Ok(())
            } else {
                Err(failure)
            };
            results.insert(error.key, result);
        }
        Ok(results)
    }

    /// A page of unfinished uploads of objects whose names begin with `prefix`.
    pub(crate) async fn uploads(
        &self,
        bucket: &str,
        prefix: &str,
        after: Option<(&str, &str)>,
    ) -> Result<UploadPage, Failure> {
        let mut query = vec![("uploads", ""), ("prefix", prefix)];
        if let Some((key, id)) = after {
            query.push(("key-marker", key));
            query.push(("upload-id-marker", id));
        }
        let url = self.address.bucket(bucket);
        let answer = self.send(Method::GET, &url, &query, Bytes::new()).await?;
        xml::read("ListMultipartUploadsResult", &answer)
    }

    /// Drops an unfinished upload. One that is gone is success.
    pub(crate) async fn abort(&self, bucket: &str, key: &str, id: &str) -> Result<(), Failure> {
        let path = utf8_percent_encode(key, IN_PATH).to_string();
        let url = format!("{}/{path}", self.address.bucket(bucket));
        match self
            .send(Method::DELETE, &url, &[("uploadId", id)], Bytes::new())
            .await
        {
            Err(failure) if failure.kind() == ErrorKind::NotFound => Ok(()),
            done => done.map(|_| ()),
        }
    }

    /// Every request here may be repeated: each asks, makes or removes, and does the same the second time.
    async fn send(
        &self,
        method: Method,
        url: &str,
        query: Query<'_>,
        body: Bytes,
    ) -> Result<Bytes, Failure> {
        let start = Instant::now();
        let mut tries = 0;
        loop {
            let (failure, wait) = match self.once(&method, url, query, body.clone()).await {
                Ok(answer) if answer.status.is_success() => {
                    // A 200 may carry an error, after a long wait.
                    if xml::outermost(&answer.body) != Some("Error") {
                        return Ok(answer.body);
                    }
                    let text = String::from_utf8_lossy(&answer.body);
                    (Failure::answer(500, &text), None)
                }
                Ok(answer) => {
                    let text = String::from_utf8_lossy(&answer.body);
                    let failure = Failure::answer(answer.status.as_u16(), &text);
                    (failure, retry_after(&answer.headers))
                }
                Err(failure) => (failure, None),
            };
            if !failure.is_passing() || !self.retry.again(tries, start.elapsed()) {
                return Err(failure);
            }
            tokio::time::sleep(Retry::wait(tries, wait)).await;
            tries += 1;
        }
    }

    async fn once(
        &self,
        method: &Method,
        url: &str,
        query: Query<'_>,
        body: Bytes,
    ) -> Result<Answer, Failure> {
        let mut full = url.to_owned();
        for (n, (name, value)) in query.iter().enumerate() {
            let value = utf8_percent_encode(value, UNRESERVED);
            // Writing to a String cannot fail.
            let _ = write!(full, "{}{name}={value}", if n == 0 { '?' } else { '&' });
        }
        let uri: Uri = full.parse().map_err(Failure::malformed)?;
        let md5 = BASE64_STANDARD.encode(Md5::digest(&body));
        let length = body.len();
        let mut request = http::Request::new(HttpRequestBody::from(body));
        *request.method_mut() = method.clone();
        *request.uri_mut() = uri;
        if length > 0 {
            let headers = request.headers_mut();
            headers.insert("content-type", HeaderValue::from_static("application/xml"));
            // DeleteObjects must have it; for the others it does no harm.
            let value = HeaderValue::from_str(&md5).map_err(Failure::malformed)?;
            headers.insert("content-md5", value);
        }
        let keys = self.credentials.get_credential().await;
        let keys = keys.map_err(|e| Failure::store(&e))?;
        AwsAuthorizer::new(&keys, "s3", &self.region)
            .try_authorize(&mut request, None)
            .map_err(|e| Failure::store(&e))?;
        let answer = self.http.execute(request).await;
        let (parts, body) = answer.map_err(|e| Failure::http(&e))?.into_parts();
        let mut read = BytesMut::new();
        let mut stream = body.bytes_stream();
        while let Some(piece) = stream.next().await {
            let piece = piece.map_err(|e| Failure::http(&e))?;
            if read.len() + piece.len() > LONGEST_ANSWER {
                return Err(Failure::Broken {
                    kind: HttpErrorKind::Decode,
                    reason: format!("the answer is longer than {LONGEST_ANSWER} bytes"),
                });
            }
            read.extend_from_slice(&piece);
        }
        Ok(Answer {
            status: parts.status,
            headers: parts.headers,
            body: read.freeze(),
        })
    }
}

fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let seconds = headers.get("retry-after")?.to_str().ok()?.trim();
    seconds.parse().ok().map(Duration::from_secs)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bucket_lies_in_the_path_or_in_the_host() {
        let mut address = Address {
            endpoint: Url::parse("http://h:7480/s3/").unwrap(),
            virtual_host: false,
        };
        assert_eq!(address.bucket("b"), "http://h:7480/s3/b");
        address.virtual_host = true;
        assert_eq!(address.bucket("b"), "http://b.h:7480/s3");
    }
}
