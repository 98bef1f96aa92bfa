//! No secret is ever told: not by an error, not by the most talkative log.

use std::fmt::Write as _;
use std::io::Write;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use backup_core::{PutMode, Repository};
use backup_swift::{Secret, SwiftConfig, SwiftRepository};
use tracing_subscriber::fmt::MakeWriter;

use crate::fake::{Fake, Reply, quick};
use crate::servers::{container, key, noise, read};

#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl Write for Log {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }
    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

impl<'a> MakeWriter<'a> for Log {
    type Writer = Self;
    fn make_writer(&'a self) -> Self {
        self.clone()
    }
}

#[tokio::test]
async fn no_secret_reaches_an_error_or_a_log() {
    let log = Log::default();
    let subscriber = tracing_subscriber::fmt()
        .with_max_level(tracing_subscriber::filter::LevelFilter::TRACE)
        .with_writer(log.clone())
        .finish();
    // Servers echo what they were sent, in each way in which a message is told.
    let fake = Fake::start(|n, head| {
        assert!(
            head.contains("x-auth-token: hush-token"),
            "the token is sent: {head}"
        );
        let token = head
            .split("x-auth-token: ")
            .nth(1)
            .unwrap()
            .lines()
            .next()
            .unwrap();
        let body = match n % 3 {
            0 => format!("<html><h1>no</h1><p>you sent {token}</p></html>"),
            1 => format!("you sent {token}"),
            _ => format!("{{\"error\": {{\"message\": \"you sent {token}\"}}}}"),
        };
        Reply::Whole([403, 503, 401][n % 3], "", body)
    })
    .await;
    let refusing = async |secret: &'static str| {
        let script = move |n: usize, head: &str| {
            let body = format!("you sent {secret}");
            let keystone = format!("{{\"error\": {{\"message\": \"{body}\"}}}}");
            let body = if head.contains("/v3/") {
                keystone
            } else {
                body
            };
            Reply::Whole([401, 404, 403][n % 3], "", body)
        };
        Fake::raw(script).await
    };
    let by_password = refusing("hush-password").await;
    let by_token = refusing("hush-token-0").await;
    let told = {
        let _guard = tracing_subscriber::util::SubscriberInitExt::set_default(subscriber);
        let mut told = String::new();
        for _ in 0..3 {
            work(&fake.config(), &mut told).await;
            work(&quick(&format!("{}/auth/v1.0", by_password.url)), &mut told).await;
            work(&quick(&format!("{}/v3", by_password.url)), &mut told).await;
            let mut config = SwiftConfig::new(format!("{}/v3", by_token.url));
            config.token = Some(Secret::new("hush-token-0"));
            config.project_id = Some("p".into());
            work(&config, &mut told).await;
        }
        told
    };
    let log = String::from_utf8(log.0.lock().unwrap().clone()).unwrap();
    assert!(told.contains("you sent (secret)") && !log.is_empty());
    for secret in ["hush-password", "hush-token"] {
        assert!(!told.contains(secret), "{told}");
        for line in log.lines() {
            assert!(!line.contains(secret), "{line}");
        }
    }
}

/// Every call once; what their errors tell.
async fn work(config: &SwiftConfig, told: &mut String) {
    let repository = SwiftRepository::open(config).unwrap();
    let object = key(&container("c"), "k");
    write!(told, "{config:?} {repository:?} {}", repository.describe()).unwrap();
    let results = [
        repository
            .put(&object, noise(10, 1), PutMode::Overwrite)
            .await,
        repository.ensure_container(object.container()).await,
        read(&repository, &object).await.map(|_| ()),
        repository.copy(&object, &key(&container("c"), "d")).await,
        repository
            .delete(std::slice::from_ref(&object))
            .await
            .remove(0),
        repository
            .unfinished_uploads(object.container(), "", Duration::ZERO)
            .await
            .map(|_| ()),
        repository.account_url().await.map(|_| ()),
    ];
    for error in results.into_iter().filter_map(Result::err) {
        write!(told, "{error} {error:?} {:?}", error.hint_text()).unwrap();
    }
}
