//! The volume's own metadata, as it goes into a backup and comes out of it.

use serde_json::{Map, Value};

use super::BackupService;
use crate::format::volume::{RestoredMetadata, VolumeMetadata, restore_view};
use crate::record::gib_rounded_up;
use crate::volume::{VolumeRecord, VolumeStatus};

impl BackupService {
    /// The columns of Cinder's volume row that mean something here, and the properties. Cinder's readers take what
    /// they know.
    pub(super) fn volume_metadata(&self, volume: &VolumeRecord) -> VolumeMetadata {
        let text = |text: Option<&String>| text.map_or(Value::Null, |t| t.as_str().into());
        let columns: [(&str, Value); 18] = [
            ("id", volume.id.to_string().into()),
            ("user_id", volume.user_id.as_str().into()),
            ("project_id", volume.project_id.as_str().into()),
            ("host", self.host.as_str().into()),
            ("size", gib_rounded_up(volume.length).into()),
            ("availability_zone", self.availability_zone.as_str().into()),
            // As Cinder's row is at that moment.
            ("status", VolumeStatus::BackingUp.word().into()),
            ("previous_status", volume.status.word().into()),
            (
                "attach_status",
                match volume.status {
                    VolumeStatus::InUse => "attached",
                    _ => "detached",
                }
                .into(),
            ),
            ("display_name", text(volume.name.as_ref())),
            ("display_description", text(volume.description.as_ref())),
            ("volume_type_id", Value::Null),
            ("encryption_key_id", text(volume.encryption_key_id.as_ref())),
            ("bootable", volume.bootable.into()),
            ("multiattach", false.into()),
            ("deleted", false.into()),
            ("created_at", volume.created_at.openstack().into()),
            (
                "updated_at",
                volume
                    .updated_at
                    .map_or(Value::Null, |t| t.openstack().into()),
            ),
        ];
        let base: Map<String, Value> = columns
            .into_iter()
            .map(|(column, value)| (column.to_owned(), value))
            .collect();
        let some = |properties: &crate::backup::Properties| {
            (!properties.is_empty()).then(|| properties.clone())
        };
        VolumeMetadata {
            base,
            properties: some(&volume.properties),
            image_properties: some(&volume.image_properties),
        }
    }
}

/// What a restore of these layers, oldest first, puts on `volume`.
pub(super) fn restored(
    layers: &[Option<VolumeMetadata>],
    volume: &VolumeRecord,
) -> RestoredMetadata {
    let layers: Vec<VolumeMetadata> = layers.iter().flatten().cloned().collect();
    restore_view(&layers, volume.name.as_deref())
}
