//! Parts of objects that are too long to hold, for a reader: each is decompressed from its beginning, and stays open for who
//! reads on.

use std::collections::{HashSet, VecDeque};
use std::sync::Arc;

use bytes::Bytes;

use super::item::Shared;
use super::slices::{self, Slices};
use crate::error::{Error, Result};
use crate::format::metadata::ObjectEntry;
use crate::range::ByteRange;

/// Names an object: its layer and its index there.
pub(super) type ObjectId = (usize, u64);

/// Objects that are open at once: a chain has one for each layer at a place.
const OPEN: usize = 4;

/// The last slices of each that are kept: reads ahead do not come quite in order.
const RECENT: usize = 3;

/// The long objects of a chain.
#[derive(Debug, Default)]
pub(super) struct LongObjects {
    open: VecDeque<Open>, // the latest used last
    /// Those whose MD5 was found right.
    proven: HashSet<ObjectId>,
}

struct Open {
    id: ObjectId,
    slices: Slices,
    recent: VecDeque<(ByteRange, Bytes)>,
}

impl std::fmt::Debug for Open {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Open")
            .field("id", &self.id)
            .finish_non_exhaustive()
    }
}

impl Open {
    /// The earliest byte of the volume that can be had without beginning again.
    fn earliest(&self) -> u64 {
        self.recent
            .front()
            .map_or_else(|| self.slices.position(), |(range, _)| range.start())
    }
}

impl LongObjects {
    /// Copies `piece` of the volume out of an object into `out`, which has its length.
    pub(super) async fn copy(
        &mut self,
        shared: &Arc<Shared>,
        id: ObjectId,
        entry: &ObjectEntry,
        piece: ByteRange,
        out: &mut [u8],
    ) -> Result<()> {
        let key = shared.chain.layers[id.0].key(entry)?;
        if shared.chain.hashes.is_none() && !self.proven.contains(&id) {
            slices::prove(shared, entry, &key).await?;
            self.proven.insert(id);
        }
        // It is back in its place only when all went well: one that failed, or was dropped half-way, is of no use.
        let place = self.open.iter().position(|open| open.id == id);
        let mut open = match place.and_then(|i| self.open.remove(i)) {
            Some(open) if open.earliest() <= piece.start() => open,
            _ => Open {
                id,
                slices: Slices::open(shared, entry, &key).await?,
                recent: VecDeque::new(),
            },
        };
        for (range, slice) in &open.recent {
            copy_part(*range, slice, piece, out)?;
        }
        while open.slices.position() < piece.end() {
            let Some((range, slice)) = open.slices.next().await? else {
                break;
            };
            copy_part(range, &slice, piece, out)?;
            if open.recent.len() >= RECENT {
                open.recent.pop_front();
            }
            open.recent.push_back((range, slice));
        }
        if self.open.len() >= OPEN {
            self.open.pop_front();
        }
        self.open.push_back(open);
        Ok(())
    }
}

/// Copies what `piece` has of a slice.
fn copy_part(range: ByteRange, slice: &[u8], piece: ByteRange, out: &mut [u8]) -> Result<()> {
    let Some(part) = range.intersection(piece) else {
        return Ok(());
    };
    let place = |at: u64| {
        usize::try_from(at).map_err(|_| Error::internal("read backup", "too long for memory"))
    };
    let from = place(part.start() - range.start())?;
    let to = place(part.start() - piece.start())?;
    let length = place(part.len())?;
    out[to..to + length].copy_from_slice(&slice[from..from + length]);
    Ok(())
}
