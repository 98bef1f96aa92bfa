//! Faults inside of a body or a listing.

use bytes::Bytes;
use futures::{StreamExt, TryStreamExt};

use super::plan::{Call, Fault, injected};
use crate::error::Result;
use crate::repository::{BoxStream, Listed};

/// Cuts, breaks, damages or lengthens a body.
pub(super) fn faulty_body(body: BoxStream<Bytes>, fault: Fault, name: &str) -> BoxStream<Bytes> {
    if let Fault::Corrupt { at, mask } = fault {
        return corrupted(body, at, mask);
    }
    if let Fault::Extend { .. } = fault {
        let more = futures::stream::iter([Ok(fault.change(Bytes::new(), 0))]);
        return Box::pin(body.chain(more));
    }
    let (Fault::Truncate { after } | Fault::Break { after }) = fault else {
        return body;
    };
    let whole = body.scan(0u64, move |at, piece| {
        let piece = piece.map(|data| {
            let start = *at;
            *at += data.len() as u64;
            (start < after).then(|| fault.change(data, start))
        });
        std::future::ready(match piece {
            Ok(None) => None,
            Ok(Some(data)) => Some(Ok(data)),
            Err(error) => Some(Err(error)),
        })
    });
    end_with(whole.boxed(), fault, Call::Get, name)
}

/// Damages the byte at `at`, or the last one where there are fewer: so the last piece is held back until the next
/// one is there.
fn corrupted(body: BoxStream<Bytes>, at: u64, mask: u8) -> BoxStream<Bytes> {
    struct State {
        body: BoxStream<Bytes>,
        held: Option<Bytes>,
        start: u64, // offset of the held piece
        done: bool,
    }
    let state = State {
        body,
        held: None,
        start: 0,
        done: false,
    };
    Box::pin(futures::stream::try_unfold(
        state,
        move |mut s| async move {
            loop {
                let next = s.body.try_next().await?.filter(|piece| !piece.is_empty());
                let last = next.is_none();
                let Some(piece) = std::mem::replace(&mut s.held, next) else {
                    if last {
                        return Ok(None);
                    }
                    continue;
                };
                let end = s.start + piece.len() as u64;
                let hit = !s.done && (at < end || last);
                let piece = if hit {
                    s.done = true;
                    Fault::Corrupt { at, mask }.change(piece, s.start)
                } else {
                    piece
                };
                s.start = end;
                return Ok(Some((piece, s)));
            }
        },
    ))
}

/// Cuts or breaks a listing.
pub(super) fn faulty_list(
    listed: BoxStream<Listed>,
    fault: Fault,
    name: &str,
) -> BoxStream<Listed> {
    let (Fault::Truncate { after } | Fault::Break { after }) = fault else {
        return listed;
    };
    let after = usize::try_from(after).unwrap_or(usize::MAX);
    end_with(listed.take(after).boxed(), fault, Call::List, name)
}

fn end_with<T: Send + 'static>(
    start: BoxStream<T>,
    fault: Fault,
    call: Call,
    name: &str,
) -> BoxStream<T> {
    match fault {
        Fault::Break { .. } => {
            let error: Result<T> = Err(injected(fault.kind(), call, name));
            Box::pin(start.chain(futures::stream::iter([error])))
        }
        _ => start,
    }
}
