//! An export without a mount: this process speaks NFS itself, and needs no right of root.

mod connection;
mod delete;
mod failure;
mod folder;
mod link;
mod list;
mod options;
mod read;
mod refusal;
mod upload;
mod write;

use std::path::Component;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use backup_core::{
    BoxStream, ByteRange, ContainerName, DefaultContainer, Download, Error, Layout, Leftover,
    Limits, Listed, ObjectKey, PrefixStyle, PutMode, Repository, Result, Upload,
};
use backup_posix::layout::FOLDER_MODE;
use bytes::Bytes;
use futures::TryStreamExt;

use self::connection::joined;
use self::link::{Call, Link};
use self::options::Options;
use self::read::Reader;
use crate::config::NfsConfig;
use crate::share::Share;

/// The longest file that NFS knows.
const LONGEST: u64 = i64::MAX.cast_unsigned();

/// An export as a repository, spoken to by this process itself: version 4.1 of the protocol, else 3.
///
/// An object is written under a temporary name, made durable by a COMMIT, and then renamed, so that it is whole and
/// durable when [`put`](Repository::put) returns: [`barrier`](Repository::barrier) has nothing left to do. (What renaming,
/// making and removing names promise is the server's to keep: an export with `async` does not.)
///
/// A server that is away, or in the grace time after its start, is waited for: each call goes on until its deadline
/// ([`NfsConfig::timeout_seconds`]), counted from when the server went. A call whose future is dropped goes on in the
/// background all the same.
#[derive(Debug)]
pub(crate) struct UserspaceRepository {
    link: Arc<Link>,
    reader: Reader,
    service: String,
}

impl UserspaceRepository {
    /// Takes the settings. The server is spoken to by the first call.
    ///
    /// # Errors
    /// [`InvalidInput`](backup_core::ErrorKind::InvalidInput) and [`Unsupported`](backup_core::ErrorKind::Unsupported)
    /// for settings that this client does not take.
    pub(crate) fn open(config: &NfsConfig) -> Result<Self> {
        let share: Share = config.share.parse()?;
        let options = Options::parse(config.mount_options.as_deref().unwrap_or_default())?;
        for version in &options.versions {
            // What the library cannot name is told now, unless another version can.
            if let (Err(error), 1) = (options.url(&share, *version, false), options.versions.len())
            {
                return Err(error);
            }
        }
        let patience = Duration::from_secs(config.timeout_seconds.max(1));
        let link = Arc::new(Link::new(share, options, root(config)?, patience));
        Ok(Self {
            reader: Reader::new(Arc::clone(&link)),
            link,
            service: config.service.clone(),
        })
    }
}

/// The repository's folder in the export, without slashes at its ends.
fn root(config: &NfsConfig) -> Result<String> {
    let mut root = String::new();
    let Some(path) = &config.path else {
        return Ok(root);
    };
    for part in path.components() {
        match part {
            Component::RootDir | Component::CurDir => {}
            Component::Normal(name) => {
                let name = name
                    .to_str()
                    .ok_or_else(|| refused(path, "it is no UTF-8"))?;
                root = joined(&root, name);
            }
            Component::ParentDir | Component::Prefix(_) => {
                return Err(refused(path, "it climbs out of the export"));
            }
        }
    }
    Ok(root)
}

fn refused(path: &std::path::Path, why: &str) -> Error {
    Error::invalid("read the NFS settings", why).on(format!("path {}", path.display()))
}

#[async_trait]
impl Repository for UserspaceRepository {
    fn limits(&self) -> Limits {
        Limits::new(LONGEST).with_retries(true)
    }

    fn layout(&self) -> Layout {
        Layout {
            service: self.service.clone(),
            container: DefaultContainer::PerBackup,
            prefix: PrefixStyle::Flat,
            account: None,
        }
    }

    fn describe(&self) -> String {
        self.link.describe()
    }

    /// The folders that hold a file themselves. Those without the right to be read are left out.
    async fn containers(&self) -> Result<BoxStream<ContainerName>> {
        Ok(list::containers(&self.link))
    }

    async fn ensure_container(&self, container: &ContainerName) -> Result<()> {
        let path = container.to_string();
        let call = Call::new("make container", container, 0);
        self.link
            .run(call, move |on, this| {
                let path = path.clone();
                async move {
                    // A remembered one may be gone.
                    on.forget_folders();
                    on.make_folder(&path, FOLDER_MODE, this.doubtful).await?;
                    Ok(())
                }
            })
            .await
    }

    /// Stores an object: whole and durable under its name, or not there.
    async fn put(&self, key: &ObjectKey, data: Bytes, mode: PutMode) -> Result<()> {
        write::put(&self.link, key, data, mode).await
    }

    /// Begins a temporary file beside the object's. A killed process leaves it behind, where listings hide it and
    /// [`delete`](Self::delete) of the object removes it.
    async fn begin(&self, key: &ObjectKey, _size_hint: Option<u64>) -> Result<Box<dyn Upload>> {
        Ok(Box::new(upload::begin(&self.link, key).await?))
    }

    /// Reads up to 4 MiB as one piece of one version of the object, more in pieces of which up to 8 are under way.
    async fn get(&self, key: &ObjectKey, range: Option<ByteRange>) -> Result<Download> {
        self.reader.get(key, range).await
    }

    async fn list(
        &self,
        container: &ContainerName,
        prefix: &str,
        delimiter: Option<char>,
    ) -> Result<BoxStream<Listed>> {
        Ok(list::objects(&self.link, container, prefix, delimiter))
    }

    /// Copies through this process: these versions of NFS have no copy of their own.
    async fn copy(&self, from: &ObjectKey, to: &ObjectKey) -> Result<()> {
        let mut download = self.get(from, None).await?;
        let mut upload = self.begin(to, Some(download.length)).await?;
        let mut left = download.length;
        while let Some(piece) = download.body.try_next().await? {
            left = left.saturating_sub(piece.len() as u64);
            upload.part(piece).await?;
        }
        if left > 0 {
            return Err(Error::corrupt(
                "copy object",
                from,
                "it became shorter while it was copied",
            ));
        }
        upload.complete().await
    }

    /// Deletes the files and the temporary files that belong to them. A container's folder stays, as Cinder leaves it;
    /// folders that only an object's name with slashes made go with the last object in them.
    async fn delete(&self, keys: &[ObjectKey]) -> Vec<Result<()>> {
        delete::objects(&self.link, keys).await
    }

    /// Everything is durable already when its call has returned.
    async fn barrier(&self, _container: &ContainerName) -> Result<()> {
        Ok(())
    }

    /// The temporary files. Of a given container only those in its own folder.
    async fn leftovers(&self, container: Option<&ContainerName>) -> Result<BoxStream<Leftover>> {
        Ok(list::leftovers(&self.link, container))
    }

    async fn remove_leftover(&self, leftover: &Leftover) -> Result<()> {
        delete::refuse_objects(&leftover.key)?;
        let path = joined(leftover.key.container().as_str(), leftover.key.name());
        delete::temporary(&self.link, path).await
    }

    /// Removes temporary files of objects that lie in the container's own folder.
    async fn clear_leftovers(&self, container: &ContainerName, prefix: &str) -> Result<()> {
        delete::below(&self.link, container, prefix).await
    }
}

#[cfg(test)]
mod tests {
    use backup_core::ErrorKind;

    use super::*;

    #[test]
    fn settings_that_climb_out_or_name_another_protocol_are_refused() {
        let config = NfsConfig::new("nas:/export");
        for config in [
            config.clone().with_path("../x"),
            config.clone().with_path("a/../../x"),
            config.clone().with_mount_options("verse=3"),
            NfsConfig::new("nas"),
        ] {
            let refused = UserspaceRepository::open(&config).unwrap_err();
            assert!(refused.is(ErrorKind::InvalidInput), "{refused}");
        }
        let refused = UserspaceRepository::open(&config.with_mount_options("vers=4.2"));
        assert!(refused.unwrap_err().is(ErrorKind::Unsupported));
    }

    #[test]
    fn it_is_described_by_its_export_and_folder() {
        let config = NfsConfig::new("nas:/export/").with_path("/backups/a");
        let repository = UserspaceRepository::open(&config).unwrap();
        assert_eq!(repository.describe(), "nas:/export/backups/a");
    }
}
