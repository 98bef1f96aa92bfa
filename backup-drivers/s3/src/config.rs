//! The settings of a repository of `type = "s3"`.

use std::path::{Path, PathBuf};
use std::time::Duration;

use backup_core::{ContainerName, Error, Result, Secret};
use serde::{Deserialize, Serialize};
use url::Url;

/// How the server is told what bytes to expect, so that it refuses what was damaged on the way.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum ChecksumKind {
    /// The SHA-256 that the request's signature covers. Every server that knows signature version 4 checks it, old
    /// gateways too.
    #[default]
    Signature,
    /// A `Content-MD5` header and an unsigned body.
    ContentMd5,
    /// The signature's, and an `x-amz-checksum-sha256` that the server keeps with the object.
    Sha256,
    /// The signature's, and an `x-amz-checksum-crc64nvme` that the server keeps with the object.
    Crc64nvme,
    /// None: only where TLS and the disks are trusted.
    None,
}

/// Encryption at rest, by the server.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Encryption {
    /// With the server's own keys (`AES256`).
    S3,
    /// With a key of the key management service, `sse_kms_key_id` or its default (`aws:kms`).
    Kms,
    /// The same in two layers (`aws:kms:dsse`).
    KmsDsse,
    /// With `sse_customer_key`, which the server does not keep: without it the backups are lost.
    Customer,
}

/// Settings of an S3 repository. All have a default; a bare `type = "s3"` is Amazon's S3 with the credentials of the
/// environment or of the instance. Written out by serde, it leaves its secrets out.
// Each is a setting of its own, not a state of one.
#[allow(clippy::struct_excessive_bools)]
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
#[non_exhaustive]
pub struct S3Config {
    /// The server: `https://s3.example.org` or `http://10.0.0.1:7480`. Without it: Amazon's of that region.
    pub endpoint_url: Option<String>,
    /// The default container.
    pub bucket: String,
    /// The region that requests are signed for: default `AWS_REGION`, `AWS_DEFAULT_REGION`, the profile's, `us-east-1`.
    pub region: Option<String>,
    /// The access key's ID.
    pub access_key: Option<String>,
    /// The secret key.
    #[serde(skip_serializing)]
    pub secret_key: Option<Secret>,
    /// A file that holds the secret key and nothing else.
    pub secret_key_file: Option<PathBuf>,
    /// The token that comes with temporary keys.
    #[serde(skip_serializing)]
    pub session_token: Option<Secret>,
    /// A file that holds that token.
    pub session_token_file: Option<PathBuf>,
    /// A section of the shared credentials file, where `access_key` is not set.
    pub profile: Option<String>,
    /// The shared credentials file: default `AWS_SHARED_CREDENTIALS_FILE`, then `~/.aws/credentials`.
    pub credentials_file: Option<PathBuf>,
    /// `https://BUCKET.host/` in place of `https://host/BUCKET/`.
    pub virtual_host_style: bool,
    /// Certificates (PEM) to trust beside the system's.
    pub ca_file: Option<PathBuf>,
    /// Trusts any certificate. For tests only.
    pub insecure: bool,
    /// What the server checks of what arrives.
    pub checksum: ChecksumKind,
    /// Encryption at rest.
    pub sse: Option<Encryption>,
    /// The key for `sse = "kms"` or `"kms-dsse"`.
    pub sse_kms_key_id: Option<String>,
    /// The key for `sse = "customer"`: 32 bytes in base64.
    #[serde(skip_serializing)]
    pub sse_customer_key: Option<Secret>,
    /// A file that holds that key.
    pub sse_customer_key_file: Option<PathBuf>,
    /// The storage class of what is stored: `STANDARD_IA` ...; archives that need a thaw cannot be restored from.
    pub storage_class: Option<String>,
    /// Seconds until a connection must stand.
    pub connect_timeout: u64,
    /// Seconds without an answer, or without a byte of it, after which a request has failed. What a body's length
    /// adds is governed by `min_rate`.
    pub timeout: u64,
    /// Bytes a second below which a transfer counts as stuck.
    pub min_rate: u64,
    /// How often a request is repeated.
    pub retries: usize,
    /// Seconds after its first try from which on a request is not repeated.
    pub retry_timeout: u64,
    /// Whether a missing bucket is made.
    pub create_containers: bool,
    /// Whether objects are deleted a thousand at a time; a gateway that cannot is told by itself.
    pub bulk_delete: bool,
    /// Whether the server knows `If-None-Match: *` on a put. Without it, one who must not overwrite only looks first.
    pub conditional_put: bool,
    /// Bytes of a part of a multipart upload, 5 MiB to 5 GiB.
    pub part_size: u64,
    /// Requests in flight at once.
    pub requests: usize,
    /// The backup service's availability zone, a part of every prefix.
    pub availability_zone: String,
}

impl Default for S3Config {
    fn default() -> Self {
        Self {
            endpoint_url: None,
            bucket: "volumebackups".into(),
            region: None,
            access_key: None,
            secret_key: None,
            secret_key_file: None,
            session_token: None,
            session_token_file: None,
            profile: None,
            credentials_file: None,
            virtual_host_style: false,
            ca_file: None,
            insecure: false,
            checksum: ChecksumKind::default(),
            sse: None,
            sse_kms_key_id: None,
            sse_customer_key: None,
            sse_customer_key_file: None,
            storage_class: None,
            connect_timeout: 10,
            timeout: 60,
            min_rate: 256 << 10,
            retries: 10,
            retry_timeout: 120,
            create_containers: true,
            bulk_delete: true,
            conditional_put: true,
            part_size: 16 << 20,
            requests: 16,
            availability_zone: "nova".into(),
        }
    }
}

const CHECK: &str = "read S3 settings";

impl S3Config {
    /// Settings for the server at `endpoint_url`.
    pub fn new(endpoint_url: impl Into<String>) -> Self {
        Self {
            endpoint_url: Some(endpoint_url.into()),
            ..Self::default()
        }
    }

    /// With this key pair.
    pub fn with_keys(mut self, access_key: impl Into<String>, secret: impl Into<String>) -> Self {
        self.access_key = Some(access_key.into());
        self.secret_key = Some(Secret::new(secret));
        self
    }

    /// With another default container.
    pub fn with_bucket(mut self, bucket: impl Into<String>) -> Self {
        self.bucket = bucket.into();
        self
    }

    /// Checks what can be checked without asking anyone.
    pub(crate) fn check(&self) -> Result<()> {
        if !is_bucket_name(&self.bucket) {
            return refuse(format!("bucket {:?} is no bucket name", self.bucket));
        }
        let times = [
            ("connect_timeout", self.connect_timeout),
            ("timeout", self.timeout),
            ("min_rate", self.min_rate),
        ];
        if let Some((name, _)) = times.iter().find(|(_, value)| *value == 0) {
            return refuse(format!("{name} must not be 0"));
        }
        if !(5 << 20..=5 << 30).contains(&self.part_size) {
            return refuse("part_size must lie between 5 MiB and 5 GiB");
        }
        let zone = &self.availability_zone;
        if zone.is_empty() || zone.contains('/') {
            return refuse(format!("availability_zone {zone:?} makes no prefix"));
        }
        match self.sse {
            Some(Encryption::Customer)
                if self.sse_customer_key.is_none() && self.sse_customer_key_file.is_none() =>
            {
                return refuse("sse = \"customer\" needs sse_customer_key");
            }
            Some(Encryption::KmsDsse) if self.sse_kms_key_id.is_none() => {
                return refuse("sse = \"kms-dsse\" needs sse_kms_key_id");
            }
            _ => {}
        }
        self.endpoint().map(|_| ())
    }

    /// The server's address, checked.
    pub(crate) fn endpoint(&self) -> Result<Option<Url>> {
        let Some(text) = &self.endpoint_url else {
            return Ok(None);
        };
        // The text itself is not told: someone may have put a password into it.
        let wrong = |why: &str| {
            Err(Error::invalid(CHECK, format!("endpoint_url {why}"))
                .hint("write it like https://s3.example.org:8080"))
        };
        let Ok(url) = Url::parse(text) else {
            return wrong("is not a URL");
        };
        if !matches!(url.scheme(), "http" | "https") || !url.has_host() {
            return wrong("must begin with http:// or https://");
        }
        if !url.username().is_empty() || url.password().is_some() {
            return wrong("must not hold a user or password; use access_key and secret_key");
        }
        if url.query().is_some() || url.fragment().is_some() {
            return wrong("must not hold a query or fragment");
        }
        Ok(Some(url))
    }

    pub(crate) fn default_container(&self) -> Result<ContainerName> {
        ContainerName::new(self.bucket.clone())
    }

    pub(crate) fn secret_key(&self) -> Result<Option<Secret>> {
        either(
            "secret_key",
            self.secret_key.as_ref(),
            self.secret_key_file.as_deref(),
        )
    }

    pub(crate) fn session_token(&self) -> Result<Option<Secret>> {
        let file = self.session_token_file.as_deref();
        either("session_token", self.session_token.as_ref(), file)
    }

    pub(crate) fn sse_customer_key(&self) -> Result<Option<Secret>> {
        let file = self.sse_customer_key_file.as_deref();
        either("sse_customer_key", self.sse_customer_key.as_ref(), file)
    }

    pub(crate) fn pace(&self) -> Pace {
        Pace {
            timeout: Duration::from_secs(self.timeout),
            min_rate: self.min_rate,
        }
    }
}

/// How long a transfer may take.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Pace {
    pub(crate) timeout: Duration,
    pub(crate) min_rate: u64,
}

impl Pace {
    /// The time for `bytes`: the time-out, and what they take at the lowest rate.
    pub(crate) fn allow(&self, bytes: u64) -> Duration {
        self.timeout
            .saturating_add(Duration::from_secs(bytes / self.min_rate.max(1)))
    }
}

/// Whether a bucket can have this name. Wider than Amazon's rule, since old gateways are; but nothing that could turn
/// into another path of the URL.
pub(crate) fn is_bucket_name(name: &str) -> bool {
    (1..=255).contains(&name.len())
        && !name.starts_with('.')
        && name
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.'))
}

fn refuse<T>(why: impl Into<String>) -> Result<T> {
    Err(Error::invalid(CHECK, why))
}

fn either(name: &str, text: Option<&Secret>, file: Option<&Path>) -> Result<Option<Secret>> {
    Secret::from_setting(CHECK, name, text, file)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unknown_setting_is_refused_by_name() {
        let error = toml::from_str::<S3Config>("buckett = \"x\"").unwrap_err();
        assert!(error.to_string().contains("buckett"));
    }

    #[test]
    fn a_bare_section_has_cinders_defaults() {
        let config: S3Config = toml::from_str("").unwrap();
        config.check().unwrap();
        assert_eq!(config.bucket, "volumebackups");
        assert_eq!(config.availability_zone, "nova");
    }

    #[test]
    fn it_is_read_as_one_of_several_types() {
        #[derive(Debug, Deserialize)]
        #[serde(tag = "type", rename_all = "lowercase")]
        enum Repository {
            S3(Box<S3Config>),
        }
        let text =
            "type = \"s3\"\nbucket = \"b\"\nsse = \"kms\"\nchecksum = \"content-md5\"\nretries = 3";
        let Repository::S3(config) = toml::from_str(text).unwrap();
        assert_eq!((config.bucket.as_str(), config.retries), ("b", 3));
        let error = toml::from_str::<Repository>("type = \"s3\"\nbuckett = \"b\"").unwrap_err();
        assert!(error.to_string().contains("buckett"), "{error}");
    }

    #[test]
    fn secrets_are_not_shown() {
        let text = "access_key = \"AK\"\nsecret_key = \"hush1\"\nsession_token = \"hush2\"\n\
                    sse = \"customer\"\nsse_customer_key = \"hush3\"";
        let config: S3Config = toml::from_str(text).unwrap();
        let shown = format!("{config:?} {}", toml::to_string(&config).unwrap());
        assert!(!shown.contains("hush"), "{shown}");
        assert!(shown.contains("AK"));
    }

    #[test]
    fn a_password_in_the_endpoint_is_refused_and_not_told() {
        let error = S3Config::new("http://me:hush@host").check().unwrap_err();
        assert!(!format!("{error} {error:?}").contains("hush"));
        assert!(error.to_string().contains("secret_key"));
    }

    #[test]
    fn a_secret_comes_from_a_file_without_its_line_end() {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), "hush\n").unwrap();
        let mut config = S3Config {
            secret_key_file: Some(file.path().into()),
            ..S3Config::default()
        };
        assert_eq!(config.secret_key().unwrap().unwrap().expose(), "hush");
        config.secret_key = Some(Secret::new("other"));
        assert!(config.secret_key().is_err());
    }

    #[test]
    fn deadlines_grow_with_the_size() {
        let pace = S3Config::default().pace();
        assert_eq!(pace.allow(0).as_secs(), 60);
        assert_eq!(pace.allow(52_428_800).as_secs(), 260);
        assert!(pace.allow(u64::MAX).as_secs() > 1 << 40);
    }

    #[test]
    fn a_bucket_name_cannot_become_another_path() {
        for bad in ["", "a/b", "..", ".x", "a b", "a?b", "a%2f", "ü"] {
            assert!(!is_bucket_name(bad), "{bad:?}");
        }
        for good in ["volumebackups", "Old_Gateway", "a.b-c"] {
            assert!(is_bucket_name(good), "{good:?}");
        }
    }
}
