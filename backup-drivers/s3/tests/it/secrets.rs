//! No secret is ever told: not by an error, not by the most talkative log.

use std::fmt::Write as _;
use std::io::Write;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use backup_core::{PutMode, Repository};
use backup_s3::{Encryption, S3Repository, Secret};
use tracing_subscriber::fmt::MakeWriter;

use crate::fake::{Fake, Reply, error_body};
use crate::servers::{container, key, noise, read};

const CUSTOMER_KEY: &str = "aHVzaC1odXNoLWh1c2gtaHVzaC1odXNoLWh1c2gtMTI=";

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
    let fake = Fake::start(|n, head| {
        // Servers echo what they were sent.
        assert!(head.contains("hush-token"), "the token is sent: {head}");
        let code = ["SignatureDoesNotMatch", "SlowDown", "AccessDenied"][n % 3];
        let status = [403, 503, 403][n % 3];
        let echo = format!("<StringToSign>{head}</StringToSign>");
        Reply::Whole(
            status,
            "",
            error_body(code).replace("<CanonicalRequest>", &(echo + "<CanonicalRequest>")),
        )
    })
    .await;
    let mut config = fake.config();
    config.session_token = Some(Secret::new("hush-token"));
    config.sse = Some(Encryption::Customer);
    config.sse_customer_key = Some(Secret::new(CUSTOMER_KEY));
    let told = {
        let _guard = tracing_subscriber::util::SubscriberInitExt::set_default(subscriber);
        let repository = S3Repository::new(&config).unwrap();
        let object = key(&container("b"), "k");
        let mut told = format!("{config:?} {repository:?} {}", repository.describe());
        for _ in 0..3 {
            let results = [
                repository
                    .put(&object, noise(10, 1), PutMode::Overwrite)
                    .await,
                repository.ensure_container(object.container()).await,
                read(&repository, &object).await.map(|_| ()),
                repository.copy(&object, &key(&container("b"), "c")).await,
                repository
                    .delete(std::slice::from_ref(&object))
                    .await
                    .remove(0),
                repository
                    .unfinished_uploads(object.container(), "", Duration::ZERO)
                    .await
                    .map(|_| ()),
            ];
            for error in results.into_iter().filter_map(Result::err) {
                write!(told, "{error} {error:?} {:?}", error.hint_text()).unwrap();
            }
        }
        told
    };
    let log = String::from_utf8(log.0.lock().unwrap().clone()).unwrap();
    assert!(!told.is_empty() && !log.is_empty());
    for secret in ["hush", CUSTOMER_KEY] {
        assert!(!told.contains(secret), "{told}");
        for line in log.lines() {
            assert!(!line.contains(secret), "{line}");
        }
    }
}
