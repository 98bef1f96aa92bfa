//! Verify: everything that a restore would read, each object's MD5, and what lies under the prefixes besides.

use std::collections::HashMap;
use std::sync::Arc;

use futures::StreamExt;

use super::ChunkedBackup;
use super::check::OpenChain;
use super::item::{Shared, is_damage};
use super::layer_index::LayerIndex;
use super::restore::transfer;
use super::split::SplitBlocks;
use crate::backup::{Chain, Problem, Report};
use crate::error::Result;
use crate::job::{JobContext, Phase};
use crate::repository::{Listed, Repository};

pub(super) async fn verify(
    engine: &ChunkedBackup,
    chain: &Chain,
    cx: &JobContext,
) -> Result<Report> {
    let opened = match OpenChain::load(engine, chain, cx).await {
        Ok(opened) => opened,
        // A chain that cannot even be opened is the worst of problems, but the check was done.
        Err(e) if is_damage(&e) => {
            let mut report = Report::new(0);
            report.add(Problem::new(
                e.target().unwrap_or("the chain"),
                None,
                e.reason()
                    .map_or_else(|| e.to_string(), ToString::to_string),
            ));
            return Ok(report);
        }
        Err(e) => return Err(e),
    };
    let shared = Arc::new(Shared {
        repository: Arc::clone(&engine.repository),
        chain: opened,
        zeroes: Arc::clone(&engine.zeroes),
        target: None,
        md5: true,
        tolerant: true,
        split: SplitBlocks::default(),
        cx: cx.clone(),
    });
    let mut report = transfer(&shared, Phase::Verify).await?;
    for layer in &shared.chain.layers {
        check_listing(&engine.repository, layer, &mut report).await?;
    }
    if shared.chain.hashes.is_none() {
        let key = shared.chain.layers[shared.chain.layers.len() - 1]
            .layer
            .location
            .hash_list();
        report.add(
            Problem::new(
                key.to_string(),
                None,
                "the hash list is missing: no incremental can be made on this backup",
            )
            .harmless(),
        );
    }
    report.volume_metadata = shared.chain.volume_metadata(cx);
    Ok(report)
}

fn check_list_length(layer: &LayerIndex, size: u64, report: &mut Report) {
    let said = layer
        .metadata
        .ashlar
        .as_ref()
        .and_then(|a| a.hash_list_bytes);
    if let Some(said) = said
        && said != size
    {
        let list = layer.layer.location.hash_list();
        let why = format!("it has {size} bytes, the metadata says {said}");
        report.add(Problem::new(list.to_string(), None, why).harmless());
    }
}

/// Holds what our metadata says of itself besides against what is there. A backup that was moved is as good as before.
fn check_location(layer: &LayerIndex, report: &mut Report) {
    let Some(said) = &layer.metadata.ashlar else {
        return;
    };
    let location = &layer.layer.location;
    let mut tell = |why: String| {
        report.add(Problem::new(location.metadata().to_string(), None, why).harmless());
    };
    if let Some(container) = &said.container
        && *container != location.container
    {
        tell(format!(
            "it says that it was written to container {container}: it was moved, or is damaged"
        ));
    }
    if let Some(prefix) = &said.prefix
        && *prefix != location.prefix
    {
        tell(format!(
            "it says that its objects begin with {prefix}: they were renamed, or it is damaged"
        ));
    }
    if let (Some(said), Some(stored)) = (said.stored_bytes, layer.stored_bytes())
        && said != stored
    {
        tell(format!(
            "its objects have {stored} bytes and it says that they have {said}"
        ));
    }
}

/// Holds what lies under a layer's prefix against what its metadata names: Cinder refuses to restore a backup where
/// the two differ.
async fn check_listing(
    repository: &Arc<dyn Repository>,
    layer: &LayerIndex,
    report: &mut Report,
) -> Result<()> {
    let location = &layer.layer.location;
    check_location(layer, report);
    let mut missing: HashMap<String, Option<u64>> = layer.stored().collect::<Result<_>>()?;
    let (metadata, hash_list) = (location.prefix.metadata(), location.prefix.hash_list());
    let mut listing = repository
        .list(&location.container, location.prefix.as_str(), None)
        .await?;
    while let Some(item) = listing.next().await {
        let Listed { name, size, .. } = item?;
        if name == metadata {
            continue;
        }
        if name == hash_list {
            check_list_length(layer, size, report);
            continue;
        }
        if let Some(stored) = missing.remove(&name) {
            let object = format!("{}/{name}", location.container);
            if let Some(stored) = stored
                && stored != size
                && !report.problems.iter().any(|p| p.object == object)
            {
                // One that shows was fetched and told already.
                report.add(
                    Problem::new(
                        object,
                        None,
                        format!(
                            "it has {size} bytes, the metadata says {stored}; newer layers hide it, but an older \
                             backup of the chain needs it"
                        ),
                    )
                    .harmless(),
                );
            }
            continue;
        }
        report.add(
            Problem::new(
                format!("{}/{name}", location.container),
                None,
                "the metadata does not name this object: Cinder would refuse to restore the backup",
            )
            .harmless(),
        );
    }
    let mut missing: Vec<_> = missing.into_keys().collect();
    missing.sort_unstable();
    for name in missing {
        let object = format!("{}/{name}", location.container);
        // One that shows was fetched and told already.
        if !report.problems.iter().any(|p| p.object == object) {
            report.add(
                Problem::new(
                    object,
                    None,
                    "the object is missing; newer layers hide it, but Cinder would refuse to restore the backup",
                )
                .harmless(),
            );
        }
    }
    Ok(())
}
