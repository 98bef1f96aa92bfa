//! Segments that belong to no object: of uploads that were begun and never completed, and of large objects that Cinder
//! deleted. Invisible beside the backups, but kept, until they are dropped.

use std::sync::Arc;
use std::time::Duration;

use backup_core::{BoxStream, ContainerName, ErrorKind, Leftover, ObjectKey, Result, Timestamp};
use futures::{StreamExt, stream};

use crate::delete;
use crate::list::{self, Entry};
use crate::repository::SwiftRepository;
use crate::segments;
use crate::wire::container_path;

/// Segments of an upload that belong to no object.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct UnfinishedUpload {
    /// The container of the object.
    pub container: ContainerName,
    /// The name of the object that they would make, or made.
    pub name: String,
    /// Which upload it was.
    pub id: String,
    /// When the last of them was stored, where the server tells.
    pub begun: Option<Timestamp>,
    /// Their bytes in all.
    pub bytes: u64,
    segment_container: ContainerName,
    segments: Vec<String>,
}

impl SwiftRepository {
    /// The uploads of objects whose names begin with `prefix` that have segments but no object, and got their last
    /// segment at least `age` ago (by this machine's clock). Give an age that no running backup reaches.
    ///
    /// # Errors
    /// Those of a listing; a missing container has none.
    pub async fn unfinished_uploads(
        &self,
        container: &ContainerName,
        prefix: &str,
        age: Duration,
    ) -> Result<Vec<UnfinishedUpload>> {
        let store = &self.store;
        let Ok(path) = container_path(container) else {
            return Ok(Vec::new());
        };
        let segment_container = store.segment_container(container)?;
        let age = i64::try_from(age.as_micros()).unwrap_or(i64::MAX);
        let latest = Timestamp::now().as_micros().saturating_sub(age);
        let mut unfinished = Vec::new();
        for ((name, id), found) in
            segments::find(store, &segment_container, container, prefix).await?
        {
            // One whose age is unknown counts as old: nothing else would ever find it.
            if found
                .newest
                .is_some_and(|newest| newest.as_micros() > latest)
            {
                continue;
            }
            let key = ObjectKey::new(container, name.clone())?;
            match segments::manifest_of(store, &key).await? {
                Some(manifest) if manifest.id.as_ref() == Some(&id) => continue,
                Some(manifest) if !manifest.is_known => continue,
                Some(_) => {}
                // Servers that cannot be reached hide an object from a look at it, but not from a listing. It would
                // be lost with its segments, so that both must agree.
                None => {
                    let page = list::page::<Entry>(store, &path, &name, None, None, Some(1)).await;
                    let page = page.map_err(|f| f.into_error("list container", container))?;
                    if page
                        .first()
                        .is_some_and(|entry| entry.name == name && entry.bytes >= found.bytes)
                    {
                        continue;
                    }
                }
            }
            unfinished.push(UnfinishedUpload {
                container: container.clone(),
                name,
                id,
                begun: found.newest,
                bytes: found.bytes,
                segment_container: segment_container.clone(),
                segments: found.names,
            });
        }
        Ok(unfinished)
    }

    /// Drops the segments of an unfinished upload. Those that are gone are success.
    ///
    /// # Errors
    /// Those of a delete.
    pub async fn drop_upload(&self, upload: &UnfinishedUpload) -> Result<()> {
        let store = Arc::clone(&self.store);
        let results = delete::segments(&store, &upload.segment_container, &upload.segments).await;
        results.into_iter().collect()
    }

    /// The lost segments of `container`, or of all containers, as the trait tells them.
    pub(crate) async fn unfinished(
        &self,
        container: Option<&ContainerName>,
    ) -> Result<BoxStream<Leftover>> {
        let containers = match container {
            Some(container) => vec![container.clone()],
            None => self.account_containers().await?,
        };
        let is_asked_for = container.is_some();
        let mut found = Vec::new();
        for container in containers {
            if self.store.is_segment_container(&container) {
                continue;
            }
            let uploads = match self
                .unfinished_uploads(&container, "", Duration::ZERO)
                .await
            {
                Ok(uploads) => uploads,
                // A user of one container need not be let into that of its segments.
                Err(e) if !is_asked_for && e.is(ErrorKind::PermissionDenied) => {
                    tracing::warn!(%container, "left out: no right to list its segments");
                    continue;
                }
                Err(e) => return Err(e),
            };
            for upload in uploads {
                let key = ObjectKey::new(&container, upload.name)?;
                let mut leftover = Leftover::new("lost segments", key, upload.id);
                leftover.size = Some(upload.bytes);
                leftover.modified = upload.begun;
                found.push(Ok(leftover));
            }
        }
        Ok(stream::iter(found).boxed())
    }

    /// Drops them after another look: they may have become an object since.
    pub(crate) async fn drop_unfinished(&self, leftover: &Leftover) -> Result<()> {
        let (container, name) = (leftover.key.container(), leftover.key.name());
        for upload in self
            .unfinished_uploads(container, name, Duration::ZERO)
            .await?
        {
            if upload.name == name && upload.id == leftover.id {
                self.drop_upload(&upload).await?;
            }
        }
        Ok(())
    }
}
