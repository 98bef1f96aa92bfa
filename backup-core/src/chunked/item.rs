//! One object of a restore or a verify: fetch, decompress, check, write.

use std::sync::Arc;

use bytes::Bytes;

use super::check::OpenChain;
use super::fetch::fetch;
use super::proof::{Checked, Write, check_md5, check_parts, check_zeroes, not_zero, without};
use super::slices;
use super::split::SplitBlocks;
use super::target::Target;
use crate::backup::Problem;
use crate::compress::{Algorithm, decompress_until_cancelled};
use crate::diff::{Surviving, is_zero};
use crate::error::{Error, ErrorKind, Result};
use crate::format::metadata::ObjectEntry;
use crate::id::ObjectKey;
use crate::job::{JobContext, MemoryPermit};
use crate::pipeline::ZeroStreams;
use crate::range::ByteRange;
use crate::repository::Repository;

/// Objects longer than this are handled slice by slice, whatever the budget.
pub(crate) const WHOLE: u64 = 64 << 20;

/// Objects up to this length are decompressed and checked where they arrive: it takes less time than to hand them to a
/// CPU thread and back.
const SHORT: u64 = 64 << 10;

/// What all objects of a job share.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) repository: Arc<dyn Repository>,
    pub(crate) chain: OpenChain,
    pub(crate) zeroes: Arc<ZeroStreams>,
    /// Where the volume is written; `None`: only checked.
    pub(crate) target: Option<Target>,
    /// Whether each object's MD5 is checked too.
    pub(crate) md5: bool,
    /// Whether damage is noted and worked around instead of ending the job.
    pub(crate) tolerant: bool,
    pub(crate) split: SplitBlocks,
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
    memory: u64, // bytes that it takes while it is handled
}

#[derive(Debug)]
pub(crate) enum What {
    /// No layer has it.
    Gap,
    /// An object of ours that holds only zeroes.
    Zeroes(ObjectKey),
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
                    memory: 0,
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
        let (what, memory) = if entry.zero && shared.chain.hashes.is_some() && !shared.md5 {
            // The hash list proves it; there is nothing to fetch.
            (What::Zeroes(key), 0)
        } else if entry.length > WHOLE || memory_for_whole(&entry) > shared.cx.memory().total() / 2
        {
            let memory = slices::memory(shared).min(shared.cx.memory().total());
            (What::Sliced(entry, key), memory)
        } else {
            let memory = memory_for_whole(&entry);
            (What::Whole(entry, key), memory)
        };
        Ok(Self {
            what,
            parts,
            memory,
        })
    }

    /// Memory that it takes while it is handled, in bytes.
    pub(crate) fn memory(&self) -> u64 {
        self.memory
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
        What::Gap => {
            let list = shared.chain.hash_list();
            check_zeroes(&shared, &list, &item.parts, true, &mut handled)
        }
        What::Zeroes(key) => {
            check_zeroes(&shared, &key.to_string(), &item.parts, false, &mut handled)
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
                What::Zeroes(key) | What::Whole(_, key) | What::Sliced(_, key) => key.to_string(),
            };
            let text = e
                .reason()
                .map_or_else(|| e.to_string(), ToString::to_string);
            handled.problems.extend(
                item.parts
                    .iter()
                    .map(|&part| Problem::new(&name, Some(part), &text)),
            );
            without(&shared, &name, &item.parts, &mut handled)?
        }
        Err(e) => return Err(e),
    };
    if let Some(target) = &shared.target {
        handled.written += target.write(writes, shared.cx.cancel()).await?;
    }
    Ok(handled)
}

/// Whether it says that stored data is wrong, rather than that the job cannot go on.
pub(crate) fn is_damage(e: &Error) -> bool {
    matches!(
        e.kind(),
        ErrorKind::Corrupt | ErrorKind::NotFound | ErrorKind::Unsupported | ErrorKind::InvalidInput
    ) || (e.is(ErrorKind::Unavailable) && e.operation() == "read object")
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
    let checked = if entry.length <= SHORT {
        task.run(stored)?
    } else {
        shared.cx.cpu().run(move || task.run(stored)).await??
    };
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

impl CheckTask {
    fn run(self, stored: Bytes) -> Result<Checked> {
        self.shared.cx.cancel().check("check object")?;
        let proven_zero = self.entry.zero
            && self
                .shared
                .zeroes
                .object(self.entry.length)
                .is_ok_and(|z| z.stored == stored[..] && Some(z.md5) == self.entry.md5);
        let data = decode(&self.entry, &self.key, stored, &self.shared.cx)?;
        if self.entry.zero && !proven_zero && !is_zero(&data) {
            return Err(not_zero(&self.key));
        }
        let unlisted = self.shared.chain.hashes.is_none();
        let md5 = if (self.shared.md5 || unlisted) && !proven_zero {
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
            md5,
            || md5_lanes::md5(&data),
            self.entry.md5,
        )
    }
}

fn decode(entry: &ObjectEntry, key: &ObjectKey, stored: Bytes, cx: &JobContext) -> Result<Bytes> {
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
        return Ok(stored);
    }
    let mut out = cx.buffers().take(length);
    decompress_until_cancelled(entry.compression, &stored, &mut out, cx.cancel())
        .map_err(|e| e.on(key))?;
    Ok(out.into_bytes())
}
