//! Errors that name the share: the mount point's own name tells nobody anything.

use std::path::Path;
use std::sync::Arc;

use async_trait::async_trait;
use backup_core::{BoxStream, Error, Result, Upload};
use bytes::Bytes;
use futures::TryStreamExt;

/// Puts the share's name in place of the mount point's.
#[derive(Clone, Debug)]
pub(super) struct Named {
    root: Arc<str>,
    place: Arc<str>,
}

impl Named {
    /// What lies at `root` here is told as `place`.
    pub(super) fn new(root: &Path, place: &str) -> Self {
        Self {
            root: root.to_string_lossy().into(),
            place: place.into(),
        }
    }

    /// The error with the share in it.
    pub(super) fn error(&self, error: Error) -> Error {
        let target = match error.target() {
            None => self.place.to_string(),
            Some(target) if target.contains(&*self.root) => {
                target.replace(&*self.root, self.place.trim_end_matches('/'))
            }
            Some(target) => format!("{target} of {}", self.place),
        };
        error.on(target)
    }

    /// A stream whose errors name the share.
    pub(super) fn stream<T: 'static>(&self, stream: BoxStream<T>) -> BoxStream<T> {
        let this = self.clone();
        Box::pin(stream.map_err(move |e| this.error(e)))
    }

    /// An upload whose errors name the share.
    pub(super) fn upload(&self, inner: Box<dyn Upload>) -> Box<dyn Upload> {
        Box::new(NamedUpload {
            named: self.clone(),
            inner,
        })
    }
}

#[derive(Debug)]
struct NamedUpload {
    named: Named,
    inner: Box<dyn Upload>,
}

#[async_trait]
impl Upload for NamedUpload {
    async fn part(&mut self, data: Bytes) -> Result<()> {
        let done = self.inner.part(data).await;
        done.map_err(|e| self.named.error(e))
    }

    async fn complete(self: Box<Self>) -> Result<()> {
        let Self { named, inner } = *self;
        inner.complete().await.map_err(|e| named.error(e))
    }

    async fn abort(self: Box<Self>) -> Result<()> {
        let Self { named, inner } = *self;
        inner.abort().await.map_err(|e| named.error(e))
    }
}

#[cfg(test)]
mod tests {
    use backup_core::ErrorKind;

    use super::*;

    #[test]
    fn an_error_names_the_share_and_the_operation() {
        let named = Named::new(Path::new("/mnt/0f"), "nas:/export");
        let told = |target: &str| {
            let error = Error::new(ErrorKind::Timeout, "write object").on(target);
            named.error(error).to_string()
        };
        let expected = "write object nas:/export/ab/x: timed out";
        assert_eq!(told("/mnt/0f/ab/x"), expected);
        assert!(told("container c").contains("container c of nas:/export"));
        let bare = named.error(Error::new(ErrorKind::Io, "list"));
        assert_eq!(bare.target(), Some("nas:/export"));
        let root = Named::new(Path::new("/mnt/0f"), "nas:/");
        let error = root.error(Error::new(ErrorKind::Io, "list").on("/mnt/0f/ab"));
        assert_eq!(error.target(), Some("nas:/ab"));
    }
}
