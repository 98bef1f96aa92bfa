//! The steps and their rules, written once over [`Rows`](super::Rows).

pub(super) mod create;
pub(super) mod delete;
pub(super) mod find;
pub(super) mod records;
pub(super) mod restore;
pub(super) mod settings;
pub(super) mod snapshots;
pub(super) mod volumes;

use std::collections::BTreeMap;
use std::fmt;

use crate::error::{Error, ErrorKind};
use crate::id::JobId;

/// A rule that forbids a step: on what, which rule, and the way out.
fn forbidden(
    operation: &'static str,
    target: impl fmt::Display,
    rule: impl Into<String>,
    way_out: impl Into<String>,
) -> Error {
    Error::new(ErrorKind::Conflict, operation)
        .on(target)
        .because(rule)
        .hint(way_out)
}

/// The job that ends is not the one that holds the row.
fn lost(operation: &'static str, target: impl fmt::Display, job: JobId) -> Error {
    Error::new(ErrorKind::Conflict, operation)
        .on(target)
        .because(format!(
            "job {job} no longer holds it: its state was set by somebody else meanwhile"
        ))
}

/// A thing by name and ID, for messages.
pub(crate) fn label(name: Option<&str>, id: impl fmt::Display) -> String {
    match name {
        Some(name) => format!("{name} ({id})"),
        None => id.to_string(),
    }
}

/// Applies a change of a text: an empty one removes it.
fn change_text(text: &mut Option<String>, change: Option<&String>) {
    if let Some(new) = change {
        *text = (!new.is_empty()).then(|| new.clone());
    }
}

/// Applies a change of properties.
fn change_properties(
    properties: &mut BTreeMap<String, String>,
    set: &BTreeMap<String, String>,
    unset: &[String],
) {
    for key in unset {
        properties.remove(key);
    }
    properties.extend(set.iter().map(|(k, v)| (k.clone(), v.clone())));
}
