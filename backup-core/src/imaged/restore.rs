//! Restore: what the backup's snapshot holds is copied, what it does not is zeroed, unless the target holds nothing there.

use std::sync::Arc;

use super::base;
use super::copy::{Deed, Ends};
use super::feed;
use super::transfer::{Totals, Transfer};
use crate::backup::{Chain, Report, RestoreOptions};
use crate::device::BlockDevice;
use crate::error::{Error, Result};
use crate::image::{Image, ImageRepository};
use crate::job::{JobContext, Phase, Progress};

const OPERATION: &str = "restore";

pub(super) async fn restore(
    repository: &Arc<dyn ImageRepository>,
    chain: &Chain,
    target: &Arc<dyn BlockDevice>,
    options: &RestoreOptions,
    cx: &JobContext,
) -> Result<Report> {
    cx.cancel().check(OPERATION)?;
    let image = base::open(repository, chain.newest()).await?;
    let (length, geometry) = (image.geometry().length, target.geometry());
    if geometry.read_only {
        return Err(Error::invalid(OPERATION, "the target is read-only").on(target.describe()));
    }
    if geometry.length < length {
        return Err(Error::invalid(
            OPERATION,
            format!(
                "the target has {} bytes and the backup is of {length}",
                geometry.length
            ),
        )
        .on(target.describe())
        .hint("restore to a volume that is at least as long, or to a new one"));
    }
    let volume_metadata = base::all_volume_metadata(repository, chain.layers(), cx).await?;
    let ends = Ends {
        operation: OPERATION,
        from: Arc::<dyn Image>::clone(&image),
        onto: Some(Arc::clone(target)),
        before: None,
        zero_from: if geometry.known_zero { 0 } else { u64::MAX },
        tolerant: options.salvage,
        cx: cx.clone(),
    };
    let mut transfer = Transfer::new(ends, Phase::Restore, length);
    let fed = feed::whole(&mut transfer, length, Deed::Copy).await;
    let totals = transfer.end(fed).await?;
    image.still_there().await?;
    cx.observer()
        .progress(&Progress::start(Phase::Sync, length));
    // Behind this a cancel comes too late: a flush cannot be interrupted, and all is written.
    cx.cancel().check(OPERATION)?;
    target.flush().await?;
    let mut report = report(length, totals);
    report.volume_metadata = volume_metadata;
    Ok(report)
}

/// What was moved, as a report.
pub(super) fn report(length: u64, totals: Totals) -> Report {
    let mut report = Report::new(length);
    report.fetched_bytes = totals.read;
    report.written_bytes = totals.written;
    report.problems = totals.problems;
    report.more_problems = totals.more_problems;
    report
}
