//! Short writes of a restore, gathered until their neighbours have come too.
//!
//! The newest state of a long chain is made of many short objects, and of what shows of long ones between them. Written
//! one by one, each costs a call, a copy and pages of the cache; written together, a window of the volume goes to the
//! device at once, as what comes of a long object does.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use bytes::Bytes;

use crate::buffer::{Buf, BufferPool};
use crate::error::{Error, Result};
use crate::job::JobContext;
use crate::range::ByteRange;

/// Bytes of the volume that are written at once when all of them have come.
const WINDOW: u64 = 1 << 20;

/// Most windows that are kept, those too of which nothing but a count is. Objects come nearly in the order of the volume, so
/// the first one is full before long.
const OPEN: u64 = 32;

/// Data of fewer bytes is gathered.
const SHORT: usize = 256 << 10;

/// A write that is due: where it begins, and what is written.
pub(crate) type Due = (u64, Bytes);

/// The windows of a job that are not full yet.
#[derive(Debug)]
pub(crate) struct Gather {
    windows: Mutex<BTreeMap<u64, Window>>, // by number
    open: usize,                           // most of them
    length: u64,                           // of the volume
    buffers: BufferPool,
}

#[derive(Debug, Default)]
struct Window {
    data: Option<Buf>,
    runs: Vec<ByteRange>, // what of it came as short data
    came: u64,            // bytes that came in any way
}

impl Gather {
    /// For a volume of `length` bytes. It takes at most 32 MiB, and at most an eighth of the job's budget beside it: what
    /// waits here waits for items that must get memory from the budget.
    pub(crate) fn new(length: u64, cx: &JobContext) -> Self {
        let open = OPEN.min(cx.memory().total() / 8 / WINDOW);
        Self {
            windows: Mutex::default(),
            open: usize::try_from(open).unwrap_or(0),
            length,
            buffers: cx.buffers().clone(),
        }
    }

    /// Whether data of so many bytes is gathered.
    pub(crate) fn takes(&self, bytes: usize) -> bool {
        self.open > 0 && bytes < SHORT
    }

    /// Takes in data that begins at byte `at`, and answers what is to be written now.
    ///
    /// # Errors
    /// None but those of a length that no memory has.
    pub(crate) fn add(&self, at: u64, bytes: &Bytes) -> Result<Vec<Due>> {
        let mut due = Vec::new();
        let mut windows = self.windows.lock().unwrap_or_else(PoisonError::into_inner);
        let mut from = 0;
        for (number, part) in parts(at, bytes.len() as u64) {
            let start = number * WINDOW;
            let window = windows.entry(number).or_default();
            let length = in_memory(part.len())?;
            let place = in_memory(part.start() - start)?;
            let data = match &mut window.data {
                Some(data) => data,
                none => none.insert(self.buffers.take(in_memory(WINDOW)?)),
            };
            data[place..place + length].copy_from_slice(&bytes[from..from + length]);
            window.runs.push(part);
            window.came += part.len();
            from += length;
            if window.came >= WINDOW.min(self.length - start) {
                windows
                    .remove(&number)
                    .map_or(Ok(()), |full| full.finish(start, &mut due))?;
            }
        }
        self.close_first(&mut windows, &mut due)?;
        Ok(due)
    }

    /// Notes that `range` needs no write or was written otherwise, and answers what is to be written now.
    ///
    /// # Errors
    /// As [`add`](Self::add).
    pub(crate) fn pass(&self, range: ByteRange) -> Result<Vec<Due>> {
        let mut due = Vec::new();
        if self.open == 0 {
            return Ok(due);
        }
        let mut windows = self.windows.lock().unwrap_or_else(PoisonError::into_inner);
        for (number, part) in parts(range.start(), range.len()) {
            let whole = WINDOW.min(self.length - number * WINDOW);
            if part.len() == whole {
                continue;
            }
            let window = windows.entry(number).or_default();
            window.came += part.len();
            if window.came >= whole {
                windows
                    .remove(&number)
                    .map_or(Ok(()), |full| full.finish(number * WINDOW, &mut due))?;
            }
        }
        self.close_first(&mut windows, &mut due)?;
        Ok(due)
    }

    /// Gives up waiting for what the first windows lack, where there are more than may be kept.
    fn close_first(&self, windows: &mut BTreeMap<u64, Window>, due: &mut Vec<Due>) -> Result<()> {
        while windows.len() > self.open
            && let Some((number, first)) = windows.pop_first()
        {
            first.finish(number * WINDOW, due)?;
        }
        Ok(())
    }

    /// What is left, to be written at the end.
    ///
    /// # Errors
    /// As [`add`](Self::add).
    pub(crate) fn rest(&self) -> Result<Vec<Due>> {
        let mut due = Vec::new();
        let mut windows = self.windows.lock().unwrap_or_else(PoisonError::into_inner);
        while let Some((number, window)) = windows.pop_first() {
            window.finish(number * WINDOW, &mut due)?;
        }
        Ok(due)
    }
}

impl Window {
    /// Turns what came into writes, each as long as can be.
    fn finish(mut self, start: u64, due: &mut Vec<Due>) -> Result<()> {
        let Some(data) = self.data else {
            return Ok(());
        };
        let data = data.into_bytes();
        self.runs.sort_unstable_by_key(|run| run.start());
        for run in self.runs.chunk_by(|a, b| a.end() == b.start()) {
            let (Some(first), Some(last)) = (run.first(), run.last()) else {
                continue;
            };
            let from = in_memory(first.start() - start)?;
            let to = in_memory(last.end() - start)?;
            due.push((first.start(), data.slice(from..to)));
        }
        Ok(())
    }
}

/// A range cut at the borders of windows, each part with its window's number.
fn parts(at: u64, length: u64) -> impl Iterator<Item = (u64, ByteRange)> {
    let end = at.saturating_add(length);
    let mut from = at;
    std::iter::from_fn(move || {
        let to = (from / WINDOW + 1).saturating_mul(WINDOW).min(end);
        let part = ByteRange::new(from, to).filter(|part| !part.is_empty())?;
        let number = from / WINDOW;
        from = to;
        Some((number, part))
    })
}

fn in_memory(bytes: u64) -> Result<usize> {
    usize::try_from(bytes).map_err(|_| Error::internal("restore", "window too long for memory"))
}

#[cfg(test)]
mod tests {
    use super::*;

    const W: u64 = WINDOW;

    fn gather(length: u64, memory: u64) -> Gather {
        Gather::new(length, &JobContext::new(memory).unwrap())
    }

    fn data(length: u64, byte: u8) -> Bytes {
        vec![byte; usize::try_from(length).unwrap()].into()
    }

    fn ranges(due: &[Due]) -> Vec<(u64, u64)> {
        due.iter().map(|(at, b)| (*at, b.len() as u64)).collect()
    }

    #[test]
    fn a_window_is_written_once_all_of_it_came_in_whatever_order() {
        let g = gather(10 * W, 64 << 20);
        let quarter = W / 4;
        for n in [3, 0, 2] {
            assert!(
                g.add(W + n * quarter, &data(quarter, 7))
                    .unwrap()
                    .is_empty()
            );
        }
        let due = g.add(W + quarter, &data(quarter, 9)).unwrap();
        assert_eq!(ranges(&due), [(W, W)]);
        let quarter = usize::try_from(quarter).unwrap();
        assert!(due[0].1[quarter..2 * quarter].iter().all(|&b| b == 9));
        assert!(due[0].1[2 * quarter..].iter().all(|&b| b == 7));
        assert!(g.rest().unwrap().is_empty());
    }

    #[test]
    fn what_was_written_otherwise_parts_the_writes_of_its_window() {
        let g = gather(10 * W, 64 << 20);
        g.add(100, &data(50, 1)).unwrap();
        g.add(150, &data(50, 2)).unwrap();
        assert!(g.pass(ByteRange::new(0, 100).unwrap()).unwrap().is_empty());
        g.add(W - 10, &data(15, 3)).unwrap(); // over the border
        let due = g.pass(ByteRange::new(200, W - 10).unwrap()).unwrap();
        assert_eq!(ranges(&due), [(100, 100), (W - 10, 10)]);
        assert_eq!(ranges(&g.rest().unwrap()), [(W, 5)]);
    }

    #[test]
    fn the_last_window_is_as_short_as_the_volume() {
        let g = gather(W + 100, 64 << 20);
        assert!(g.add(W, &data(60, 1)).unwrap().is_empty());
        assert_eq!(ranges(&g.add(W + 60, &data(40, 2)).unwrap()), [(W, 100)]);
    }

    #[test]
    fn no_more_windows_are_kept_than_there_is_memory_for() {
        let g = gather(1000 * W, 16 << 20);
        let mut due = Vec::new();
        for n in 0..100 {
            due.extend(g.add(n * W, &data(10, 1)).unwrap());
        }
        assert_eq!(due.len(), 98, "two windows are an eighth of the memory");
        due.extend(g.rest().unwrap());
        assert_eq!(
            ranges(&due),
            (0..100).map(|n| (n * W, 10)).collect::<Vec<_>>()
        );
        assert!(
            !gather(W, 1 << 20).takes(10),
            "with none, nothing is gathered"
        );
    }

    #[test]
    fn parts_that_need_no_write_take_no_memory_however_many_they_are() {
        let g = gather(100_000 * W, 64 << 20);
        for n in 0..100_000 {
            let part = ByteRange::new(n * W, n * W + 100).unwrap();
            assert!(g.pass(part).unwrap().is_empty());
        }
        assert!(g.windows.lock().unwrap().len() <= 8);
        assert!(g.rest().unwrap().is_empty());
    }
}
