//! Objects that are too long to hold: Cinder's posix and nfs drivers make them of up to 1.86 GiB. They are
//! decompressed, checked and written slice by slice.

use std::sync::Arc;

use bytes::Bytes;
use futures::StreamExt;
use md5_lanes::Md5;

use super::item::{Handled, Shared};
use super::proof::{check_parts, no_checksum, not_zero, wrong_md5};
use crate::buffer::Buf;
use crate::compress::{Decoder, decompressor};
use crate::diff::is_zero;
use crate::error::{Error, Result};
use crate::format::metadata::ObjectEntry;
use crate::id::ObjectKey;
use crate::range::ByteRange;
use crate::repository::BoxStream;

/// Bytes of a slice, or of a block where that is longer.
const SLICE: u64 = 4 << 20;

fn slice(shared: &Shared) -> u64 {
    let block = shared
        .chain
        .hashes
        .as_ref()
        .map_or(1, super::hash_index::HashIndex::block_size);
    SLICE.next_multiple_of(block)
}

/// Memory that one such object takes while it is handled, in bytes: a slice being written, one being filled, and what
/// the repository's stream holds.
pub(super) fn memory(shared: &Shared) -> u64 {
    4 * slice(shared)
}

pub(super) async fn handle(
    shared: &Arc<Shared>,
    entry: &ObjectEntry,
    key: &ObjectKey,
    parts: &[ByteRange],
    handled: &mut Handled,
) -> Result<()> {
    let by_md5 = shared.md5 || shared.chain.hashes.is_none();
    if by_md5 {
        // The MD5 must be right before a byte counts: the object is read once only for that.
        handled.fetched += prove(shared, entry, key).await?;
    }
    let mut slices = Slices::open(shared, entry, key).await?;
    while let Some((range, slice)) = slices.next().await? {
        if entry.zero && !is_zero(&slice) {
            return Err(not_zero(key));
        }
        let within: Vec<ByteRange> = parts.iter().filter_map(|p| p.intersection(range)).collect();
        if within.is_empty() {
            continue;
        }
        let (task, name) = (Arc::clone(shared), key.clone());
        let checked = shared
            .cx
            .cpu()
            .run(move || {
                // What became of the object's MD5 is only known here where it was read for it.
                check_parts(
                    &task,
                    &name,
                    &within,
                    range.start(),
                    &slice,
                    by_md5,
                    || [0; 16],
                    None,
                )
            })
            .await??;
        handled.checked += checked.bytes;
        handled.problems.extend(checked.problems);
        if let Some(target) = &shared.target {
            handled.written += target.write(checked.writes, shared.cx.cancel()).await?;
        }
    }
    handled.objects += 1;
    handled.fetched += slices.fetched;
    Ok(())
}

/// Reads an object only to hold its MD5 against the metadata's; answers the stored bytes that were fetched.
pub(super) async fn prove(
    shared: &Arc<Shared>,
    entry: &ObjectEntry,
    key: &ObjectKey,
) -> Result<u64> {
    let Some(expected) = entry.md5 else {
        no_checksum(shared, key)?;
        return Ok(0);
    };
    let mut md5 = Md5::new();
    let mut slices = Slices::open(shared, entry, key).await?;
    while let Some((_, slice)) = slices.next().await? {
        md5 = shared
            .cx
            .cpu()
            .run(move || {
                md5.update(&slice);
                md5
            })
            .await?;
    }
    if md5.finalize() != expected {
        return Err(wrong_md5(key));
    }
    Ok(slices.fetched)
}

/// An object's content, a slice at a time; slices begin at blocks' starts where the object does.
pub(super) struct Slices {
    shared: Arc<Shared>,
    entry: ObjectEntry,
    key: ObjectKey,
    body: BoxStream<Bytes>,
    announced: u64,
    fetched: u64,
    input: Bytes,
    decoder: Option<Box<dyn Decoder>>,
    slice: u64,
    done: u64,
    ended: bool,
}

struct Stepped {
    decoder: Box<dyn Decoder>,
    out: Buf,
    filled: usize,
    consumed: usize,
    finished: bool,
}

impl Slices {
    pub(super) async fn open(
        shared: &Arc<Shared>,
        entry: &ObjectEntry,
        key: &ObjectKey,
    ) -> Result<Self> {
        let download = shared.repository.get(key, None).await?;
        if entry.stored_length.is_some_and(|n| n != download.length) {
            return Err(Error::corrupt(
                "read object",
                key,
                format!(
                    "it has {} bytes, the metadata says otherwise",
                    download.length
                ),
            ));
        }
        Ok(Self {
            shared: Arc::clone(shared),
            entry: entry.clone(),
            key: key.clone(),
            body: download.body,
            announced: download.length,
            fetched: 0,
            input: Bytes::new(),
            decoder: Some(decompressor(entry.compression)?.decoder(entry.length)?),
            slice: slice(shared),
            done: 0,
            ended: false,
        })
    }

    /// Where the next slice begins in the volume.
    pub(super) fn position(&self) -> u64 {
        self.entry.offset + self.done
    }

    /// The next slice and the range of the volume that it is of.
    pub(super) async fn next(&mut self) -> Result<Option<(ByteRange, Bytes)>> {
        let left = self.entry.length - self.done;
        let wanted = usize::try_from(left.min(self.slice))
            .map_err(|_| Error::internal("read object", "slice too long for memory"))?;
        if wanted == 0 {
            self.expect_end().await?;
            return Ok(None);
        }
        let mut out = self.shared.cx.buffers().take(wanted);
        let mut filled = 0;
        while filled < wanted {
            self.shared.cx.cancel().check("read object")?;
            if self.input.is_empty() && !self.ended {
                self.refill().await?;
            }
            let stepped = self.step(out, filled).await?;
            out = stepped.out;
            let stuck = stepped.consumed == 0 && stepped.filled == filled;
            filled = stepped.filled;
            self.decoder = Some(stepped.decoder);
            let _ = self.input.split_to(stepped.consumed);
            if filled < wanted
                && (stepped.finished || (self.ended && self.input.is_empty() && stuck))
            {
                return Err(Error::corrupt(
                    "read object",
                    &self.key,
                    format!(
                        "it holds {} bytes, the metadata says {}",
                        self.done + filled as u64,
                        self.entry.length
                    ),
                ));
            }
        }
        let start = self.entry.offset + self.done;
        self.done += wanted as u64;
        let range = ByteRange::at(start, wanted as u64)
            .ok_or_else(|| Error::internal("read object", "range overflows"))?;
        Ok(Some((range, out.into_bytes())))
    }

    async fn refill(&mut self) -> Result<()> {
        match self.body.next().await {
            Some(piece) => {
                self.input = piece?;
                self.fetched += self.input.len() as u64;
            }
            None if self.fetched == self.announced => self.ended = true,
            None => {
                return Err(
                    Error::new(crate::error::ErrorKind::Unavailable, "read object")
                        .on(&self.key)
                        .because(format!(
                            "{} bytes came where {} were announced",
                            self.fetched, self.announced
                        )),
                );
            }
        }
        Ok(())
    }

    /// Decompresses into `out` from `filled` on, on the CPU pool.
    async fn step(&mut self, mut out: Buf, mut filled: usize) -> Result<Stepped> {
        let Some(mut decoder) = self.decoder.take() else {
            return Err(Error::internal("read object", "the decoder failed before").on(&self.key));
        };
        let input = self.input.clone();
        let key = self.key.clone();
        self.shared
            .cx
            .cpu()
            .run(move || {
                let mut consumed = 0;
                let mut finished = false;
                while filled < out.len() && !finished {
                    let step = decoder
                        .step(&input[consumed..], &mut out[filled..])
                        .map_err(|e| e.on(&key))?;
                    consumed += step.consumed;
                    filled += step.produced;
                    finished = step.finished;
                    if step.consumed == 0 && step.produced == 0 {
                        break;
                    }
                }
                Ok(Stepped {
                    decoder,
                    out,
                    filled,
                    consumed,
                    finished,
                })
            })
            .await?
    }

    /// All content came: nothing more may follow, and the compressed stream must be complete.
    async fn expect_end(&mut self) -> Result<()> {
        loop {
            if let Some(decoder) = &mut self.decoder {
                let mut spare = [0; 1];
                while !self.input.is_empty() {
                    let step = decoder
                        .step(&self.input, &mut spare)
                        .map_err(|e| e.on(&self.key))?;
                    if step.produced > 0 {
                        return Err(Error::corrupt(
                            "read object",
                            &self.key,
                            format!(
                                "it holds more than the {} bytes of the metadata",
                                self.entry.length
                            ),
                        ));
                    }
                    let _ = self.input.split_to(step.consumed);
                    if step.finished || step.consumed == 0 {
                        break;
                    }
                }
            }
            if self.ended {
                break;
            }
            self.refill().await?;
        }
        match &mut self.decoder {
            Some(decoder) => decoder.finish().map_err(|e| e.on(&self.key)),
            None => Ok(()),
        }
    }
}
