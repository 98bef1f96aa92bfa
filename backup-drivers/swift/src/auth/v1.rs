//! Version 1: Swift's own users (tempauth, swauth), radosgw.

use std::time::Duration;

use backup_core::{ErrorKind, Secret};
use http::{HeaderMap, Method};
use reqwest::Request;
use url::Url;

use super::{LONGEST_ANSWER, Signed, header, storage_url};
use crate::error::{Failure, Told, hide, message};
use crate::transport::Transport;

pub(super) async fn sign_in(
    transport: &Transport,
    url: &Url,
    user: &str,
    key: &Secret,
) -> Result<Signed, Failure> {
    let mut request = Request::new(Method::GET, url.clone());
    let headers = request.headers_mut();
    headers.insert("x-auth-user", header(user, "username")?);
    headers.insert("x-auth-key", header(key.expose(), "password")?);
    let response = transport.head(request, transport.pace().timeout).await?;
    let (status, headers) = (response.status(), response.headers().clone());
    let body = transport
        .body(response, LONGEST_ANSWER, transport.pace())
        .await?;
    if status.is_success() {
        return read(&headers);
    }
    let body = hide(&body, key.expose());
    let failure = Failure::answer(status, &headers, &body);
    if failure.is_passing() {
        return Err(failure);
    }
    let told = Told(status.as_u16(), &message(&body)).to_string();
    let (kind, hint) = match status.as_u16() {
        401 | 403 => (
            ErrorKind::Unauthenticated,
            "check username and password (the user's key)",
        ),
        _ => (
            failure.kind(),
            "check auth_url: it is often https://HOST/auth/v1.0; for Keystone, https://HOST:5000/v3",
        ),
    };
    Err(Failure::SignIn {
        kind,
        reason: format!("signing in as {user:?} at {url} failed: {told}"),
        hint: hint.into(),
    })
}

fn read(headers: &HeaderMap) -> Result<Signed, Failure> {
    let get = |name: &str| headers.get(name).and_then(|v| v.to_str().ok());
    let token = get("x-auth-token").or_else(|| get("x-storage-token"));
    let (Some(storage), Some(token)) = (get("x-storage-url"), token) else {
        return Err(Failure::malformed(
            "it holds no X-Storage-Url and X-Auth-Token",
        ));
    };
    let life = get("x-auth-token-expires").and_then(|v| v.trim().parse().ok());
    Ok(Signed {
        storage: storage_url(storage)?,
        token: header(token, "the token")?,
        life: life.map(Duration::from_secs),
        // The same token is given until it ends.
        fresh: false,
    })
}
