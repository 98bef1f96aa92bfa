//! The real servers that the binary's tests run on, named by variables that `scripts/servers/*/with-servers` set;
//! without them those tests print that they are skipped.

use std::env;
use std::fmt::Write as _;
use std::fs;
use std::future::Future;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use backup_core::{ContainerName, Listed, ObjectKey, PutMode, Repository};
use backup_drivers::swift::SwiftRepository;
use backup_drivers::{RepositoryConfig, Store, open};
use futures::TryStreamExt;

use crate::ashlar::Home;

/// A server and a container of its own there.
#[derive(Debug, Clone)]
pub(crate) struct Server {
    pub(crate) name: &'static str,
    /// Lines of `[repository.remote]`, without secrets.
    settings: Vec<(&'static str, String)>,
    /// The setting that takes the secret, and the secret.
    secrets: Vec<(&'static str, String)>,
    pub(crate) container: String,
    /// NFS: the folder of the server's disk that is the repository's root.
    pub(crate) disk: Option<PathBuf>,
}

/// All that run, each with a fresh container.
pub(crate) fn all() -> Vec<Server> {
    let all = [radosgw(), moto(), swift_v1(), swift_v3()];
    let running: Vec<_> = all.into_iter().flatten().collect();
    if running.is_empty() {
        eprintln!("skipped: no server is named; scripts/servers/*/with-servers start some");
    }
    running
}

/// All that run, and shares of NFS.
pub(crate) fn with_shares() -> Vec<Server> {
    let shares = [nfs_kernel("4.2"), nfs_kernel("3")];
    all()
        .into_iter()
        .chain(shares.into_iter().flatten())
        .collect()
}

fn named(variable: &str) -> Option<String> {
    env::var(variable).ok().filter(|v| !v.is_empty())
}

/// Ceph's gateway.
pub(crate) fn radosgw() -> Option<Server> {
    let url = named("ASHLAR_TEST_S3_RGW")?;
    let key = named("ASHLAR_TEST_S3_RGW_KEY").unwrap_or_default();
    let secret = named("ASHLAR_TEST_S3_RGW_SECRET").unwrap_or_default();
    Some(s3("radosgw", url, key, vec![("secret_key", secret)]))
}

/// moto, which takes any key.
fn moto() -> Option<Server> {
    let url = named("ASHLAR_TEST_S3_MOTO")?;
    Some(s3(
        "moto",
        url,
        "AKANYTHING".into(),
        vec![
            ("secret_key", "any-secret-of-moto-0815".into()),
            ("session_token", "any-token-of-moto-1508".into()),
        ],
    ))
}

fn s3(
    name: &'static str,
    url: String,
    key: String,
    secrets: Vec<(&'static str, String)>,
) -> Server {
    let bucket = fresh();
    Server {
        name,
        settings: vec![
            ("type", "s3".into()),
            ("endpoint_url", url),
            ("bucket", bucket.clone()),
            ("access_key", key),
        ],
        secrets,
        container: bucket,
        disk: None,
    }
}

/// Swift with its own users.
pub(crate) fn swift_v1() -> Option<Server> {
    let url = named("ASHLAR_TEST_SWIFT_V1")?;
    Some(swift("swift v1", url, "test:tester", "testing", None))
}

/// Swift with Keystone's users.
pub(crate) fn swift_v3() -> Option<Server> {
    let url = named("ASHLAR_TEST_SWIFT_V3")?;
    Some(swift("swift v3", url, "demo", "demopw", Some("demo")))
}

fn swift(
    name: &'static str,
    url: String,
    user: &str,
    password: &str,
    project: Option<&str>,
) -> Server {
    let container = fresh();
    let mut settings = vec![
        ("type", "swift".into()),
        ("auth_url", url),
        ("container", container.clone()),
        ("username", user.into()),
    ];
    settings.extend(project.map(|p| ("project_name", p.into())));
    Server {
        name,
        settings,
        secrets: vec![("password", password.into())],
        container,
        disk: None,
    }
}

/// The kernel's NFS server, mounted by the kernel: only in a guest that may be hurt (scripts/nfs-kernel). Each has a
/// folder of its own on the one export.
pub(crate) fn nfs_kernel(version: &'static str) -> Option<Server> {
    let share = named("ASHLAR_TEST_NFS_KERNEL")?;
    let (_, export) = share.split_once(':').unwrap();
    let folder = fresh();
    let disk = PathBuf::from(export).join(&folder);
    fs::create_dir(&disk).unwrap();
    // Each version is another mount.
    let base = format!("/run/mounts-of-{version}");
    Some(Server {
        name: if version == "3" { "NFS 3" } else { "NFS 4.2" },
        settings: vec![
            ("type", "nfs".into()),
            ("share", share.clone()),
            ("folder", folder.clone()),
            ("mount_point_base", base),
            (
                "mount_options",
                format!("vers={version},softerr,timeo=100,retrans=5,nolock"),
            ),
        ],
        secrets: Vec::new(),
        container: folder,
        disk: Some(disk),
    })
}

/// A container name that no other test has.
fn fresh() -> String {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let next = NEXT.fetch_add(1, Ordering::Relaxed);
    let process = std::process::id();
    let time = backup_core::Timestamp::now().as_micros();
    format!("cli-{time}-{process}-{next}")
}

impl Server {
    /// With another value of a setting, or one more.
    pub(crate) fn with(mut self, setting: &'static str, value: impl Into<String>) -> Self {
        self.settings.retain(|(name, _)| *name != setting);
        self.settings.push((setting, value.into()));
        self
    }

    /// With another secret.
    pub(crate) fn with_secret(mut self, secret: &str) -> Self {
        for (_, value) in &mut self.secrets {
            secret.clone_into(value);
        }
        self
    }

    /// The same Swift as a user sees it who has an account and a token and signs in nowhere.
    pub(crate) fn per_user(&self, account: &str, token: &str) -> Self {
        Self {
            name: "swift per_user",
            settings: vec![
                ("type", "swift".into()),
                ("auth", "per_user".into()),
                ("storage_url", account.into()),
                ("container", self.container.clone()),
            ],
            secrets: vec![("token", token.into())],
            ..self.clone()
        }
    }

    /// The setting's value.
    pub(crate) fn setting(&self, name: &str) -> &str {
        let found = self.settings.iter().find(|(n, _)| *n == name);
        found.map_or("", |(_, value)| value)
    }

    /// The folder of what Cinder's driver for it wrote.
    pub(crate) fn fixture(&self) -> &'static str {
        match self.setting("type") {
            "s3" => "s3",
            "nfs" => "nfs",
            _ => "swift",
        }
    }

    pub(crate) fn is_s3(&self) -> bool {
        self.setting("type") == "s3"
    }

    /// The name of the setting that holds the server's address.
    pub(crate) fn address(&self) -> &'static str {
        if self.is_s3() {
            "endpoint_url"
        } else {
            "auth_url"
        }
    }

    pub(crate) fn secrets(&self) -> impl Iterator<Item = &str> {
        self.secrets.iter().map(|(_, secret)| secret.as_str())
    }

    fn table(&self) -> String {
        let mut text = String::new();
        for (name, value) in &self.settings {
            // Numbers and booleans are none of TOML's texts.
            if value.parse::<i64>().is_ok() || value == "true" || value == "false" {
                writeln!(text, "{name} = {value}").unwrap();
            } else {
                writeln!(text, "{name} = {value:?}").unwrap();
            }
        }
        text
    }

    /// Writes a home's configuration whose backups go to this server in chunks of 1 MiB; secrets lie in files.
    pub(crate) fn configure(&self, home: &Home) {
        fs::create_dir_all(home.path()).unwrap();
        let mut text = String::from("[backup]\nrepository = \"remote\"\nchunk_size = \"1MiB\"\n");
        if self.disk.is_some() {
            // No setting of the repository's: by default each backup has one of its own.
            writeln!(text, "container = {:?}", self.container).unwrap();
        }
        text.push_str("\n[repository.remote]\n");
        text.push_str(&self.table());
        for (name, secret) in &self.secrets {
            let file: PathBuf = home.path().join(format!("{name}.secret"));
            fs::write(&file, format!("{secret}\n")).unwrap();
            writeln!(text, "{name}_file = {:?}", file.to_str().unwrap()).unwrap();
        }
        fs::write(home.path().join("ashlar.toml"), text).unwrap();
    }

    /// A home over it.
    pub(crate) fn home(&self) -> Home {
        let home = Home::new();
        self.configure(&home);
        home
    }

    fn config(&self) -> RepositoryConfig {
        let mut text = self.table();
        for (name, secret) in &self.secrets {
            writeln!(text, "{name} = {secret:?}").unwrap();
        }
        toml::from_str(&text).unwrap()
    }

    /// The address of Swift's account, as signing in tells it.
    pub(crate) fn account_url(&self) -> String {
        let RepositoryConfig::Swift(config) = self.config() else {
            panic!("{} has no accounts", self.name);
        };
        let repository = SwiftRepository::open(&config).unwrap();
        run(async move { repository.account_url().await.unwrap() })
    }

    /// The repository itself, beside the binary.
    pub(crate) fn open(&self) -> Arc<dyn Repository> {
        match open(&self.config()).unwrap() {
            Store::Objects(repository) => repository,
            other => panic!("{other:?}"),
        }
    }

    pub(crate) fn container(&self) -> ContainerName {
        ContainerName::new(self.container.clone()).unwrap()
    }

    /// Makes its container.
    pub(crate) fn make(&self) {
        let (repository, container) = (self.open(), self.container());
        run(async move { repository.ensure_container(&container).await.unwrap() });
    }

    /// All objects in its container.
    pub(crate) fn objects(&self) -> Vec<Listed> {
        let (repository, container) = (self.open(), self.container());
        run(async move {
            let listed = repository.list(&container, "", None).await.unwrap();
            listed.try_collect().await.unwrap()
        })
    }

    /// Stores an object.
    pub(crate) fn put(&self, name: &str, data: Vec<u8>) {
        let (repository, container) = (self.open(), self.container());
        let key = ObjectKey::new(&container, name).unwrap();
        run(async move {
            repository.ensure_container(&container).await.unwrap();
            let put = repository.put(&key, data.into(), PutMode::Overwrite);
            put.await.unwrap();
        });
    }
}

/// Runs what is asynchronous.
pub(crate) fn run<T>(work: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .unwrap();
    let result = runtime.block_on(work);
    runtime.shutdown_background();
    result
}
