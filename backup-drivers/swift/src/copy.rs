//! Copies within the account, by the server where it can.

use backup_core::{ErrorKind, ObjectKey, Repository, Result};
use futures::StreamExt;
use http::{HeaderName, Method};

use crate::repository::SwiftRepository;
use crate::store::etag;
use crate::wire::{Ask, in_container, object_path};

const OPERATION: &str = "copy object";

pub(crate) async fn copy(
    repository: &SwiftRepository,
    from: &ObjectKey,
    to: &ObjectKey,
) -> Result<()> {
    let store = &repository.store;
    let (source, target) = (object_path(from)?, object_path(to)?);
    let head = store.head(&source).await;
    let head = head.map_err(|f| f.into_error(OPERATION, from))?;
    // A copied manifest would share the segments of the first, so that the end of one would be the end of both.
    if !head.is_large {
        let ask = Ask::new(Method::PUT, target)
            .header(HeaderName::from_static("x-copy-from"), source)
            .moving(head.length);
        match store.wire.send(&ask).await {
            // A server that does not know the header has stored an empty object.
            Ok(answer) if etag(&answer.headers).is_some_and(|etag| etag == head.etag) => {
                return Ok(());
            }
            Ok(_) => {}
            Err(f) if matches!(f.kind(), ErrorKind::Unsupported | ErrorKind::InvalidInput) => {}
            Err(failure) => return Err(in_container(failure, OPERATION, from)),
        }
    }
    let mut upload = repository.begin(to, Some(head.length)).await?;
    let mut body = repository.get(from, None).await?.body;
    while let Some(data) = body.next().await {
        let copied = match data {
            Ok(data) => upload.part(data).await,
            Err(e) => Err(e),
        };
        if let Err(error) = copied {
            upload.abort().await?;
            return Err(error);
        }
    }
    upload.complete().await
}
