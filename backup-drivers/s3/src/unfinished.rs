//! Uploads that were begun and never completed: invisible, but kept, and paid for, until they are dropped.

use std::time::Duration;

use backup_core::{BoxStream, ContainerName, ErrorKind, Leftover, ObjectKey, Result, Timestamp};
use futures::{StreamExt, stream};

use crate::error::Failure;
use crate::repository::S3Repository;
use crate::stores::bucket_of;

const OPERATION: &str = "list unfinished uploads";

/// An upload that was begun and not completed.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct UnfinishedUpload {
    /// The bucket.
    pub container: ContainerName,
    /// The name of the object that it would have become.
    pub name: String,
    /// The server's ID of it.
    pub id: String,
    /// When it was begun, where the server tells.
    pub begun: Option<Timestamp>,
}

impl S3Repository {
    /// The unfinished uploads of objects whose names begin with `prefix`, that were begun at least `age` ago (by this
    /// machine's clock). Give an age that no running backup reaches. Stores that were handed in have none to tell.
    ///
    /// # Errors
    /// Those of a listing; a missing bucket has none.
    pub async fn unfinished_uploads(
        &self,
        container: &ContainerName,
        prefix: &str,
        age: Duration,
    ) -> Result<Vec<UnfinishedUpload>> {
        let (Some(wire), Ok(bucket)) = (&self.wire, bucket_of(container)) else {
            return Ok(Vec::new());
        };
        let age = i64::try_from(age.as_micros()).unwrap_or(i64::MAX);
        let latest = Timestamp::now().as_micros().saturating_sub(age);
        let mut found = Vec::new();
        let mut after: Option<(String, String)> = None;
        loop {
            let marker = after.as_ref().map(|(key, id)| (key.as_str(), id.as_str()));
            let page = match wire.uploads(bucket, prefix, marker).await {
                Err(f) if f.kind() == ErrorKind::NotFound => return Ok(found),
                page => page.map_err(|f| f.into_error(OPERATION, bucket))?,
            };
            for entry in page.upload {
                let begun: Option<Timestamp> = entry.initiated.parse().ok();
                // One whose age is unknown counts as old: nothing else would ever find it.
                let old = begun.is_none_or(|begun| begun.as_micros() <= latest);
                if old && entry.key.starts_with(prefix) {
                    found.push(UnfinishedUpload {
                        container: container.clone(),
                        name: entry.key,
                        id: entry.upload_id,
                        begun,
                    });
                }
            }
            if !page.is_truncated {
                return Ok(found);
            }
            let next = page.next_key_marker.zip(page.next_upload_id_marker);
            if next.is_none() || next == after {
                let failure = Failure::malformed("a listing does not end");
                return Err(failure.into_error(OPERATION, bucket));
            }
            after = next;
        }
    }

    /// Drops an unfinished upload. One that is gone is success.
    ///
    /// # Errors
    /// Those of a delete.
    pub async fn drop_upload(&self, upload: &UnfinishedUpload) -> Result<()> {
        let Some(wire) = &self.wire else {
            return Ok(());
        };
        let bucket = bucket_of(&upload.container)?;
        let dropped = wire.abort(bucket, &upload.name, &upload.id).await;
        dropped.map_err(|f| f.into_error("drop unfinished upload of", &upload.name))
    }

    /// The unfinished uploads in `container`, or in all buckets, as the trait tells them.
    pub(crate) async fn unfinished(
        &self,
        container: Option<&ContainerName>,
    ) -> Result<BoxStream<Leftover>> {
        let containers = match (container, &self.wire) {
            (Some(container), _) => vec![container.clone()],
            (None, Some(wire)) => self.buckets(wire).await?,
            (None, None) => Vec::new(),
        };
        let mut found = Vec::new();
        for bucket in containers {
            let uploads = match self.unfinished_uploads(&bucket, "", Duration::ZERO).await {
                Ok(uploads) => uploads,
                // Another's bucket of the same account.
                Err(e) if container.is_none() && e.is(ErrorKind::PermissionDenied) => {
                    tracing::warn!(%bucket, "left out: no right to list its unfinished uploads");
                    continue;
                }
                Err(e) => return Err(e),
            };
            for upload in uploads {
                // A name that no object of ours can have was not ours to begin.
                if let Ok(key) = ObjectKey::new(&bucket, upload.name) {
                    let mut leftover = Leftover::new("unfinished upload", key, upload.id);
                    leftover.modified = upload.begun;
                    found.push(Ok(leftover));
                }
            }
        }
        Ok(stream::iter(found).boxed())
    }

    pub(crate) async fn drop_unfinished(&self, leftover: &Leftover) -> Result<()> {
        self.drop_upload(&UnfinishedUpload {
            container: leftover.key.container().clone(),
            name: leftover.key.name().to_owned(),
            id: leftover.id.clone(),
            begun: leftover.modified,
        })
        .await
    }
}
