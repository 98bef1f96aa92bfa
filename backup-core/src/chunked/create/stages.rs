//! What happens to a unit and its objects on the way: the work of the CPU threads, each stage a function.

use std::sync::Arc;

use bytes::Bytes;

use crate::buffer::{Buf, BufferPool};
use crate::compress::{Algorithm, Compressor};
use crate::device::BlockDevice;
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

/// A unit on its way to be compared.
pub(super) struct Taken {
    pub(super) unit: u64,
    pub(super) range: ByteRange,
    pub(super) audit: bool, // read only to see whether it is as the parent has it
    pub(super) permit: MemoryPermit, // for its bytes and for their compressed form
}

/// Where the bytes of a unit come from when it is compared.
pub(super) enum Input {
    /// They were read.
    Read(Buf),
    /// They may lie in memory, and are read where they are hashed.
    Cached(Arc<dyn BlockDevice>, BufferPool),
}

/// What came of comparing a unit.
pub(super) enum Comparison {
    Done(Compared),
    /// It was not in memory: it must be read first.
    Cold(Taken),
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

/// So many bytes are read and then hashed at once where a unit lies in memory: enough to fill the lanes, and few enough
/// to stay in the core's own cache in between.
const CACHED_STEP: usize = 512 << 10;

/// Reads a unit from memory and hashes it on the way; `None` where it is not there.
///
/// What comes before the first block that is not as the parent has it is not kept in `buffer`: nobody stores it. So an
/// unchanged unit goes through the first bytes of the buffer, which stay in the core's cache.
fn hash_cached(
    hasher: &BlockHasher,
    device: &dyn BlockDevice,
    range: ByteRange,
    buffer: &mut [u8],
    parent: Option<&[BlockHash]>,
    cancel: &CancelToken,
) -> Result<Option<Vec<(BlockHash, bool)>>> {
    let step = CACHED_STEP.next_multiple_of(hasher.block_size());
    let mut blocks = Vec::with_capacity(buffer.len().div_ceil(hasher.block_size()));
    let mut unchanged = parent.is_some();
    for from in (0..buffer.len()).step_by(step) {
        let length = step.min(buffer.len() - from);
        let place = if unchanged { 0 } else { from };
        let part = &mut buffer[place..place + length];
        match device.read_cached(range.start() + from as u64, part) {
            Some(read) => read?,
            None => return Ok(None),
        }
        let first = blocks.len();
        blocks.append(&mut hasher.blocks(part, cancel)?);
        if unchanged && !as_in_parent(&blocks[first..], parent, first) {
            unchanged = false;
            buffer.copy_within(..length, from);
        }
    }
    Ok(Some(blocks))
}

/// Whether these blocks, from block `first` of a unit on, are the parent's.
fn as_in_parent(blocks: &[(BlockHash, bool)], parent: Option<&[BlockHash]>, first: usize) -> bool {
    let old = parent.and_then(|p| p.get(first..first + blocks.len()));
    old.is_some_and(|old| blocks.iter().map(|(hash, _)| hash).eq(old))
}

/// CPU stage: hashes a unit's blocks and compares them with the parent's.
pub(super) fn compare(
    hasher: &BlockHasher,
    taken: Taken,
    input: Input,
    parent: Option<&[BlockHash]>,
    join: JoinRules,
    cancel: &CancelToken,
) -> Result<Comparison> {
    let (buffer, blocks) = match input {
        Input::Read(buffer) => {
            let blocks = hasher.blocks(&buffer, cancel)?;
            (buffer, blocks)
        }
        Input::Cached(device, buffers) => {
            let mut buffer = buffers.take(in_memory(taken.range)?);
            match hash_cached(hasher, &*device, taken.range, &mut buffer, parent, cancel)? {
                Some(blocks) => (buffer, blocks),
                None => return Ok(Comparison::Cold(taken)),
            }
        }
    };
    let states: Vec<_> = blocks
        .iter()
        .enumerate()
        .map(|(i, (hash, zero))| match parent.and_then(|p| p.get(i)) {
            Some(old) if old == hash => BlockState::Same,
            _ if *zero => BlockState::Zero,
            _ => BlockState::Data,
        })
        .collect();
    let Taken {
        range,
        audit,
        mut permit,
        ..
    } = taken;
    let pieces = pieces(range, hasher.block_size() as u64, &states, join);
    let keep = pieces.iter().any(|p| p.kind == PieceKind::Data);
    let bytes = if keep {
        let input = permit
            .split(range.len())
            .ok_or_else(|| Error::internal("read volume", "memory was not acquired"))?;
        let bytes = Bytes::from_owner(Accounted {
            buffer,
            _permit: input,
        });
        Some((bytes, permit))
    } else {
        None
    };
    Ok(Comparison::Done(Compared {
        range,
        audit,
        hashes: Hashes::Each(blocks.into_iter().map(|(hash, _)| hash).collect()),
        pieces,
        bytes,
    }))
}

/// Length of a unit as memory has it.
pub(super) fn in_memory(range: ByteRange) -> Result<usize> {
    usize::try_from(range.len())
        .map_err(|_| Error::internal("read volume", "unit too long for memory"))
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
