//! Bytes that wait to be sent: in memory while they are few, in an unlinked temporary file from then on.

use std::fs::File;
use std::io::Write;
use std::sync::Arc;

use backup_core::{Error, Result};
use bytes::{Bytes, BytesMut};
use md5::{Digest, Md5};

use crate::payload::Payload;

/// Bytes kept in memory.
const IN_MEMORY: u64 = 16 << 20;

/// What has been gathered, with its MD5.
#[derive(Debug, Default)]
pub(crate) struct Spool {
    memory: Vec<Bytes>,
    file: Option<Arc<File>>,
    length: u64,
    md5: Md5,
}

impl Spool {
    pub(crate) fn len(&self) -> u64 {
        self.length
    }

    /// Adds bytes. Blocks while they are hashed and written.
    fn append(&mut self, data: Bytes) -> Result<()> {
        self.md5.update(&data);
        self.length += data.len() as u64;
        self.memory.push(data);
        if self.file.is_some() || self.length > IN_MEMORY {
            self.spill()?;
        }
        Ok(())
    }

    fn spill(&mut self) -> Result<()> {
        let failed = |e| {
            Error::io("spool object", std::env::temp_dir().display(), e)
                .hint("free some space there, or set TMPDIR to a folder with more")
        };
        let file = match &self.file {
            Some(file) => Arc::clone(file),
            None => Arc::new(tempfile::tempfile().map_err(failed)?),
        };
        for piece in self.memory.drain(..) {
            (&*file).write_all(&piece).map_err(failed)?;
        }
        self.file = Some(file);
        Ok(())
    }

    /// Adds bytes on a thread where that may block. If the future is dropped, the spool is lost.
    pub(crate) async fn add(&mut self, data: Bytes) -> Result<()> {
        const SHORT: usize = 64 << 10;
        if data.len() <= SHORT && self.file.is_none() {
            return self.append(data);
        }
        let mut spool = std::mem::take(self);
        let work = tokio::task::spawn_blocking(move || {
            let done = spool.append(data);
            (spool, done)
        });
        let (spool, done) = work
            .await
            .map_err(|e| Error::internal("spool object", e.to_string()))?;
        *self = spool;
        done
    }

    /// All of it, with its MD5 in hexadecimal digits.
    pub(crate) fn take(&mut self) -> (Payload, String) {
        let spool = std::mem::take(self);
        let md5 = hex::encode(spool.md5.finalize());
        let payload = match spool.file {
            Some(file) => Payload::File {
                file,
                length: spool.length,
            },
            None => Payload::Bytes(joined(&spool.memory)),
        };
        (payload, md5)
    }
}

fn joined(pieces: &[Bytes]) -> Bytes {
    if let [one] = pieces {
        return one.clone();
    }
    let mut all = BytesMut::with_capacity(pieces.iter().map(Bytes::len).sum());
    for piece in pieces {
        all.extend_from_slice(piece);
    }
    all.freeze()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn few_bytes_stay_in_memory_and_many_go_to_a_file() {
        for (pieces, in_file) in [
            (0_u8, false),
            (1, false),
            (16, false),
            (17, true),
            (40, true),
        ] {
            let mut spool = Spool::default();
            let mut whole = Md5::new();
            for n in 0..pieces {
                let data = Bytes::from(vec![n; 1 << 20]);
                whole.update(&data);
                spool.add(data).await.unwrap();
            }
            assert_eq!(spool.len(), u64::from(pieces) << 20);
            let (payload, md5) = spool.take();
            assert_eq!(md5, hex::encode(whole.finalize()), "{pieces}");
            assert_eq!(matches!(payload, Payload::File { .. }), in_file, "{pieces}");
            assert_eq!(payload.length(), u64::from(pieces) << 20);
            assert_eq!(spool.len(), 0);
        }
    }
}
