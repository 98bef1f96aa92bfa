//! The repository.

use std::collections::HashSet;
use std::fmt;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;

use async_trait::async_trait;
use backup_core::{
    BoxStream, ByteRange, ContainerName, DefaultContainer, Download, Error, ErrorKind, Layout,
    Leftover, Limits, Listed, ObjectKey, PrefixStyle, PutMode, Repository, Result, Upload,
};
use bytes::Bytes;
use futures::{StreamExt, stream};
use http::header;
use tokio::sync::Mutex;

use crate::auth::Account;
use crate::config::{AuthKind, SwiftConfig};
use crate::error::Failure;
use crate::info::MOST_PUT;
use crate::list::{self, ContainerEntry, Entry};
use crate::payload::Payload;
use crate::retry::Retry;
use crate::store::{Store, put_failed};
use crate::transport::Transport;
use crate::upload::SpooledUpload;
use crate::wire::{Wire, container_path, object_path};
use crate::{copy, delete, get};

/// Largest object: what a thousand segments can hold that begin with a size that suits small ones.
const MOST_OBJECT: u64 = 4 << 40;
/// Containers asked at once whether they hold an object.
const CONTAINERS_AT_ONCE: usize = 8;
/// Creators that do not wait for each other.
const CREATORS: usize = 16;

/// Backups in the containers of an account. See the [crate's guide](crate).
///
/// A put, a copy and a delete are durable when they return; [`barrier`](Repository::barrier) has nothing to do. A
/// dropped future may leave an object, or segments of a large one that
/// [`unfinished_uploads`](Self::unfinished_uploads) finds.
pub struct SwiftRepository {
    pub(crate) store: Arc<Store>,
    layout: Layout,
    description: String,
    requests: usize,
    /// Swift looks before a put begins whether the object is there, so two at once may both find that it is not.
    /// Those of this process take turns.
    creating: [Mutex<()>; CREATORS],
}

impl fmt::Debug for SwiftRepository {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SwiftRepository")
            .field("description", &self.description)
            .finish_non_exhaustive()
    }
}

impl SwiftRepository {
    /// A repository in the account that `config` names. Nothing is sent yet.
    ///
    /// # Errors
    /// [`InvalidInput`](ErrorKind::InvalidInput) for settings that make no sense or contradict each other, and those
    /// of reading the files that they name.
    pub fn open(config: &SwiftConfig) -> Result<Self> {
        let transport = Transport::new(config)?;
        let retry = Retry::new(config);
        let account = Account::new(config, transport.clone(), retry)?;
        let container = config.default_container()?;
        let description = format!("swift {container} of the account at {}", account.address());
        let wire = Wire {
            transport,
            account: Arc::new(account),
            retry,
        };
        Ok(Self {
            store: Arc::new(Store::new(config, wire)?),
            layout: Layout {
                service: "cinder.backup.drivers.swift.SwiftBackupDriver".into(),
                container: DefaultContainer::Named(container),
                prefix: PrefixStyle::Slashed {
                    availability_zone: config.availability_zone.clone(),
                },
                account: match config.auth {
                    AuthKind::PerUser => config.storage()?.map(|url| account_of(&url)),
                    AuthKind::SingleUser => None,
                },
            },
            description,
            requests: config.requests.max(1),
            creating: Default::default(),
        })
    }

    /// The account's address, as signing in tells it: `https://swift.example.org/v1/AUTH_...`. Signs in where that has
    /// not been done.
    ///
    /// # Errors
    /// Those of signing in.
    pub async fn account_url(&self) -> Result<String> {
        let session = self.store.wire.account.session().await;
        let session = session.map_err(|f| f.into_error("sign in to", &self.description))?;
        Ok(session.storage.clone())
    }

    async fn create_only(&self, key: &ObjectKey, path: &str, data: Bytes) -> Result<()> {
        let exists = || {
            Error::new(ErrorKind::AlreadyExists, "put object")
                .on(key)
                .because("it is there already")
        };
        let mut hasher = DefaultHasher::new();
        key.hash(&mut hasher);
        let turn = usize::try_from(hasher.finish() % CREATORS as u64).unwrap_or(0);
        let _turn = self.creating[turn].lock().await;
        // A gateway that does not know the condition ignores it and overwrites, so look first.
        match self.store.head(path).await {
            Ok(_) => return Err(exists()),
            Err(failure) if failure.is(ErrorKind::NotFound) => {}
            Err(failure) => return Err(put_failed(failure, key)),
        }
        let length = data.len() as u64;
        let _put = self.store.sums.put();
        let md5 = self.store.sums.of(&data).await;
        let md5 = md5.map_err(|f| put_failed(f, key))?;
        let condition = Some((header::IF_NONE_MATCH, "*"));
        let mut tries = self.store.tries();
        let payload = Payload::Bytes(data);
        let done = self
            .store
            .put(path, payload, &md5, condition, &mut tries)
            .await;
        match done {
            // One whose answer was lost may have been ours.
            Err(failure) if failure.status() == 412 && tries.is_again() => {
                match self.store.head(path).await {
                    Ok(head) if head.length == length && head.etag == md5 => Ok(()),
                    Ok(_) => Err(exists()),
                    Err(failure) => Err(put_failed(failure, key)),
                }
            }
            Err(failure) if failure.status() == 412 => Err(exists()),
            done => done.map_err(|f| put_failed(f, key)),
        }
    }
}

#[async_trait]
impl Repository for SwiftRepository {
    fn limits(&self) -> Limits {
        Limits::new(MOST_OBJECT)
            .with_max_put(MOST_PUT)
            .with_retries(true)
            .with_requests(self.requests)
    }

    fn layout(&self) -> Layout {
        self.layout.clone()
    }

    fn describe(&self) -> String {
        self.description.clone()
    }

    async fn account(&self) -> Result<Option<String>> {
        self.account_url().await.map(Some)
    }

    async fn containers(&self) -> Result<BoxStream<ContainerName>> {
        let names = self.account_containers().await?;
        let all: HashSet<_> = names.iter().map(|n| n.as_str().to_owned()).collect();
        // The segments of large objects are a part of those, not objects of their own.
        let holds_segments = |name: &ContainerName| {
            let base = name.as_str().strip_suffix("_segments");
            base.is_some_and(|base| all.contains(base)) || self.store.is_segment_container(name)
        };
        let names: Vec<_> = names.into_iter().filter(|n| !holds_segments(n)).collect();
        let store = Arc::clone(&self.store);
        let DefaultContainer::Named(own) = &self.layout.container else {
            return Err(Error::internal("list containers", "no default container"));
        };
        let own = own.clone();
        // The account's own count of a container's objects lags, so each is asked.
        let asked = stream::iter(names).map(move |name| {
            let store = Arc::clone(&store);
            let is_own = name == own;
            async move {
                let path = container_path(&name).ok()?;
                match list::page::<Entry>(&store, &path, "", None, None, Some(1)).await {
                    Ok(page) if page.is_empty() => None,
                    Ok(_) => Some(Ok(name)),
                    Err(f) if f.is_passing() => Some(Err(f.into_error("list container", name))),
                    // That of the settings is meant to be read: nothing found there would look like no backups.
                    Err(f) if is_own && !f.is(ErrorKind::NotFound) => {
                        Some(Err(f.into_error("list container", name)))
                    }
                    Err(failure) => {
                        tracing::debug!(container = %name, %failure, "skipped a container");
                        None
                    }
                }
            }
        });
        let found = asked.buffer_unordered(CONTAINERS_AT_ONCE);
        Ok(found.filter_map(std::future::ready).boxed())
    }

    async fn ensure_container(&self, container: &ContainerName) -> Result<()> {
        self.store.ensure_container(container).await
    }

    async fn put(&self, key: &ObjectKey, data: Bytes, mode: PutMode) -> Result<()> {
        let path = object_path(key)?;
        if self
            .store
            .may_be_large(data.len() as u64)
            .await
            .map_err(|f| put_failed(f, key))?
        {
            if mode == PutMode::CreateOnly {
                return Err(Error::new(ErrorKind::Unsupported, "put object")
                    .on(key)
                    .because("one that takes segments cannot be stored on a condition"));
            }
            let mut upload = self.begin(key, Some(data.len() as u64)).await?;
            if let Err(error) = upload.part(data).await {
                upload.abort().await?;
                return Err(error);
            }
            return upload.complete().await;
        }
        if mode == PutMode::CreateOnly {
            return self.create_only(key, &path, data).await;
        }
        let _put = self.store.sums.put();
        let md5 = self.store.sums.of(&data).await;
        let md5 = md5.map_err(|f| put_failed(f, key))?;
        let mut tries = self.store.tries();
        let put = self
            .store
            .put(&path, Payload::Bytes(data), &md5, None, &mut tries);
        put.await.map_err(|f| put_failed(f, key))
    }

    async fn begin(&self, key: &ObjectKey, size_hint: Option<u64>) -> Result<Box<dyn Upload>> {
        let path = object_path(key)?;
        let upload =
            SpooledUpload::new(Arc::clone(&self.store), key.clone(), path, size_hint).await?;
        Ok(Box::new(upload))
    }

    async fn get(&self, key: &ObjectKey, range: Option<ByteRange>) -> Result<Download> {
        get::get(&self.store, key, range).await
    }

    async fn list(
        &self,
        container: &ContainerName,
        prefix: &str,
        delimiter: Option<char>,
    ) -> Result<BoxStream<Listed>> {
        // A container that cannot be one of Swift's is missing, and lists as empty.
        let Ok(path) = container_path(container) else {
            return Ok(stream::empty().boxed());
        };
        let store = Arc::clone(&self.store);
        Ok(list::objects(
            store,
            path,
            container.to_string(),
            prefix.to_owned(),
            delimiter,
        ))
    }

    async fn copy(&self, from: &ObjectKey, to: &ObjectKey) -> Result<()> {
        copy::copy(self, from, to).await
    }

    async fn delete(&self, keys: &[ObjectKey]) -> Vec<Result<()>> {
        delete::all(&self.store, keys).await
    }

    async fn barrier(&self, _: &ContainerName) -> Result<()> {
        // A put's answer says that it is stored.
        Ok(())
    }

    async fn leftovers(&self, container: Option<&ContainerName>) -> Result<BoxStream<Leftover>> {
        self.unfinished(container).await
    }

    async fn remove_leftover(&self, leftover: &Leftover) -> Result<()> {
        self.drop_unfinished(leftover).await
    }
}

/// An account's address as it goes into records: without a slash at its end.
fn account_of(url: &url::Url) -> String {
    url.as_str().trim_end_matches('/').to_owned()
}

impl SwiftRepository {
    /// The account's containers whose names we can hold.
    pub(crate) async fn account_containers(&self) -> Result<Vec<ContainerName>> {
        let failed = |f: Failure| f.into_error("list containers of", &self.description);
        let mut names = Vec::new();
        let mut marker: Option<String> = None;
        loop {
            let page =
                list::page::<ContainerEntry>(&self.store, "", "", None, marker.as_deref(), None);
            let page = match page.await {
                Ok(page) => page,
                // Who may use one container only need not be allowed to list all.
                Err(f) if f.is(ErrorKind::PermissionDenied) => {
                    let DefaultContainer::Named(container) = &self.layout.container else {
                        return Err(failed(f));
                    };
                    return Ok(vec![container.clone()]);
                }
                Err(f) => return Err(failed(f)),
            };
            let Some(last) = page.last().map(|c| c.name.clone()) else {
                return Ok(names);
            };
            if marker
                .as_ref()
                .is_some_and(|m| last.as_bytes() <= m.as_bytes())
            {
                return Err(failed(Failure::malformed("a listing does not get on")));
            }
            marker = Some(last);
            names.extend(
                page.into_iter()
                    .filter_map(|c| ContainerName::new(c.name).ok()),
            );
        }
    }
}
