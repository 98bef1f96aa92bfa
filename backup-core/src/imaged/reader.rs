//! Any byte of a backup: its snapshot is a device.

use std::sync::Arc;

use async_trait::async_trait;

use super::base;
use crate::backup::{BackupReader, Chain};
use crate::buffer::Buf;
use crate::error::{Error, Result};
use crate::image::{Image, ImageRepository};
use crate::job::JobContext;
use crate::pipeline::check_cover;
use crate::range::{ByteRange, Extent};

pub(super) async fn open(
    repository: &Arc<dyn ImageRepository>,
    chain: &Chain,
    cx: &JobContext,
) -> Result<Arc<dyn BackupReader>> {
    Ok(Arc::new(ImageReader {
        image: base::open(repository, chain.newest()).await?,
        cx: cx.clone(),
    }))
}

#[derive(Debug)]
struct ImageReader {
    image: Arc<dyn Image>,
    cx: JobContext,
}

impl ImageReader {
    fn check(&self, operation: &'static str, range: Option<ByteRange>) -> Result<()> {
        self.cx.cancel().check(operation)?;
        let length = self.image.geometry().length;
        match range {
            Some(range) if range.end() <= length => Ok(()),
            _ => Err(
                Error::invalid(operation, format!("it reaches past the end at {length}"))
                    .on(self.image.describe()),
            ),
        }
    }
}

#[async_trait]
impl BackupReader for ImageReader {
    fn length(&self) -> u64 {
        self.image.geometry().length
    }

    async fn extents(&self, range: ByteRange) -> Result<Vec<Extent>> {
        let operation = "list extents";
        self.check(operation, Some(range))?;
        let extents = self.image.allocated(range).await?;
        check_cover(operation, range, &extents).map_err(|e| e.on(self.image.describe()))?;
        Ok(extents)
    }

    async fn read(&self, at: u64, buf: Buf) -> (Buf, Result<()>) {
        match self.check("read backup", ByteRange::at(at, buf.len() as u64)) {
            Ok(()) => self.image.read(at, buf).await,
            Err(e) => (buf, Err(e)),
        }
    }

    /// The store's own word for what a snapshot holds is all that there is.
    async fn prove_zero(&self, range: ByteRange) -> Result<()> {
        self.check("prove zeroes", Some(range))
    }

    async fn still_there(&self) -> Result<()> {
        self.image.still_there().await
    }
}
