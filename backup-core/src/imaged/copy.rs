//! One piece: read it, see what must be written, write it.

use std::sync::Arc;

use futures::future::join_all;

use super::runs::{RunKind, runs};
use crate::backup::Problem;
use crate::buffer::Buf;
use crate::device::BlockDevice;
use crate::error::{Error, ErrorKind, Result};
use crate::job::{JobContext, MemoryPermit};
use crate::range::ByteRange;

/// What is done with a range.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Deed {
    /// Read it from the source and write it to the target.
    Copy,
    /// Make it zero in the target.
    Zero,
    /// Read it, and write what differs from before.
    Compare,
    /// Read it, and see that nothing differs from before.
    Audit,
    /// Read it.
    Read,
}

/// What a transfer works on.
#[derive(Debug)]
pub(super) struct Ends {
    /// Names the job in errors.
    pub(super) operation: &'static str,
    /// What is read.
    pub(super) from: Arc<dyn BlockDevice>,
    /// What is written; nothing where it is only read.
    pub(super) onto: Option<Arc<dyn BlockDevice>>,
    /// The target's content before, where there is something to compare with.
    pub(super) before: Option<Arc<dyn BlockDevice>>,
    /// From this offset on the target is known to be zero.
    pub(super) zero_from: u64,
    /// Whether damage is noted and worked around instead of ending the job.
    pub(super) tolerant: bool,
    pub(super) cx: JobContext,
}

/// What became of a piece.
#[derive(Debug, Default)]
pub(super) struct Moved {
    pub(super) read: u64,
    /// Bytes read to see whether the change source is right.
    pub(super) audited: u64,
    pub(super) written: u64,
    pub(super) zeroed: u64,
    /// An audit found it changed.
    pub(super) changed: Option<ByteRange>,
    pub(super) problem: Option<Problem>,
}

/// Memory that a piece of `length` bytes takes, in bytes.
pub(super) fn memory(deed: Deed, length: u64) -> u64 {
    match deed {
        Deed::Zero => 0,
        Deed::Copy | Deed::Read => length,
        Deed::Compare | Deed::Audit => length.saturating_mul(2),
    }
}

/// Does `deed` to `range`, all of it or with an error. `permit` is held until its buffers are free.
pub(super) async fn piece(
    ends: Arc<Ends>,
    range: ByteRange,
    deed: Deed,
    permit: Option<MemoryPermit>,
) -> Result<Moved> {
    let mut moved = Moved::default();
    if deed == Deed::Zero {
        write_zeroes(&ends, range, &mut moved).await?;
        return Ok(moved);
    }
    let compares = matches!(deed, Deed::Compare | Deed::Audit);
    let before = ends.before.as_ref().filter(|_| compares);
    let (new, old) = match before {
        None => (read(&ends, &ends.from, range).await, Ok(None)),
        Some(before) => {
            let (new, old) =
                tokio::join!(read(&ends, &ends.from, range), read(&ends, before, range));
            (new, old.map(Some))
        }
    };
    let old = old?;
    let new = match new {
        Ok(new) => new,
        Err(e) if ends.tolerant && is_damage(&e) => {
            let text = e
                .reason()
                .map_or_else(|| e.to_string(), ToString::to_string);
            let object = ends.from.describe();
            moved.problem = Some(Problem::new(object, Some(range), text));
            write_zeroes(&ends, range, &mut moved).await?;
            return Ok(moved);
        }
        Err(e) => return Err(e),
    };
    match deed {
        Deed::Audit => moved.audited = range.len(),
        _ => moved.read = range.len(),
    }
    if deed == Deed::Read {
        return Ok(moved);
    }
    let new = new.into_bytes();
    let (at, bytes) = (range.start(), new.clone());
    let found = ends
        .cx
        .cpu()
        .run(move || runs(at, &bytes, old.as_deref()))
        .await?;
    if deed == Deed::Audit {
        if found.iter().any(|run| run.kind != RunKind::Same) {
            moved.changed = Some(range);
        }
        return Ok(moved);
    }
    let Some(onto) = &ends.onto else {
        return Err(Error::internal(ends.operation, "a copy without a target"));
    };
    let (operation, fresh) = (ends.operation, range.start() >= ends.zero_from);
    let writes = found.into_iter().map(|run| {
        let part = new.slice(run.part.clone());
        let place = ByteRange::at(range.start() + run.part.start as u64, part.len() as u64);
        async move {
            let length = part.len() as u64;
            match (run.kind, place) {
                (RunKind::Data, Some(place)) => {
                    onto.write(place.start(), part).await?;
                    Ok((length, 0))
                }
                (RunKind::Zero, Some(place)) if !fresh => {
                    onto.write_zeroes(place).await?;
                    Ok((0, length))
                }
                (RunKind::Zero | RunKind::Same, Some(_)) => Ok((0, 0)),
                (_, None) => Err(Error::internal(operation, "a run past all ends")),
            }
        }
    });
    // Not dropped at the first error: a write that has begun is waited for.
    for written in join_all(writes).await {
        let (data, zeroes) = written?;
        moved.written += data;
        moved.zeroed += zeroes;
    }
    drop(permit);
    Ok(moved)
}

async fn read(ends: &Ends, from: &Arc<dyn BlockDevice>, range: ByteRange) -> Result<Buf> {
    let length = usize::try_from(range.len())
        .map_err(|_| Error::internal(ends.operation, "a piece too long for memory"))?;
    let (buf, result) = from
        .read(range.start(), ends.cx.buffers().take(length))
        .await;
    result?;
    Ok(buf)
}

/// Zeroes the target, where there is one and it is not known to be zero.
async fn write_zeroes(ends: &Ends, range: ByteRange, moved: &mut Moved) -> Result<()> {
    if let Some(onto) = &ends.onto
        && range.start() < ends.zero_from
    {
        onto.write_zeroes(range).await?;
        moved.zeroed = range.len();
    }
    Ok(())
}

/// Whether it says that stored bytes are wrong or lost, rather than that the job cannot go on.
fn is_damage(e: &Error) -> bool {
    matches!(e.kind(), ErrorKind::Corrupt | ErrorKind::Io)
}
