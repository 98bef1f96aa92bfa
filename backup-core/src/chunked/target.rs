//! The device that a restore writes to.

use std::sync::Arc;

use bytes::Bytes;

use super::gather::{Due, Gather};
use super::proof::Write;
use crate::device::BlockDevice;
use crate::error::Result;
use crate::job::{CancelToken, JobContext};

/// Bytes written between two looks at the cancel token. A write that has begun is awaited, and several items are in
/// flight: at most so much of each is still to come, on a slow disk too.
const PIECE: usize = 1 << 20;

/// Where the volume is written.
#[derive(Debug)]
pub(crate) struct Target {
    device: Arc<dyn BlockDevice>,
    /// Whether it is known to read as zero, so that zeroes need not be written.
    known_zero: bool,
    gather: Gather,
}

impl Target {
    /// For a volume of `length` bytes.
    pub(crate) fn new(device: Arc<dyn BlockDevice>, length: u64, cx: &JobContext) -> Self {
        Self {
            known_zero: device.geometry().known_zero,
            gather: Gather::new(length, cx),
            device,
        }
    }

    /// Writes what came of an item; short data may wait for its neighbours. Answers how many bytes of data it took.
    pub(crate) async fn write(&self, writes: Vec<Write>, cancel: &CancelToken) -> Result<u64> {
        let mut taken = 0;
        for write in writes {
            cancel.check("restore")?;
            let due = match write {
                Write::Data(range, bytes) => {
                    taken += range.len();
                    if self.gather.takes(bytes.len()) {
                        self.gather.add(range.start(), &bytes)?
                    } else {
                        self.write_in_pieces(range.start(), bytes, cancel).await?;
                        self.gather.pass(range)?
                    }
                }
                Write::Zeroes(range) => {
                    if !self.known_zero {
                        self.device.write_zeroes(range).await?;
                    }
                    self.gather.pass(range)?
                }
            };
            self.write_due(due, cancel).await?;
        }
        Ok(taken)
    }

    /// Writes what still waits, makes all of it durable. Behind the beginning of the flush, a cancel comes too late: it
    /// cannot be interrupted, and all is written.
    pub(crate) async fn finish(&self, cancel: &CancelToken) -> Result<()> {
        self.write_due(self.gather.rest()?, cancel).await?;
        cancel.check("restore")?;
        self.device.flush().await
    }

    async fn write_due(&self, due: Vec<Due>, cancel: &CancelToken) -> Result<()> {
        for (at, bytes) in due {
            self.write_in_pieces(at, bytes, cancel).await?;
        }
        Ok(())
    }

    async fn write_in_pieces(
        &self,
        mut at: u64,
        mut bytes: Bytes,
        cancel: &CancelToken,
    ) -> Result<()> {
        while !bytes.is_empty() {
            cancel.check("restore")?;
            let piece = bytes.split_to(bytes.len().min(PIECE));
            let length = piece.len() as u64;
            self.device.write(at, piece).await?;
            at += length;
        }
        Ok(())
    }
}
