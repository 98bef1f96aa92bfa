//! What is to be moved, asked for window by window: it comes as extents, and becomes ranges on their way.

use std::sync::Arc;

use super::copy::Deed;
use super::transfer::{PIECE, Transfer};
use crate::device::{ChangePoint, ChangeSource};
use crate::error::Result;
use crate::id::BackupId;
use crate::image::Image;
use crate::pipeline::check_cover;
use crate::range::{ByteRange, Extent, ExtentKind};

/// How much of a volume is asked about at once, in bytes. An answer costs a store of images about the same for any
/// window, and is held in memory.
pub(super) const WINDOW: u64 = 64 << 30;

/// Zeroes of a window from which on the target is asked for its holes, in bytes: what is a hole there is not zeroed.
const ASK_FOR_HOLES: u64 = 256 << 20;

/// Which of the ranges that are called unchanged are looked at all the same.
#[derive(Debug, Clone, Copy)]
pub(super) struct Audit {
    /// How many in a million.
    pub(super) per_million: u32,
    /// Whose audit it is: another backup's looks at other ranges.
    pub(super) backup: BackupId,
}

impl Audit {
    fn picks(self, piece: ByteRange) -> bool {
        // The bits of a random ID, and the piece's number, mixed (the finalizer of MurmurHash3, in the public domain).
        let id = self.backup.to_string();
        let seed = id
            .bytes()
            .fold(0u64, |all, b| all.rotate_left(5) ^ u64::from(b));
        let mut mixed = seed ^ (piece.start() / PIECE).wrapping_mul(0x9E37_79B9_7F4A_7C15);
        mixed = (mixed ^ (mixed >> 33)).wrapping_mul(0xFF51_AFD7_ED55_8CCD);
        mixed = (mixed ^ (mixed >> 33)).wrapping_mul(0xC4CE_B9FE_1A85_EC53);
        (mixed ^ (mixed >> 33)) % 1_000_000 < u64::from(self.per_million)
    }
}

/// All that the source holds: its data by `deed`, its holes as zeroes.
pub(super) async fn whole(transfer: &mut Transfer, length: u64, deed: Deed) -> Result<()> {
    for window in ByteRange::up_to(length).pieces(WINDOW) {
        let from = Arc::clone(&transfer.ends().from);
        let extents = from.allocated(window).await?;
        check_cover("ask for holes", window, &extents).map_err(|e| e.on(from.describe()))?;
        let mut zeroes = Vec::new();
        for extent in extents {
            match extent.kind {
                ExtentKind::Zero => zeroes.push(extent.range),
                _ if deed == Deed::Compare => compare(transfer, extent.range).await?,
                _ => transfer.begin(extent.range, deed).await?,
            }
        }
        zero(transfer, window, zeroes).await?;
    }
    Ok(())
}

/// What changed since `since`. Stops early where an audit finds that something else did, too.
pub(super) async fn changes(
    transfer: &mut Transfer,
    length: u64,
    changes: &dyn ChangeSource,
    since: &ChangePoint,
    audit: Audit,
) -> Result<()> {
    for window in ByteRange::up_to(length).pieces(WINDOW) {
        let extents = changes.changed(since, window).await?;
        check_cover("ask for changes", window, &extents).map_err(|e| e.on(since.as_str()))?;
        let mut zeroes = Vec::new();
        for Extent { range, kind } in extents {
            if transfer.is_refuted() {
                return Ok(());
            }
            match kind {
                ExtentKind::Data => transfer.begin(range, Deed::Copy).await?,
                ExtentKind::Zero => zeroes.push(range),
                ExtentKind::Unknown => compare(transfer, range).await?,
                ExtentKind::Unchanged => {
                    let (old, grown) = split(transfer, range);
                    unchanged(transfer, old, audit).await?;
                    // There was nothing there that it could be as.
                    transfer.begin(grown, Deed::Copy).await?;
                }
            }
        }
        zero(transfer, window, zeroes).await?;
    }
    Ok(())
}

/// Sets the target, an image, back to what `from` shows, which is the image's own snapshot `snapshot`.
pub(super) async fn back_to(
    transfer: &mut Transfer,
    image: &dyn Image,
    snapshot: &str,
    length: u64,
) -> Result<()> {
    for window in ByteRange::up_to(length).pieces(WINDOW) {
        let extents = image.diff(Some(snapshot), window).await?;
        check_cover("ask for differences", window, &extents).map_err(|e| e.on(image.describe()))?;
        for Extent { range, kind } in extents {
            match kind {
                ExtentKind::Unchanged => transfer.skip(range.len()),
                _ => transfer.begin(range, Deed::Copy).await?,
            }
        }
    }
    Ok(())
}

async fn unchanged(transfer: &mut Transfer, range: ByteRange, audit: Audit) -> Result<()> {
    for piece in range.pieces(PIECE) {
        if audit.per_million > 0 && audit.picks(piece) {
            transfer.begin(piece, Deed::Audit).await?;
        } else {
            transfer.skip(piece.len());
        }
    }
    Ok(())
}

/// Compares what was there before, and copies what was not.
async fn compare(transfer: &mut Transfer, range: ByteRange) -> Result<()> {
    let (old, grown) = split(transfer, range);
    transfer.begin(old, Deed::Compare).await?;
    transfer.begin(grown, Deed::Copy).await
}

/// The parts of a range that the state before has, and has not.
fn split(transfer: &Transfer, range: ByteRange) -> (ByteRange, ByteRange) {
    let before = transfer.ends().before.as_ref();
    range.split_at(before.map_or(0, |before| before.geometry().length))
}

/// Zeroes ranges of `window`, in order. Where they are long, what is a hole in the target is left out.
async fn zero(transfer: &mut Transfer, window: ByteRange, ranges: Vec<ByteRange>) -> Result<()> {
    let long = ranges.iter().map(|r| r.len()).sum::<u64>() > ASK_FOR_HOLES;
    let onto = transfer.ends().onto.clone().filter(|_| long);
    let Some(onto) = onto else {
        for range in ranges {
            transfer.begin(range, Deed::Zero).await?;
        }
        return Ok(());
    };
    let window = window
        .intersection(ByteRange::up_to(onto.geometry().length))
        .unwrap_or(ByteRange::up_to(0));
    let extents = onto.allocated(window).await?;
    check_cover("ask for holes", window, &extents).map_err(|e| e.on(onto.describe()))?;
    let held: Vec<ByteRange> = extents
        .into_iter()
        .filter(|e| e.kind != ExtentKind::Zero)
        .map(|e| e.range)
        .collect();
    let mut held = held.into_iter().peekable();
    for range in ranges {
        let mut zeroed = 0;
        while let Some(&data) = held.peek() {
            if let Some(both) = data.intersection(range) {
                transfer.begin(both, Deed::Zero).await?;
                zeroed += both.len();
            }
            if data.end() > range.end() {
                break;
            }
            held.next();
        }
        transfer.skip(range.len().saturating_sub(zeroed));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_audit_picks_about_its_share_and_another_backup_other_pieces() {
        let picked = |per_million: u32, id: u8| {
            let audit = Audit {
                per_million,
                backup: BackupId::from_bytes([id; 16]),
            };
            ByteRange::up_to(10_000 * PIECE)
                .pieces(PIECE)
                .filter(|piece| audit.picks(*piece))
                .collect::<Vec<_>>()
        };
        assert_eq!(picked(0, 1).len(), 0);
        assert_eq!(picked(1_000_000, 1).len(), 10_000);
        let (one, other) = (picked(100_000, 1), picked(100_000, 2));
        assert!((800..1200).contains(&one.len()), "{}", one.len());
        assert!((800..1200).contains(&other.len()), "{}", other.len());
        assert_ne!(one, other);
    }
}
