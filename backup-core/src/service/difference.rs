//! Backups as difference files, and volumes made of those: `rbd export-diff`'s format, whatever the repository is.

use std::fmt;
use std::io::{Read, Write};
use std::sync::Arc;

use bytes::Bytes;
use futures::{StreamExt, stream};

use super::show::require_admin;
use super::volume::MadeVolume;
use super::{BackupService, Caller};
use crate::attach::AttachSource;
use crate::backup::BackupReader;
use crate::buffer::Buf;
use crate::catalog::label;
use crate::device::BlockDevice;
use crate::error::{Error, ErrorKind, Result};
use crate::format::ceph;
use crate::format::rbd_diff::{DiffHead, DiffReader, DiffRecord, DiffVersion, DiffWriter};
use crate::id::BackupId;
use crate::imaged::runs::{RunKind, runs};
use crate::job::{JobContext, Phase, Progress};
use crate::range::{ByteRange, ExtentKind};
use crate::record::{BackupRecord, BackupStatus};
use crate::volume::VolumeRecord;

const EXPORT: &str = "export difference";
const IMPORT: &str = "import differences";

/// How much of a volume is asked about at once, in bytes.
const WINDOW: u64 = 1 << 30;

/// Most bytes that are read, or written, at once.
const PIECE: u64 = 1 << 20;

/// Pieces that are read ahead.
const AHEAD: usize = 8;

/// What a difference begins with.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum Since {
    /// The backup's parent; of a full backup, the beginning.
    #[default]
    Parent,
    /// The beginning, when there was nothing: all that the backup holds.
    Beginning,
    /// This backup of the same volume, by name or ID.
    Backup(String),
}

/// What was exported.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Exported {
    /// The backup.
    pub backup: BackupRecord,
    /// What the file says it is between.
    pub head: DiffHead,
    /// Length of the file in bytes.
    pub file_bytes: u64,
    /// SHA-256 of the file.
    pub sha256: [u8; 32],
    /// Bytes of the volume that it has data for.
    pub data_bytes: u64,
}

/// A difference file to be imported.
pub struct DiffInput {
    /// What it is called in messages.
    pub name: String,
    /// Its bytes.
    pub content: Box<dyn Read + Send>,
    /// What its SHA-256 must be, where that is known.
    pub sha256: Option<[u8; 32]>,
}

impl fmt::Debug for DiffInput {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DiffInput")
            .field("name", &self.name)
            .finish_non_exhaustive()
    }
}

impl BackupService {
    /// Writes what a backup differs by, as `rbd export-diff` would: states are named as the snapshots of Cinder's ceph
    /// driver are, so that files of a chain fit together. Both backups are read, and compared in steps of 32 KiB.
    ///
    /// # Errors
    /// [`Conflict`](ErrorKind::Conflict) for a backup that is not available,
    /// [`InvalidInput`](ErrorKind::InvalidInput) where the other one is of another volume. What was written by then is of
    /// no use.
    pub async fn export_difference<W: Write + Send + 'static>(
        &self,
        caller: &Caller,
        backup: &str,
        since: Since,
        version: DiffVersion,
        out: W,
        cx: &JobContext,
    ) -> Result<(W, Exported)> {
        let backup = self.show_backup(caller, backup).await?;
        let older = match since {
            Since::Beginning => None,
            Since::Parent => match backup.parent_id {
                Some(parent) => Some(self.catalog.backup(parent).await?),
                None => None,
            },
            Since::Backup(name) => Some(self.show_backup(caller, &name).await?),
        };
        if older
            .as_ref()
            .is_some_and(|o| o.volume_id != backup.volume_id)
        {
            return Err(
                Error::invalid(EXPORT, "the two backups are of different volumes")
                    .on(label(backup.name.as_deref(), backup.id)),
            );
        }
        let newer = self.reader_of(&backup, cx).await?;
        let before = match &older {
            Some(older) => Some(self.reader_of(older, cx).await?),
            None => None,
        };
        let head = DiffHead::new(
            older.as_ref().map(state),
            Some(state(&backup)),
            newer.length(),
        );
        let writer = DiffWriter::new(out, version, &head)?;
        let (writer, data_bytes) = differ(&newer, before.as_ref(), writer, cx).await?;
        let (out, file_bytes, sha256) = aside(move || writer.end()).await?;
        let exported = Exported {
            backup,
            head,
            file_bytes,
            sha256,
            data_bytes,
        };
        Ok((out, exported))
    }

    async fn reader_of(
        &self,
        backup: &BackupRecord,
        cx: &JobContext,
    ) -> Result<Arc<dyn BackupReader>> {
        if !matches!(
            backup.status,
            BackupStatus::Available | BackupStatus::Restoring
        ) {
            return Err(Error::new(ErrorKind::Conflict, EXPORT)
                .on(label(backup.name.as_deref(), backup.id))
                .because(format!(
                    "it is {} and only an available one can be read",
                    backup.status
                )));
        }
        let records = self.catalog.chain(backup.id).await?;
        let (repository, chain) = self.chain_of(&records).await?;
        repository.backup.open(&chain, cx).await
    }

    /// Makes a volume of difference files, oldest first: the first one stands on nothing, each other one on the one before
    /// it. Where a file has a checksum, it is compared; after an error, or a cancel, there is no volume.
    ///
    /// # Errors
    /// [`InvalidInput`](ErrorKind::InvalidInput) where the files do not follow each other;
    /// [`Corrupt`](ErrorKind::Corrupt) for one that was cut or whose checksum is another. For an administrator only.
    pub async fn import_differences(
        &self,
        caller: &Caller,
        name: String,
        files: Vec<DiffInput>,
        cx: &JobContext,
    ) -> Result<VolumeRecord> {
        require_admin(caller, IMPORT)?;
        let feeds = aside(move || {
            let feeds = files.into_iter().map(Feed::begin);
            feeds.collect::<Result<Vec<_>>>()
        })
        .await?;
        let length = follow_each_other(&feeds)?;
        let made = self
            .make_for_restore(caller, name, length, cx.now())
            .await?;
        match self.fill(&made, feeds, length, cx).await {
            Ok(()) => self
                .catalog
                .finish_create_volume(made.record.id, made.job, &made.end(), cx.now())
                .await?
                .ok_or_else(|| Error::internal(IMPORT, "a volume made and gone")),
            Err(e) => {
                let id = made.record.id;
                if let Err(left) = self.unmake_volume(made, cx.now()).await {
                    cx.observer()
                        .warning(&format!("new volume {id} could not be removed: {left}"));
                }
                Err(e)
            }
        }
    }

    async fn fill(
        &self,
        made: &MadeVolume,
        feeds: Vec<Feed>,
        length: u64,
        cx: &JobContext,
    ) -> Result<()> {
        let source = AttachSource::Target(made.record.reference());
        let attach = self.volumes.plan(&source, BackupId::generate()).await?;
        let filled = async {
            let attachment = self.volumes.execute(&attach).await?;
            let mut before = 0;
            for feed in feeds {
                before = apply(feed, &attachment.device, before, length, cx).await?;
            }
            attachment.device.flush().await
        }
        .await;
        let undone = self.volumes.undo(&attach).await;
        filled.and(undone)
    }
}

/// The name of a backup's state.
fn state(backup: &BackupRecord) -> String {
    ceph::snapshot_name(backup.id, backup.created_at)
}

/// Runs what blocks.
async fn aside<T: Send + 'static>(work: impl FnOnce() -> Result<T> + Send + 'static) -> Result<T> {
    tokio::task::spawn_blocking(work)
        .await
        .map_err(|e| Error::internal("wait for a file", e.to_string()))?
}

/// Reads both and writes what differs. How many bytes of data that was, too.
async fn differ<W: Write + Send + 'static>(
    newer: &Arc<dyn BackupReader>,
    before: Option<&Arc<dyn BackupReader>>,
    mut writer: DiffWriter<W>,
    cx: &JobContext,
) -> Result<(DiffWriter<W>, u64)> {
    let length = newer.length();
    let old_length = before.map_or(0, |b| b.length());
    let mut progress = Progress::start(Phase::BackUp, length);
    let mut data_bytes = 0;
    for window in ByteRange::up_to(length).pieces(WINDOW) {
        for extent in newer.extents(window).await? {
            cx.cancel().check(EXPORT)?;
            if extent.kind == ExtentKind::Zero {
                // Of what was data before it is told.
                let (was, _) = extent.range.split_at(old_length);
                if let Some(before) = before.filter(|_| !was.is_empty()) {
                    for old in before.extents(was).await? {
                        if old.kind != ExtentKind::Zero {
                            writer = aside(move || {
                                writer.zero(old.range)?;
                                Ok(writer)
                            })
                            .await?;
                        }
                    }
                }
                progress.done += extent.range.len();
                cx.observer().progress(&progress);
                continue;
            }
            let mut pieces = stream::iter(extent.range.pieces(PIECE))
                .map(|piece| read_both(newer, before, old_length, piece))
                .buffered(AHEAD);
            while let Some(read) = pieces.next().await {
                cx.cancel().check(EXPORT)?;
                let (piece, new, old) = read?;
                let (done, told) = aside(move || tell(writer, piece, &new, old.as_deref())).await?;
                writer = done;
                data_bytes += told;
                progress.done += piece.len();
                progress.transferred += piece.len();
                cx.observer().progress(&progress);
            }
        }
    }
    Ok((writer, data_bytes))
}

type Both = (ByteRange, Bytes, Option<Vec<u8>>);

/// A piece of the newer state, and of the older one, which was zero behind its end.
async fn read_both(
    newer: &Arc<dyn BackupReader>,
    before: Option<&Arc<dyn BackupReader>>,
    old_length: u64,
    piece: ByteRange,
) -> Result<Both> {
    let room = |range: ByteRange| {
        usize::try_from(range.len())
            .map(Buf::zeroed)
            .map_err(|_| Error::internal(EXPORT, "a piece too long for memory"))
    };
    let (new, read) = newer.read(piece.start(), room(piece)?).await;
    read?;
    let Some(before) = before else {
        return Ok((piece, new.into_bytes(), None));
    };
    let (was, _) = piece.split_at(old_length);
    let mut old = Vec::new();
    if !was.is_empty() {
        let (buf, read) = before.read(was.start(), room(was)?).await;
        read?;
        old.extend_from_slice(&buf);
    }
    old.resize(new.len(), 0);
    Ok((piece, new.into_bytes(), Some(old)))
}

/// Writes what differs within a piece. Blocks. How many bytes of data that was, too.
fn tell<W: Write>(
    mut writer: DiffWriter<W>,
    piece: ByteRange,
    new: &[u8],
    old: Option<&[u8]>,
) -> Result<(DiffWriter<W>, u64)> {
    let mut data = 0;
    for run in runs(piece.start(), new, old) {
        let bytes = &new[run.part.clone()];
        let at = piece.start() + run.part.start as u64;
        match run.kind {
            RunKind::Same => {}
            RunKind::Data => {
                writer.data(at, bytes)?;
                data += bytes.len() as u64;
            }
            // At the beginning there was nothing but zeroes.
            RunKind::Zero if old.is_none() => {}
            RunKind::Zero => {
                let range = ByteRange::at(at, bytes.len() as u64);
                writer.zero(range.ok_or_else(|| Error::internal(EXPORT, "past all ends"))?)?;
            }
        }
    }
    Ok((writer, data))
}

/// A file that is being read.
struct Feed {
    name: String,
    sha256: Option<[u8; 32]>,
    reader: DiffReader<Box<dyn Read + Send>>,
    /// Of a record whose data is being read: where the next bytes belong.
    data: ByteRange,
}

/// What a file says next.
enum Step {
    Data(u64, Bytes),
    Zero(ByteRange),
    End,
}

impl Feed {
    fn begin(file: DiffInput) -> Result<Self> {
        let DiffInput {
            name,
            content,
            sha256,
        } = file;
        Ok(Self {
            reader: DiffReader::new(content).map_err(|e| e.on(&name))?,
            name,
            sha256,
            data: ByteRange::up_to(0),
        })
    }

    /// Blocks.
    fn step(&mut self) -> Result<Step> {
        if self.data.is_empty() {
            match self.reader.next_record().map_err(|e| e.on(&self.name))? {
                None => return Ok(Step::End),
                Some(DiffRecord::Zero(range)) => return Ok(Step::Zero(range)),
                Some(DiffRecord::Data(range)) => self.data = range,
            }
        }
        let end = self.data.start().saturating_add(PIECE);
        let (piece, rest) = self.data.split_at(end);
        self.data = rest;
        let mut bytes = vec![0; usize::try_from(piece.len()).unwrap_or(0)];
        self.reader.data(&mut bytes).map_err(|e| e.on(&self.name))?;
        Ok(Step::Data(piece.start(), bytes.into()))
    }

    /// Behind the end: nothing else may be there, and the checksum must be right. Blocks.
    fn finish(self) -> Result<()> {
        let (mut rest, sha256) = self.reader.end()?;
        let corrupt = |why: &str| Error::corrupt(IMPORT, &self.name, why);
        match rest.read(&mut [0]) {
            Ok(0) => {}
            Ok(_) => return Err(corrupt("it goes on behind its end")),
            Err(e) => return Err(Error::io(IMPORT, &self.name, e)),
        }
        match self.sha256 {
            Some(expected) if expected != sha256 => {
                Err(corrupt("its SHA-256 is not the one that is kept beside it"))
            }
            _ => Ok(()),
        }
    }
}

/// Whether each file stands on the one before it; the length of the last state.
fn follow_each_other(feeds: &[Feed]) -> Result<u64> {
    let mut before: Option<&Feed> = None;
    for feed in feeds {
        let stands_on = feed.reader.head().from.as_deref();
        let state = before.and_then(|b| b.reader.head().to.as_deref());
        let fits = match before {
            None => stands_on.is_none(),
            Some(_) => stands_on.is_some() && stands_on == state,
        };
        if !fits {
            let why = match (stands_on, before) {
                (None, _) => "it stands on nothing, and another file comes before it".to_owned(),
                (Some(from), None) => format!("it stands on the state {from:?}: that comes first"),
                (Some(from), Some(b)) => {
                    format!("it stands on the state {from:?}, and {} is none", b.name)
                }
            };
            return Err(Error::invalid(IMPORT, why)
                .on(&feed.name)
                .hint("give all files of the chain, oldest first"));
        }
        before = Some(feed);
    }
    let length = before.map_or(0, |b| b.reader.head().size);
    if length == 0 {
        return Err(Error::invalid(IMPORT, "the last state has no bytes"));
    }
    Ok(length)
}

/// Applies one file to a volume of `length` bytes whose state was `before` bytes long. The length of its state.
async fn apply(
    mut feed: Feed,
    device: &Arc<dyn BlockDevice>,
    before: u64,
    length: u64,
    cx: &JobContext,
) -> Result<u64> {
    let size = feed.reader.head().size;
    let mut progress = Progress::start(Phase::Restore, size);
    // What a state was cut off is not there when a later one grows again.
    let cut = ByteRange::new(size.min(length), before.min(length));
    if let Some(cut) = cut.filter(|cut| !cut.is_empty()) {
        device.write_zeroes(cut).await?;
    }
    loop {
        cx.cancel().check(IMPORT)?;
        let (fed, step) = aside(move || {
            let step = feed.step()?;
            Ok((feed, step))
        })
        .await?;
        feed = fed;
        match step {
            Step::End => break,
            Step::Zero(range) => {
                let (within, _) = range.split_at(length);
                if !within.is_empty() {
                    device.write_zeroes(within).await?;
                }
                progress.done = range.end();
            }
            Step::Data(at, mut bytes) => {
                let within = length.saturating_sub(at);
                bytes.truncate(usize::try_from(within).unwrap_or(usize::MAX));
                progress.done = at + bytes.len() as u64;
                progress.transferred += bytes.len() as u64;
                if !bytes.is_empty() {
                    device.write(at, bytes).await?;
                }
            }
        }
        cx.observer().progress(&progress);
    }
    aside(move || feed.finish()).await?;
    Ok(size)
}
