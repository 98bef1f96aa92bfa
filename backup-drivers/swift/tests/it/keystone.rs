//! Keystone's ways to sign in, and what it refuses.

use backup_core::{ErrorKind, Repository};
use backup_swift::{AuthKind, Interface, Secret, SwiftConfig, SwiftRepository};
use serde_json::{Value, json};

use crate::fake::spy;
use crate::servers::{container, fresh, key, noise, open, put, read, v3};
use crate::shaky::{Job, engine};

/// A request to Keystone: its answer, and the token in it.
async fn ask(method: &str, url: &str, token: Option<&str>, body: Value) -> (Value, String) {
    let method = reqwest::Method::from_bytes(method.as_bytes()).unwrap();
    let mut request = reqwest::Client::new().request(method, url);
    if let Some(token) = token {
        request = request.header("x-auth-token", token);
    }
    let request = request
        .header("content-type", "application/json")
        .body(body.to_string());
    let answer = request.send().await.unwrap();
    let status = answer.status();
    let subject = answer.headers().get("x-subject-token");
    let subject = subject.map(|v| v.to_str().unwrap().to_owned());
    let text = answer.text().await.unwrap();
    assert!(status.is_success(), "{url}: {status} {text}");
    let body = serde_json::from_str(&text).unwrap_or_default();
    (body, subject.unwrap_or_default())
}

/// A token of the user demo in its project, and the user's ID.
async fn token(url: &str) -> (String, String) {
    let domain = json!({ "id": "default" });
    let user = json!({ "name": "demo", "domain": domain, "password": "demopw" });
    let body = json!({ "auth": {
        "identity": { "methods": ["password"], "password": { "user": user } },
        "scope": { "project": { "name": "demo", "domain": domain } },
    }});
    let (body, token) = ask("POST", &format!("{url}/auth/tokens"), None, body).await;
    let id = body["token"]["user"]["id"].as_str().unwrap().to_owned();
    (token, id)
}

pub(crate) async fn demo_token(url: &str) -> String {
    token(url).await.0
}

async fn works(config: &SwiftConfig) -> backup_core::Result<()> {
    let config = config.clone().with_container(fresh());
    let repository = SwiftRepository::open(&config)?;
    let of = container(&config.container);
    repository.ensure_container(&of).await?;
    let object = key(&of, "k");
    put(&repository, &object, noise(1000, 1)).await;
    assert_eq!(read(&repository, &object).await?, noise(1000, 1));
    Ok(())
}

fn bare(config: &SwiftConfig) -> SwiftConfig {
    SwiftConfig::new(config.auth_url.clone().unwrap())
}

#[tokio::test]
async fn each_way_to_sign_in_works() {
    let Some(config) = v3() else { return };
    let url = config.auth_url.clone().unwrap();
    works(&config).await.unwrap();
    let mut named = config.clone();
    named.auth_url = Some(url.trim_end_matches("/v3").to_owned());
    named.user_domain_name = Some("Default".into());
    named.project_domain_name = Some("Default".into());
    named.region_name = Some("RegionOne".into());
    named.service_name = Some("swift".into());
    named.interface = Interface::Internal;
    works(&named).await.unwrap();

    let (admin, id) = token(&url).await;
    let mut by_id = bare(&config);
    by_id.user_id = Some(id.clone());
    by_id.password = Some(Secret::new("demopw"));
    by_id.project_name = Some("demo".into());
    works(&by_id).await.unwrap();

    let credential = format!("{url}/users/{id}/application_credentials");
    let name = fresh();
    let body = json!({ "application_credential": { "name": name } });
    let (made, _) = ask("POST", &credential, Some(&admin), body).await;
    let made = &made["application_credential"];
    let text = |key: &str| Some(made[key].as_str().unwrap().to_owned());
    let mut by_credential = bare(&config);
    by_credential.application_credential_secret = text("secret").map(Secret::new);
    by_credential.application_credential_id = text("id");
    works(&by_credential).await.unwrap();
    by_credential.application_credential_id = None;
    by_credential.application_credential_name = Some(name);
    by_credential.username = Some("demo".into());
    works(&by_credential).await.unwrap();
    by_credential.application_credential_secret = Some(Secret::new("hush-wrong"));
    let error = works(&by_credential).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unauthenticated, "{error}");
    assert!(
        error
            .hint_text()
            .unwrap()
            .contains("application credential")
    );

    let mut by_token = bare(&config);
    by_token.token = Some(Secret::new(token(&url).await.0));
    works(&by_token).await.unwrap();
    by_token.project_name = Some("demo".into());
    works(&by_token).await.unwrap();
}

#[tokio::test]
async fn a_users_own_account_is_used_with_a_token_of_that_user() {
    let Some(config) = v3() else { return };
    let url = config.auth_url.clone().unwrap();
    let account = SwiftRepository::open(&config)
        .unwrap()
        .account_url()
        .await
        .unwrap();
    let mut own = SwiftConfig::default();
    own.auth = AuthKind::PerUser;
    own.storage_url = Some(account.clone());
    let (token, _) = token(&url).await;
    own.token = Some(Secret::new(token.clone()));
    works(&own).await.unwrap();

    let (repository, of) = open(&own).await;
    let object = key(&of, "k");
    put(&repository, &object, noise(10, 1)).await;
    revoke(&url, &token).await;
    // The proxy remembers a token for a second.
    let error = loop {
        match read(&repository, &object).await {
            Ok(_) => tokio::time::sleep(std::time::Duration::from_millis(200)).await,
            Err(error) => break error,
        }
    };
    assert_eq!(error.kind(), ErrorKind::Unauthenticated, "{error}");
    assert!(
        error.hint_text().unwrap().contains("new token"),
        "{error:?}"
    );
    assert!(!format!("{error:?}").contains(&token));
}

async fn revoke(url: &str, token: &str) {
    let request = reqwest::Client::new()
        .delete(format!("{url}/auth/tokens"))
        .header("x-auth-token", token)
        .header("x-subject-token", token);
    assert!(request.send().await.unwrap().status().is_success());
}

#[tokio::test]
async fn a_revoked_token_is_renewed() {
    let Some(mut config) = v3() else { return };
    let url = config.auth_url.clone().unwrap();
    let account = SwiftRepository::open(&config)
        .unwrap()
        .account_url()
        .await
        .unwrap();
    let (seen, through) = spy(&account).await;
    config.storage_url = Some(through);
    let (repository, of) = open(&config).await;
    let object = key(&of, "k");
    put(&repository, &object, noise(10, 1)).await;
    let first = tokens(&seen.lock().unwrap());
    assert_eq!(first.len(), 1);
    revoke(&url, &first[0]).await;
    let mut rounds = 0;
    while tokens(&seen.lock().unwrap()).len() == 1 {
        assert_eq!(read(&repository, &object).await.unwrap(), noise(10, 1));
        tokio::time::sleep(std::time::Duration::from_millis(200)).await;
        rounds += 1;
        assert!(rounds < 300, "the revoked token is still taken");
    }
    put(&repository, &object, noise(10, 2)).await;
    assert_eq!(tokens(&seen.lock().unwrap()).len(), 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_token_revoked_in_the_middle_of_a_job_is_renewed_and_the_job_completes() {
    let Some(mut config) = v3() else { return };
    let url = config.auth_url.clone().unwrap();
    let account = SwiftRepository::open(&config)
        .unwrap()
        .account_url()
        .await
        .unwrap();
    let (seen, through) = spy(&account).await;
    config.storage_url = Some(through);
    let (repository, of) = open(&config).await;
    // 20 MiB take five seconds: the proxy, which remembers a token for a second, meets the revoked one in their middle.
    let engine = engine(repository, Some(4 << 20));
    let job = Job::new(&of);
    let revoke_the_newest = async {
        tokio::time::sleep(std::time::Duration::from_secs(1)).await;
        let newest = tokens(&seen.lock().unwrap()).pop().unwrap();
        revoke(&url, &newest).await;
    };
    let (layer, ()) = futures::future::join(job.back_up(&engine), revoke_the_newest).await;
    let layer = layer.unwrap_or_else(|e| panic!("{e}"));
    let of_the_backup = tokens(&seen.lock().unwrap()).len();
    assert_eq!(of_the_backup, 2, "each token is fetched once for all");
    let revoke_the_newest = async {
        tokio::time::sleep(std::time::Duration::from_secs(1)).await;
        let newest = tokens(&seen.lock().unwrap()).pop().unwrap();
        revoke(&url, &newest).await;
    };
    futures::future::join(job.restores(&engine, &layer), revoke_the_newest).await;
    assert_eq!(tokens(&seen.lock().unwrap()).len(), 3);
}

/// The different tokens in what was sent, bodies of any bytes among it.
fn tokens(sent: &[u8]) -> Vec<String> {
    let original = String::from_utf8_lossy(sent);
    // Other than `to_lowercase`, this changes no length.
    let text = original.to_ascii_lowercase();
    let mut found = Vec::new();
    for (at, mark) in text.match_indices("x-auth-token: ") {
        // One whose end has not come yet is no token.
        if let Some((token, _)) = original[at + mark.len()..].split_once('\r')
            && !found.iter().any(|f| f == token)
        {
            found.push(token.to_owned());
        }
    }
    found
}

#[tokio::test]
async fn what_keystone_refuses_is_told_in_words() {
    let Some(config) = v3() else { return };
    let with = |change: fn(&mut SwiftConfig)| {
        let mut config = config.clone();
        change(&mut config);
        config
    };
    for (wrong, kind, words) in [
        (
            with(|c| c.password = Some(Secret::new("hush-wrong"))),
            ErrorKind::Unauthenticated,
            ["demo", "username, password"],
        ),
        (
            with(|c| c.username = Some("nobody".into())),
            ErrorKind::Unauthenticated,
            ["nobody", "username, password"],
        ),
        (
            with(|c| c.user_domain_name = Some("nowhere".into())),
            ErrorKind::Unauthenticated,
            ["nowhere", "user_domain_name"],
        ),
        (
            with(|c| *c = c.clone().with_user("stranger", "strangerpw")),
            ErrorKind::PermissionDenied,
            ["no role in project \"demo\"", "project_name"],
        ),
        (
            with(|c| c.project_name = Some("nothing".into())),
            ErrorKind::PermissionDenied,
            ["no role in project \"nothing\"", "project_name"],
        ),
        (
            with(|c| c.region_name = Some("RegionTwo".into())),
            ErrorKind::InvalidInput,
            ["RegionOne", "region_name"],
        ),
        (
            with(|c| c.service_type = "object".into()),
            ErrorKind::InvalidInput,
            ["object-store", "service_type"],
        ),
        (
            with(|c| c.project_name = None),
            ErrorKind::InvalidInput,
            ["of no project", "project_name"],
        ),
        (
            with(|c| {
                c.auth_url = Some(c.auth_url.clone().unwrap().replace("/v3", "/elsewhere/v3"));
            }),
            ErrorKind::NotFound,
            ["/elsewhere/v3", "auth_url"],
        ),
        (
            with(|c| *c = c.clone().with_user("reader", "readerpw")),
            ErrorKind::PermissionDenied,
            ["Forbidden", "role"],
        ),
    ] {
        let error = works(&wrong).await.unwrap_err();
        assert_eq!(error.kind(), kind, "{error}");
        assert!(!error.is_retryable(), "{error}");
        let told = format!("{error} {}", error.hint_text().unwrap_or_default());
        for word in words {
            assert!(told.contains(word), "{word:?} is not in {told:?}");
        }
        assert!(!format!("{error:?}").contains("hush"), "{error:?}");
    }
}
