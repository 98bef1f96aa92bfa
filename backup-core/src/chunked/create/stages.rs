//! What happens to a unit and its objects on the way: the work of the CPU threads, each stage a function.

use bytes::Bytes;

use crate::buffer::Buf;
use crate::compress::{Algorithm, Compressor};
use crate::diff::{BlockHash, BlockHasher, BlockState, JoinRules, Piece, PieceKind, pieces};
use crate::error::{Error, Result};
use crate::format::metadata::ObjectEntry;
use crate::id::ObjectKey;
use crate::job::{CancelToken, JobContext, MemoryPermit};
use crate::pipeline::ZeroStreams;
use crate::range::ByteRange;
use crate::repository::{PutMode, Repository};

/// A unit's bytes with the memory that they are accounted under; both go when the last slice does.
pub(super) struct Accounted {
    pub(super) buffer: Buf,
    pub(super) _permit: MemoryPermit,
}

impl AsRef<[u8]> for Accounted {
    fn as_ref(&self) -> &[u8] {
        &self.buffer
    }
}

/// A unit that was read.
pub(super) struct ReadUnit {
    pub(super) unit: u64,
    pub(super) range: ByteRange,
    pub(super) audit: bool, // read only to see whether it is as the parent has it
    pub(super) bytes: Bytes,
    pub(super) output: MemoryPermit, // for the compressed form
}

/// A unit that is hashed and compared.
pub(super) struct Compared {
    pub(super) range: ByteRange,
    pub(super) audit: bool,
    pub(super) hashes: Hashes,
    pub(super) pieces: Vec<Piece>,
    pub(super) bytes: Option<(Bytes, MemoryPermit)>,
}

pub(super) enum Hashes {
    Each(Vec<BlockHash>),
    Zeroes,
}

/// An object with a number, on its way to the repository.
pub(super) struct Pending {
    pub(super) number: u64,
    pub(super) range: ByteRange,
    pub(super) content: Content,
}

pub(super) enum Content {
    Zeroes,
    Data {
        bytes: Bytes,
        output: Option<MemoryPermit>,
        md5: [u8; 16],
    },
}

/// An object ready to be stored.
pub(super) struct Stored {
    pub(super) range: ByteRange,
    pub(super) entry: ObjectEntry,
    pub(super) bytes: Bytes,
    pub(super) _permit: Option<MemoryPermit>,
}

/// States of the blocks of a range of zeroes.
pub(super) fn zero_states(
    hasher: &BlockHasher,
    range: ByteRange,
    block: u64,
    parent: &[BlockHash],
) -> Vec<BlockState> {
    let whole = hasher.zeroes(hasher.block_size());
    range
        .pieces(block)
        .enumerate()
        .map(|(i, part)| {
            let hash = match usize::try_from(part.len()) {
                Ok(n) if n != hasher.block_size() => hasher.zeroes(n),
                _ => whole,
            };
            if parent.get(i) == Some(&hash) {
                BlockState::Same
            } else {
                BlockState::Zero
            }
        })
        .collect()
}

/// CPU stage: hashes a unit's blocks and compares them with the parent's.
pub(super) fn compare(
    hasher: &BlockHasher,
    read: ReadUnit,
    parent: Option<&[BlockHash]>,
    join: JoinRules,
    cancel: &CancelToken,
) -> Result<Compared> {
    let blocks = hasher.blocks(&read.bytes, cancel)?;
    let states: Vec<_> = blocks
        .iter()
        .enumerate()
        .map(|(i, (hash, zero))| match parent.and_then(|p| p.get(i)) {
            Some(old) if old == hash => BlockState::Same,
            _ if *zero => BlockState::Zero,
            _ => BlockState::Data,
        })
        .collect();
    let pieces = pieces(read.range, hasher.block_size() as u64, &states, join);
    let keep = pieces.iter().any(|p| p.kind == PieceKind::Data);
    Ok(Compared {
        range: read.range,
        audit: read.audit,
        hashes: Hashes::Each(blocks.into_iter().map(|(hash, _)| hash).collect()),
        pieces,
        bytes: keep.then_some((read.bytes, read.output)),
    })
}

/// CPU stage: MD5 of several objects side by side.
pub(super) fn sum(mut batch: Vec<Pending>, cancel: &CancelToken) -> Result<Vec<Pending>> {
    let messages: Vec<&[u8]> = batch
        .iter()
        .map(|p| match &p.content {
            Content::Data { bytes, .. } => &bytes[..],
            Content::Zeroes => &[],
        })
        .collect();
    let digests = md5_lanes::md5_many_while(&messages, &|| !cancel.is_cancelled())
        .ok_or_else(|| Error::cancelled("back up"))?;
    for (pending, digest) in batch.iter_mut().zip(digests) {
        if let Content::Data { md5, .. } = &mut pending.content {
            *md5 = digest;
        }
    }
    Ok(batch)
}

pub(super) fn entry(
    name: String,
    range: ByteRange,
    md5: [u8; 16],
    compression: Algorithm,
    stored: usize,
) -> ObjectEntry {
    ObjectEntry {
        name,
        offset: range.start(),
        length: range.len(),
        md5: Some(md5),
        compression,
        stored_length: Some(stored as u64),
        zero: false,
    }
}

/// CPU stage: an object of zeroes.
pub(super) fn store_zeroes(zeroes: &ZeroStreams, name: String, range: ByteRange) -> Result<Stored> {
    let object = zeroes.object(range.len())?;
    // A few zeroes are shorter than a stream that says so.
    let (algorithm, stored) = if (object.stored.len() as u64) < range.len() {
        (Algorithm::Zlib, object.stored)
    } else {
        let length = usize::try_from(range.len()).unwrap_or(0);
        (Algorithm::None, Bytes::from(vec![0; length]))
    };
    let mut entry = entry(name, range, object.md5, algorithm, stored.len());
    entry.zero = true;
    Ok(Stored {
        range,
        entry,
        bytes: stored,
        _permit: None,
    })
}

/// CPU stage: compresses an object; one that does not shrink is stored as it is.
pub(super) fn compress(
    compressor: &dyn Compressor,
    name: String,
    range: ByteRange,
    bytes: &Bytes,
    mut output: Option<MemoryPermit>,
    md5: [u8; 16],
    cx: &JobContext,
) -> Result<Stored> {
    let shrunk = if compressor.algorithm() == Algorithm::None {
        None
    } else {
        // Kept at its full length while it is stored, and accounted so: buffers of one length can all be reused.
        let mut out = cx.buffers().take(bytes.len().saturating_sub(1));
        compressor.compress(bytes, &mut out, cx.cancel())?.map(|n| {
            out.truncate(n);
            out.into_bytes()
        })
    };
    let (algorithm, stored) = match shrunk {
        Some(stored) => (compressor.algorithm(), stored),
        None => (Algorithm::None, bytes.clone()),
    };
    if algorithm == Algorithm::None {
        // It holds its input's memory.
        output = None;
    }
    Ok(Stored {
        range,
        entry: entry(name, range, md5, algorithm, stored.len()),
        bytes: stored,
        _permit: output,
    })
}

/// Stores an object by a put, or in parts where it is too large for one.
pub(super) async fn store(
    repository: &dyn Repository,
    key: &ObjectKey,
    bytes: Bytes,
) -> Result<()> {
    const PART: usize = 16 << 20;
    if bytes.len() as u64 <= repository.limits().max_put {
        return repository.put(key, bytes, PutMode::Overwrite).await;
    }
    let mut upload = repository.begin(key, Some(bytes.len() as u64)).await?;
    let mut rest = bytes;
    while !rest.is_empty() {
        let part = rest.split_to(rest.len().min(PART));
        if let Err(e) = upload.part(part).await {
            // The first error tells more; a leftover is cleared by the repository's own clean-up.
            let _ = upload.abort().await;
            return Err(e);
        }
    }
    upload.complete().await
}
