//! What of a volume's metadata a restore puts on its target.

use std::collections::BTreeMap;

use super::VolumeMetadata;

/// How the volumes are named that are made for a restore; such a name gives way to the backed-up volume's.
const MADE_FOR_RESTORE: &str = "restore_backup_";

/// What a restored volume's record gets. What is `None` is left as it is.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct RestoredMetadata {
    /// The new name.
    pub name: Option<String>,
    /// The new description; empty where it is to be cleared.
    pub description: Option<String>,
    /// All user properties, in place of those that are there.
    pub properties: Option<BTreeMap<String, String>>,
    /// All image properties, in place of those that are there; the volume is bootable then.
    pub image_properties: Option<BTreeMap<String, String>>,
    /// Whether the volume becomes bootable.
    pub bootable: bool,
    /// The key that the source's content was encrypted with: the bytes are ciphertext.
    pub encryption_key_id: Option<String>,
    /// The source's volume type, which an encrypted target must have too.
    pub volume_type_id: Option<String>,
}

/// What restoring a chain puts on a target named `target_name`: that of each layer in turn, oldest first, as Cinder
/// does it.
///
/// A name and its description are put only on a target without a name, or with one that a restore made up. So the name
/// is the one that the volume had at the time of the full backup (the first layer that has one), while properties are
/// those of the newest layer that has any.
pub fn restore_view(layers: &[VolumeMetadata], target_name: Option<&str>) -> RestoredMetadata {
    let mut restored = RestoredMetadata::default();
    for layer in layers {
        let present = restored.name.as_deref().or(target_name).unwrap_or("");
        let may_rename = present.is_empty() || present.starts_with(MADE_FOR_RESTORE);
        // Where the row has no name at all, Cinder puts the description nonetheless.
        let has_column = layer.base.contains_key("display_name");
        let name = layer.base_text("display_name");
        if !has_column || (name.is_some() && may_rename) {
            if let Some(name) = name {
                restored.name = Some(name.to_owned());
            }
            if layer.base.contains_key("display_description") {
                let description = layer.base_text("display_description").unwrap_or_default();
                restored.description = Some(description.to_owned());
            }
        }
        if let Some(properties) = &layer.properties {
            restored.properties = Some(properties.clone());
        }
        if let Some(properties) = &layer.image_properties {
            restored.image_properties = Some(properties.clone());
            restored.bootable = true;
        }
        if layer.base.contains_key("encryption_key_id") {
            restored.encryption_key_id = layer.base_text("encryption_key_id").map(str::to_owned);
            restored.volume_type_id = layer.base_text("volume_type_id").map(str::to_owned);
        }
    }
    restored
}
