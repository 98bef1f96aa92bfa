//! Any byte of any backup of a chain.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use bytes::Bytes;
use tokio::sync::OnceCell;

use super::ChunkedBackup;
use super::check::OpenChain;
use super::fetch::fetch;
use super::hash_index::HashIndex;
use super::item::{Shared, WHOLE};
use super::layer_index::LayerIndex;
use super::long_objects::{LongObjects, ObjectId};
use super::split::SplitBlocks;
use crate::backup::{BackupReader, Chain};
use crate::buffer::Buf;
use crate::compress::{Algorithm, decompressor};
use crate::diff::{Coverage, is_zero};
use crate::error::{Error, Result};
use crate::format::metadata::ObjectEntry;
use crate::job::JobContext;
use crate::range::{ByteRange, Extent, ExtentKind};

/// Decompressed objects that are kept for the next read: how many, and how many bytes of more than two.
const KEPT: usize = 64;
const KEPT_BYTES: u64 = 64 << 20;

/// Bytes of the volume that are put together and checked at once.
const WINDOW: u64 = 4 << 20;

/// Hashes that are looked up at once: 1 MiB of them.
const HASHES_AT_ONCE: u64 = 32 << 10;

pub(super) async fn open(
    engine: &ChunkedBackup,
    chain: &Chain,
    cx: &JobContext,
) -> Result<Arc<dyn BackupReader>> {
    Ok(Arc::new(ChunkedReader {
        shared: Arc::new(Shared {
            repository: Arc::clone(&engine.repository),
            chain: OpenChain::load(engine, chain, cx).await?,
            zeroes: Arc::clone(&engine.zeroes),
            target: None,
            md5: false,
            tolerant: false,
            split: SplitBlocks::default(),
            cx: cx.clone(),
        }),
        kept: Mutex::default(),
        long: tokio::sync::Mutex::default(),
    }))
}

#[derive(Debug)]
struct ChunkedReader {
    shared: Arc<Shared>,
    kept: Mutex<VecDeque<Kept>>, // the latest used last
    long: tokio::sync::Mutex<LongObjects>,
}

/// An object that was fetched, or is being fetched: whoever wants it meanwhile waits for the same.
#[derive(Debug)]
struct Kept {
    id: ObjectId,
    length: u64,
    content: Arc<OnceCell<Bytes>>,
}

/// Who has a range of the volume.
enum Owner {
    Object { layer: usize, index: u64 },
    Nobody,
}

impl ChunkedReader {
    /// Who has the byte `at` in the newest state, and up to where, at most `end`.
    fn owner(&self, at: u64, end: u64) -> Result<(Owner, u64)> {
        let mut end = end;
        for (number, layer) in self.shared.chain.layers.iter().enumerate().rev() {
            let (index, next) = find(layer, at)?;
            if let Some((index, range)) = index {
                return Ok((
                    Owner::Object {
                        layer: number,
                        index,
                    },
                    end.min(range.end()),
                ));
            }
            // A newer layer's next object ends what an older one may have here.
            end = next.map_or(end, |next| end.min(next));
        }
        Ok((Owner::Nobody, end))
    }

    /// An object's content, checked by its MD5.
    async fn content(&self, id: ObjectId, entry: &ObjectEntry) -> Result<Bytes> {
        let content = self.keep(id, entry.length);
        let bytes = content
            .get_or_try_init(|| self.fetch_content(id, entry))
            .await?;
        Ok(bytes.clone())
    }

    /// The place for an object's content; what was not used for the longest time goes.
    fn keep(&self, id: ObjectId, length: u64) -> Arc<OnceCell<Bytes>> {
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        let place = kept.iter().position(|k| k.id == id);
        let one = place.and_then(|i| kept.remove(i)).unwrap_or_else(|| Kept {
            id,
            length,
            content: Arc::default(),
        });
        let content = Arc::clone(&one.content);
        kept.push_back(one);
        let mut bytes: u64 = kept.iter().map(|k| k.length).sum();
        while kept.len() > KEPT || (kept.len() > 2 && bytes > KEPT_BYTES) {
            bytes -= kept.pop_front().map_or(0, |k| k.length);
        }
        content
    }

    async fn fetch_content(&self, id: ObjectId, entry: &ObjectEntry) -> Result<Bytes> {
        let key = self.shared.chain.layers[id.0].key(entry)?;
        let length = usize::try_from(entry.length)
            .map_err(|_| Error::invalid("read backup", "object too long for memory").on(&key))?;
        let limit = entry.length.saturating_add(entry.length / 64 + 1024);
        let stored = fetch(&self.shared.repository, &key, None, limit, &self.shared.cx).await?;
        let (entry, buffers) = (entry.clone(), self.shared.cx.buffers().clone());
        self.shared
            .cx
            .cpu()
            .run(move || {
                let data = if entry.compression == Algorithm::None {
                    stored
                } else {
                    let mut out = buffers.take(length);
                    decompressor(entry.compression)?
                        .decompress(&stored, &mut out)
                        .map_err(|e| e.on(&key))?;
                    out.into_bytes()
                };
                if data.len() != length {
                    return Err(Error::corrupt(
                        "read object",
                        &key,
                        "its length is not what the metadata says",
                    ));
                }
                match entry.md5 {
                    Some(expected) if md5_lanes::md5(&data) != expected => {
                        Err(super::proof::wrong_md5(&key))
                    }
                    _ => Ok(data),
                }
            })
            .await?
    }

    /// Fills `out` from `at`, in windows of whole blocks that are checked against the hash list: that also tells where
    /// an object is missing from a layer's metadata and an older one would show instead.
    async fn fill(&self, at: u64, out: &mut [u8]) -> Result<()> {
        let chain = &self.shared.chain;
        let range = ByteRange::at(at, out.len() as u64)
            .filter(|r| r.end() <= chain.length)
            .ok_or_else(|| {
                Error::invalid(
                    "read backup",
                    format!(
                        "{} bytes at {at} reach past the end at {}",
                        out.len(),
                        chain.length
                    ),
                )
            })?;
        let block = chain.hashes.as_ref().map_or(1, HashIndex::block_size);
        let mut done = 0;
        for part in range.pieces(WINDOW.next_multiple_of(block)) {
            let start = part.start() / block * block;
            let end = part.end().next_multiple_of(block).min(chain.length);
            let whole = ByteRange::new(start, end)
                .ok_or_else(|| Error::internal("read backup", "backward window"))?;
            let content = self.assemble(whole).await?;
            let content = self.check(whole, content).await?;
            let skip = in_memory(part.start() - start)?;
            let length = in_memory(part.len())?;
            out[done..done + length].copy_from_slice(&content[skip..skip + length]);
            done += length;
        }
        Ok(())
    }

    /// Holds whole blocks against the hash list.
    async fn check(&self, range: ByteRange, content: Bytes) -> Result<Bytes> {
        let chain = &self.shared.chain;
        let Some(list) = &chain.hashes else {
            return Ok(content);
        };
        let expected = list.hashes(
            range.start() / list.block_size(),
            range.len().div_ceil(list.block_size()),
        )?;
        let (hasher, cancel) = (chain.hasher.clone(), self.shared.cx.cancel().clone());
        let (content, blocks) = self
            .shared
            .cx
            .cpu()
            .run(move || {
                let blocks = hasher.blocks(&content, &cancel);
                (content, blocks)
            })
            .await?;
        let wrong = blocks?
            .iter()
            .zip(range.pieces(list.block_size()))
            .enumerate()
            .find(|(i, ((hash, _), _))| expected.get(*i) != Some(hash))
            .map(|(_, (_, place))| place);
        match wrong {
            None => Ok(content),
            Some(place) => Err(Error::corrupt(
                "read backup",
                format!("bytes {place} of the volume"),
                "their SHA-256 is not what the hash list says",
            )
            .hint("the backup is damaged; `volume backup verify` lists all damage")),
        }
    }

    /// Puts `range` together from the layers' objects.
    async fn assemble(&self, range: ByteRange) -> Result<Bytes> {
        let mut out = self.shared.cx.buffers().take(in_memory(range.len())?);
        let mut done = 0;
        while done < out.len() {
            self.shared.cx.cancel().check("read backup")?;
            let from = range.start() + done as u64;
            let (owner, to) = self.owner(from, range.end())?;
            let piece = ByteRange::new(from, to)
                .ok_or_else(|| Error::internal("read backup", "backward piece"))?;
            let length = in_memory(piece.len())?;
            let place = &mut out[done..done + length];
            match owner {
                Owner::Nobody => {
                    self.check_gap(from, to)?;
                    place.fill(0);
                }
                Owner::Object { layer, index } => {
                    let entry = self.shared.chain.layers[layer].entry(index)?;
                    if entry.zero && self.shared.chain.hashes.is_some() {
                        // The hash list proves it or refutes it.
                        place.fill(0);
                    } else if entry.length > WHOLE {
                        let mut long = self.long.lock().await;
                        long.copy(&self.shared, (layer, index), &entry, piece, place)
                            .await?;
                    } else {
                        let content = self.content((layer, index), &entry).await?;
                        let skip = in_memory(from - entry.offset)?;
                        place.copy_from_slice(&content[skip..skip + length]);
                    }
                }
            }
            done += length;
        }
        Ok(out.into_bytes())
    }

    /// A range that no layer has must be zero by the hash list.
    fn check_gap(&self, from: u64, to: u64) -> Result<()> {
        let wrong = |why: &str| {
            Err(Error::corrupt(
                "read backup",
                format!("bytes {from}..{to}"),
                format!("no layer has them, and {why}"),
            ))
        };
        let Some(list) = &self.shared.chain.hashes else {
            return wrong("there is no hash list to tell what they are");
        };
        let block = list.block_size();
        match self.first_not_zero(list, from / block, to.div_ceil(block))? {
            None => Ok(()),
            Some(_) => wrong("the hash list says that they are not zero"),
        }
    }

    /// The first of the blocks `from..to` that the hash list does not call zero.
    fn first_not_zero(&self, list: &HashIndex, from: u64, to: u64) -> Result<Option<u64>> {
        let (chain, block) = (&self.shared.chain, list.block_size());
        let zeroes = |length: u64| chain.hasher.zeroes(usize::try_from(length).unwrap_or(0));
        let whole = zeroes(block);
        let mut at = from;
        while at < to {
            let count = (to - at).min(HASHES_AT_ONCE);
            let hashes = list.hashes(at, count)?;
            for index in at..at + count {
                let left = chain.length.saturating_sub(index.saturating_mul(block));
                let zero = if left < block { zeroes(left) } else { whole };
                // A list that ends too early proves nothing.
                if hashes.get(in_memory(index - at)?) != Some(&zero) {
                    return Ok(Some(index));
                }
            }
            at += count;
        }
        Ok(None)
    }

    /// Reads what should be zero.
    async fn read_zeroes(&self, range: ByteRange) -> Result<()> {
        for part in range.pieces(WINDOW) {
            let mut bytes = self.shared.cx.buffers().take(in_memory(part.len())?);
            self.fill(part.start(), &mut bytes).await?;
            if !is_zero(&bytes) {
                return Err(not_zero_after_all(part));
            }
        }
        Ok(())
    }
}

fn not_zero_after_all(range: ByteRange) -> Error {
    Error::corrupt(
        "read backup",
        format!("bytes {range} of the volume"),
        "the metadata tells of nothing there, and there is something",
    )
    .hint("the backup is damaged; `volume backup verify` lists all damage")
}

fn in_memory(bytes: u64) -> Result<usize> {
    usize::try_from(bytes).map_err(|_| Error::internal("read backup", "too long for memory"))
}

/// The object that holds the byte `at`, or else where the next one begins.
#[expect(clippy::type_complexity, reason = "two answers of one search")]
fn find(layer: &LayerIndex, at: u64) -> Result<(Option<(u64, ByteRange)>, Option<u64>)> {
    // The first object that begins behind `at`.
    let (mut low, mut high) = (0, (&layer).count());
    while low < high {
        let middle = low + (high - low) / 2;
        if (&layer).range(middle)?.start() <= at {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    let next = if low < (&layer).count() {
        Some((&layer).range(low)?.start())
    } else {
        None
    };
    // Objects of no length may stand between; they hold nothing.
    let mut before = low;
    while before > 0 {
        before -= 1;
        let range = (&layer).range(before)?;
        if range.end() > at {
            return Ok((Some((before, range)), next));
        }
        if !range.is_empty() {
            break;
        }
    }
    Ok((None, next))
}

#[async_trait]
impl BackupReader for ChunkedReader {
    fn length(&self) -> u64 {
        self.shared.chain.length
    }

    async fn extents(&self, range: ByteRange) -> Result<Vec<Extent>> {
        if range.end() > self.shared.chain.length {
            return Err(Error::invalid(
                "list extents",
                "the range reaches past the end",
            ));
        }
        let mut out: Vec<Extent> = Vec::new();
        let mut at = range.start();
        while at < range.end() {
            let (owner, to) = self.owner(at, range.end())?;
            let kind = match owner {
                Owner::Nobody => ExtentKind::Zero,
                Owner::Object { layer, index }
                    if self.shared.chain.layers[layer].entry(index)?.zero =>
                {
                    ExtentKind::Zero
                }
                Owner::Object { .. } => ExtentKind::Data,
            };
            let piece = ByteRange::new(at, to)
                .ok_or_else(|| Error::internal("list extents", "backward extent"))?;
            match out.last_mut() {
                Some(last) if last.kind == kind => {
                    last.range = ByteRange::new(last.range.start(), to).unwrap_or(last.range);
                }
                _ => out.push(Extent::new(piece, kind)),
            }
            at = to;
        }
        Ok(out)
    }

    async fn read(&self, at: u64, mut buf: Buf) -> (Buf, Result<()>) {
        let result = self.fill(at, &mut buf).await;
        (buf, result)
    }

    /// By the hash list, without a byte being read; but for the blocks that `range` has only a part of, and where there
    /// is no list.
    async fn prove_zero(&self, range: ByteRange) -> Result<()> {
        let length = self.shared.chain.length;
        if range.end() > length {
            return Err(Error::invalid(
                "prove zeroes",
                "the range reaches past the end",
            ));
        }
        let Some(list) = &self.shared.chain.hashes else {
            return self.read_zeroes(range).await;
        };
        let block = list.block_size();
        let first = range.start().div_ceil(block);
        let last = if range.end() == length {
            length.div_ceil(block)
        } else {
            range.end() / block
        };
        if first >= last {
            return self.read_zeroes(range).await;
        }
        if let Some(wrong) = self.first_not_zero(list, first, last)? {
            let place = ByteRange::at(wrong * block, block.min(length - wrong * block));
            return Err(not_zero_after_all(place.unwrap_or(range)));
        }
        let (head, _) = range.split_at(first * block);
        let (_, tail) = range.split_at(last.saturating_mul(block));
        self.read_zeroes(head).await?;
        self.read_zeroes(tail).await
    }

    /// An object that is gone cannot be read, so nothing was read that was not there.
    async fn still_there(&self) -> Result<()> {
        Ok(())
    }
}
