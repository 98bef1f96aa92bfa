//! Where the keys come from: the settings, a profile of the shared credentials file, the environment, a web identity,
//! the container's or the instance's metadata; the first that has any.

use std::env;
use std::path::PathBuf;

use backup_core::{Error, Result, Secret};
use http::Uri;
use object_store::aws::{AmazonS3Builder, AmazonS3ConfigKey as Key};

use url::Url;

use crate::config::S3Config;

/// What of the environment has to do with credentials. The rest (`AWS_ENDPOINT`, `AWS_BUCKET` ...) is not ours to
/// follow: what is in the settings stands.
const ENVIRONMENT: [(&str, Key); 10] = [
    ("AWS_ACCESS_KEY_ID", Key::AccessKeyId),
    ("AWS_SECRET_ACCESS_KEY", Key::SecretAccessKey),
    ("AWS_SESSION_TOKEN", Key::Token),
    ("AWS_WEB_IDENTITY_TOKEN_FILE", Key::WebIdentityTokenFile),
    ("AWS_ROLE_ARN", Key::RoleArn),
    ("AWS_ROLE_SESSION_NAME", Key::RoleSessionName),
    (
        "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI",
        Key::ContainerCredentialsRelativeUri,
    ),
    (
        "AWS_CONTAINER_CREDENTIALS_FULL_URI",
        Key::ContainerCredentialsFullUri,
    ),
    (
        "AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE",
        Key::ContainerAuthorizationTokenFile,
    ),
    (METADATA_ENDPOINT, Key::MetadataEndpoint),
];

/// The address of the instance's metadata service, as Amazon's own programs take it.
const METADATA_ENDPOINT: &str = "AWS_EC2_METADATA_SERVICE_ENDPOINT";

/// The address of the metadata service, where that is not Amazon's own.
pub(crate) fn metadata_endpoint() -> Option<Url> {
    set(METADATA_ENDPOINT)?.parse().ok()
}

/// Whether `uri` asks a metadata service: at a link-local address, as Amazon's are, or at `endpoint`. That one may be an
/// S3 server's too, which is asked for other paths.
pub(crate) fn asks_metadata(uri: &Uri, endpoint: Option<&Url>) -> bool {
    let Some(host) = uri.host() else {
        return false;
    };
    let port = uri.port_u16().or(match uri.scheme_str() {
        Some("http") => Some(80),
        Some("https") => Some(443),
        _ => None,
    });
    let is_endpoint = |url: &Url| {
        let is_host = url.host_str().is_some_and(|h| h.eq_ignore_ascii_case(host));
        is_host && url.port_or_known_default() == port && uri.path().starts_with("/latest/")
    };
    host.starts_with("169.254.") || endpoint.is_some_and(is_endpoint)
}

#[derive(Debug, Default, PartialEq)]
struct Profile {
    access_key: Option<String>,
    secret_key: Option<Secret>,
    session_token: Option<Secret>,
    region: Option<String>,
}

/// Gives `builder` the credentials and the region; the region is returned too.
pub(crate) fn apply(
    config: &S3Config,
    builder: AmazonS3Builder,
) -> Result<(AmazonS3Builder, String)> {
    let secret = config.secret_key()?;
    let mut region = config.region.clone();
    let mut builder = builder;
    match (&config.access_key, secret) {
        (Some(key), Some(secret)) => {
            builder = builder
                .with_access_key_id(key)
                .with_secret_access_key(secret.expose());
            if let Some(token) = config.session_token()? {
                builder = builder.with_token(token.expose());
            }
        }
        (Some(_), None) => return half("access_key is set, but no secret_key"),
        (None, Some(_)) => return half("secret_key is set, but no access_key"),
        (None, None) => {
            let profile = match &config.profile {
                Some(name) => Some(read_profile(config, name)?),
                None => None,
            };
            if let Some(profile) = profile {
                region = region.or(profile.region);
                let (Some(key), Some(secret)) = (profile.access_key, profile.secret_key) else {
                    return half("the profile lacks aws_access_key_id or aws_secret_access_key");
                };
                builder = builder
                    .with_access_key_id(key)
                    .with_secret_access_key(secret.expose());
                if let Some(token) = profile.session_token {
                    builder = builder.with_token(token.expose());
                }
            } else {
                for (name, key) in ENVIRONMENT {
                    if let Some(value) = set(name) {
                        builder = builder.with_config(key, value);
                    }
                }
            }
        }
    }
    let region = region
        .or_else(|| set("AWS_REGION"))
        .or_else(|| set("AWS_DEFAULT_REGION"))
        .unwrap_or_else(|| "us-east-1".into());
    Ok((builder.with_region(&region), region))
}

fn set(name: &str) -> Option<String> {
    env::var(name).ok().filter(|value| !value.is_empty())
}

fn half<T>(why: &str) -> Result<T> {
    Err(Error::invalid("read S3 credentials", why).hint("set access_key and secret_key together"))
}

fn read_profile(config: &S3Config, name: &str) -> Result<Profile> {
    let path = config
        .credentials_file
        .clone()
        .or_else(|| set("AWS_SHARED_CREDENTIALS_FILE").map(PathBuf::from))
        .or_else(|| set("HOME").map(|home| PathBuf::from(home).join(".aws/credentials")));
    let Some(path) = path else {
        return Err(Error::invalid(
            "read S3 credentials",
            "no credentials_file is set and there is no home folder",
        ));
    };
    let text = std::fs::read_to_string(&path)
        .map_err(|e| Error::io("read S3 credentials", path.display(), e))?;
    section(&text, name).ok_or_else(|| {
        Error::invalid("read S3 credentials", format!("it has no profile {name:?}"))
            .on(path.display())
    })
}

/// The section `[name]` (or `[profile name]`) of an INI file. Values are as they stand behind the first `=`.
fn section(text: &str, name: &str) -> Option<Profile> {
    let mut profile: Option<Profile> = None;
    let mut inside = false;
    for line in text.lines().map(str::trim) {
        if line.is_empty() || line.starts_with(['#', ';']) {
            continue;
        }
        if let Some(title) = line.strip_prefix('[').and_then(|l| l.strip_suffix(']')) {
            let title = title.trim();
            inside = title.strip_prefix("profile ").unwrap_or(title).trim() == name;
            if inside {
                profile.get_or_insert_default();
            }
            continue;
        }
        let (true, Some(profile), Some((key, value))) =
            (inside, profile.as_mut(), line.split_once('='))
        else {
            continue;
        };
        let value = value.trim();
        match key.trim() {
            "aws_access_key_id" => profile.access_key = Some(value.into()),
            "aws_secret_access_key" => profile.secret_key = Some(Secret::new(value)),
            "aws_session_token" => profile.session_token = Some(Secret::new(value)),
            "region" => profile.region = Some(value.into()),
            _ => {}
        }
    }
    profile
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_requests_to_the_metadata_service_are_taken_for_such() {
        let asks = |uri: &str, endpoint: &str| {
            asks_metadata(&uri.parse().unwrap(), endpoint.parse().ok().as_ref())
        };
        let token = "http://imds/latest/api/token";
        for endpoint in ["http://imds", "http://imds/", "http://IMDS:80"] {
            assert!(asks(token, endpoint), "{endpoint}");
            assert!(asks("http://imds:80/latest/meta-data/", endpoint));
        }
        assert!(asks(
            "http://[fd00:ec2::254]/latest/api/token",
            "http://[fd00:ec2::254]"
        ));
        assert!(asks("http://169.254.170.2/v2/credentials/x", ""));
        for other in ["http://imds:8080", "https://imds", "http://imds.other", ""] {
            assert!(!asks(token, other), "{other}");
        }
        // An S3 server at the same address.
        assert!(!asks("http://imds/bucket/latest/key", "http://imds"));
        assert!(!asks("http://127.0.0.1/bucket/key", "http://127.0.0.1"));
    }

    const FILE: &str = "# mine\n[default]\naws_access_key_id = A\naws_secret_access_key=B=B\n\n\
                        [profile other]\nregion = eu-central-1\naws_session_token = T\n";

    #[test]
    fn a_profile_is_its_own_section_only() {
        let profile = section(FILE, "default").unwrap();
        assert_eq!(profile.access_key.as_deref(), Some("A"));
        assert_eq!(profile.secret_key, Some(Secret::new("B=B")));
        assert_eq!(profile.region, None);
        let other = section(FILE, "other").unwrap();
        assert_eq!(other.region.as_deref(), Some("eu-central-1"));
        assert_eq!(other.access_key, None);
        assert_eq!(section(FILE, "none"), None);
    }

    #[test]
    fn half_a_key_pair_is_refused() {
        let config = S3Config {
            access_key: Some("A".into()),
            ..S3Config::default()
        };
        let error = apply(&config, AmazonS3Builder::new()).unwrap_err();
        assert!(error.to_string().contains("secret_key"), "{error}");
    }

    #[test]
    fn a_missing_profile_is_told_with_the_file() {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), FILE).unwrap();
        let config = S3Config {
            profile: Some("absent".into()),
            credentials_file: Some(file.path().into()),
            ..S3Config::default()
        };
        let error = apply(&config, AmazonS3Builder::new()).unwrap_err();
        assert!(error.to_string().contains("absent"), "{error}");
    }
}
