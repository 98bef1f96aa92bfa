//! Metadata of ours read by its two ends: what the list of objects between them says is not needed for a record.
//!
//! The key `ashlar` comes first of the sorted keys and counts the objects; of the others, `parent_id`, `version`,
//! `volume_id` and `volume_meta` come behind the list. A text of ours has no line break within a string, so the lines
//! that open and close the list are found for certain.

use std::sync::Arc;

use super::super::fetch::fetch;
use super::super::summary::Summary;
use crate::error::{ErrorKind, Result};
use crate::format::metadata::read_metadata;
use crate::id::ObjectKey;
use crate::job::JobContext;
use crate::range::ByteRange;
use crate::repository::Repository;

/// Up to this length a metadata object is read whole: one request is cheaper than two.
const WHOLE: u64 = 64 << 10;
/// Bytes of each end that are read. The volume's own metadata, the longest value, has a few KiB as a rule.
const END: u64 = 16 << 10;
/// Bytes of each end that are read where that was too little.
const LONG_END: u64 = 256 << 10;

const OURS: &[u8] = b"{\n  \"ashlar\": {";
const OPENS: &[u8] = b"\n  \"objects\": [";
const CLOSES: &[u8] = b"\n  ],\n";

/// What the metadata object of `length` bytes says but for its objects. `None` where it has to be read whole: it is
/// short, not ours, lacks a count, or its ends do not fit together.
///
/// # Errors
/// Those of the repository only.
pub(super) async fn read_ends(
    repository: &Arc<dyn Repository>,
    key: &ObjectKey,
    length: u64,
    cx: &JobContext,
) -> Result<Option<Summary>> {
    if length <= WHOLE {
        return Ok(None);
    }
    for end in [END, LONG_END] {
        if length <= 2 * end {
            return Ok(None);
        }
        let Some(head) = part(repository, key, ByteRange::new(0, end), cx).await? else {
            return Ok(None);
        };
        if !head.starts_with(OURS) {
            return Ok(None);
        }
        let Some(open) = find(&head, OPENS) else {
            continue;
        };
        let Some(tail) = part(repository, key, ByteRange::new(length - end, length), cx).await?
        else {
            return Ok(None);
        };
        let Some(close) = find(&tail, CLOSES) else {
            continue;
        };
        let mut text = head[..open + OPENS.len()].to_vec();
        text.extend_from_slice(&tail[close..]);
        return Ok(read_metadata(&text[..], &mut |_| Ok(()))
            .ok()
            .and_then(|metadata| Summary::without_objects(metadata, length)));
    }
    Ok(None)
}

/// A range, or `None` where the object is not as long as its listing said.
async fn part(
    repository: &Arc<dyn Repository>,
    key: &ObjectKey,
    range: Option<ByteRange>,
    cx: &JobContext,
) -> Result<Option<Vec<u8>>> {
    let Some(range) = range else {
        return Ok(None);
    };
    match fetch(repository, key, Some(range), range.len(), cx).await {
        Ok(bytes) if bytes.len() as u64 == range.len() => Ok(Some(bytes.to_vec())),
        Ok(_) => Ok(None),
        Err(e) if matches!(e.kind(), ErrorKind::InvalidInput | ErrorKind::Corrupt) => Ok(None),
        Err(e) => Err(e),
    }
}

fn find(text: &[u8], wanted: &[u8]) -> Option<usize> {
    text.windows(wanted.len()).position(|w| w == wanted)
}
