//! Volume metadata: what of a volume besides its bytes is kept with a backup.

use std::collections::BTreeMap;

/// A volume's own metadata, version 2 of Cinder's form.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct VolumeMetadata {
    /// Columns of the volume's row, as they came (`volume-base-metadata`).
    pub base: serde_json::Map<String, serde_json::Value>,
    /// User properties (`volume-metadata`); `None` where the key is absent.
    pub properties: Option<BTreeMap<String, String>>,
    /// Image properties of a volume made from an image (`volume-glance-metadata`).
    pub image_properties: Option<BTreeMap<String, String>>,
}
