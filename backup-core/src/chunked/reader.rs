//! Any byte of any backup of a chain.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use bytes::Bytes;

use super::ChunkedBackup;
use super::check::OpenChain;
use super::fetch::fetch;
use super::layer_index::LayerIndex;
use crate::backup::{BackupReader, Chain};
use crate::buffer::Buf;
use crate::compress::{Algorithm, decompressor};
use crate::diff::Coverage;
use crate::error::{Error, Result};
use crate::format::metadata::ObjectEntry;
use crate::job::JobContext;
use crate::range::{ByteRange, Extent, ExtentKind};
use crate::repository::Repository;

/// Decompressed objects that are kept for the next read.
const KEPT: usize = 4;

pub(super) async fn open(
    engine: &ChunkedBackup,
    chain: &Chain,
    cx: &JobContext,
) -> Result<Arc<dyn BackupReader>> {
    Ok(Arc::new(ChunkedReader {
        repository: Arc::clone(&engine.repository),
        chain: OpenChain::load(engine, chain, cx).await?,
        kept: Mutex::default(),
        cx: cx.clone(),
    }))
}

#[derive(Debug)]
struct ChunkedReader {
    repository: Arc<dyn Repository>,
    chain: OpenChain,
    kept: Mutex<VecDeque<((usize, u64), Bytes)>>,
    cx: JobContext,
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
        for (number, layer) in self.chain.layers.iter().enumerate().rev() {
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
    async fn content(&self, layer: usize, index: u64, entry: &ObjectEntry) -> Result<Bytes> {
        let id = (layer, index);
        let kept = {
            let kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
            kept.iter().find(|(k, _)| *k == id).map(|(_, b)| b.clone())
        };
        if let Some(bytes) = kept {
            return Ok(bytes);
        }
        let key = self.chain.layers[layer].key(entry)?;
        let length = usize::try_from(entry.length)
            .map_err(|_| Error::invalid("read backup", "object too long for memory").on(&key))?;
        let limit = entry.length.saturating_add(entry.length / 64 + 1024);
        let stored = fetch(&self.repository, &key, None, limit, &self.cx).await?;
        let (entry, buffers) = (entry.clone(), self.cx.buffers().clone());
        let bytes = self
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
                    out
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
                        Err(super::item::wrong_md5(&key))
                    }
                    _ => Ok(data.into_bytes()),
                }
            })
            .await??;
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        if kept.len() >= KEPT {
            kept.pop_front();
        }
        kept.push_back((id, bytes.clone()));
        Ok(bytes)
    }

    async fn fill(&self, at: u64, out: &mut [u8]) -> Result<()> {
        let range = ByteRange::at(at, out.len() as u64)
            .filter(|r| r.end() <= self.chain.length)
            .ok_or_else(|| {
                Error::invalid(
                    "read backup",
                    format!(
                        "{} bytes at {at} reach past the end at {}",
                        out.len(),
                        self.chain.length
                    ),
                )
            })?;
        let mut done = 0;
        while done < out.len() {
            self.cx.cancel().check("read backup")?;
            let from = range.start() + done as u64;
            let (owner, to) = self.owner(from, range.end())?;
            let length = usize::try_from(to - from).unwrap_or(usize::MAX);
            let place = &mut out[done..done + length];
            match owner {
                Owner::Nobody => {
                    self.check_gap(from, to)?;
                    place.fill(0);
                }
                Owner::Object { layer, index } => {
                    let entry = self.chain.layers[layer].entry(index)?;
                    let content = self.content(layer, index, &entry).await?;
                    let skip = usize::try_from(from - entry.offset).unwrap_or(usize::MAX);
                    place.copy_from_slice(&content[skip..skip + length]);
                }
            }
            done += length;
        }
        Ok(())
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
        let Some(list) = &self.chain.hashes else {
            return wrong("there is no hash list to tell what they are");
        };
        let block = list.block_size();
        for index in from / block..to.div_ceil(block) {
            let length = self.chain.length.saturating_sub(index * block).min(block);
            let zero = self
                .chain
                .hasher
                .zeroes(usize::try_from(length).unwrap_or(0));
            if list.hashes(index, 1)?.first() != Some(&zero) {
                return wrong("the hash list says that they are not zero");
            }
        }
        Ok(())
    }
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
        self.chain.length
    }

    async fn extents(&self, range: ByteRange) -> Result<Vec<Extent>> {
        if range.end() > self.chain.length {
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
                Owner::Object { layer, index } if self.chain.layers[layer].entry(index)?.zero => {
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
}
