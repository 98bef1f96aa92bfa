//! Verify: everything that a restore would read, and that the other backups of the chain are there.

use std::sync::Arc;

use super::copy::{Deed, Ends};
use super::restore::report;
use super::transfer::Transfer;
use super::{base, feed};
use crate::backup::{Chain, Layer, Problem, Report};
use crate::error::{Error, ErrorKind, Result};
use crate::image::{Image, ImageRepository};
use crate::job::{JobContext, Phase};

const OPERATION: &str = "verify";

pub(super) async fn verify(
    repository: &Arc<dyn ImageRepository>,
    chain: &Chain,
    cx: &JobContext,
) -> Result<Report> {
    cx.cancel().check(OPERATION)?;
    let newest = chain.newest();
    let image = match base::open(repository, newest).await {
        Ok(image) => image,
        // A backup that cannot even be opened is the worst of problems, but the check was done.
        Err(e) if is_damage(&e) => {
            let mut report = Report::new(0);
            report.add(problem(newest, &e));
            return Ok(report);
        }
        Err(e) => return Err(e),
    };
    let length = image.geometry().length;
    let ends = Ends {
        operation: OPERATION,
        from: Arc::<dyn Image>::clone(&image),
        onto: None,
        before: None,
        zero_from: 0,
        tolerant: true,
        cx: cx.clone(),
    };
    let mut transfer = Transfer::new(ends, Phase::Verify, length);
    let fed = feed::whole(&mut transfer, length, Deed::Read).await;
    let mut report = report(length, transfer.end(fed).await?);
    image.still_there().await?;

    if let Some(note) = base::note(&image, newest.id).await?
        && let Some(said) = note.ashlar.volume_length
        && said != length
    {
        let why = format!("it has {length} bytes and was made of a volume of {said}");
        report.add(Problem::new(newest.location.to_string(), None, why));
    }
    for layer in chain.layers() {
        cx.cancel().check(OPERATION)?;
        let metadata = match base::volume_metadata(repository, layer).await {
            Ok(metadata) => metadata,
            Err(e) if is_damage(&e) => {
                report.add(problem(layer, &e).harmless());
                None
            }
            Err(e) => return Err(e),
        };
        report.volume_metadata.push(metadata);
        if layer.id == newest.id {
            continue;
        }
        match base::open(repository, layer).await {
            Ok(_) => {}
            // The newest one's snapshot holds all of its own bytes.
            Err(e) if is_damage(&e) => report.add(problem(layer, &e).harmless()),
            Err(e) => return Err(e),
        }
    }
    Ok(report)
}

fn problem(layer: &Layer, e: &Error) -> Problem {
    let object = e
        .target()
        .map_or_else(|| layer.location.to_string(), str::to_owned);
    let why = e
        .reason()
        .map_or_else(|| e.to_string(), ToString::to_string);
    Problem::new(object, None, why)
}

/// Whether it says that what is stored is wrong, rather than that the check cannot be done.
fn is_damage(e: &Error) -> bool {
    matches!(
        e.kind(),
        ErrorKind::Corrupt | ErrorKind::NotFound | ErrorKind::Unsupported
    )
}
