//! Volume metadata: what of a volume besides its bytes is kept with a backup.

mod restored;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

use serde_json::{Map, Value};

use super::json::{self, push_map, push_string, push_value};
use crate::error::{Error, ErrorKind, Result};

pub use restored::{RestoredMetadata, restore_view};

/// Largest text that is accepted, in bytes.
pub const MAX_TEXT: usize = 4 << 20;

const BASE: &str = "volume-base-metadata";
const PROPERTIES: &str = "volume-metadata";
const IMAGE_PROPERTIES: &str = "volume-glance-metadata";
const OPERATION: &str = "read volume metadata";

/// A volume's own metadata, version 2 of Cinder's form.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct VolumeMetadata {
    /// Columns of the volume's row, as they came (`volume-base-metadata`).
    pub base: Map<String, Value>,
    /// User properties (`volume-metadata`); `None` where the key is absent.
    pub properties: Option<BTreeMap<String, String>>,
    /// Image properties of a volume made from an image (`volume-glance-metadata`).
    pub image_properties: Option<BTreeMap<String, String>>,
}

impl VolumeMetadata {
    /// Reads the text of `volume_meta`, or of a Ceph backup's `backup.<id>.meta`.
    ///
    /// Of version 1, `encryption_key_id` is dropped: it was not restored then. Values of properties that are no strings
    /// are taken as their text.
    ///
    /// # Errors
    /// [`Unsupported`](ErrorKind::Unsupported) for another version than 1 and 2;
    /// [`Corrupt`](ErrorKind::Corrupt) for what is no such object, or larger than [`MAX_TEXT`].
    pub fn from_json(text: &str) -> Result<Self> {
        let corrupt = |reason: &str| Error::new(ErrorKind::Corrupt, OPERATION).because(reason);
        let Value::Object(mut top) = json::parse_bounded(OPERATION, text.as_bytes(), MAX_TEXT)?
        else {
            return Err(corrupt("it is not a JSON object"));
        };
        let version = match top.get("version") {
            Some(version) => version
                .as_u64()
                .filter(|v| (1..=2).contains(v))
                .ok_or_else(|| {
                    Error::new(ErrorKind::Unsupported, OPERATION).because(format!(
                        "it is of version {}; only 1 and 2 can be read",
                        json::shorten(&version.to_string(), 40)
                    ))
                })?,
            None => return Err(corrupt("it has no version")),
        };
        let mut part = |key: &str| match top.get_mut(key) {
            None | Some(Value::Null) => Ok(None),
            Some(Value::Object(map)) => Ok(Some(std::mem::take(map))),
            Some(_) => Err(corrupt(&format!("its {key} is not a JSON object"))),
        };
        let texts = |map: Map<String, Value>| {
            map.into_iter()
                .map(|(key, value)| match value {
                    Value::String(text) => (key, text),
                    other => (key, json::scalar_text(&other)),
                })
                .collect()
        };
        let mut base = part(BASE)?.unwrap_or_default();
        if version == 1 {
            base.shift_remove("encryption_key_id");
        }
        Ok(Self {
            base,
            properties: part(PROPERTIES)?.map(texts),
            image_properties: part(IMAGE_PROPERTIES)?.map(texts),
        })
    }

    /// The text to keep with a backup, of version 2, in Cinder's style: one line, keys as they come, ASCII only.
    pub fn to_json(&self) -> String {
        let mut out = b"{\"version\": 2, ".to_vec();
        push_string(&mut out, BASE);
        out.extend_from_slice(b": ");
        push_map(&mut out, self.base.iter(), push_value);
        for (key, map) in [
            (PROPERTIES, &self.properties),
            (IMAGE_PROPERTIES, &self.image_properties),
        ] {
            if let Some(map) = map {
                out.extend_from_slice(b", ");
                push_string(&mut out, key);
                out.extend_from_slice(b": ");
                push_map(&mut out, map.iter(), |out, text: &String| {
                    push_string(out, text);
                });
            }
        }
        out.push(b'}');
        // Only ASCII was appended.
        String::from_utf8_lossy(&out).into_owned()
    }

    /// A column of the volume's row that is a text and not empty.
    pub fn base_text(&self, column: &str) -> Option<&str> {
        self.base
            .get(column)
            .and_then(Value::as_str)
            .filter(|text| !text.is_empty())
    }
}
