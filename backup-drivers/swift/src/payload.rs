//! What a request carries: bytes in memory, or of a temporary file.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::sync::Arc;

use bytes::Bytes;
use futures::stream;

/// Bytes read from a file at once.
const PIECE: u64 = 1 << 20;

/// What a request carries.
#[derive(Debug, Clone)]
pub(crate) enum Payload {
    None,
    Bytes(Bytes),
    /// The first `length` bytes of a file.
    File {
        file: Arc<File>,
        length: u64,
    },
}

impl Payload {
    pub(crate) fn length(&self) -> u64 {
        match self {
            Self::None => 0,
            Self::Bytes(bytes) => bytes.len() as u64,
            Self::File { length, .. } => *length,
        }
    }

    pub(crate) fn body(&self) -> Option<reqwest::Body> {
        match self {
            Self::None => None,
            Self::Bytes(bytes) => Some(bytes.clone().into()),
            Self::File { file, length } => {
                let (file, length) = (Arc::clone(file), *length);
                let pieces = stream::try_unfold(0, move |at| {
                    let file = Arc::clone(&file);
                    async move {
                        let left = PIECE.min(length - at);
                        if left == 0 {
                            return Ok::<_, io::Error>(None);
                        }
                        let piece = tokio::task::spawn_blocking(move || read(&file, at, left));
                        Ok(Some((piece.await.map_err(io::Error::other)??, at + left)))
                    }
                });
                Some(reqwest::Body::wrap_stream(pieces))
            }
        }
    }
}

fn read(file: &File, at: u64, length: u64) -> io::Result<Bytes> {
    let mut piece = vec![0; usize::try_from(length).map_err(io::Error::other)?];
    file.read_exact_at(&mut piece, at)?;
    Ok(piece.into())
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    #[tokio::test]
    async fn a_files_bytes_are_sent_in_order() {
        let mut file = tempfile::tempfile().unwrap();
        let data: Vec<u8> = (0..2_500_000_u32).flat_map(u32::to_le_bytes).collect();
        file.write_all(&data).unwrap();
        let length = data.len() as u64 - 5;
        let payload = Payload::File {
            file: Arc::new(file),
            length,
        };
        let mut body = payload.body().unwrap();
        let mut sent = Vec::new();
        loop {
            let frame = std::future::poll_fn(|cx| {
                http_body::Body::poll_frame(std::pin::Pin::new(&mut body), cx)
            });
            let Some(frame) = frame.await else { break };
            sent.extend_from_slice(&frame.unwrap().into_data().unwrap());
        }
        assert_eq!(sent.len() as u64, length);
        assert_eq!(sent, data[..sent.len()]);
    }
}
