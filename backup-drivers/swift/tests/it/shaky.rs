//! Faults on a real Swift: refusals, cut and stopped transfers, servers that die, tokens of seconds, late listings.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use backup_core::decorate::Limited;
use backup_core::testing::MemoryDevice;
use backup_core::{
    Attachment, Backup, BackupRequest, BlockDevice, Chain, ChunkedBackup, ChunkedConfig, ErrorKind,
    Layer, PutMode, Repository, RestoreOptions, Timestamp, VolumeId,
};
use backup_swift::{SwiftConfig, SwiftRepository};
use tokio::time::{sleep, timeout};

use crate::life::context;
use crate::servers::{key, list, named, noise, open, put, read};

const MIB: usize = 1 << 20;
/// Far more than any of these may take.
const BOUND: Duration = Duration::from_mins(4);

/// The servers that may be harmed, one test at a time. What a test stopped runs again at its end.
pub(crate) struct Shaky {
    folder: PathBuf,
    stopped: Mutex<Vec<String>>,
    _turn: File,
}

impl Shaky {
    pub(crate) fn take() -> Option<Self> {
        let folder = PathBuf::from(named("ASHLAR_TEST_SWIFT_SHAKY")?);
        let turn = File::create(folder.join("turn")).unwrap();
        turn.lock().unwrap();
        let shaky = Self {
            folder,
            stopped: Mutex::default(),
            _turn: turn,
        };
        shaky.control("fault", &["off"]);
        Some(shaky)
    }

    pub(crate) fn v1() -> SwiftConfig {
        let url = named("ASHLAR_TEST_SWIFT_SHAKY_V1").unwrap();
        SwiftConfig::new(url).with_user("test:tester", "testing")
    }

    fn v3() -> SwiftConfig {
        let url = named("ASHLAR_TEST_SWIFT_SHAKY_V3").unwrap();
        SwiftConfig::new(url)
            .with_user("demo", "demopw")
            .with_project("demo")
    }

    /// Runs the servers' script.
    fn call(&self, command: &str, arguments: &[&str]) -> Output {
        let script =
            Path::new(env!("CARGO_MANIFEST_DIR")).join("../../scripts/servers/swift/swift");
        let mut call = Command::new(script);
        call.arg(command)
            .arg(&self.folder)
            .args(arguments)
            .output()
            .unwrap()
    }

    fn control(&self, command: &str, arguments: &[&str]) {
        let done = self.call(command, arguments);
        assert!(done.status.success(), "{command} {arguments:?}: {done:?}");
    }

    fn fault(&self, rules: &serde_json::Value) {
        self.control("fault", &[&rules.to_string()]);
    }

    fn end(&self, server: &str) {
        self.stopped.lock().unwrap().push(server.into());
        self.control("end", &[server]);
    }

    fn signal(&self, server: &str, signal: &str) {
        self.stopped.lock().unwrap().push(server.into());
        self.control("signal", &[server, signal]);
    }

    fn run(&self, server: &str) {
        self.control("run", &[server]);
    }

    /// How many requests of a method and a path's beginning the proxy has had, refused ones included.
    async fn requests(&self, method: &str, path: &str) -> usize {
        // It writes down a request after it has answered it.
        sleep(Duration::from_millis(500)).await;
        let log = std::fs::read_to_string(self.folder.join("log/proxy.log")).unwrap();
        log.lines()
            .filter(|l| l.contains(&format!(" {method} ")) && l.contains(path))
            .count()
    }
}

impl Drop for Shaky {
    /// What does not come back is seen by the next test; a panic here would hide why this one failed.
    fn drop(&mut self) {
        self.call("fault", &["off"]);
        for server in self.stopped.lock().unwrap().drain(..) {
            self.call("signal", &[&server, "CONT"]);
            self.call("run", &[&server]);
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn refusals_that_pass_are_waited_out_without_a_storm() {
    let Some(shaky) = Shaky::take() else { return };
    let (repository, of) = open(&Shaky::v1()).await;
    for (n, status) in [
        "503 Service Unavailable",
        "429 Too Many Requests",
        "498 Rate Limited",
        "500 x",
        "502 x",
        "504 x",
    ]
    .iter()
    .enumerate()
    {
        let object = key(&of, &format!("k{n}"));
        shaky.fault(&serde_json::json!([
            {"method": "PUT", "path": format!("/{object}$"), "count": 2, "status": status, "drain": true,
             "headers": {"Retry-After": "1"}},
            {"method": "GET", "path": format!("/{object}$"), "count": 2, "status": status},
        ]));
        let done = timeout(BOUND, put(&repository, &object, noise(100_000, 1))).await;
        done.unwrap();
        assert_eq!(
            read(&repository, &object).await.unwrap(),
            noise(100_000, 1),
            "{status}"
        );
        assert_eq!(
            shaky.requests("PUT", &object.to_string()).await,
            3,
            "{status}"
        );
        assert_eq!(
            shaky.requests("GET", &object.to_string()).await,
            3,
            "{status}"
        );
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_401_in_between_is_met_with_a_new_token_once() {
    let Some(shaky) = Shaky::take() else { return };
    let (repository, of) = open(&Shaky::v1()).await;
    let object = key(&of, "refused-once");
    shaky.fault(&serde_json::json!([{"method": "PUT", "count": 1, "status": "401 Unauthorized", "drain": true}]));
    put(&repository, &object, noise(1000, 1)).await;
    assert_eq!(
        shaky.requests("PUT", &format!("{of}/refused-once")).await,
        2
    );
    shaky.fault(
        &serde_json::json!([{"method": "PUT", "status": "401 Unauthorized", "drain": true}]),
    );
    let object = key(&of, "refused-always");
    let put = repository
        .put(&object, noise(1000, 1), PutMode::Overwrite)
        .await;
    assert_eq!(put.unwrap_err().kind(), ErrorKind::Unauthenticated);
    let sent = shaky.requests("PUT", &format!("{of}/refused-always")).await;
    assert!((2..=4).contains(&sent), "{sent}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn transfers_cut_in_the_middle_come_right() {
    let Some(shaky) = Shaky::take() else { return };
    for config in [Shaky::v1(), Shaky::v3()] {
        let (repository, of) = open(&config).await;
        let object = key(&of, "cut");
        shaky.fault(&serde_json::json!([
            {"method": "PUT", "path": format!("{of}/cut"), "count": 2, "reset_after": 1_000_000},
            {"method": "GET", "path": format!("{of}/cut"), "count": 2, "reset_after": 1_000_000},
        ]));
        let data = noise(3_000_000, 4);
        timeout(BOUND, put(&repository, &object, data.clone()))
            .await
            .unwrap();
        let got = timeout(BOUND, read(&repository, &object)).await.unwrap();
        assert_eq!(got.unwrap(), data);
        assert_eq!(shaky.requests("PUT", &format!("{of}/cut")).await, 3);
        assert_eq!(shaky.requests("GET", &format!("{of}/cut")).await, 3);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tokens_of_seconds_serve_a_long_job() {
    let Some(shaky) = Shaky::take() else { return };
    for (name, config) in [("v1", Shaky::v1()), ("v3", Shaky::v3())] {
        let (repository, of) = open(&config).await;
        let before = shaky.requests("GET", "/auth/v1.0").await;
        let started = Timestamp::now().as_micros();
        let mut n = 0;
        // Longer than two lives of Keystone's tokens.
        while Timestamp::now().as_micros() - started < 18_000_000 {
            let keys: Vec<_> = (0..4).map(|i| key(&of, &format!("{n}-{i}"))).collect();
            let puts = keys
                .iter()
                .map(|k| repository.put(k, noise(10_000, n), PutMode::Overwrite));
            for result in futures::future::join_all(puts).await {
                result.unwrap_or_else(|e| panic!("{name}: {e}"));
            }
            assert_eq!(
                read(&repository, &keys[0]).await.unwrap(),
                noise(10_000, n),
                "{name}"
            );
            n += 1;
            sleep(Duration::from_millis(250)).await;
        }
        let sign_ins = shaky.requests("GET", "/auth/v1.0").await - before;
        if name == "v1" {
            // Tokens of 4 seconds, and one that was begun before.
            assert!((3..=12).contains(&sign_ins), "{sign_ins} in 18 s");
        }
    }
}

pub(crate) fn engine(repository: SwiftRepository, bandwidth: Option<u64>) -> ChunkedBackup {
    let config = ChunkedConfig::zlib().unwrap();
    let config = config.with_chunk_size(1 << 20).with_block_size(32 << 10);
    let repository: Arc<dyn Repository> = Arc::new(repository);
    let repository = match bandwidth {
        Some(rate) => Arc::new(Limited::new(repository, 4).with_bandwidth(rate)),
        None => repository,
    };
    ChunkedBackup::new(repository, config).unwrap()
}

pub(crate) struct Job {
    volume: MemoryDevice,
    request: BackupRequest,
}

impl Job {
    pub(crate) fn new(of: &backup_core::ContainerName) -> Self {
        let volume = MemoryDevice::new(20 * MIB as u64);
        volume.poke(0, &noise(20 * MIB, 7));
        let mut request = BackupRequest::new(VolumeId::generate(), Timestamp::now());
        request.container = Some(of.clone());
        Self { volume, request }
    }

    pub(crate) async fn back_up(&self, engine: &ChunkedBackup) -> backup_core::Result<Layer> {
        let plan = engine.plan(&self.request).unwrap();
        let source = Attachment::new(Arc::new(self.volume.clone()));
        let layer = Layer {
            id: plan.id,
            location: plan.location.clone(),
        };
        let created = timeout(BOUND, engine.create(&plan, None, &source, &context())).await;
        created.unwrap().map(|_| layer)
    }

    pub(crate) async fn restores(&self, engine: &ChunkedBackup, layer: &Layer) {
        let chain = Chain::new(vec![layer.clone()]).unwrap();
        let target = MemoryDevice::new(20 * MIB as u64);
        let device: Arc<dyn BlockDevice> = Arc::new(target.clone());
        let (options, cx) = (RestoreOptions::default(), context());
        let restored = timeout(BOUND, engine.restore(&chain, &device, &options, &cx)).await;
        restored.unwrap().unwrap_or_else(|e| panic!("{e}"));
        assert_eq!(target.first_difference(&self.volume), None);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_object_server_that_dies_and_comes_back_is_waited_for() {
    let Some(shaky) = Shaky::take() else { return };
    for how in ["KILL", "STOP"] {
        let (repository, of) = open(&Shaky::v1()).await;
        let job = Job::new(&of);
        let engine = engine(repository, Some(6 << 20));
        let harm = async {
            sleep(Duration::from_secs(1)).await;
            if how == "KILL" {
                shaky.signal("object", "KILL");
                sleep(Duration::from_secs(3)).await;
                shaky.run("object");
            } else {
                shaky.signal("object", "STOP");
                sleep(Duration::from_secs(5)).await;
                shaky.signal("object", "CONT");
            }
        };
        let (layer, ()) = futures::future::join(job.back_up(&engine), harm).await;
        let layer = layer.unwrap_or_else(|e| panic!("{how}: {e}"));
        job.restores(&engine, &layer).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_object_server_that_stays_away_ends_the_backup_with_the_reason() {
    let Some(shaky) = Shaky::take() else { return };
    let mut config = Shaky::v1();
    config.retries = 2;
    let (repository, of) = open(&config).await;
    let job = Job::new(&of);
    let engine = engine(repository, Some(6 << 20));
    let harm = async {
        sleep(Duration::from_secs(1)).await;
        shaky.end("object");
    };
    let (failed, ()) = futures::future::join(job.back_up(&engine), harm).await;
    let error = failed.unwrap_err();
    assert!(
        matches!(error.kind(), ErrorKind::Unavailable | ErrorKind::Timeout),
        "{error}"
    );
    assert!(error.to_string().contains(of.as_str()), "{error}");
    shaky.run("object");
    let layer = job.back_up(&engine).await.unwrap();
    job.restores(&engine, &layer).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_listing_that_lags_harms_no_restore_and_hides_nothing_from_a_delete() {
    let Some(shaky) = Shaky::take() else { return };
    let (repository, of) = open(&Shaky::v1()).await;
    let job = Job::new(&of);
    let slow = engine(repository, Some(8 << 20));
    // What the container server misses is told to it by the updater, later.
    shaky.end("updater");
    let harm = async {
        sleep(Duration::from_millis(800)).await;
        shaky.end("container");
    };
    let (layer, ()) = futures::future::join(job.back_up(&slow), harm).await;
    let layer = layer.unwrap_or_else(|e| panic!("{e}"));
    shaky.run("container");
    let repository = SwiftRepository::open(&Shaky::v1()).unwrap();
    let prefix = layer.location.prefix.as_str();
    let all: Vec<_> = (1..=20).map(|n| format!("{prefix}-{n:05}")).collect();
    let listed = list(&repository, &of, prefix).await;
    assert!(listed.len() < all.len(), "the listing does not lag");

    let engine = engine(SwiftRepository::open(&Shaky::v1()).unwrap(), None);
    job.restores(&engine, &layer).await;
    timeout(BOUND, engine.delete(&layer, &context()))
        .await
        .unwrap()
        .unwrap();
    for name in all {
        let error = read(&repository, &key(&of, &name)).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::NotFound, "{name}: {error}");
    }
    shaky.run("updater");
    let seen = async {
        while !list(&repository, &of, "").await.is_empty() {
            sleep(Duration::from_millis(500)).await;
        }
    };
    timeout(BOUND, seen).await.unwrap();
}
