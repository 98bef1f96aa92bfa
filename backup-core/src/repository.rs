//! The seam to flat object stores: Swift, S3, NFS, a POSIX directory.
//!
//! To add one, implement [`Repository`], and run the conformance suite of the feature `testing` against a real server.

use std::fmt;
use std::pin::Pin;

use async_trait::async_trait;
use bytes::Bytes;
use futures_core::Stream;

use crate::error::{Error, ErrorKind, Result};
use crate::id::{BackupId, ContainerName, Location, ObjectKey, Prefix, VolumeId};
use crate::range::ByteRange;
use crate::timestamp::Timestamp;

/// A stream of results that can be sent between threads.
pub type BoxStream<T> = Pin<Box<dyn Stream<Item = Result<T>> + Send + 'static>>;

/// What a repository can take and do.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Limits {
    /// The largest object that [`Repository::put`] takes, in bytes.
    pub max_put: u64,
    /// The largest object that [`Repository::begin`] can make, in bytes.
    pub max_object: u64,
    /// Whether its client retries by itself. Where it does not, the retry decorator is put around it.
    pub retries: bool,
    /// Requests in flight at once that serve it well.
    pub requests: usize,
}

impl Limits {
    /// Limits of `max_object` for both ways of storing, no retries of its own, 16 requests.
    pub fn new(max_object: u64) -> Self {
        Self {
            max_put: max_object,
            max_object,
            retries: false,
            requests: 16,
        }
    }

    /// Its client retries by itself.
    pub fn with_retries(mut self, yes: bool) -> Self {
        self.retries = yes;
        self
    }

    /// This many requests in flight at once serve it well.
    pub fn with_requests(mut self, requests: usize) -> Self {
        self.requests = requests.max(1);
        self
    }

    /// A single put takes at most this many bytes.
    pub fn with_max_put(mut self, bytes: u64) -> Self {
        self.max_put = bytes;
        self
    }
}

/// How Cinder's driver for such a repository names things, and which driver it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Layout {
    /// Cinder's driver class, recorded as `backup_service`: `cinder.backup.drivers.posix.PosixBackupDriver`.
    pub service: String,
    /// The container where the user gave none.
    pub container: DefaultContainer,
    /// How a prefix is made.
    pub prefix: PrefixStyle,
    /// The account's address, where each user's backups lie in an account of that user's own (swift's `per_user`). It
    /// goes into the records, so that each says whose account holds the backup.
    pub account: Option<String>,
}

/// The container where the user gave none.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DefaultContainer {
    /// A folder for each backup: `ab/cd/<backup id>` (posix, nfs).
    PerBackup,
    /// Always the same (swift, s3).
    Named(ContainerName),
}

/// How a prefix is made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PrefixStyle {
    /// `volume_<volume>_<time>_backup_<backup>` (posix, nfs).
    Flat,
    /// `volume_<volume>/<time>/az_<zone>_backup_<backup>` (swift, s3).
    Slashed {
        /// The availability zone of the backup service.
        availability_zone: String,
    },
}

impl Layout {
    /// Where a backup goes that starts at `time`.
    ///
    /// # Errors
    /// [`InvalidInput`](crate::ErrorKind::InvalidInput) where the availability zone makes no valid name.
    pub fn location(
        &self,
        backup: BackupId,
        volume: VolumeId,
        time: Timestamp,
        container: Option<ContainerName>,
    ) -> Result<Location> {
        let container = match (container, &self.container) {
            (Some(c), _) => c,
            (None, DefaultContainer::Named(c)) => c.clone(),
            (None, DefaultContainer::PerBackup) => {
                let id = backup.to_string();
                ContainerName::new(format!("{}/{}/{id}", &id[0..2], &id[2..4]))?
            }
        };
        let time = time.compact();
        let prefix = match &self.prefix {
            PrefixStyle::Flat => format!("volume_{volume}_{time}_backup_{backup}"),
            PrefixStyle::Slashed { availability_zone } => {
                format!("volume_{volume}/{time}/az_{availability_zone}_backup_{backup}")
            }
        };
        Ok(Location {
            container,
            prefix: Prefix::new(prefix)?,
        })
    }
}

/// Whether a put may replace an object.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PutMode {
    /// Replaces what is there.
    Overwrite,
    /// [`AlreadyExists`](crate::ErrorKind::AlreadyExists) where it is there.
    CreateOnly,
}

/// An object that is being read.
pub struct Download {
    /// How many bytes the stream will yield, as the server says; the reader counts for itself.
    pub length: u64,
    /// The bytes, in pieces of any size. An error ends it.
    pub body: BoxStream<Bytes>,
}

impl fmt::Debug for Download {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Download")
            .field("length", &self.length)
            .finish_non_exhaustive()
    }
}

/// An object as listed.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Listed {
    /// Full name in the container; with a delimiter, a common beginning that ends with it.
    pub name: String,
    /// Stored bytes; 0 for a common beginning.
    pub size: u64,
    /// When it was last changed, where the repository tells.
    pub modified: Option<Timestamp>,
    /// Whether it is a common beginning, not an object.
    pub is_prefix: bool,
}

impl Listed {
    /// An object.
    pub fn object(name: impl Into<String>, size: u64, modified: Option<Timestamp>) -> Self {
        Self {
            name: name.into(),
            size,
            modified,
            is_prefix: false,
        }
    }

    /// A common beginning of names, delimiter included.
    pub fn prefix(name: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            size: 0,
            modified: None,
            is_prefix: true,
        }
    }
}

/// What a repository keeps and no listing shows: an upload that nobody completed, a segment without its object, a
/// temporary file. A killed process leaves such things; a running one has them too.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Leftover {
    /// What it is, for people: `unfinished upload`.
    pub what: std::borrow::Cow<'static, str>,
    /// The object that it was to become, or its own name where the repository knows no better.
    pub key: ObjectKey,
    /// The repository's own word by which it finds it again.
    pub id: String,
    /// Stored bytes, where the repository tells.
    pub size: Option<u64>,
    /// When it was begun or last changed, where the repository tells.
    pub modified: Option<Timestamp>,
}

impl Leftover {
    /// One of which nothing more is known.
    pub fn new(
        what: impl Into<std::borrow::Cow<'static, str>>,
        key: ObjectKey,
        id: impl Into<String>,
    ) -> Self {
        Self {
            what: what.into(),
            key,
            id: id.into(),
            size: None,
            modified: None,
        }
    }
}

/// A flat store of objects in containers.
///
/// What every implementor keeps, and the conformance suite checks:
/// * Calls may run at once, from any thread. Two writes to one key at once leave one of the two.
/// * A call that has returned an error may still have happened on the server. A dropped future may leave an object
///   or an unfinished upload behind; [`delete`](Self::delete) clears it.
/// * A missing object or container is [`NotFound`](crate::ErrorKind::NotFound), a refused right
///   [`PermissionDenied`](crate::ErrorKind::PermissionDenied), a full store
///   [`NoSpace`](crate::ErrorKind::NoSpace), a dead server [`Unavailable`](crate::ErrorKind::Unavailable), no answer
///   in time [`Timeout`](crate::ErrorKind::Timeout). Nothing waits for ever.
#[async_trait]
pub trait Repository: Send + Sync + fmt::Debug + 'static {
    /// What it can take and do. Constant.
    fn limits(&self) -> Limits;

    /// How Cinder's driver names things there. Constant.
    fn layout(&self) -> Layout;

    /// What it is, for messages: a path or a URL, without secrets.
    fn describe(&self) -> String;

    /// The address of the account that it uses: the layout's ([`Layout::account`]), or what signing in tells where the
    /// settings name none. `None` where nothing tells it, as of a folder.
    ///
    /// # Errors
    /// Those of signing in.
    async fn account(&self) -> Result<Option<String>> {
        Ok(self.layout().account)
    }

    /// All containers that hold an object, in any order.
    async fn containers(&self) -> Result<BoxStream<ContainerName>>;

    /// Makes `container` where it is missing.
    async fn ensure_container(&self, container: &ContainerName) -> Result<()>;

    /// Stores a whole object. It can be read when this returns, but is durable only after
    /// [`barrier`](Self::barrier). After an error, the object may be there, in part or whole.
    async fn put(&self, key: &ObjectKey, data: Bytes, mode: PutMode) -> Result<()>;

    /// Begins an object that comes in parts, or whose appearance must be atomic and durable: the metadata, the commit
    /// point. Replaces what is there. `size_hint` is the expected length in bytes.
    async fn begin(&self, key: &ObjectKey, size_hint: Option<u64>) -> Result<Box<dyn Upload>>;

    /// Reads an object, or a `range` of it. A range that begins at or behind the object's end is
    /// [`InvalidInput`](crate::ErrorKind::InvalidInput); one that reaches past the end yields what there is.
    async fn get(&self, key: &ObjectKey, range: Option<ByteRange>) -> Result<Download>;

    /// Lists the objects of a container whose names begin with `prefix` (any string, not only a path's part), in any
    /// order. With a `delimiter`, names that hold it behind the prefix are told as common beginnings, each once.
    /// A missing container lists as empty.
    async fn list(
        &self,
        container: &ContainerName,
        prefix: &str,
        delimiter: Option<char>,
    ) -> Result<BoxStream<Listed>>;

    /// Copies an object within the repository, replacing what is there. Durable after a barrier on the target.
    async fn copy(&self, from: &ObjectKey, to: &ObjectKey) -> Result<()>;

    /// Deletes objects; a result for each key, in order. One that is missing is success.
    async fn delete(&self, keys: &[ObjectKey]) -> Vec<Result<()>>;

    /// All puts, copies and deletes in `container` that returned before this call are durable when it returns.
    ///
    /// # Errors
    /// The first error of writing any of them back; they must then be taken as lost.
    async fn barrier(&self, container: &ContainerName) -> Result<()>;

    /// What is kept of `container`, or of all containers, and no listing shows, of any age, in any order. Also what
    /// belongs to uploads that are being made. Nothing where the repository has no such things: the default.
    async fn leftovers(&self, container: Option<&ContainerName>) -> Result<BoxStream<Leftover>> {
        let _none_has_any = container;
        Ok(Box::pin(futures::stream::empty()))
    }

    /// Removes what [`leftovers`](Self::leftovers) told. One that is gone is success. An upload that it belongs to
    /// fails, or ends without its object.
    async fn remove_leftover(&self, leftover: &Leftover) -> Result<()> {
        Err(
            Error::new(ErrorKind::Unsupported, "remove what is left over")
                .on(&leftover.key)
                .because("this repository leaves nothing over"),
        )
    }

    /// Removes what no listing shows of objects in `container` whose names begin with `prefix`: what a killed process or
    /// a lost server left of a backup, the names of whose objects nobody knows any more. Objects stay. An upload of
    /// such an object that is being made fails, or ends without it.
    ///
    /// The default does nothing: such things then stay until [`leftovers`](Self::leftovers) is asked for them.
    async fn clear_leftovers(&self, container: &ContainerName, prefix: &str) -> Result<()> {
        let _none_has_any = (container, prefix);
        Ok(())
    }
}

/// An object that comes in parts. Dropped without `complete`, it leaves nothing visible (leftovers may need
/// [`abort`](Self::abort) or the repository's own clean-up).
#[async_trait]
pub trait Upload: Send + fmt::Debug {
    /// Adds bytes at the end.
    async fn part(&mut self, data: Bytes) -> Result<()>;

    /// Makes the object appear at once, whole and durable. After an error it may or may not be there.
    async fn complete(self: Box<Self>) -> Result<()>;

    /// Drops all that was uploaded.
    async fn abort(self: Box<Self>) -> Result<()>;
}
