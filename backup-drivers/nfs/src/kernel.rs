//! The client of the kernel: the share is mounted, and the mount point is a repository in a folder.

mod files;
mod mount;
mod mounts;
mod named;

use std::fs::File;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use backup_core::{
    BoxStream, ByteRange, ContainerName, DefaultContainer, Download, Error, ErrorKind, Layout,
    Leftover, Limits, Listed, ObjectKey, PrefixStyle, PutMode, Repository, Result, Upload,
};
use backup_posix::{LocalFiles, PosixConfig, PosixRepository};
use bytes::Bytes;
use tokio::sync::{OnceCell, oneshot};

use crate::config::NfsConfig;
use crate::share::Share;
use files::NfsFiles;
use mount::Mounting;
use named::Named;

/// What mounting may take beyond the time that `mount` itself is given.
const LOOK: Duration = Duration::from_secs(10);

/// A share that the kernel mounts, as a repository. It is mounted by the first call that needs it, where it is not
/// mounted yet.
#[derive(Debug)]
pub(crate) struct KernelRepository {
    share: Share,
    mounting: Mounting,
    config: NfsConfig,
    mounted: OnceCell<Mounted>,
}

/// The share while it is in use.
#[derive(Debug)]
struct Mounted {
    folder: PosixRepository,
    named: Named,
    /// Open, so that nobody unmounts it meanwhile.
    _root: File,
}

impl KernelRepository {
    /// Looks at the settings only; nothing is mounted yet.
    ///
    /// # Errors
    /// [`InvalidInput`](ErrorKind::InvalidInput) where they make no sense.
    pub(crate) fn new(config: &NfsConfig) -> Result<Self> {
        let share: Share = config.share.parse()?;
        if let Some(path) = &config.path {
            check_inner(path)?;
        }
        Ok(Self {
            mounting: Mounting::new(&share, config)?,
            share,
            config: config.clone(),
            mounted: OnceCell::new(),
        })
    }

    /// The share, mounted.
    async fn mounted(&self) -> Result<&Mounted> {
        self.mounted.get_or_try_init(|| self.mount()).await
    }

    /// Mounts it on a thread of its own: what hangs is left behind.
    async fn mount(&self) -> Result<Mounted> {
        let (mounting, config) = (self.mounting.clone(), self.config.clone());
        let patience = Duration::from_secs(self.config.timeout_seconds.max(1));
        let (tell, told) = oneshot::channel();
        std::thread::Builder::new()
            .name("ashlar-mount".into())
            .spawn(move || {
                let _nobody_waits = tell.send(Mounted::open(&mounting, &config, patience));
            })
            .map_err(|e| Error::new(ErrorKind::Unavailable, "mount").caused_by(e))?;
        match tokio::time::timeout(patience + LOOK, told).await {
            Ok(Ok(mounted)) => mounted,
            Ok(Err(_)) => Err(Error::internal("mount", "its thread panicked")),
            Err(_) => Err(Error::new(ErrorKind::Timeout, "open the mounted share")
                .on(format!(
                    "{} at {}",
                    self.share,
                    self.mounting.point().display()
                ))
                .because(format!(
                    "no answer within {} s",
                    (patience + LOOK).as_secs()
                ))
                .hint("see whether that server still answers")
                .retryable(false)),
        }
    }
}

/// Refuses a folder of the export that leads out of it.
fn check_inner(path: &Path) -> Result<()> {
    use std::path::Component;
    let inside = path
        .components()
        .all(|part| matches!(part, Component::Normal(_)));
    if inside && path.components().next().is_some() {
        return Ok(());
    }
    Err(
        Error::invalid("open repository", "`folder` must be one below the export")
            .on(path.display())
            .hint("write it without a slash in front and without dots: folder = \"backups\""),
    )
}

impl Mounted {
    /// Mounts the share where it is not mounted, and opens its folder. Blocks.
    fn open(mounting: &Mounting, config: &NfsConfig, patience: Duration) -> Result<Self> {
        mounting.ensure(patience)?;
        let point = mounting.point();
        let root = match &config.path {
            Some(path) => point.join(path),
            None => point.to_path_buf(),
        };
        let named = Named::new(&root, &config.place());
        let open = || {
            let failed = |e| Error::io("open repository", root.display(), e);
            let held = File::open(&root).map_err(failed)?;
            let metadata = held.metadata().map_err(failed)?;
            let files = NfsFiles::new(LocalFiles, &root, metadata.dev(), metadata.gid());
            let settings = PosixConfig::new(&root)
                .with_service(config.service.clone())
                .with_timeout(patience);
            let folder = PosixRepository::open_on(&settings, Arc::new(files))?;
            Ok((held, folder))
        };
        let (held, folder) = open().map_err(|e| named.error(e))?;
        Ok(Self {
            folder,
            named,
            _root: held,
        })
    }
}

#[async_trait]
impl Repository for KernelRepository {
    fn limits(&self) -> Limits {
        // The longest file that Linux knows.
        Limits::new(i64::MAX.cast_unsigned())
    }

    fn layout(&self) -> Layout {
        Layout {
            service: self.config.service.clone(),
            container: DefaultContainer::PerBackup,
            prefix: PrefixStyle::Flat,
            account: None,
        }
    }

    fn describe(&self) -> String {
        self.config.place()
    }

    async fn containers(&self) -> Result<BoxStream<ContainerName>> {
        let m = self.mounted().await?;
        let listed = m.folder.containers().await;
        listed
            .map(|l| m.named.stream(l))
            .map_err(|e| m.named.error(e))
    }

    async fn ensure_container(&self, container: &ContainerName) -> Result<()> {
        let m = self.mounted().await?;
        let made = m.folder.ensure_container(container).await;
        made.map_err(|e| m.named.error(e))
    }

    async fn put(&self, key: &ObjectKey, data: Bytes, mode: PutMode) -> Result<()> {
        let m = self.mounted().await?;
        let put = m.folder.put(key, data, mode).await;
        put.map_err(|e| m.named.error(e))
    }

    async fn begin(&self, key: &ObjectKey, size_hint: Option<u64>) -> Result<Box<dyn Upload>> {
        let m = self.mounted().await?;
        let begun = m.folder.begin(key, size_hint).await;
        begun
            .map(|u| m.named.upload(u))
            .map_err(|e| m.named.error(e))
    }

    async fn get(&self, key: &ObjectKey, range: Option<ByteRange>) -> Result<Download> {
        let m = self.mounted().await?;
        let got = m.folder.get(key, range).await;
        got.map(|download| Download {
            length: download.length,
            body: m.named.stream(download.body),
        })
        .map_err(|e| m.named.error(e))
    }

    async fn list(
        &self,
        container: &ContainerName,
        prefix: &str,
        delimiter: Option<char>,
    ) -> Result<BoxStream<Listed>> {
        let m = self.mounted().await?;
        let listed = m.folder.list(container, prefix, delimiter).await;
        listed
            .map(|l| m.named.stream(l))
            .map_err(|e| m.named.error(e))
    }

    async fn copy(&self, from: &ObjectKey, to: &ObjectKey) -> Result<()> {
        let m = self.mounted().await?;
        let copied = m.folder.copy(from, to).await;
        copied.map_err(|e| m.named.error(e))
    }

    async fn delete(&self, keys: &[ObjectKey]) -> Vec<Result<()>> {
        let m = match self.mounted().await {
            Ok(m) => m,
            Err(e) => {
                let failed = |key| {
                    Error::new(e.kind(), "delete object")
                        .on(key)
                        .because(e.to_string())
                        .retryable(e.is_retryable())
                };
                return keys.iter().map(|key| Err(failed(key))).collect();
            }
        };
        let results = m.folder.delete(keys).await;
        results
            .into_iter()
            .map(|r| r.map_err(|e| m.named.error(e)))
            .collect()
    }

    async fn barrier(&self, container: &ContainerName) -> Result<()> {
        let m = self.mounted().await?;
        let durable = m.folder.barrier(container).await;
        durable.map_err(|e| m.named.error(e))
    }

    async fn leftovers(&self, container: Option<&ContainerName>) -> Result<BoxStream<Leftover>> {
        let m = self.mounted().await?;
        let found = m.folder.leftovers(container).await;
        found
            .map(|l| m.named.stream(l))
            .map_err(|e| m.named.error(e))
    }

    async fn remove_leftover(&self, leftover: &Leftover) -> Result<()> {
        let m = self.mounted().await?;
        let removed = m.folder.remove_leftover(leftover).await;
        removed.map_err(|e| m.named.error(e))
    }

    async fn clear_leftovers(&self, container: &ContainerName, prefix: &str) -> Result<()> {
        let m = self.mounted().await?;
        let cleared = m.folder.clear_leftovers(container, prefix).await;
        cleared.map_err(|e| m.named.error(e))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_of_the_export_does_not_lead_out_of_it() {
        for good in ["backups", "a/b"] {
            assert!(check_inner(Path::new(good)).is_ok(), "{good}");
        }
        for bad in ["", "/a", "..", "a/../b", "./a"] {
            assert!(check_inner(Path::new(bad)).is_err(), "{bad}");
        }
    }
}
