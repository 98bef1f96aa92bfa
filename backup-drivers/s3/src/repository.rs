//! The repository.

use std::fmt;
use std::future::Future;
use std::sync::Arc;

use async_trait::async_trait;
use backup_core::{
    BoxStream, ByteRange, ContainerName, DefaultContainer, Download, Error, ErrorKind, Layout,
    Leftover, Limits, Listed, ObjectKey, PrefixStyle, PutMode, Repository, Result, Upload,
};
use bytes::Bytes;
use futures::{StreamExt, stream};
use object_store::path::Path;
use object_store::{
    Attribute, Attributes, GetOptions, GetRange, ObjectStore, ObjectStoreExt as _, PutOptions,
    PutPayload,
};
use tokio_util::task::AbortOnDropHandle;

use crate::config::S3Config;
use crate::error::Failure;
use crate::stores::{Stores, bucket_of, connect, size_of};
use crate::upload::PartsUpload;
use crate::wire::Wire;
use crate::{delete, list};

/// Largest single put and largest copied object: 5 GiB.
pub(crate) const MOST_PUT: u64 = 5 << 30;
/// Largest object: 5 TiB.
const MOST_OBJECT: u64 = 5 << 40;
/// Buckets asked at once whether they hold an object.
const BUCKETS_AT_ONCE: usize = 8;

/// Backups in S3 buckets, or in stores that an embedder hands in. See the [crate's guide](crate).
///
/// A put, a copy and a delete are durable when they return; [`barrier`](Repository::barrier) has nothing to do. A
/// dropped future may leave an object, or an unfinished upload that [`unfinished_uploads`](Self::unfinished_uploads)
/// finds.
pub struct S3Repository {
    pub(crate) stores: Arc<Stores>,
    /// Our own requests; none where the stores were handed in.
    pub(crate) wire: Option<Wire>,
    layout: Layout,
    containers: Vec<ContainerName>,
    attributes: Attributes,
    description: String,
    create_containers: bool,
    conditional_put: bool,
    pub(crate) bulk_delete: bool,
    part_size: u64,
    requests: usize,
}

impl fmt::Debug for S3Repository {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("S3Repository")
            .field("description", &self.description)
            .finish_non_exhaustive()
    }
}

impl S3Repository {
    /// A repository on the server that `config` names. Nothing is sent yet.
    ///
    /// # Errors
    /// [`InvalidInput`](ErrorKind::InvalidInput) for settings that make no sense, and those of reading the files that
    /// they name.
    pub fn new(config: &S3Config) -> Result<Self> {
        let (stores, wire) = connect(config)?;
        let container = config.default_container()?;
        let mut attributes = Attributes::new();
        if let Some(class) = &config.storage_class {
            attributes.insert(Attribute::StorageClass, class.clone().into());
        }
        Ok(Self {
            stores: Arc::new(stores),
            description: format!("s3 {}", wire.address.bucket(container.as_str())),
            wire: Some(wire),
            layout: layout(container.clone(), &config.availability_zone),
            containers: vec![container],
            attributes,
            create_containers: config.create_containers,
            conditional_put: config.conditional_put,
            bulk_delete: config.bulk_delete,
            part_size: config.part_size,
            requests: config.requests.max(1),
        })
    }

    /// A repository over stores of your own: Google's, Azure's, or any other that object_store offers. `open` gives the
    /// store of a container; it is called once for each that it opens. Containers are not made: each must be there, and
    /// one that is not is told by a [`NotFound`](ErrorKind::NotFound) of `open` or of the store.
    ///
    /// # Errors
    /// None in fact: the default container's name is valid.
    pub fn from_stores(
        open: impl Fn(&ContainerName) -> Result<Arc<dyn ObjectStore>> + Send + Sync + 'static,
    ) -> Result<Self> {
        let defaults = S3Config::default();
        let container = defaults.default_container()?;
        Ok(Self {
            stores: Arc::new(Stores::new(Box::new(open))),
            wire: None,
            layout: layout(container.clone(), &defaults.availability_zone),
            containers: vec![container],
            attributes: Attributes::new(),
            description: "object stores of the embedder".into(),
            create_containers: false,
            conditional_put: true,
            bulk_delete: false,
            part_size: defaults.part_size,
            requests: defaults.requests,
        })
    }

    /// With another layout: another service's name, default container or availability zone.
    pub fn with_layout(mut self, layout: Layout) -> Self {
        if let DefaultContainer::Named(container) = &layout.container {
            self.containers = vec![container.clone()];
        }
        self.layout = layout;
        self
    }

    /// The containers that [`containers`](Repository::containers) tells of stores that were handed in, which cannot
    /// tell it themselves. By default the layout's.
    pub fn with_containers(mut self, containers: Vec<ContainerName>) -> Self {
        self.containers = containers;
        self
    }

    fn open(&self, key: &ObjectKey) -> Result<(Arc<dyn ObjectStore>, Path)> {
        let path = Path::parse(key.name()).map_err(|e| {
            Error::invalid("check object name", "the store cannot hold it")
                .on(key)
                .caused_by(e)
        })?;
        Ok((self.stores.get(key.container())?, path))
    }

    /// All buckets of the account, where the key may list them, and the configured ones, which may be another's.
    pub(crate) async fn buckets(&self, wire: &Wire) -> Result<Vec<ContainerName>> {
        let listed = match wire.buckets().await {
            Ok(names) => names,
            // A key for one bucket need not be allowed to list all.
            Err(f)
                if matches!(
                    f.kind(),
                    ErrorKind::PermissionDenied | ErrorKind::Unsupported
                ) =>
            {
                Vec::new()
            }
            Err(f) => return Err(f.into_error("list buckets", &self.description)),
        };
        let listed = listed
            .into_iter()
            .filter_map(|n| ContainerName::new(n).ok());
        let mut names: Vec<_> = listed.filter(|n| bucket_of(n).is_ok()).collect();
        let others: Vec<_> = self
            .containers
            .iter()
            .filter(|c| !names.contains(c))
            .cloned()
            .collect();
        names.extend(others);
        Ok(names)
    }

    async fn create_only(
        &self,
        store: &Arc<dyn ObjectStore>,
        path: &Path,
        payload: PutPayload,
    ) -> object_store::Result<()> {
        // A gateway that does not know the condition ignores it and overwrites, so look first.
        match store.head(path).await {
            Ok(_) => {
                return Err(object_store::Error::AlreadyExists {
                    path: path.to_string(),
                    source: "the object is there".into(),
                });
            }
            Err(e) if Failure::store(&e).kind() == ErrorKind::NotFound => {}
            Err(e) => return Err(e),
        }
        if self.conditional_put {
            let options = self.put_options(object_store::PutMode::Create);
            match store.put_opts(path, payload.clone(), options).await {
                Err(e) if Failure::store(&e).kind() == ErrorKind::Unsupported => {}
                done => return done.map(|_| ()),
            }
        }
        let options = self.put_options(object_store::PutMode::Overwrite);
        store.put_opts(path, payload, options).await.map(|_| ())
    }

    fn put_options(&self, mode: object_store::PutMode) -> PutOptions {
        PutOptions {
            mode,
            attributes: self.attributes.clone(),
            ..PutOptions::default()
        }
    }

    /// A copy of what the server will not copy at once.
    async fn copy_in_parts(&self, from: &ObjectKey, to: &ObjectKey, size: u64) -> Result<()> {
        let mut upload = self.begin(to, Some(size)).await?;
        let mut body = self.get(from, None).await?.body;
        while let Some(data) = body.next().await {
            let copied = match data {
                Ok(data) => upload.part(data).await,
                Err(e) => Err(e),
            };
            if let Err(error) = copied {
                upload.abort().await?;
                return Err(error);
            }
        }
        upload.complete().await
    }
}

fn layout(container: ContainerName, zone: &str) -> Layout {
    Layout {
        service: "cinder.backup.drivers.s3.S3BackupDriver".into(),
        container: DefaultContainer::Named(container),
        prefix: PrefixStyle::Slashed {
            availability_zone: zone.into(),
        },
        account: None,
    }
}

/// Hashing and encrypting a body takes a core for tens of milliseconds, so a put is a task of its own: a caller that
/// polls many puts in one task would do them one after the other. Dropped with the caller's future.
async fn on_its_own<T: Send + 'static>(
    work: impl Future<Output = object_store::Result<T>> + Send + 'static,
) -> object_store::Result<T> {
    match AbortOnDropHandle::new(tokio::spawn(work)).await {
        Ok(done) => done,
        Err(source) => Err(object_store::Error::JoinError { source }),
    }
}

#[async_trait]
impl Repository for S3Repository {
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

    async fn containers(&self) -> Result<BoxStream<ContainerName>> {
        let Some(wire) = self.wire.clone() else {
            return Ok(stream::iter(self.containers.clone().into_iter().map(Ok)).boxed());
        };
        // The account's other buckets, that we cannot read or that are empty, are none of ours.
        let names = self.buckets(&wire).await?;
        let own = self.containers.clone();
        let asked = stream::iter(names).map(move |name| {
            let wire = wire.clone();
            let is_own = own.contains(&name);
            async move {
                match wire.objects(name.as_str(), "", None, None, Some(1)).await {
                    Ok(page) if page.contents.is_empty() => None,
                    Ok(_) => Some(Ok(name)),
                    Err(f) if f.is_passing() => Some(Err(f.into_error("list bucket", name))),
                    // That of the settings is meant to be read: nothing found there would look like no backups.
                    Err(f) if is_own && f.kind() != ErrorKind::NotFound => {
                        Some(Err(f.into_error("list bucket", name)))
                    }
                    Err(failure) => {
                        tracing::debug!(bucket = %name, %failure, "skipped a bucket");
                        None
                    }
                }
            }
        });
        let found = asked.buffer_unordered(BUCKETS_AT_ONCE);
        Ok(found.filter_map(std::future::ready).boxed())
    }

    async fn ensure_container(&self, container: &ContainerName) -> Result<()> {
        let Some(wire) = &self.wire else {
            let store = self.stores.get(container)?;
            return match store.list(None).next().await {
                Some(Err(e)) => Err(Failure::store(&e).into_error("open container", container)),
                _ => Ok(()),
            };
        };
        let bucket = bucket_of(container)?;
        let Err(failure) = wire.probe(bucket).await else {
            return Ok(());
        };
        if failure.kind() != ErrorKind::NotFound {
            return Err(failure.into_error("look up bucket", bucket));
        }
        if !self.create_containers {
            return Err(failure
                .into_error("look up bucket", bucket)
                .hint("make the bucket, or set create_containers = true"));
        }
        tracing::info!(bucket, "make bucket");
        let made = wire.create_bucket(bucket).await;
        made.map_err(|f| f.into_error("make bucket", bucket))
    }

    async fn put(&self, key: &ObjectKey, data: Bytes, mode: PutMode) -> Result<()> {
        const OPERATION: &str = "put object";
        if data.len() as u64 > MOST_PUT {
            return Err(Error::invalid(OPERATION, "a single put takes at most 5 GiB").on(key));
        }
        let (store, path) = self.open(key)?;
        let payload = PutPayload::from(data);
        let done = match mode {
            PutMode::Overwrite => {
                let options = self.put_options(object_store::PutMode::Overwrite);
                on_its_own(async move { store.put_opts(&path, payload, options).await.map(|_| ()) })
                    .await
            }
            PutMode::CreateOnly => self.create_only(&store, &path, payload).await,
        };
        done.map_err(|e| Failure::store(&e).into_error(OPERATION, key))
    }

    async fn begin(&self, key: &ObjectKey, size_hint: Option<u64>) -> Result<Box<dyn Upload>> {
        let (store, path) = self.open(key)?;
        Ok(Box::new(PartsUpload::new(
            store,
            path,
            self.attributes.clone(),
            key.to_string(),
            self.part_size,
            size_hint,
        )))
    }

    async fn get(&self, key: &ObjectKey, range: Option<ByteRange>) -> Result<Download> {
        const OPERATION: &str = "get object";
        let (store, path) = self.open(key)?;
        let failed = |e: &object_store::Error| Failure::store(e).into_error(OPERATION, key);
        let beyond = |range: ByteRange| {
            Error::invalid(OPERATION, format!("range {range} begins behind its end")).on(key)
        };
        if let Some(range) = range.filter(|r| r.is_empty()) {
            // HTTP knows no empty range.
            let size = size_of(&*store, &path).await.map_err(|e| failed(&e))?;
            if range.start() >= size {
                return Err(beyond(range));
            }
            return Ok(Download {
                length: 0,
                body: stream::empty().boxed(),
            });
        }
        let options = GetOptions {
            range: range.map(|r| GetRange::Bounded(r.start()..r.end())),
            ..GetOptions::default()
        };
        let result = match (store.get_opts(&path, options).await, range) {
            (Ok(result), _) => result,
            (Err(e), Some(range)) if failed(&e).is(ErrorKind::InvalidInput) => {
                return Err(beyond(range));
            }
            (Err(e), Some(range)) if !failed(&e).is_retryable() => {
                // Servers answer a range of an empty object in ways of their own.
                match size_of(&*store, &path).await {
                    Ok(size) if range.start() >= size => return Err(beyond(range)),
                    _ => return Err(failed(&e)),
                }
            }
            (Err(e), _) => return Err(failed(&e)),
        };
        let length = result.range.end.saturating_sub(result.range.start);
        let target = key.to_string();
        let body = result
            .into_stream()
            .map(move |piece| piece.map_err(|e| Failure::store(&e).into_error(OPERATION, &target)));
        Ok(Download {
            length,
            body: body.boxed(),
        })
    }

    async fn list(
        &self,
        container: &ContainerName,
        prefix: &str,
        delimiter: Option<char>,
    ) -> Result<BoxStream<Listed>> {
        let (container, prefix) = (container.clone(), prefix.to_owned());
        Ok(match &self.wire {
            // A container that cannot be a bucket is missing, and lists as empty.
            Some(_) if bucket_of(&container).is_err() => stream::empty().boxed(),
            Some(wire) => list::of_server(wire.clone(), container.into(), prefix, delimiter),
            None => match self.stores.get(&container) {
                Ok(store) => list::of_store(store, container.into(), prefix, delimiter),
                Err(e) if e.is(ErrorKind::NotFound) => stream::empty().boxed(),
                Err(e) => return Err(e),
            },
        })
    }

    async fn copy(&self, from: &ObjectKey, to: &ObjectKey) -> Result<()> {
        const OPERATION: &str = "copy object";
        let (source, source_path) = self.open(from)?;
        let (_, path) = self.open(to)?;
        if from.container() != to.container() {
            // object_store copies within one bucket.
            let size = size_of(&*source, &source_path).await;
            let size = size.map_err(|e| Failure::store(&e).into_error(OPERATION, from))?;
            return self.copy_in_parts(from, to, size).await;
        }
        let Err(e) = source.copy(&source_path, &path).await else {
            return Ok(());
        };
        let failure = Failure::store(&e);
        if failure.kind() == ErrorKind::InvalidInput {
            let size = size_of(&*source, &source_path).await;
            if let Ok(size) = size
                && size > MOST_PUT
            {
                return self.copy_in_parts(from, to, size).await;
            }
        }
        Err(failure.into_error(OPERATION, from))
    }

    async fn delete(&self, keys: &[ObjectKey]) -> Vec<Result<()>> {
        delete::all(self, keys).await
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
