//! Version 3: OpenStack's identity service.

use std::time::Duration;

use backup_core::{ErrorKind, Timestamp};
use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, StatusCode};
use reqwest::Request;
use serde::Deserialize;
use serde_json::{Value, json};
use url::Url;

use super::catalogue::Service;
use super::{LONGEST_ANSWER, header};
use crate::config::{Credential, Domain, Login, Named, User};
use crate::error::{Failure, Told, hide, message};
use crate::transport::Transport;

/// A token, and what may be reached with it.
pub(super) struct Token {
    pub(super) value: HeaderValue,
    pub(super) life: Option<Duration>,
    pub(super) catalogue: Vec<Service>,
}

#[derive(Deserialize)]
struct Answer {
    token: Body,
}

#[derive(Deserialize)]
struct Body {
    #[serde(default)]
    issued_at: Option<String>,
    #[serde(default)]
    expires_at: Option<String>,
    #[serde(default)]
    catalog: Vec<Service>,
}

#[derive(Deserialize)]
struct Catalogue {
    catalog: Vec<Service>,
}

struct Reply {
    status: StatusCode,
    headers: HeaderMap,
    body: Bytes,
}

pub(super) async fn sign_in(transport: &Transport, login: &Login) -> Result<Token, Failure> {
    if let (User::Token(token), None) = (&login.user, &login.scope) {
        let value = header(token.expose(), "token")?;
        return as_it_is(transport, login, value).await;
    }
    let request = asking(login, login.scope.as_ref())?;
    let reply = send(transport, request).await?;
    if reply.status.is_success() {
        return read(&reply);
    }
    let failure = refused(login, &reply);
    // Keystone does not tell a wrong password from a missing role. Who can sign in without a project can tell.
    if let (401, User::Password { .. }, Some(scope)) =
        (reply.status.as_u16(), &login.user, &login.scope)
    {
        let unscoped = send(transport, asking(login, None)?).await?;
        if unscoped.status.is_success() {
            return Err(without_role(login, scope));
        }
    }
    Err(failure)
}

/// A token of a project needs no other, only the catalogue.
async fn as_it_is(
    transport: &Transport,
    login: &Login,
    value: HeaderValue,
) -> Result<Token, Failure> {
    let mut request = Request::new(Method::GET, at(&login.url, "auth/catalog"));
    request.headers_mut().insert("x-auth-token", value.clone());
    let reply = send(transport, request).await?;
    if !reply.status.is_success() {
        return Err(refused(login, &reply));
    }
    let read: Catalogue = serde_json::from_slice(&reply.body).map_err(Failure::malformed)?;
    Ok(Token {
        value,
        life: None,
        catalogue: read.catalog,
    })
}

fn asking(login: &Login, scope: Option<&Named>) -> Result<Request, Failure> {
    let mut auth = json!({ "identity": identity(&login.user) });
    if let Some(scope) = scope {
        auth["scope"] = json!({ "project": name(scope) });
    } else if !matches!(login.user, User::ApplicationCredential { .. }) && login.scope.is_some() {
        auth["scope"] = json!("unscoped");
    }
    let body = serde_json::to_vec(&json!({ "auth": auth })).map_err(Failure::malformed)?;
    let mut request = Request::new(Method::POST, at(&login.url, "auth/tokens"));
    let json = HeaderValue::from_static("application/json");
    request
        .headers_mut()
        .insert(http::header::CONTENT_TYPE, json);
    *request.body_mut() = Some(body.into());
    Ok(request)
}

fn identity(user: &User) -> Value {
    match user {
        User::Password { user, password } => {
            let mut told = name(user);
            told["password"] = json!(password.expose());
            json!({ "methods": ["password"], "password": { "user": told } })
        }
        User::ApplicationCredential { credential, secret } => {
            let mut told = match credential {
                Credential::Id(id) => json!({ "id": id }),
                Credential::Name(credential, user) => {
                    json!({ "name": credential, "user": name(user) })
                }
            };
            told["secret"] = json!(secret.expose());
            json!({ "methods": ["application_credential"], "application_credential": told })
        }
        User::Token(token) => json!({ "methods": ["token"], "token": { "id": token.expose() } }),
    }
}

fn name(named: &Named) -> Value {
    match named {
        Named::Id(id) => json!({ "id": id }),
        Named::Name(name, Domain::Id(id)) => json!({ "name": name, "domain": { "id": id } }),
        Named::Name(name, Domain::Name(domain)) => {
            json!({ "name": name, "domain": { "name": domain } })
        }
    }
}

fn at(base: &Url, path: &str) -> Url {
    let mut url = base.clone();
    url.set_path(&format!("{}/{path}", base.path()));
    url
}

async fn send(transport: &Transport, request: Request) -> Result<Reply, Failure> {
    let response = transport.head(request, transport.pace().timeout).await?;
    let (status, headers) = (response.status(), response.headers().clone());
    let body = transport
        .body(response, LONGEST_ANSWER, transport.pace())
        .await?;
    let failure = Failure::answer(status, &headers, &[]);
    if !status.is_success() && failure.is_passing() {
        return Err(failure);
    }
    Ok(Reply {
        status,
        headers,
        body,
    })
}

fn read(reply: &Reply) -> Result<Token, Failure> {
    let value = reply.headers.get("x-subject-token");
    let value = value.ok_or_else(|| Failure::malformed("it holds no X-Subject-Token"))?;
    let mut value = value.clone();
    value.set_sensitive(true);
    let read: Answer = serde_json::from_slice(&reply.body).map_err(Failure::malformed)?;
    // Both times are of the server's clock, so that ours may be wrong.
    let time = |text: Option<String>| text.and_then(|t| t.parse::<Timestamp>().ok());
    let life = match (time(read.token.issued_at), time(read.token.expires_at)) {
        (Some(from), Some(to)) => u64::try_from(to.as_micros() - from.as_micros()).ok(),
        _ => None,
    };
    Ok(Token {
        value,
        life: life.map(Duration::from_micros),
        catalogue: read.token.catalog,
    })
}

fn refused(login: &Login, reply: &Reply) -> Failure {
    let (who, secret, hint) = match &login.user {
        User::Password { user, password } => (
            format!("user {}", told(user)),
            password,
            "check username, password and user_domain_name",
        ),
        User::ApplicationCredential { credential, secret } => (
            match credential {
                Credential::Id(id) => format!("application credential {id:?}"),
                Credential::Name(name, _) => format!("application credential {name:?}"),
            },
            secret,
            "check the application credential's ID or name and its secret; it may have expired, or been deleted",
        ),
        User::Token(token) => (
            "the owner of the token".into(),
            token,
            "the token has expired, was revoked or is of another cloud; give a new one",
        ),
    };
    let body = hide(&reply.body, secret.expose());
    let message = message(&body);
    let status = reply.status.as_u16();
    let is_token = matches!(login.user, User::Token(_));
    let (kind, hint) = match status {
        401 => (ErrorKind::Unauthenticated, hint),
        // Keystone's own answers have a message: the token is not known.
        404 if is_token && !message.is_empty() => (ErrorKind::Unauthenticated, hint),
        403 => (
            ErrorKind::PermissionDenied,
            "the user may not do this; docs/swift.md lists the rights that are needed",
        ),
        _ => (
            Failure::answer(reply.status, &reply.headers, &[]).kind(),
            "check auth_url: Keystone's is often https://HOST:5000/v3; for Swift's own users set auth_version = 1",
        ),
    };
    Failure::SignIn {
        kind,
        reason: format!(
            "signing in as {who} at {} failed: {}",
            login.url,
            Told(status, &message)
        ),
        hint: hint.into(),
    }
}

fn without_role(login: &Login, scope: &Named) -> Failure {
    Failure::SignIn {
        kind: ErrorKind::PermissionDenied,
        reason: format!(
            "signing in at {} failed: the password is right, but the user has no role in project {}, or there is none",
            login.url,
            told(scope)
        ),
        hint: "check project_name and project_domain_name, or give the user a role in it (docs/swift.md)".into(),
    }
}

fn told(named: &Named) -> String {
    match named {
        Named::Id(id) => id.clone(),
        Named::Name(name, Domain::Id(domain) | Domain::Name(domain)) => {
            format!("{name:?} of domain {domain:?}")
        }
    }
}
