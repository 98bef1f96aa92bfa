//! The seam that everything above stands on: make, open, restore, delete, verify and scan backups, whatever stores
//! them. `ChunkedBackup` does it over flat objects, `ImageBackup` over images with snapshots.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;
use serde::{Deserialize, Serialize};

use crate::attach::Attachment;
use crate::buffer::Buf;
use crate::device::{BlockDevice, ChangePoint};
use crate::error::Result;
use crate::format::volume::VolumeMetadata;
use crate::id::{BackupId, ContainerName, Location, SnapshotId, VolumeId};
use crate::job::JobContext;
use crate::orphan::Orphan;
use crate::range::{ByteRange, Extent};
use crate::record::BackupRecord;
use crate::repository::BoxStream;
use crate::timestamp::Timestamp;

/// What a backup is to be made of, and what is to be recorded with it.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct BackupRequest {
    /// ID of the backup.
    pub id: BackupId,
    /// ID of the volume.
    pub volume_id: VolumeId,
    /// The snapshot that is read, where one was asked for.
    pub snapshot_id: Option<SnapshotId>,
    /// Name of the backup.
    pub name: Option<String>,
    /// Description of the backup.
    pub description: Option<String>,
    /// Properties of the backup.
    pub properties: Properties,
    /// Container; `None` for the repository's default.
    pub container: Option<ContainerName>,
    /// The backup that it will be an incremental on; `None` for a full one. In a store of images both lie in one image,
    /// and so in one container.
    pub parent: Option<Layer>,
    /// The project that the backup belongs to.
    pub project_id: String,
    /// Who makes it.
    pub user_id: String,
    /// The backup's own copy of the encryption key.
    pub encryption_key_id: Option<String>,
    /// When the backup is made.
    pub created_at: Timestamp,
    /// The point in time of the data.
    pub data_timestamp: Timestamp,
    /// The volume's own metadata, kept with the data.
    pub volume_metadata: Option<VolumeMetadata>,
}

impl BackupRequest {
    /// A backup of `volume_id`, made `at`, with a new ID and nothing else set.
    pub fn new(volume_id: VolumeId, at: Timestamp) -> Self {
        Self {
            id: BackupId::generate(),
            volume_id,
            snapshot_id: None,
            name: None,
            description: None,
            properties: Properties::new(),
            container: None,
            parent: None,
            project_id: String::new(),
            user_id: String::new(),
            encryption_key_id: None,
            created_at: at,
            data_timestamp: at,
            volume_metadata: None,
        }
    }
}

/// What was chosen before the first byte is written. Stored in the catalogue, so that a kill leaves names to clean up
/// by.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[non_exhaustive]
pub struct BackupPlan {
    /// ID of the backup.
    pub id: BackupId,
    /// ID of the volume.
    pub volume_id: VolumeId,
    /// Where the backup goes.
    pub location: Location,
    /// The snapshot that is read, where one was asked for.
    pub snapshot_id: Option<SnapshotId>,
    /// Name of the backup.
    pub name: Option<String>,
    /// Description of the backup.
    pub description: Option<String>,
    /// Properties of the backup.
    pub properties: Properties,
    /// The project that the backup belongs to.
    pub project_id: String,
    /// Who makes it.
    pub user_id: String,
    /// The backup's own copy of the encryption key.
    pub encryption_key_id: Option<String>,
    /// When the backup is made.
    pub created_at: Timestamp,
    /// The point in time of the data.
    pub data_timestamp: Timestamp,
    /// The volume's own metadata: the JSON text that is kept with the data.
    pub volume_metadata: Option<String>,
}

impl BackupPlan {
    /// What `request` asks for, at `location`.
    pub(crate) fn at(request: &BackupRequest, location: Location) -> Self {
        Self {
            id: request.id,
            volume_id: request.volume_id,
            location,
            snapshot_id: request.snapshot_id,
            name: request.name.clone(),
            description: request.description.clone(),
            properties: request.properties.clone(),
            project_id: request.project_id.clone(),
            user_id: request.user_id.clone(),
            encryption_key_id: request.encryption_key_id.clone(),
            created_at: request.created_at,
            data_timestamp: request.data_timestamp,
            volume_metadata: request
                .volume_metadata
                .as_ref()
                .map(VolumeMetadata::to_json),
        }
    }

    /// The backup that it is the plan of, as a link of a chain.
    pub fn layer(&self) -> Layer {
        Layer {
            id: self.id,
            location: self.location.clone(),
        }
    }
}

/// One backup of a chain.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Layer {
    /// Its ID.
    pub id: BackupId,
    /// Where it lies.
    pub location: Location,
}

/// A full backup and incrementals on it, oldest first; the last is the one that is meant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Chain {
    layers: Vec<Layer>,
}

impl Chain {
    /// The chain of these layers, oldest first; `None` where there is none.
    pub fn new(layers: Vec<Layer>) -> Option<Self> {
        (!layers.is_empty()).then_some(Self { layers })
    }

    /// The layers, oldest first.
    pub fn layers(&self) -> &[Layer] {
        &self.layers
    }

    /// The backup that is meant.
    pub fn newest(&self) -> &Layer {
        // `new` refuses an empty list.
        &self.layers[self.layers.len() - 1]
    }
}

/// What a finished backup is.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Outcome {
    /// Length of the volume in bytes.
    pub volume_length: u64,
    /// Data objects.
    pub object_count: u64,
    /// Bytes stored in data objects.
    pub stored_bytes: u64,
    /// Bytes of hash list and metadata.
    pub index_bytes: u64,
    /// Bytes read from the source, those of an audit left out.
    pub read_bytes: u64,
    /// Bytes read to see whether the change source is right.
    pub audited_bytes: u64,
    /// Bytes of the volume that the backup's objects cover (all of it for a full one).
    pub covered_bytes: u64,
    /// The state that a later incremental may ask the change source about.
    pub change_point: Option<ChangePoint>,
}

impl Outcome {
    /// A backup of `volume_length` bytes; the other figures are 0.
    pub fn new(volume_length: u64) -> Self {
        Self {
            volume_length,
            object_count: 0,
            stored_bytes: 0,
            index_bytes: 0,
            read_bytes: 0,
            audited_bytes: 0,
            covered_bytes: 0,
            change_point: None,
        }
    }
}

/// What is checked while restoring.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Check {
    /// Every block against the newest layer's hash list; objects' MD5 where there is none.
    #[default]
    Hashes,
    /// Each object's MD5 before its bytes count, and the hash list too where there is one.
    Md5,
}

/// How to restore.
#[derive(Debug, Clone, Default)]
#[non_exhaustive]
pub struct RestoreOptions {
    /// What is checked.
    pub check: Check,
    /// Restore what can be restored and list the bad ranges, instead of stopping at the first.
    pub salvage: bool,
}

impl RestoreOptions {
    /// Checks `check`.
    pub fn with_check(mut self, check: Check) -> Self {
        self.check = check;
        self
    }

    /// Goes on past damage and lists it.
    pub fn with_salvage(mut self, yes: bool) -> Self {
        self.salvage = yes;
        self
    }
}

/// Something wrong with a stored backup.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Problem {
    /// The object that is wrong or missing.
    pub object: String,
    /// The range of the volume that is affected, where it is known.
    pub range: Option<ByteRange>,
    /// What is wrong, in a sentence without a full stop.
    pub text: String,
    /// Whether restored bytes are affected (an extra object that no layer lists affects none).
    pub affects_data: bool,
}

impl Problem {
    /// A problem of `object`.
    pub fn new(
        object: impl Into<String>,
        range: Option<ByteRange>,
        text: impl Into<String>,
    ) -> Self {
        Self {
            object: object.into(),
            range,
            text: text.into(),
            affects_data: true,
        }
    }

    /// One that leaves the data right.
    pub fn harmless(mut self) -> Self {
        self.affects_data = false;
        self
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.object, self.text)?;
        if let Some(range) = self.range {
            write!(f, " (bytes {range} of the volume)")?;
        }
        Ok(())
    }
}

/// What a restore or a verify did.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Report {
    /// Length of the restored volume in bytes.
    pub volume_length: u64,
    /// Objects fetched.
    pub objects: u64,
    /// Stored bytes fetched.
    pub fetched_bytes: u64,
    /// Bytes of the volume that were checked against a SHA-256 or an MD5.
    pub checked_bytes: u64,
    /// Bytes written to the target (data; zeroes written as zeroes are not counted).
    pub written_bytes: u64,
    /// What was found wrong; at most [`Report::MAX_PROBLEMS`] are kept.
    pub problems: Vec<Problem>,
    /// How many more problems there were.
    pub more_problems: u64,
    /// The volume's metadata as each layer has it, oldest first: Cinder's rules for the target need all of them.
    pub volume_metadata: Vec<Option<VolumeMetadata>>,
}

impl Report {
    /// How many problems are kept in full.
    pub const MAX_PROBLEMS: usize = 1000;

    /// A report of a volume of `volume_length` bytes with nothing done yet.
    pub fn new(volume_length: u64) -> Self {
        Self {
            volume_length,
            objects: 0,
            fetched_bytes: 0,
            checked_bytes: 0,
            written_bytes: 0,
            problems: Vec::new(),
            more_problems: 0,
            volume_metadata: Vec::new(),
        }
    }

    /// Adds a problem, or counts it where there are too many.
    pub fn add(&mut self, problem: Problem) {
        if self.problems.len() < Self::MAX_PROBLEMS {
            self.problems.push(problem);
        } else {
            self.more_problems += 1;
        }
    }

    /// Whether all data is right (extra objects and the like do not count).
    pub fn data_is_right(&self) -> bool {
        self.more_problems == 0 && self.problems.iter().all(|p| !p.affects_data)
    }
}

/// Any byte of any backup of a chain: partial restore, copy, and a network block device stand on it.
#[async_trait]
pub trait BackupReader: Send + Sync + fmt::Debug + 'static {
    /// Length of the volume in bytes.
    fn length(&self) -> u64;

    /// What is known without reading data: [`Zero`](crate::ExtentKind::Zero) or
    /// [`Data`](crate::ExtentKind::Data), in order, without gaps, covering exactly `range`.
    async fn extents(&self, range: ByteRange) -> Result<Vec<Extent>>;

    /// Fills all of `buf` from offset `at`, checked. The buffer comes back in any case.
    ///
    /// # Errors
    /// [`InvalidInput`](crate::ErrorKind::InvalidInput) past the end,
    /// [`Corrupt`](crate::ErrorKind::Corrupt) where stored bytes are wrong.
    async fn read(&self, at: u64, buf: Buf) -> (Buf, Result<()>);

    /// Makes sure of what [`extents`](Self::extents) called zero: nothing of `range` was read, so nothing was checked.
    /// Where the backup keeps no proof of its own, as a snapshot that the storage itself vouches for, this does nothing.
    ///
    /// # Errors
    /// [`Corrupt`](crate::ErrorKind::Corrupt) where there was something.
    async fn prove_zero(&self, range: ByteRange) -> Result<()>;

    /// Whether what was read until now was really there: asked after the last read.
    ///
    /// # Errors
    /// As those of [`BlockDevice::still_there`].
    async fn still_there(&self) -> Result<()>;
}

/// A backup found in a repository without a catalogue's help.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Scanned {
    /// The record as far as it can be told; `repository` is empty, `project_id` and `user_id` too where Cinder wrote
    /// it.
    pub record: BackupRecord,
    /// Name of the source volume, where its metadata tells.
    pub volume_name: Option<String>,
}

impl Scanned {
    /// A found backup.
    pub fn new(record: BackupRecord) -> Self {
        Self {
            record,
            volume_name: None,
        }
    }
}

/// The outcome of a scan for one backup.
#[derive(Debug)]
pub enum ScanItem {
    /// A complete backup.
    Found(Box<Scanned>),
    /// A metadata object that cannot be read: the problem says which and why. The scan goes on.
    Broken(Problem),
}

/// Makes, restores, deletes, verifies and finds backups.
///
/// # What holds
/// * `create` is done when it returns `Ok`: everything is durable. On an error or a cancel it removes what it stored
///   before it returns; where that fails too, [`delete`](Self::delete) of the plan's layer clears it later.
/// * `restore` is done when it returns `Ok` and every byte of the target in `0..volume_length` is right and durable.
///   On an error the target's content is undefined.
/// * A cancel is answered within two seconds with [`Cancelled`](crate::ErrorKind::Cancelled).
/// * A future that is dropped before its end may leave objects behind, for `delete` to clear.
#[async_trait]
pub trait Backup: Send + Sync + fmt::Debug + 'static {
    /// Chooses location and names. No input or output.
    ///
    /// # Errors
    /// [`InvalidInput`](crate::ErrorKind::InvalidInput) where what is asked for makes no location.
    fn plan(&self, request: &BackupRequest) -> Result<BackupPlan>;

    /// Backs up `source`: fully, or, with a `parent`, what differs from it.
    ///
    /// # Errors
    /// [`Conflict`](crate::ErrorKind::Conflict) where the parent cannot serve (another block size, no hash list); the
    /// hint says to make a full backup.
    async fn create(
        &self,
        plan: &BackupPlan,
        parent: Option<&Layer>,
        source: &Attachment,
        cx: &JobContext,
    ) -> Result<Outcome>;

    /// Opens a chain for reading at any offset.
    async fn open(&self, chain: &Chain, cx: &JobContext) -> Result<Arc<dyn BackupReader>>;

    /// Length in bytes of the volume that the chain restores to.
    async fn length(&self, chain: &Chain, cx: &JobContext) -> Result<u64>;

    /// Writes the volume onto `target`, which must be at least as long; what lies behind the volume's end is left.
    async fn restore(
        &self,
        chain: &Chain,
        target: &Arc<dyn BlockDevice>,
        options: &RestoreOptions,
        cx: &JobContext,
    ) -> Result<Report>;

    /// What a backup became whose `create` did not come to its end: `Some` where it had passed its commit point, so
    /// that it is complete, and made durable by this call; `None` where it had not, and [`delete`](Self::delete)
    /// clears what it stored. Of the outcome only what is stored is told; bytes read and covered are 0.
    ///
    /// # Errors
    /// [`Corrupt`](crate::ErrorKind::Corrupt) where something is there that is not this backup's. Another error says
    /// nothing about the backup: ask again.
    async fn committed(&self, layer: &Layer, cx: &JobContext) -> Result<Option<Outcome>>;

    /// Removes all that the backup has to itself, its commit point first. Nothing there is success.
    async fn delete(&self, layer: &Layer, cx: &JobContext) -> Result<()>;

    /// Reads and checks everything that a restore would, the MD5 of each object, and what lies under the prefixes
    /// besides. Damage is told in the report; an error means that the check could not be done.
    async fn verify(&self, chain: &Chain, cx: &JobContext) -> Result<Report>;

    /// The address of the account that it stores in, as the server tells it, where there is such a thing
    /// ([`Repository::account`](crate::Repository::account)).
    ///
    /// # Errors
    /// Those of signing in.
    async fn account(&self) -> Result<Option<String>> {
        Ok(None)
    }

    /// Where a backup lies whose record does not say it; `None` where it is not here. Only Cinder's ceph driver writes
    /// such records, and only `ImageBackup` knows the answer.
    async fn locate(
        &self,
        _id: BackupId,
        _volume: VolumeId,
        _container: Option<&ContainerName>,
        _cx: &JobContext,
    ) -> Result<Option<Location>> {
        Ok(None)
    }

    /// Finds all complete backups in `container`, or in all containers.
    async fn scan(
        &self,
        container: Option<&ContainerName>,
        cx: &JobContext,
    ) -> Result<BoxStream<ScanItem>>;

    /// Finds what belongs to no complete backup in `container`, or in all containers, whatever its age: also what
    /// backups that are being made have stored so far.
    async fn orphans(
        &self,
        container: Option<&ContainerName>,
        cx: &JobContext,
    ) -> Result<BoxStream<Orphan>>;

    /// Removes an orphan, after another look at it. `false` where it is none any more: its metadata came, or objects
    /// were added since.
    async fn remove_orphan(&self, orphan: &Orphan, cx: &JobContext) -> Result<bool>;
}

/// Properties of a volume or backup.
pub type Properties = BTreeMap<String, String>;
