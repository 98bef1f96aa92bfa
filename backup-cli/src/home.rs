//! The home: the folder where everything lies unless it is configured elsewhere, and the service over it.

use std::fs::DirBuilder;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use backup_core::compress::compressor;
use backup_core::decorate::Limited;
use backup_core::service::{BackupService, Caller, FileLocks, NamedRepository};
use backup_core::{
    Algorithm, Backup, CancelToken, ChunkedBackup, ChunkedConfig, ContainerName, Error, ErrorKind,
    ImageBackup, ImageRepository, ImagedConfig, JobContext, Repository, Result,
};
use backup_drivers::{RepositoryConfig, Store, open, open_catalog, open_volumes};

use crate::args::Global;
use crate::config::{self, LimitSettings, Settings, Sources, memory};
use crate::messages::{Bar, Messages, warn};
use crate::signals;

/// An open home.
#[derive(Debug)]
pub(crate) struct Home {
    pub(crate) settings: Settings,
    pub(crate) service: BackupService,
    /// Who the command line acts for.
    pub(crate) caller: Caller,
    pub(crate) messages: Messages,
    context: JobContext,
    cancel: CancelToken,
}

/// Where the home is: what is given, else `ashlar` in the XDG data folder.
///
/// # Errors
/// [`InvalidInput`](ErrorKind::InvalidInput) where neither is set and the user has no home folder.
pub(crate) fn root(global: &Global) -> Result<PathBuf> {
    let given = global.home.clone().filter(|p| !p.as_os_str().is_empty());
    let data = || {
        std::env::var_os("XDG_DATA_HOME")
            .map(PathBuf::from)
            .filter(|p| p.is_absolute())
    };
    let user = || std::env::home_dir().map(|h| h.join(".local/share"));
    let root = given
        .or_else(|| data().or_else(user).map(|d| d.join("ashlar")))
        .ok_or_else(|| {
            Error::invalid("find the home", "neither HOME nor XDG_DATA_HOME is set")
                .hint("give one: --home DIR or ASHLAR_HOME")
        })?;
    std::path::absolute(&root).map_err(|e| Error::io("find the home", root.display(), e))
}

/// The settings of a home that nothing configured can reach but `-o`: the demo's.
pub(crate) fn settings_apart(root: &Path, global: &Global) -> Result<Settings> {
    config::load(
        root,
        &Sources {
            file: None,
            environment: &[],
            options: &global.option,
        },
    )
}

/// The settings of the home at `root`.
pub(crate) fn settings(root: &Path, global: &Global) -> Result<Settings> {
    let environment: Vec<_> = std::env::vars_os()
        .filter_map(|(name, value)| {
            let name = name
                .into_string()
                .ok()
                .filter(|n| n.starts_with("ASHLAR_"))?;
            Some((name, value.to_string_lossy().into_owned()))
        })
        .collect();
    config::load(
        root,
        &Sources {
            file: global.config.as_deref(),
            environment: &environment,
            options: &global.option,
        },
    )
}

impl Home {
    /// Opens the home at `root`, making it where it is missing, and settles what dead processes left.
    pub(crate) async fn open(
        root: PathBuf,
        settings: Settings,
        messages: Messages,
    ) -> Result<Self> {
        make_private(&root)?;
        let chunked = chunked_config(&settings)?;
        make_default_repository(&root, &settings)?;
        let context = context(&settings, chunked.chunk_size)?;
        let catalog = open_catalog(&settings.catalog.url).await?;
        let volumes = open_volumes(&settings.volumes)?;
        let locks = FileLocks::new(root.join("jobs"));
        let mut builder = BackupService::builder(catalog, volumes, Arc::new(locks))
            .availability_zone(settings.backup.availability_zone.clone());
        for (name, config) in &settings.repositories {
            let limits = settings.limits.get(name).copied().unwrap_or_default();
            let repository = match open(config) {
                Ok(Store::Objects(repository)) => {
                    let repository = limited(repository, limits);
                    named_objects(name, repository, &settings, &chunked)?
                }
                Ok(Store::Images(repository)) => named_images(name, repository, &settings)?,
                Ok(_) => continue,
                Err(e) if *name == settings.backup.repository => return Err(e.on(name)),
                // One that is not used now must not stop the others; whoever asks for it is told.
                Err(e) => {
                    tracing::info!("repository {name} is left out: {e}");
                    continue;
                }
            };
            builder = builder.repository(repository);
        }
        let service = builder
            .default_repository(settings.backup.repository.clone())
            .build()?;
        let cancel = context.cancel().clone();
        signals::watch(cancel.clone())?;
        let caller = service.home_caller().await?;
        let home = Self {
            settings,
            service,
            caller,
            messages,
            context,
            cancel,
        };
        home.recover().await?;
        Ok(home)
    }

    /// What a job is run with; its progress goes to `bar`.
    pub(crate) fn job(&self, bar: &Arc<Bar>) -> JobContext {
        let observer: Arc<dyn backup_core::Observer> = Arc::<Bar>::clone(bar);
        self.context
            .for_job(observer)
            .with_cancel(self.cancel.clone())
    }

    /// What a job without progress is run with.
    pub(crate) fn context(&self) -> &JobContext {
        &self.context
    }

    /// Settles the jobs of dead processes, saying what was done in a line each.
    async fn recover(&self) -> Result<()> {
        let recovered = self.service.recover(&self.context).await?;
        for settled in &recovered.settled {
            self.messages.note(format_args!(
                "note: settled after a crash: {}",
                settled.text
            ));
            if let Some(error) = &settled.error {
                warn(format_args!(
                    "not all of it could be cleaned up, the next command tries again: {error}"
                ));
            }
        }
        Ok(())
    }
}

/// The repository within the limits that are set for it.
pub(crate) fn limited(
    repository: Arc<dyn Repository>,
    limits: LimitSettings,
) -> Arc<dyn Repository> {
    if limits == LimitSettings::default() {
        return repository;
    }
    let requests = limits.requests.unwrap_or(repository.limits().requests);
    let limited = Limited::new(repository, requests);
    Arc::new(limited.with_bandwidth(limits.max_bandwidth.unwrap_or(0)))
}

fn named_objects(
    name: &str,
    repository: Arc<dyn Repository>,
    settings: &Settings,
    chunked: &ChunkedConfig,
) -> Result<NamedRepository> {
    let layout = repository.layout();
    let backup: Arc<dyn Backup> = Arc::new(ChunkedBackup::new(repository, chunked.clone())?);
    Ok(NamedRepository {
        name: name.to_owned(),
        backup,
        service: layout.service,
        container: settings
            .backup
            .container
            .as_deref()
            .map(ContainerName::new)
            .transpose()
            .map_err(|e| e.on("(the setting backup.container)"))?,
        account: layout.account,
    })
}

/// Images are not compressed, and lie in the pool that their repository names.
fn named_images(
    name: &str,
    repository: Arc<dyn ImageRepository>,
    settings: &Settings,
) -> Result<NamedRepository> {
    let service = repository.layout().service;
    let mut config = ImagedConfig::new();
    if let Some(percent) = settings.backup.audit_percent {
        config.audit_per_million = percent * 10_000;
    }
    let backup: Arc<dyn Backup> = Arc::new(ImageBackup::new(repository, config)?);
    Ok(NamedRepository {
        name: name.to_owned(),
        backup,
        service,
        container: None,
        account: None,
    })
}

/// The engine's defaults with what is set.
fn chunked_config(settings: &Settings) -> Result<ChunkedConfig> {
    let set = &settings.backup;
    let algorithm = set.compression.unwrap_or(Algorithm::Zlib);
    let mut config = ChunkedConfig::new(compressor(algorithm, set.level)?);
    config.chunk_size = set.chunk_size.unwrap_or(config.chunk_size);
    config.block_size = set.hash_block_size.unwrap_or(config.block_size);
    config.join.join_gap = set.join_gap.unwrap_or(config.join.join_gap);
    if let Some(percent) = set.audit_percent {
        config.audit_per_million = percent * 10_000;
    }
    Ok(config)
}

/// Makes the folder of the default repository, where it is the home's own. A configured folder must be there: one that
/// is not is more often a missing mount than a new repository.
pub(crate) fn make_default_repository(root: &Path, settings: &Settings) -> Result<()> {
    let own = config::default_folder(root);
    let is_own = |config: &RepositoryConfig| config.folder() == Some(own.as_path());
    if settings.repositories.values().any(is_own) {
        make_private(&own)?;
    }
    Ok(())
}

fn context(settings: &Settings, chunk_size: u64) -> Result<JobContext> {
    let cores = std::thread::available_parallelism().map_or(1, |n| n.get() as u64);
    let bytes = memory::budget(settings.backup.memory, chunk_size, cores, memory::ram())?;
    let context = JobContext::new(bytes)?;
    Ok(match settings.backup.concurrency {
        Some(requests) => context.with_requests(requests),
        None => context,
    })
}

/// Makes a folder that only its owner may enter, and those above it, where it is missing.
pub(crate) fn make_private(path: &Path) -> Result<()> {
    DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(path)
        .map_err(|e| {
            let error = Error::io("make the home", path.display(), e);
            if error.is(ErrorKind::PermissionDenied) {
                error.hint("give another with --home DIR or ASHLAR_HOME")
            } else {
                error
            }
        })
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use backup_core::testing::MemoryRepository;
    use backup_core::{ObjectKey, PutMode};

    use super::*;

    #[tokio::test]
    async fn limits_of_the_settings_hold_for_the_repository_and_none_changes_nothing() {
        let memory: Arc<dyn Repository> = Arc::new(MemoryRepository::new());
        let same = limited(Arc::clone(&memory), LimitSettings::default());
        assert!(Arc::ptr_eq(&same, &memory));

        let three = LimitSettings {
            requests: Some(3),
            max_bandwidth: None,
        };
        assert_eq!(limited(Arc::clone(&memory), three).limits().requests, 3);

        let slow = LimitSettings {
            requests: None,
            max_bandwidth: Some(1 << 20),
        };
        let slow = limited(memory, slow);
        assert_eq!(slow.limits().requests, 16, "that of the repository");
        let container = ContainerName::new("c").unwrap();
        slow.ensure_container(&container).await.unwrap();
        let key = ObjectKey::new(&container, "o").unwrap();
        let started = Instant::now();
        let put = slow.put(&key, vec![0; 512 << 10].into(), PutMode::Overwrite);
        put.await.unwrap();
        // It cannot be faster, however fast the machine: half a second, less what a rate may be ahead.
        assert!(started.elapsed() >= Duration::from_millis(350));
    }
}
