//! One object of a restore or a verify: fetch, decompress, check, write.

use std::sync::Arc;

use bytes::Bytes;

use super::check::OpenChain;
use super::fetch::fetch;
use super::layer_index::LayerIndex;
use super::slices;
use crate::backup::Problem;
use crate::buffer::{Buf, BufferPool};
use crate::compress::{Algorithm, decompressor};
use crate::device::BlockDevice;
use crate::diff::{BlockHash, BlockHasher, Surviving, is_zero};
use crate::error::{Error, ErrorKind, Result};
use crate::format::metadata::ObjectEntry;
use crate::id::ObjectKey;
use crate::job::{JobContext, MemoryPermit};
use crate::pipeline::ZeroStreams;
use crate::range::ByteRange;
use crate::repository::Repository;

/// Zeroes in the middle of data are written as data where they are fewer than this many bytes.
const ZERO_RUN: u64 = 64 << 10;

/// Objects longer than this are handled slice by slice, whatever the budget.
pub(crate) const WHOLE: u64 = 64 << 20;

/// What all objects of a job share.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) repository: Arc<dyn Repository>,
    pub(crate) chain: OpenChain,
    pub(crate) zeroes: Arc<ZeroStreams>,
    /// Where the volume is written; `None`: only checked.
    pub(crate) target: Option<Arc<dyn BlockDevice>>,
    /// Whether the target is known to read as zero, so that zeroes need not be written.
    pub(crate) known_zero: bool,
    /// Whether each object's MD5 is checked too.
    pub(crate) md5: bool,
    /// Whether damage is noted and worked around instead of ending the job.
    pub(crate) tolerant: bool,
    pub(crate) cx: JobContext,
}

/// What became of an object.
#[derive(Debug, Default)]
pub(crate) struct Handled {
    pub(crate) bytes: u64, // of the volume
    pub(crate) objects: u64,
    pub(crate) fetched: u64,
    pub(crate) checked: u64,
    pub(crate) written: u64,
    pub(crate) problems: Vec<Problem>,
}

/// An object or a gap, with what is needed to handle it.
#[derive(Debug)]
pub(crate) struct Item {
    pub(crate) what: What,
    pub(crate) parts: Vec<ByteRange>,
}

#[derive(Debug)]
pub(crate) enum What {
    /// No layer has it.
    Gap,
    /// An object of ours that holds only zeroes.
    Zeroes(ObjectEntry, ObjectKey),
    /// An object that is handled in one piece.
    Whole(ObjectEntry, ObjectKey),
    /// An object that is too long to hold.
    Sliced(ObjectEntry, ObjectKey),
}

impl Item {
    pub(crate) fn new(shared: &Shared, surviving: Surviving) -> Result<Self> {
        let (layer, index, parts) = match surviving {
            Surviving::Gap(range) => {
                return Ok(Self {
                    what: What::Gap,
                    parts: vec![range],
                });
            }
            Surviving::Object {
                layer,
                index,
                parts,
            } => (&shared.chain.layers[layer], index, parts),
        };
        let entry = layer.entry(index)?;
        let key = layer.key(&entry)?;
        let what = if entry.zero && shared.chain.hashes.is_some() && !shared.md5 {
            // The hash list proves it; there is nothing to fetch.
            What::Zeroes(entry, key)
        } else if entry.length > WHOLE || memory_for_whole(&entry) > shared.cx.memory().total() / 2
        {
            What::Sliced(entry, key)
        } else {
            What::Whole(entry, key)
        };
        Ok(Self { what, parts })
    }

    /// Memory that it takes while it is handled, in bytes.
    pub(crate) fn memory(&self) -> u64 {
        match &self.what {
            What::Gap | What::Zeroes(..) => 0,
            What::Whole(entry, _) => memory_for_whole(entry),
            What::Sliced(..) => slices::MEMORY,
        }
    }

    pub(crate) fn length(&self) -> u64 {
        self.parts.iter().map(|p| p.len()).sum()
    }
}

/// Most bytes that an object may have as stored: compression that does not shrink is not used, but another writer
/// may be a little off.
fn stored_limit(entry: &ObjectEntry) -> u64 {
    entry
        .stored_length
        .unwrap_or(entry.length)
        .min(entry.length)
        .saturating_add(if entry.stored_length.is_some() {
            0
        } else {
            entry.length / 64 + 1024
        })
}

fn memory_for_whole(entry: &ObjectEntry) -> u64 {
    match entry.compression {
        Algorithm::None => entry.length,
        _ => entry.length.saturating_add(stored_limit(entry)),
    }
}

/// Handles one item. Damage is an error, or, where the job is tolerant, a noted problem.
pub(crate) async fn handle(
    shared: Arc<Shared>,
    item: Item,
    mut permit: Option<MemoryPermit>,
) -> Result<Handled> {
    let mut handled = Handled {
        bytes: item.length(),
        ..Handled::default()
    };
    let obtained = match &item.what {
        What::Gap => check_zeroes(&shared, "the hash list", &item.parts, true, &mut handled),
        What::Zeroes(entry, _) => {
            check_zeroes(&shared, &entry.name, &item.parts, false, &mut handled)
        }
        What::Whole(entry, key) => {
            whole(&shared, entry, key, &item.parts, &mut permit, &mut handled).await
        }
        What::Sliced(entry, key) => {
            // Writes as it goes.
            match slices::handle(&shared, entry, key, &item.parts, &mut handled).await {
                Ok(()) => return Ok(handled),
                Err(e) => Err(e),
            }
        }
    };
    let writes = match obtained {
        Ok(writes) => writes,
        Err(e) if shared.tolerant && is_damage(&e) => {
            let name = match &item.what {
                What::Gap => "no object".to_owned(),
                What::Zeroes(_, key) | What::Whole(_, key) | What::Sliced(_, key) => {
                    key.to_string()
                }
            };
            let text = e
                .reason()
                .map_or_else(|| e.to_string(), ToString::to_string);
            handled.problems.extend(
                item.parts
                    .iter()
                    .map(|&part| Problem::new(&name, Some(part), &text)),
            );
            item.parts
                .iter()
                .map(|&range| Write::Zeroes(range))
                .collect()
        }
        Err(e) => return Err(e),
    };
    write(&shared, writes, &mut handled).await?;
    Ok(handled)
}

/// Whether it says that stored data is wrong, rather than that the job cannot go on.
pub(crate) fn is_damage(e: &Error) -> bool {
    matches!(
        e.kind(),
        ErrorKind::Corrupt | ErrorKind::NotFound | ErrorKind::Unsupported | ErrorKind::InvalidInput
    ) || (e.is(ErrorKind::Unavailable) && e.operation() == "read object")
}

/// Something to write to the target.
pub(crate) enum Write {
    Data(ByteRange, Bytes),
    Zeroes(ByteRange),
}

pub(crate) async fn write(
    shared: &Shared,
    writes: Vec<Write>,
    handled: &mut Handled,
) -> Result<()> {
    let Some(target) = &shared.target else {
        return Ok(());
    };
    for write in writes {
        shared.cx.cancel().check("restore")?;
        match write {
            Write::Data(range, bytes) => {
                target.write(range.start(), bytes).await?;
                handled.written += range.len();
            }
            Write::Zeroes(range) if !shared.known_zero => target.write_zeroes(range).await?,
            Write::Zeroes(_) => {}
        }
    }
    Ok(())
}

/// Checks that `parts` are zero by the hash list.
fn check_zeroes(
    shared: &Shared,
    name: &str,
    parts: &[ByteRange],
    gap: bool,
    handled: &mut Handled,
) -> Result<Vec<Write>> {
    let chain = &shared.chain;
    let Some(list) = &chain.hashes else {
        return Err(Error::corrupt(
            "check",
            name,
            format!(
                "no layer has bytes {} and there is no hash list to tell what they are",
                parts[0]
            ),
        ));
    };
    let block = list.block_size();
    let whole = chain.hasher.zeroes(chain.hasher.block_size());
    for part in parts {
        let first = part.start() / block;
        let count = part.end().div_ceil(block) - first;
        for at in (0..count).step_by(HASHES) {
            let hashes = list.hashes(first + at, (count - at).min(HASHES as u64))?;
            for (i, hash) in (first + at..).zip(&hashes) {
                let expected = match block_length(i, block, chain.length) {
                    n if n == block => whole,
                    n => chain.hasher.zeroes(usize::try_from(n).unwrap_or(0)),
                };
                if *hash != expected {
                    let range = ByteRange::at(i * block, block_length(i, block, chain.length))
                        .unwrap_or(*part);
                    let why = if gap {
                        format!(
                            "no layer has bytes {range}, and the hash list says that they are not zero"
                        )
                    } else {
                        format!(
                            "its bytes {range} should be zero, and the hash list says that they are not"
                        )
                    };
                    return Err(Error::corrupt("check", name, why));
                }
            }
        }
        handled.checked += part.len();
    }
    Ok(parts.iter().map(|&p| Write::Zeroes(p)).collect())
}

/// Hashes looked up at once.
const HASHES: usize = 8192;

fn block_length(index: u64, block: u64, length: u64) -> u64 {
    length.saturating_sub(index * block).min(block)
}

/// Fetches, decompresses and checks an object in one piece.
async fn whole(
    shared: &Arc<Shared>,
    entry: &ObjectEntry,
    key: &ObjectKey,
    parts: &[ByteRange],
    permit: &mut Option<MemoryPermit>,
    handled: &mut Handled,
) -> Result<Vec<Write>> {
    let stored = fetch(
        &shared.repository,
        key,
        None,
        stored_limit(entry),
        &shared.cx,
    )
    .await?;
    handled.objects += 1;
    handled.fetched += stored.len() as u64;
    if let Some(permit) = permit {
        permit.shrink_to(match entry.compression {
            Algorithm::None => entry.length,
            _ => entry.length + stored.len() as u64,
        });
    }
    if entry
        .stored_length
        .is_some_and(|n| n != stored.len() as u64)
    {
        return Err(Error::corrupt(
            "read object",
            key,
            format!(
                "it has {} bytes, the metadata says {}",
                stored.len(),
                entry.stored_length.unwrap_or(0)
            ),
        ));
    }
    let task = CheckTask {
        shared: Arc::clone(shared),
        entry: entry.clone(),
        key: key.clone(),
        parts: parts.to_vec(),
    };
    let checked = shared.cx.cpu().run(move || task.run(stored)).await??;
    handled.checked += checked.bytes;
    handled.problems.extend(checked.problems);
    Ok(checked.writes)
}

struct CheckTask {
    shared: Arc<Shared>,
    entry: ObjectEntry,
    key: ObjectKey,
    parts: Vec<ByteRange>,
}

#[derive(Default)]
pub(crate) struct Checked {
    pub(crate) writes: Vec<Write>,
    pub(crate) bytes: u64, // proven to be right
    pub(crate) problems: Vec<Problem>,
}

impl CheckTask {
    fn run(self, stored: Buf) -> Result<Checked> {
        self.shared.cx.cancel().check("check object")?;
        let proven_zero = self.entry.zero
            && self
                .shared
                .zeroes
                .object(self.entry.length)
                .is_ok_and(|z| z.stored == stored[..] && Some(z.md5) == self.entry.md5);
        let data = decode(&self.entry, &self.key, stored, self.shared.cx.buffers())?;
        let aligned = alignment(&self.shared, &self.parts);
        let md5 = if (self.shared.md5 || !aligned) && !proven_zero {
            check_md5(&self.shared, &self.entry, &self.key, &data)?;
            true
        } else {
            proven_zero
        };
        check_parts(
            &self.shared,
            &self.key,
            &self.parts,
            self.entry.offset,
            &data,
            aligned,
            md5,
            || md5_lanes::md5(&data),
            self.entry.md5,
        )
    }
}

/// Whether all of `parts` are whole blocks of the hash list, so that it can prove them.
pub(crate) fn alignment(shared: &Shared, parts: &[ByteRange]) -> bool {
    let Some(list) = &shared.chain.hashes else {
        return false;
    };
    let block = list.block_size();
    parts.iter().all(|p| {
        p.start().is_multiple_of(block)
            && (p.end().is_multiple_of(block) || p.end() == shared.chain.length)
    })
}

fn decode(
    entry: &ObjectEntry,
    key: &ObjectKey,
    stored: Buf,
    buffers: &BufferPool,
) -> Result<Bytes> {
    let length = usize::try_from(entry.length)
        .map_err(|_| Error::invalid("read object", "too long for memory").on(key))?;
    if entry.compression == Algorithm::None {
        if stored.len() != length {
            return Err(Error::corrupt(
                "read object",
                key,
                format!("it has {} bytes, the metadata says {length}", stored.len()),
            ));
        }
        return Ok(stored.into_bytes());
    }
    let mut out = buffers.take(length);
    decompressor(entry.compression)?
        .decompress(&stored, &mut out)
        .map_err(|e| e.on(key))?;
    Ok(out.into_bytes())
}

/// Holds an object's MD5 against the metadata's.
fn check_md5(shared: &Shared, entry: &ObjectEntry, key: &ObjectKey, data: &[u8]) -> Result<()> {
    let Some(expected) = entry.md5 else {
        return no_checksum(shared, key);
    };
    if md5_lanes::md5(data) != expected {
        return Err(wrong_md5(key));
    }
    Ok(())
}

pub(crate) fn wrong_md5(key: &ObjectKey) -> Error {
    Error::corrupt("check object", key, "its MD5 is not what the metadata says")
        .hint("the object is damaged; `volume backup verify` lists all that is, `--salvage` restores the rest")
}

/// Without an MD5 only a hash list can prove an object.
pub(crate) fn no_checksum(shared: &Shared, key: &ObjectKey) -> Result<()> {
    if shared.chain.hashes.is_some() {
        return Ok(());
    }
    Err(Error::corrupt(
        "check object",
        key,
        "neither an MD5 nor a hash list is there to check it",
    ))
}

/// Checks `parts` of `data`, which lies at `offset` of the volume, and tells what is to be written.
#[expect(
    clippy::too_many_arguments,
    reason = "whole objects and slices share it"
)]
pub(crate) fn check_parts(
    shared: &Shared,
    key: &ObjectKey,
    parts: &[ByteRange],
    offset: u64,
    data: &Bytes,
    aligned: bool,
    md5_is_right: bool,
    md5: impl Fn() -> [u8; 16],
    expected_md5: Option<[u8; 16]>,
) -> Result<Checked> {
    let mut out = Checked::default();
    for &part in parts {
        let from = usize::try_from(part.start() - offset);
        let to = usize::try_from(part.end() - offset);
        let (Ok(from), Ok(to)) = (from, to) else {
            return Err(Error::internal("check object", "too long for memory").on(key));
        };
        let bytes = data.slice(from..to);
        let blocks = match (&shared.chain.hashes, aligned) {
            (Some(list), true) => {
                let block = list.block_size();
                let expected = list.hashes(part.start() / block, part.len().div_ceil(block))?;
                check_blocks(
                    &shared.chain.hasher,
                    part,
                    &bytes,
                    &expected,
                    shared.cx.cancel(),
                )?
            }
            _ => untested(part, &bytes),
        };
        if let Some(bad) = blocks.iter().find(|b| b.bad) {
            let suspect = if md5_is_right || expected_md5.is_some_and(|e| e == md5()) {
                "the SHA-256 of a block is not what the hash list says, though the object's MD5 is right: the hash \
                 list is the suspect"
            } else {
                "the SHA-256 of a block is not what the hash list says"
            };
            if !shared.tolerant {
                return Err(Error::corrupt(
                    "check object",
                    key,
                    format!("{suspect} (bytes {} of the volume)", bad.range),
                )
                .hint("the backup is damaged; `volume backup verify` lists all damage, `--salvage` restores the rest"));
            }
            out.problems.extend(
                joined(&blocks)
                    .filter(|b| b.bad)
                    .map(|b| Problem::new(key.to_string(), Some(b.range), suspect)),
            );
        }
        out.bytes += part.len();
        add_writes(&mut out.writes, part, &bytes, &blocks);
    }
    Ok(out)
}

/// A block or a run of blocks of one kind.
#[derive(Clone, Copy)]
struct Run {
    range: ByteRange,
    zero: bool,
    bad: bool,
}

fn check_blocks(
    hasher: &BlockHasher,
    part: ByteRange,
    bytes: &[u8],
    expected: &[BlockHash],
    cancel: &crate::job::CancelToken,
) -> Result<Vec<Run>> {
    let blocks = hasher.blocks(bytes, cancel)?;
    let ranges = part.pieces(hasher.block_size() as u64);
    Ok(ranges
        .zip(blocks)
        .enumerate()
        .map(|(i, (range, (hash, zero)))| {
            let bad = expected.get(i) != Some(&hash);
            Run {
                range,
                zero: zero || bad,
                bad,
            }
        })
        .collect())
}

/// Bytes that their object's MD5 proves: only looked at for zeroes.
fn untested(part: ByteRange, bytes: &[u8]) -> Vec<Run> {
    let mut at = 0;
    part.pieces(ZERO_RUN)
        .map(|range| {
            let end = at + usize::try_from(range.len()).unwrap_or(0);
            let zero = is_zero(&bytes[at..end]);
            at = end;
            Run {
                range,
                zero,
                bad: false,
            }
        })
        .collect()
}

/// Neighbouring runs of one kind as one.
fn joined(runs: &[Run]) -> impl Iterator<Item = Run> {
    runs.chunk_by(|a, b| a.zero == b.zero && a.bad == b.bad)
        .filter_map(|same| {
            let (first, last) = (same.first()?, same.last()?);
            Some(Run {
                range: ByteRange::new(first.range.start(), last.range.end())?,
                ..*first
            })
        })
}

/// Turns runs into writes. What is bad is written as zeroes, so that nothing old or wrong stays there.
fn add_writes(writes: &mut Vec<Write>, part: ByteRange, bytes: &Bytes, blocks: &[Run]) {
    let mut data: Option<ByteRange> = None;
    let flush = |data: &mut Option<ByteRange>, writes: &mut Vec<Write>| {
        if let Some(range) = data.take() {
            let from = usize::try_from(range.start() - part.start()).unwrap_or(0);
            let to = usize::try_from(range.end() - part.start()).unwrap_or(0);
            writes.push(Write::Data(range, bytes.slice(from..to)));
        }
    };
    for run in joined(blocks) {
        if run.zero && (run.bad || run.range.len() >= ZERO_RUN || run.range == part) {
            flush(&mut data, writes);
            writes.push(Write::Zeroes(run.range));
        } else {
            data = match data {
                Some(d) => ByteRange::new(d.start(), run.range.end()),
                None => Some(run.range),
            };
        }
    }
    flush(&mut data, writes);
}

impl LayerIndex {
    /// Whether `name` is one of its objects' names.
    pub(crate) fn names(&self) -> impl Iterator<Item = Result<String>> + '_ {
        use crate::diff::Coverage;
        (0..(&self).count()).map(|i| self.entry(i).map(|e| e.name))
    }
}
