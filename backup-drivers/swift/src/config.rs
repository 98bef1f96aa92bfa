//! The settings of a repository of `type = "swift"`.

mod check;
mod version;

use std::path::PathBuf;
use std::time::Duration;

use backup_core::Secret;
use serde::{Deserialize, Serialize};

pub(crate) use check::{Credential, Domain, Given, Login, Named, User, Way};
pub use version::AuthVersion;

/// Whose account the backups lie in.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum AuthKind {
    /// One for all: that of the user in the settings, who signs in.
    #[default]
    SingleUser,
    /// A user's own, with a token of that user: `storage_url` and `token` are given, nobody signs in.
    PerUser,
}

/// Which of a service's addresses in Keystone's catalogue is taken.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum Interface {
    /// For everybody.
    #[default]
    Public,
    /// For machines of the same cloud.
    Internal,
    /// For administrators.
    Admin,
}

impl Interface {
    pub(crate) fn word(self) -> &'static str {
        match self {
            Self::Public => "public",
            Self::Internal => "internal",
            Self::Admin => "admin",
        }
    }
}

/// Settings of a Swift repository. Needed is a way to sign in: `auth_url` with a user, an application credential or a
/// token; or `auth = "per_user"` with `storage_url` and `token`. Written out by serde, it leaves its secrets out.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
#[non_exhaustive]
pub struct SwiftConfig {
    /// Whose account it is.
    pub auth: AuthKind,
    /// Where to sign in: `https://keystone.example.org:5000/v3`, or `https://swift.example.org/auth/v1.0`.
    pub auth_url: Option<String>,
    /// By Keystone (`3`) or by Swift itself (`1`). Default: 1 where `auth_url` has `/v1` in its path, else 3.
    pub auth_version: Option<AuthVersion>,
    /// The user: for version 1 often `account:user`.
    pub username: Option<String>,
    /// The user by its ID, in the place of its name and domain.
    pub user_id: Option<String>,
    /// The user's password; the key of version 1.
    #[serde(skip_serializing)]
    pub password: Option<Secret>,
    /// A file that holds the password and nothing else.
    pub password_file: Option<PathBuf>,
    /// The user's domain: the default one (ID `default`) where neither is set.
    pub user_domain_name: Option<String>,
    /// The user's domain by its ID.
    pub user_domain_id: Option<String>,
    /// The project whose account it is.
    pub project_name: Option<String>,
    /// The project by its ID, in the place of its name and domain.
    pub project_id: Option<String>,
    /// The project's domain: the default one (ID `default`) where neither is set.
    pub project_domain_name: Option<String>,
    /// The project's domain by its ID.
    pub project_domain_id: Option<String>,
    /// An application credential by its ID. Its project is a part of it.
    pub application_credential_id: Option<String>,
    /// An application credential by its name, with the user whose it is.
    pub application_credential_name: Option<String>,
    /// Its secret.
    #[serde(skip_serializing)]
    pub application_credential_secret: Option<Secret>,
    /// A file that holds that secret.
    pub application_credential_secret_file: Option<PathBuf>,
    /// A token of Keystone's. It is not renewed: when it has expired, the work ends.
    #[serde(skip_serializing)]
    pub token: Option<Secret>,
    /// A file that holds the token.
    pub token_file: Option<PathBuf>,
    /// The region, where the catalogue has several.
    pub region_name: Option<String>,
    /// Which of the addresses in the catalogue.
    pub interface: Interface,
    /// The type of the service in the catalogue.
    pub service_type: String,
    /// The name of the service in the catalogue, where it has several of the type.
    pub service_name: Option<String>,
    /// The account's address, in the place of what signing in tells: `https://swift.example.org/v1/AUTH_...`.
    pub storage_url: Option<String>,
    /// The default container.
    pub container: String,
    /// Whether a missing container is made.
    pub create_containers: bool,
    /// The storage policy of containers that are made; the server's default where it is not set.
    pub storage_policy: Option<String>,
    /// The container for the segments of objects too large for one put: by default `<container>_segments`.
    pub segment_container: Option<String>,
    /// Bytes of a segment. They grow where the server takes too few of them.
    pub segment_size: u64,
    /// Bytes above which an object is stored in segments: by default what the server tells, else 5 GiB.
    pub max_object_size: Option<u64>,
    /// Certificates (PEM) to trust beside the system's.
    pub ca_file: Option<PathBuf>,
    /// Trusts any certificate. For tests only.
    pub insecure: bool,
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
    /// Whether objects are deleted many at a time where the server can.
    pub bulk_delete: bool,
    /// Requests in flight at once.
    pub requests: usize,
    /// The backup service's availability zone, a part of every prefix.
    pub availability_zone: String,
}

impl Default for SwiftConfig {
    fn default() -> Self {
        Self {
            auth: AuthKind::default(),
            auth_url: None,
            auth_version: None,
            username: None,
            user_id: None,
            password: None,
            password_file: None,
            user_domain_name: None,
            user_domain_id: None,
            project_name: None,
            project_id: None,
            project_domain_name: None,
            project_domain_id: None,
            application_credential_id: None,
            application_credential_name: None,
            application_credential_secret: None,
            application_credential_secret_file: None,
            token: None,
            token_file: None,
            region_name: None,
            interface: Interface::default(),
            service_type: "object-store".into(),
            service_name: None,
            storage_url: None,
            container: "volumebackups".into(),
            create_containers: true,
            storage_policy: None,
            segment_container: None,
            segment_size: 1 << 30,
            max_object_size: None,
            ca_file: None,
            insecure: false,
            connect_timeout: 10,
            timeout: 60,
            min_rate: 256 << 10,
            retries: 10,
            retry_timeout: 120,
            bulk_delete: true,
            requests: 16,
            availability_zone: "nova".into(),
        }
    }
}

impl SwiftConfig {
    /// Settings for signing in at `auth_url`.
    pub fn new(auth_url: impl Into<String>) -> Self {
        Self {
            auth_url: Some(auth_url.into()),
            ..Self::default()
        }
    }

    /// With this user.
    pub fn with_user(mut self, username: impl Into<String>, password: impl Into<String>) -> Self {
        self.username = Some(username.into());
        self.password = Some(Secret::new(password));
        self
    }

    /// With this project, by its name.
    pub fn with_project(mut self, project_name: impl Into<String>) -> Self {
        self.project_name = Some(project_name.into());
        self
    }

    /// With another default container.
    pub fn with_container(mut self, container: impl Into<String>) -> Self {
        self.container = container.into();
        self
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

/// Whether an account can hold a container of this name: any but one with a slash, which would be another path.
pub(crate) fn is_container_name(name: &str) -> bool {
    (1..=256).contains(&name.len())
        && !matches!(name, "." | "..")
        && !name.contains('/')
        && !name.chars().any(char::is_control)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unknown_setting_is_refused_by_name() {
        let error = toml::from_str::<SwiftConfig>("usernam = \"x\"").unwrap_err();
        assert!(error.to_string().contains("usernam"));
    }

    #[test]
    fn a_bare_section_has_cinders_defaults() {
        let config: SwiftConfig = toml::from_str("").unwrap();
        assert_eq!(config.container, "volumebackups");
        assert_eq!(config.availability_zone, "nova");
        assert_eq!(config.service_type, "object-store");
    }

    #[test]
    fn it_is_read_as_one_of_several_types() {
        #[derive(Debug, Deserialize)]
        #[serde(tag = "type", rename_all = "lowercase")]
        enum Repository {
            Swift(Box<SwiftConfig>),
        }
        let text = "type = \"swift\"\nauth_url = \"http://k/v3\"\nauth_version = 3\ninterface = \"internal\"";
        let Repository::Swift(config) = toml::from_str(text).unwrap();
        assert_eq!(config.auth_version, Some(AuthVersion::V3));
        assert_eq!(config.interface, Interface::Internal);
        let error = toml::from_str::<Repository>("type = \"swift\"\nkey = \"b\"").unwrap_err();
        assert!(error.to_string().contains("key"), "{error}");
    }

    #[test]
    fn secrets_are_not_shown() {
        let text = "username = \"me\"\npassword = \"hush1\"\ntoken = \"hush2\"\n\
                    application_credential_secret = \"hush3\"";
        let config: SwiftConfig = toml::from_str(text).unwrap();
        let shown = format!("{config:?} {}", toml::to_string(&config).unwrap());
        assert!(!shown.contains("hush"), "{shown}");
        assert!(shown.contains("me"));
    }

    #[test]
    fn deadlines_grow_with_the_size() {
        let pace = SwiftConfig::default().pace();
        assert_eq!(pace.allow(0).as_secs(), 60);
        assert_eq!(pace.allow(52_428_800).as_secs(), 260);
        assert!(pace.allow(u64::MAX).as_secs() > 1 << 40);
    }

    #[test]
    fn a_container_name_cannot_become_another_path() {
        for bad in ["", "a/b", "..", ".", "a\nb"] {
            assert!(!is_container_name(bad), "{bad:?}");
        }
        for good in ["volumebackups", "a b?c", "größe", "a.b-c"] {
            assert!(is_container_name(good), "{good:?}");
        }
    }
}
