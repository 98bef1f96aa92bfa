//! What the settings say together: one way to sign in, without contradictions.

use backup_core::{ContainerName, Error, Result, Secret};
use url::Url;

use super::{AuthKind, AuthVersion, SwiftConfig, is_container_name};

const CHECK: &str = "read Swift settings";

/// How to get at an account.
#[derive(Debug, Clone)]
pub(crate) enum Way {
    /// Version 1: a user and a key.
    V1 { url: Url, user: String, key: Secret },
    /// Keystone's version 3.
    V3(Login),
    /// Nobody signs in.
    Given(Given),
}

/// A given account and token.
#[derive(Debug, Clone)]
pub(crate) struct Given {
    pub(crate) storage: Url,
    pub(crate) token: Secret,
}

/// What Keystone is told.
#[derive(Debug, Clone)]
pub(crate) struct Login {
    /// Ends in `/v3`.
    pub(crate) url: Url,
    pub(crate) user: User,
    pub(crate) scope: Option<Named>,
}

/// Who signs in.
#[derive(Debug, Clone)]
pub(crate) enum User {
    Password {
        user: Named,
        password: Secret,
    },
    ApplicationCredential {
        credential: Credential,
        secret: Secret,
    },
    Token(Secret),
}

/// A name in a domain, or an ID.
#[derive(Debug, Clone)]
pub(crate) enum Named {
    Id(String),
    Name(String, Domain),
}

#[derive(Debug, Clone)]
pub(crate) enum Domain {
    Id(String),
    Name(String),
}

#[derive(Debug, Clone)]
pub(crate) enum Credential {
    Id(String),
    Name(String, Named),
}

/// Refuses settings that have no meaning for `what`.
fn only(what: &str, has: &[(&str, bool)]) -> Result<()> {
    let without_meaning = has.iter().find(|(_, set)| *set).map(|(name, _)| *name);
    match without_meaning {
        Some(name) => refuse(format!("{name} has no meaning with {what}")),
        None => Ok(()),
    }
}

fn refuse<T>(why: impl Into<String>) -> Result<T> {
    Err(Error::invalid(CHECK, why))
}

impl SwiftConfig {
    /// Checks what can be checked without asking anyone, reads the files of secrets, and tells how to sign in.
    pub(crate) fn way(&self) -> Result<Way> {
        self.check_values()?;
        self.check_containers()?;
        match self.auth {
            AuthKind::PerUser => self.given(),
            AuthKind::SingleUser => {
                let (url, version) = self.auth_address()?;
                match version {
                    AuthVersion::V1 => self.v1(url),
                    AuthVersion::V3 => self.v3(url),
                }
            }
        }
    }

    /// The account's address, where the settings name it.
    pub(crate) fn storage(&self) -> Result<Option<Url>> {
        match &self.storage_url {
            Some(text) => address("storage_url", text).map(Some),
            None => Ok(None),
        }
    }

    pub(crate) fn default_container(&self) -> Result<ContainerName> {
        ContainerName::new(self.container.clone())
    }

    fn check_values(&self) -> Result<()> {
        let numbers = [
            ("connect_timeout", self.connect_timeout),
            ("timeout", self.timeout),
            ("min_rate", self.min_rate),
            ("segment_size", self.segment_size),
            ("max_object_size", self.max_object_size.unwrap_or(1)),
        ];
        if let Some((name, _)) = numbers.iter().find(|(_, value)| *value == 0) {
            return refuse(format!("{name} must not be 0"));
        }
        let zone = &self.availability_zone;
        if zone.is_empty() || zone.contains('/') {
            return refuse(format!("availability_zone {zone:?} makes no prefix"));
        }
        self.storage().map(|_| ())
    }

    fn check_containers(&self) -> Result<()> {
        if !is_container_name(&self.container) {
            return refuse(format!(
                "container {:?} is no container name",
                self.container
            ));
        }
        let Some(segments) = &self.segment_container else {
            return Ok(());
        };
        if !is_container_name(segments) {
            return refuse(format!(
                "segment_container {segments:?} is no container name"
            ));
        }
        // Cinder deletes whatever begins with a backup's prefix, and refuses to restore where it finds more than it knows.
        if *segments == self.container {
            return refuse("segment_container must not be the container of the backups");
        }
        Ok(())
    }

    fn of_keystone(&self) -> [(&'static str, bool); 13] {
        [
            ("user_id", self.user_id.is_some()),
            ("user_domain_name", self.user_domain_name.is_some()),
            ("user_domain_id", self.user_domain_id.is_some()),
            ("project_name", self.project_name.is_some()),
            ("project_id", self.project_id.is_some()),
            ("project_domain_name", self.project_domain_name.is_some()),
            ("project_domain_id", self.project_domain_id.is_some()),
            (
                "application_credential_id",
                self.application_credential_id.is_some(),
            ),
            (
                "application_credential_name",
                self.application_credential_name.is_some(),
            ),
            (
                "application_credential_secret",
                self.application_credential_secret.is_some(),
            ),
            (
                "application_credential_secret_file",
                self.application_credential_secret_file.is_some(),
            ),
            ("region_name", self.region_name.is_some()),
            ("service_name", self.service_name.is_some()),
        ]
    }

    fn of_tokens(&self) -> [(&'static str, bool); 2] {
        [
            ("token", self.token.is_some()),
            ("token_file", self.token_file.is_some()),
        ]
    }

    fn of_passwords(&self) -> [(&'static str, bool); 3] {
        [
            ("username", self.username.is_some()),
            ("password", self.password.is_some()),
            ("password_file", self.password_file.is_some()),
        ]
    }

    fn of_projects(&self) -> [(&'static str, bool); 4] {
        [
            ("project_name", self.project_name.is_some()),
            ("project_id", self.project_id.is_some()),
            ("project_domain_name", self.project_domain_name.is_some()),
            ("project_domain_id", self.project_domain_id.is_some()),
        ]
    }

    fn given(&self) -> Result<Way> {
        const PER_USER: &str = "auth = \"per_user\"";
        only(PER_USER, &self.of_keystone())?;
        only(PER_USER, &self.of_passwords())?;
        only(PER_USER, &[("auth_url", self.auth_url.is_some())])?;
        let Some(storage) = self.storage()? else {
            return refuse(format!("{PER_USER} needs storage_url, the user's account"));
        };
        let Some(token) = self.token()? else {
            return refuse(format!("{PER_USER} needs token or token_file"));
        };
        Ok(Way::Given(Given { storage, token }))
    }

    fn auth_address(&self) -> Result<(Url, AuthVersion)> {
        let Some(text) = &self.auth_url else {
            return Err(Error::invalid(CHECK, "auth_url is not set").hint(
                "set auth_url with username and password, or auth = \"per_user\" with storage_url and token",
            ));
        };
        let url = address("auth_url", text)?;
        let guessed = if url.path().contains("/v1") {
            AuthVersion::V1
        } else {
            AuthVersion::V3
        };
        Ok((url, self.auth_version.unwrap_or(guessed)))
    }

    fn v1(&self, url: Url) -> Result<Way> {
        const V1: &str = "auth_version = 1";
        if url.path().trim_end_matches('/').ends_with("/v3") {
            return refuse("auth_url is Keystone's (it ends in /v3), but auth_version is 1");
        }
        only(V1, &self.of_keystone())?;
        only(V1, &self.of_tokens())?;
        let (Some(user), Some(key)) = (self.username.clone(), self.password()?) else {
            return refuse("auth_version = 1 needs username and password (the user's key)");
        };
        Ok(Way::V1 { url, user, key })
    }

    fn v3(&self, mut url: Url) -> Result<Way> {
        let path = url.path().trim_end_matches('/');
        let path = path.strip_suffix("/auth/tokens").unwrap_or(path);
        if path.ends_with("/v2.0") {
            return refuse("auth_url is of Keystone's version 2, which is gone; use .../v3");
        }
        let path = match path.strip_suffix("/v3") {
            Some(base) => format!("{base}/v3"),
            None => format!("{path}/v3"),
        };
        url.set_path(&path);
        let user = self.keystone_user()?;
        let scope = named(
            "project",
            self.project_name.as_ref(),
            self.project_id.as_ref(),
            self.project_domain_name.as_ref(),
            self.project_domain_id.as_ref(),
        )?;
        Ok(Way::V3(Login { url, user, scope }))
    }

    fn keystone_user(&self) -> Result<User> {
        let user = || {
            named(
                "user",
                self.username.as_ref(),
                self.user_id.as_ref(),
                self.user_domain_name.as_ref(),
                self.user_domain_id.as_ref(),
            )
        };
        let credential = (
            &self.application_credential_id,
            &self.application_credential_name,
        );
        let secret = Secret::from_setting(
            CHECK,
            "application_credential_secret",
            self.application_credential_secret.as_ref(),
            self.application_credential_secret_file.as_deref(),
        )?;
        if credential != (&None, &None) {
            const WITH: &str = "an application credential";
            only(WITH, &self.of_tokens())?;
            only(WITH, &self.of_passwords()[1..])?;
            // It was made for one project, and serves that one only.
            only(WITH, &self.of_projects())?;
            let Some(secret) = secret else {
                return refuse("an application credential needs application_credential_secret");
            };
            let credential = match credential {
                (Some(_), Some(_)) => {
                    return refuse(
                        "both application_credential_id and application_credential_name are set",
                    );
                }
                (Some(id), None) => Credential::Id(id.clone()),
                (None, name) => {
                    let Some(user) = user()? else {
                        return refuse(
                            "application_credential_name needs the user: username or user_id",
                        );
                    };
                    Credential::Name(name.clone().unwrap_or_default(), user)
                }
            };
            return Ok(User::ApplicationCredential { credential, secret });
        }
        if secret.is_some() {
            return refuse(
                "application_credential_secret needs application_credential_id or application_credential_name",
            );
        }
        if let Some(token) = self.token()? {
            only("token", &self.of_passwords())?;
            only("token", &self.of_keystone()[..3])?;
            return Ok(User::Token(token));
        }
        match (user()?, self.password()?) {
            (Some(user), Some(password)) => Ok(User::Password { user, password }),
            (Some(_), None) => refuse("a user is set, but no password"),
            (None, Some(_)) => refuse("password is set, but neither username nor user_id"),
            (None, None) => Err(Error::invalid(CHECK, "there is nobody to sign in")
                .hint("set username and password, an application credential, or token")),
        }
    }

    fn password(&self) -> Result<Option<Secret>> {
        let file = self.password_file.as_deref();
        Secret::from_setting(CHECK, "password", self.password.as_ref(), file)
    }

    fn token(&self) -> Result<Option<Secret>> {
        let file = self.token_file.as_deref();
        Secret::from_setting(CHECK, "token", self.token.as_ref(), file)
    }
}

/// A user or project by its ID, or by its name in a domain.
fn named(
    what: &str,
    name: Option<&String>,
    id: Option<&String>,
    domain_name: Option<&String>,
    domain_id: Option<&String>,
) -> Result<Option<Named>> {
    let name_setting = if what == "user" {
        "username"
    } else {
        "project_name"
    };
    if domain_name.is_some() && domain_id.is_some() {
        return refuse(format!(
            "both {what}_domain_name and {what}_domain_id are set"
        ));
    }
    let domain = match (domain_name, domain_id) {
        (Some(name), _) => Some(Domain::Name(name.clone())),
        (None, Some(id)) => Some(Domain::Id(id.clone())),
        (None, None) => None,
    };
    match (name, id) {
        (Some(_), Some(_)) => refuse(format!("both {name_setting} and {what}_id are set")),
        (None, Some(_)) if domain.is_some() => refuse(format!(
            "{what}_id needs no domain; leave {what}_domain_... out"
        )),
        (None, Some(id)) => Ok(Some(Named::Id(id.clone()))),
        (Some(name), None) => {
            let domain = domain.unwrap_or_else(|| Domain::Id("default".into()));
            Ok(Some(Named::Name(name.clone(), domain)))
        }
        (None, None) if domain.is_some() => {
            refuse(format!("{what}_domain_... is set, but not {name_setting}"))
        }
        (None, None) => Ok(None),
    }
}

/// A server's address. The text itself is not told: someone may have put a password into it.
fn address(setting: &str, text: &str) -> Result<Url> {
    let wrong = |why: &str| {
        Err(Error::invalid(CHECK, format!("{setting} {why}"))
            .hint("write it like https://swift.example.org:8080/..."))
    };
    let Ok(mut url) = Url::parse(text.trim()) else {
        return wrong("is not a URL");
    };
    if !matches!(url.scheme(), "http" | "https") || !url.has_host() {
        return wrong("must begin with http:// or https://");
    }
    if !url.username().is_empty() || url.password().is_some() {
        return wrong("must not hold a user or password; use username and password");
    }
    if url.query().is_some() || url.fragment().is_some() {
        return wrong("must not hold a query or fragment");
    }
    let path = url.path().trim_end_matches('/').to_owned();
    url.set_path(&path);
    Ok(url)
}

#[cfg(test)]
mod tests {
    use super::*;

    const V1: &str = "auth_url = \"http://s:8080/auth/v1.0\"\n";
    const V3: &str = "auth_url = \"http://k:5000/v3\"\n";
    const PASSWORD: &str = "username = \"u\"\npassword = \"hush\"\n";

    fn way(text: &str) -> Result<Way> {
        toml::from_str::<SwiftConfig>(text).unwrap().way()
    }

    fn refused(text: &str) -> String {
        let error = way(text).unwrap_err();
        assert!(!format!("{error:?}").contains("hush"), "{error:?}");
        format!("{error} {}", error.hint_text().unwrap_or_default())
    }

    #[test]
    fn the_version_is_seen_in_the_address() {
        assert!(matches!(way(&[V1, PASSWORD].concat()), Ok(Way::V1 { .. })));
        for address in [
            "http://k:5000",
            "http://k/identity",
            "http://k/v3/auth/tokens",
            "http://k/v3/",
        ] {
            let text = format!("auth_url = \"{address}\"\n{PASSWORD}");
            let Ok(Way::V3(login)) = way(&text) else {
                panic!("{address}");
            };
            assert!(login.url.path().ends_with("/v3"), "{}", login.url);
        }
    }

    #[test]
    fn names_are_in_the_default_domain_unless_another_is_named() {
        let Ok(Way::V3(login)) = way(&format!("{V3}{PASSWORD}project_name = \"p\"")) else {
            panic!();
        };
        assert!(matches!(login.scope, Some(Named::Name(_, Domain::Id(id))) if id == "default"));
        let text = format!("{V3}{PASSWORD}project_name = \"p\"\nproject_domain_name = \"d\"");
        let Ok(Way::V3(login)) = way(&text) else {
            panic!();
        };
        assert!(matches!(login.scope, Some(Named::Name(_, Domain::Name(d))) if d == "d"));
    }

    #[test]
    fn what_contradicts_or_is_missing_is_told_by_name() {
        let both = [V1, PASSWORD].concat();
        for (text, word) in [
            (String::new(), "auth_url"),
            (V1.into(), "username"),
            (V3.into(), "username"),
            (format!("{V3}username = \"u\""), "password"),
            (format!("{V3}password = \"hush\""), "username"),
            (format!("{both}region_name = \"r\""), "region_name"),
            (format!("{both}project_name = \"p\""), "project_name"),
            (format!("{both}token = \"hush\""), "token"),
            (format!("{V3}{PASSWORD}auth_version = 1"), "/v3"),
            (
                format!("auth_url = \"http://k/v2.0\"\nauth_version = 3\n{PASSWORD}"),
                "version 2",
            ),
            (format!("{V3}{PASSWORD}user_id = \"i\""), "user_id"),
            (
                format!("{V3}{PASSWORD}project_id = \"i\"\nproject_domain_id = \"d\""),
                "project_id",
            ),
            (
                format!("{V3}{PASSWORD}project_domain_id = \"d\""),
                "project_name",
            ),
            (format!("{V3}{PASSWORD}token = \"hush\""), "token"),
            (
                format!("{V3}application_credential_id = \"i\""),
                "application_credential_secret",
            ),
            (
                format!("{V3}application_credential_secret = \"hush\""),
                "application_credential_id",
            ),
            (
                format!(
                    "{V3}application_credential_name = \"n\"\napplication_credential_secret = \"hush\""
                ),
                "username",
            ),
            (
                format!(
                    "{V3}application_credential_id = \"n\"\napplication_credential_secret = \"hush\"\n\
                     project_name = \"p\""
                ),
                "project_name",
            ),
            (
                "auth = \"per_user\"\ntoken = \"hush\"".into(),
                "storage_url",
            ),
            (
                "auth = \"per_user\"\nstorage_url = \"http://s/v1/AUTH_a\"".into(),
                "token",
            ),
            (format!("auth = \"per_user\"\n{both}"), "username"),
            (format!("{both}container = \"a/b\""), "container"),
            (
                format!("{both}segment_container = \"volumebackups\""),
                "segment_container",
            ),
            (format!("{both}timeout = 0"), "timeout"),
            (
                format!("{both}availability_zone = \"a/b\""),
                "availability_zone",
            ),
            ("auth_url = \"http://me:hush@k/v3\"".into(), "auth_url"),
            ("auth_url = \"ftp://k/v3\"".into(), "http://"),
            (format!("{both}storage_url = \"nowhere\""), "storage_url"),
        ] {
            let told = refused(&text);
            assert!(told.contains(word), "{text}\n{told}");
        }
    }

    #[test]
    fn each_way_to_sign_in_is_understood() {
        let credential = "application_credential_name = \"n\"\napplication_credential_secret = \"s\"\nuser_id = \"u\"";
        for (text, user) in [
            (format!("{V3}{PASSWORD}"), "Password"),
            (format!("{V3}{credential}"), "ApplicationCredential"),
            (format!("{V3}token = \"t\"\nproject_id = \"p\""), "Token"),
        ] {
            let Ok(Way::V3(login)) = way(&text) else {
                panic!("{text}");
            };
            assert!(format!("{:?}", login.user).starts_with(user), "{login:?}");
        }
        let text = "auth = \"per_user\"\nstorage_url = \"http://s/v1/AUTH_a/\"\ntoken = \"t\"";
        let Ok(Way::Given(given)) = way(text) else {
            panic!();
        };
        assert_eq!(given.storage.as_str(), "http://s/v1/AUTH_a");
    }
}
