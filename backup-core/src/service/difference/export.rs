//! What a backup differs by, as a file.

use std::io::Write;
use std::sync::Arc;

use bytes::Bytes;
use futures::{StreamExt, stream};

use super::super::{BackupService, Caller};
use super::{PIECE, aside};
use crate::backup::BackupReader;
use crate::buffer::Buf;
use crate::catalog::label;
use crate::error::{Error, ErrorKind, Result};
use crate::format::ceph;
use crate::format::rbd_diff::{DiffHead, DiffVersion, DiffWriter};
use crate::imaged::runs::{RunKind, runs};
use crate::job::{JobContext, Phase, Progress};
use crate::range::{ByteRange, Extent, ExtentKind};
use crate::record::{BackupRecord, BackupStatus};

const EXPORT: &str = "export difference";

/// How much of a volume is asked about at once, in bytes.
const WINDOW: u64 = 1 << 30;

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

impl BackupService {
    /// Writes what a backup differs by, as `rbd export-diff` would: states are named as the snapshots of Cinder's ceph
    /// driver are, so that files of a chain fit together. Both backups are read, and compared in steps of 32 KiB.
    ///
    /// # Errors
    /// [`Conflict`](ErrorKind::Conflict) for a backup that is not available, or is deleted meanwhile,
    /// [`Corrupt`](ErrorKind::Corrupt) for one that is damaged,
    /// [`InvalidInput`](ErrorKind::InvalidInput) where the other one is of another volume. What was written by then has no
    /// end, so that no reader takes it.
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
        let told = differ(&newer, before.as_ref(), writer, cx).await;
        // Nothing keeps a backup from being deleted while this reads it, and what is gone may read as zeroes.
        self.still_readable(&backup, &newer).await?;
        if let (Some(older), Some(before)) = (&older, &before) {
            self.still_readable(older, before).await?;
        }
        let (writer, data_bytes) = told?;
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
        if !is_readable(backup) {
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

    /// Looks, after the last read, whether a backup was there all the time. One whose delete has begun is not.
    async fn still_readable(
        &self,
        backup: &BackupRecord,
        reader: &Arc<dyn BackupReader>,
    ) -> Result<()> {
        let gone = |why: String| {
            Error::new(ErrorKind::Conflict, EXPORT)
                .on(label(backup.name.as_deref(), backup.id))
                .because(format!("{why} while it was read: the file is not complete"))
        };
        match self.catalog.backup(backup.id).await {
            Ok(now) if is_readable(&now) => {}
            Ok(now) => return Err(gone(format!("it became {}", now.status))),
            Err(e) if e.is(ErrorKind::NotFound) => return Err(gone("it was deleted".into())),
            Err(e) => return Err(e),
        }
        reader.still_there().await
    }
}

/// Whether a backup's bytes may be read.
fn is_readable(backup: &BackupRecord) -> bool {
    matches!(
        backup.status,
        BackupStatus::Available | BackupStatus::Restoring
    )
}

/// The name of a backup's state.
fn state(backup: &BackupRecord) -> String {
    ceph::snapshot_name(backup.id, backup.created_at)
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
        let extents = newer.extents(window).await?;
        let (was, _) = window.split_at(old_length);
        let old = match before {
            Some(before) if !was.is_empty() => before.extents(was).await?,
            _ => Vec::new(),
        };
        for extent in extents {
            cx.cancel().check(EXPORT)?;
            if extent.kind == ExtentKind::Zero {
                // That there is nothing is only what the index says.
                newer.prove_zero(extent.range).await?;
                let mut zeroed = Vec::new();
                for (range, kind) in within(&old, extent.range) {
                    match before {
                        Some(before) if kind == ExtentKind::Zero => {
                            before.prove_zero(range).await?;
                        }
                        // Of what was data before it is told.
                        _ => zeroed.push(range),
                    }
                }
                writer = aside(move || {
                    for range in zeroed {
                        writer.zero(range)?;
                    }
                    Ok(writer)
                })
                .await?;
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

/// The parts of extents that lie in `range`.
fn within(extents: &[Extent], range: ByteRange) -> impl Iterator<Item = (ByteRange, ExtentKind)> {
    let first = extents.partition_point(|e| e.range.end() <= range.start());
    extents[first..]
        .iter()
        .take_while(move |e| e.range.start() < range.end())
        .filter_map(move |e| Some((e.range.intersection(range)?, e.kind)))
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
