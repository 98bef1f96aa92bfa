//! S3's answers, read; its requests, written.

use std::fmt::Write as _;

use quick_xml::escape::escape;
use serde::Deserialize;
use serde::de::DeserializeOwned;

use crate::error::Failure;

/// A page of `ListObjectsV2`.
#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub(crate) struct ObjectPage {
    pub(crate) is_truncated: bool,
    pub(crate) next_continuation_token: Option<String>,
    pub(crate) contents: Vec<Content>,
    pub(crate) common_prefixes: Vec<CommonPrefix>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct Content {
    pub(crate) key: String,
    #[serde(default)]
    pub(crate) size: u64,
    #[serde(default)]
    pub(crate) last_modified: String,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct CommonPrefix {
    pub(crate) prefix: String,
}

/// The answer of `ListBuckets`.
#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub(crate) struct BucketList {
    pub(crate) buckets: Buckets,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub(crate) struct Buckets {
    pub(crate) bucket: Vec<BucketName>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct BucketName {
    pub(crate) name: String,
}

/// A page of `ListMultipartUploads`.
#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub(crate) struct UploadPage {
    pub(crate) is_truncated: bool,
    pub(crate) next_key_marker: Option<String>,
    pub(crate) next_upload_id_marker: Option<String>,
    pub(crate) upload: Vec<UploadEntry>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct UploadEntry {
    pub(crate) key: String,
    pub(crate) upload_id: String,
    #[serde(default)]
    pub(crate) initiated: String,
}

/// The answer of `DeleteObjects`.
#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub(crate) struct DeleteAnswer {
    pub(crate) deleted: Vec<DeletedKey>,
    pub(crate) error: Vec<DeleteError>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct DeletedKey {
    pub(crate) key: String,
}

/// radosgw leaves the message out.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct DeleteError {
    pub(crate) key: String,
    #[serde(default)]
    pub(crate) code: String,
    #[serde(default)]
    pub(crate) message: String,
}

/// Reads the answer whose outermost element is `root`. Another one, a web page's say, would read as an empty answer.
pub(crate) fn read<T: DeserializeOwned>(root: &str, body: &[u8]) -> Result<T, Failure> {
    match outermost(body) {
        Some(name) if name == root => quick_xml::de::from_reader(body).map_err(Failure::malformed),
        Some(name) => Err(Failure::malformed(format!(
            "it is a {name:?}, not a {root}"
        ))),
        None => Err(Failure::malformed(format!("it is no {root}"))),
    }
}

/// The name of an answer's outermost element.
pub(crate) fn outermost(body: &[u8]) -> Option<&str> {
    let text = body.trim_ascii_start();
    let text = match text.strip_prefix(b"<?xml") {
        Some(rest) => {
            let end = rest.windows(2).position(|w| w == b"?>")?;
            rest[end + 2..].trim_ascii_start()
        }
        None => text,
    };
    let name = text.strip_prefix(b"<")?;
    let length = name
        .iter()
        .position(|b| b.is_ascii_whitespace() || matches!(b, b'>' | b'/'))?;
    std::str::from_utf8(&name[..length]).ok()
}

/// The body of `DeleteObjects`.
pub(crate) fn delete_request<'a>(names: impl Iterator<Item = &'a str>) -> String {
    let mut body = String::from(
        "<Delete xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\"><Quiet>false</Quiet>",
    );
    for name in names {
        // Writing to a String cannot fail.
        let _ = write!(body, "<Object><Key>{}</Key></Object>", escape(name));
    }
    body.push_str("</Delete>");
    body
}

/// The body of `CreateBucket` in a region other than the first.
pub(crate) fn create_request(region: &str) -> String {
    format!(
        "<CreateBucketConfiguration xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\">\
         <LocationConstraint>{}</LocationConstraint></CreateBucketConfiguration>",
        escape(region)
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_come_back_as_they_are() {
        let page: ObjectPage = read(
            "ListBucketResult",
            b"<ListBucketResult><Name>b</Name><IsTruncated>true</IsTruncated>\
              <NextContinuationToken>t</NextContinuationToken>\
              <Contents><Key>a//b &amp; c+d %41/</Key><LastModified>2026-11-23T01:02:03.000Z</LastModified>\
              <Size>7</Size></Contents><CommonPrefixes><Prefix>x/</Prefix></CommonPrefixes>\
              <Contents><Key> \xc3\xbc </Key><Size>0</Size></Contents></ListBucketResult>",
        )
        .unwrap();
        assert!(page.is_truncated);
        assert_eq!(page.contents[0].key, "a//b & c+d %41/");
        assert_eq!(page.contents[0].size, 7);
        assert_eq!(page.contents[1].key, " ü ");
        assert_eq!(page.common_prefixes[0].prefix, "x/");
    }

    #[test]
    fn a_delete_error_without_a_message_is_read() {
        let answer: DeleteAnswer = read(
            "DeleteResult",
            b"<DeleteResult><Deleted><Key>a</Key></Deleted>\
              <Error><Key>b</Key><Code>AccessDenied</Code></Error></DeleteResult>",
        )
        .unwrap();
        assert_eq!(answer.deleted.len(), 1);
        assert_eq!(answer.error[0].code, "AccessDenied");
    }

    #[test]
    fn only_the_answer_that_was_asked_for_is_read() {
        assert_eq!(
            outermost(b"<?xml version=\"1.0\"?>\n<A xmlns=\"x\"><B/></A>"),
            Some("A")
        );
        assert_eq!(outermost(b" <A/>"), Some("A"));
        for other in [&b"<html></html>"[..], b"", b"hello", b"<?xml"] {
            assert!(read::<ObjectPage>("ListBucketResult", other).is_err());
        }
    }

    #[test]
    fn a_request_escapes_names() {
        let body = delete_request(["a<&>b"].into_iter());
        assert!(body.contains("<Key>a&lt;&amp;&gt;b</Key>"), "{body}");
    }
}
