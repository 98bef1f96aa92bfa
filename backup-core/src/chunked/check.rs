//! A chain opened for reading: its layers, the newest hash list, the volume's length.

use std::sync::Arc;

use futures::{StreamExt, TryStreamExt};

use super::ChunkedBackup;
use super::hash_index::{HashIndex, UncheckedHashes};
use super::layer_index::LayerIndex;
use crate::backup::{Chain, Layer};
use crate::diff::BlockHasher;
use crate::error::{Error, ErrorKind, Result};
use crate::format::volume::VolumeMetadata;
use crate::job::JobContext;

/// Metadata objects read at once.
const LOADS: usize = 8;

/// A chain whose metadata was read and found to fit together.
#[derive(Debug)]
pub(crate) struct OpenChain {
    pub(crate) layers: Vec<LayerIndex>,
    /// The newest layer's; `None` where that object is missing (Cinder can restore without it, and so can we).
    pub(crate) hashes: Option<HashIndex>,
    /// For blocks of the hash list's size.
    pub(crate) hasher: BlockHasher,
    /// Length of the volume in bytes.
    pub(crate) length: u64,
}

impl OpenChain {
    pub(crate) async fn load(
        engine: &ChunkedBackup,
        chain: &Chain,
        cx: &JobContext,
    ) -> Result<Self> {
        let pairs: Vec<(Layer, Option<Layer>)> = chain
            .layers()
            .iter()
            .enumerate()
            .map(|(i, layer)| {
                (
                    layer.clone(),
                    i.checked_sub(1).map(|p| chain.layers()[p].clone()),
                )
            })
            .collect();
        let loading = futures::stream::iter(pairs)
            .map(|(layer, parent)| {
                let (repository, cx) = (Arc::clone(&engine.repository), cx.clone());
                async move { LayerIndex::load(&repository, &layer, parent.as_ref(), &cx).await }
            })
            .buffered(LOADS)
            .try_collect::<Vec<LayerIndex>>();
        let newest = chain
            .layers()
            .last()
            .ok_or_else(|| Error::internal("open chain", "it has no layer"))?;
        // Each is long where the volume is: read at once, and held against each other afterwards.
        let (layers, hashes) =
            tokio::join!(loading, HashIndex::read(&engine.repository, newest, cx));
        let layers = layers?;
        let hashes = checked_hashes(hashes, &layers[layers.len() - 1])?;
        if let Some(list) = &hashes
            && let Some(said) = layers[layers.len() - 1]
                .metadata
                .ashlar
                .as_ref()
                .and_then(|a| a.block_size)
            && said != list.block_size()
        {
            return Err(Error::corrupt(
                "open chain",
                newest.location.metadata(),
                format!(
                    "it says that blocks have {said} bytes, the hash list says {}",
                    list.block_size()
                ),
            ));
        }
        let length = length_of(engine, &layers, hashes.as_ref(), cx).await?;
        if let Some(list) = &hashes
            && list.count() != length.div_ceil(list.block_size())
        {
            return Err(Error::corrupt(
                "open chain",
                newest.location.hash_list(),
                format!(
                    "it has {} hashes and a volume of {length} bytes has {} blocks of {} bytes",
                    list.count(),
                    length.div_ceil(list.block_size()),
                    list.block_size()
                ),
            ));
        }
        let block = hashes
            .as_ref()
            .map_or(engine.config.block_size, HashIndex::block_size);
        let hasher = if block == engine.config.block_size {
            engine.hasher.clone()
        } else {
            BlockHasher::new(
                usize::try_from(block)
                    .map_err(|_| Error::invalid("open chain", "block too large"))?,
            )
        };
        Ok(Self {
            layers,
            hashes,
            hasher,
            length,
        })
    }

    /// The name of the newest layer's hash list, for messages.
    pub(crate) fn hash_list(&self) -> String {
        self.layers.last().map_or_else(String::new, |newest| {
            newest.layer.location.hash_list().to_string()
        })
    }

    /// The volume's metadata as each layer has it, oldest first; what cannot be read is left out with a warning.
    pub(crate) fn volume_metadata(&self, cx: &JobContext) -> Vec<Option<VolumeMetadata>> {
        self.layers
            .iter()
            .map(|layer| {
                let text = layer.metadata.volume_meta.as_deref()?;
                VolumeMetadata::from_json(text)
                    .map_err(|e| {
                        cx.observer().warning(&format!(
                            "the volume metadata in {} is left out: {e}",
                            layer.layer.location.metadata()
                        ));
                    })
                    .ok()
            })
            .collect()
    }
}

async fn load_hashes(
    engine: &ChunkedBackup,
    layer: &LayerIndex,
    cx: &JobContext,
) -> Result<Option<HashIndex>> {
    checked_hashes(
        HashIndex::read(&engine.repository, &layer.layer, cx).await,
        layer,
    )
}

/// The layer's hash list where it is what its metadata says; `None` where it is missing.
fn checked_hashes(read: Result<UncheckedHashes>, layer: &LayerIndex) -> Result<Option<HashIndex>> {
    let ashlar = layer.metadata.ashlar.as_ref();
    match read {
        Ok(hashes) => hashes
            .check(ashlar.and_then(|a| a.hash_list_sha256))
            .map(Some),
        Err(e) if e.is(ErrorKind::NotFound) => Ok(None),
        Err(e) => Err(e),
    }
}

/// Length of the volume. We record it. Cinder does not: there it is the end of an object that reaches past the last
/// but one block, else the parent's where its hash list is as long, else whole blocks.
async fn length_of(
    engine: &ChunkedBackup,
    layers: &[LayerIndex],
    hashes: Option<&HashIndex>,
    cx: &JobContext,
) -> Result<u64> {
    let newest = &layers[layers.len() - 1];
    if let Some(length) = newest
        .metadata
        .ashlar
        .as_ref()
        .and_then(|a| a.volume_length)
    {
        return Ok(length);
    }
    let Some(list) = hashes else {
        let mut longest = 0;
        for layer in layers.iter().rev() {
            if let Some(length) = layer.metadata.ashlar.as_ref().and_then(|a| a.volume_length) {
                return Ok(length.max(longest));
            }
            longest = longest.max(layer.end());
        }
        return Ok(longest);
    };
    let blocks = list.count();
    let whole = blocks.checked_mul(list.block_size()).ok_or_else(|| {
        Error::corrupt(
            "open chain",
            newest.layer.location.hash_list(),
            "block size overflows",
        )
    })?;
    let mut longest = newest.end();
    if longest > whole {
        return Err(Error::corrupt(
            "open chain",
            newest.layer.location.metadata(),
            format!("an object ends at {longest}, behind the {blocks} blocks of the hash list"),
        ));
    }
    for (i, layer) in layers.iter().enumerate().rev() {
        longest = layer.end();
        if longest > whole.saturating_sub(list.block_size()) && longest <= whole {
            return Ok(longest);
        }
        let Some(parent) = i.checked_sub(1).map(|p| &layers[p]) else {
            break;
        };
        if let Some(length) = parent
            .metadata
            .ashlar
            .as_ref()
            .and_then(|a| a.volume_length)
        {
            if length.div_ceil(list.block_size()) == blocks {
                return Ok(length);
            }
            break;
        }
        let as_long = load_hashes(engine, parent, cx)
            .await?
            .is_some_and(|l| l.count() == blocks && l.block_size() == list.block_size());
        if !as_long {
            break;
        }
    }
    Ok(whole)
}
