//! The end of a backup: the hash list, durability, and the metadata, which is the commit point.

use std::sync::Arc;

use super::super::writer::{Appearance, ObjectWriter};
use super::Creation;
use crate::backup::Outcome;
use crate::error::{Error, Result};
use crate::format::hash_list;
use crate::format::metadata::{self, AshlarKey, Metadata};
use crate::job::Phase;

impl Creation<'_> {
    /// Completes the hash list, makes everything durable, then writes the metadata: the commit point.
    pub(super) async fn commit(&mut self) -> Result<Outcome> {
        if self.entries_written != self.objects || self.next_compared != self.units_planned {
            return Err(Error::internal("back up", "not all objects were stored"));
        }
        let repository = &self.engine.repository;
        hash_list::write_tail(self.hash_list.buffer(), &self.hash_head, self.any_hash);
        let sha256 = self.hash_list.complete().await?;
        self.progress.phase = Phase::Sync;
        self.cx.observer().progress(&self.progress);
        repository.barrier(&self.plan.location.container).await?;
        self.source.device.still_there().await?;
        // The last moment at which a cancel leaves nothing behind.
        self.cx.cancel().check("back up")?;

        self.outcome.object_count = self.objects;
        self.outcome.change_point.clone_from(&self.change_point);
        let metadata = self.metadata(sha256);
        let mut writer = ObjectWriter::new(
            Arc::clone(repository),
            self.plan.location.metadata(),
            Appearance::Atomic,
        );
        let written = async {
            metadata::write_head(writer.buffer(), &metadata);
            let mut at = 0;
            while at < self.spool.len() {
                let n = (self.spool.len() - at).min(1 << 20);
                let mut part = vec![0; usize::try_from(n).unwrap_or(0)];
                self.spool.read(at, &mut part)?;
                writer.buffer().extend_from_slice(&part);
                writer.flush_parts().await?;
                at += n;
            }
            metadata::write_tail(writer.buffer(), &metadata, self.objects > 0);
            writer.complete().await
        }
        .await;
        if let Err(e) = written {
            if let Err(abort) = writer.abort().await {
                self.cx.observer().warning(&format!(
                    "an unfinished upload could not be removed: {abort}"
                ));
            }
            return Err(e);
        }
        self.outcome.index_bytes = self.hash_list.sent() + writer.sent();
        self.progress.done = self.length;
        self.cx.observer().progress(&self.progress);
        Ok(self.outcome.clone())
    }

    pub(super) fn metadata(&self, hash_list_sha256: [u8; 32]) -> Metadata {
        let plan = self.plan;
        let mut ashlar = AshlarKey::new();
        ashlar.volume_length = Some(self.length);
        ashlar.block_size = Some(self.engine.config.block_size);
        ashlar.snapshot_id = plan.snapshot_id;
        ashlar.data_timestamp = Some(plan.data_timestamp);
        ashlar.project_id = Some(plan.project_id.clone());
        ashlar.user_id = Some(plan.user_id.clone());
        ashlar.encryption_key_id.clone_from(&plan.encryption_key_id);
        ashlar.container = Some(plan.location.container.clone());
        ashlar.prefix = Some(plan.location.prefix.clone());
        ashlar.change_point.clone_from(&self.change_point);
        ashlar.hash_list_bytes = Some(self.hash_list.sent());
        ashlar.hash_list_sha256 = Some(hash_list_sha256);
        ashlar.object_count = Some(self.objects);
        ashlar.stored_bytes = Some(self.outcome.stored_bytes);
        ashlar.properties = plan.properties.clone();
        Metadata {
            backup_id: plan.id,
            volume_id: plan.volume_id,
            backup_name: plan.name.clone(),
            backup_description: plan.description.clone(),
            created_at: Some(plan.created_at),
            parent_id: self.parent.as_ref().map(|(layer, _)| layer.id),
            volume_meta: plan.volume_metadata.clone(),
            ashlar: Some(ashlar),
        }
    }
}
