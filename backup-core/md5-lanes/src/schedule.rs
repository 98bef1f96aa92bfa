//! Shares messages of any number and length out to the lanes of a backend.

use std::cmp::Reverse;

use crate::rounds::{Block, START};
use crate::scalar;
use crate::stream::{Tail, digest};

/// After at most this many bytes of all messages together the caller is asked whether to go on.
const BYTES_BETWEEN_LOOKS: usize = 4 << 20;

/// Asks the caller whether to go on, often enough and not much more often.
pub(crate) struct Watch<'k> {
    keep_going: &'k dyn Fn() -> bool,
    /// Bytes that may still be hashed before the next look.
    left: usize,
}

impl<'k> Watch<'k> {
    /// Looks before the first byte.
    pub(crate) fn new(keep_going: &'k dyn Fn() -> bool) -> Self {
        Self {
            keep_going,
            left: 0,
        }
    }

    /// To be called before `bytes` are hashed, at most `BYTES_BETWEEN_LOOKS`; false: stop.
    fn allows(&mut self, bytes: usize) -> bool {
        if bytes > self.left {
            if !(self.keep_going)() {
                return false;
            }
            self.left = BYTES_BETWEEN_LOOKS;
        }
        self.left -= bytes;
        true
    }
}

/// A message on its way through a lane.
struct Job<'m> {
    /// Which of the messages.
    index: usize,
    /// Whole blocks that are still to be hashed.
    body: &'m [Block],
    /// What follows them.
    tail: Tail,
    /// Blocks of the tail already hashed.
    tail_done: usize,
}

impl<'m> Job<'m> {
    fn new(index: usize, message: &'m [u8]) -> Self {
        let (body, end) = message.as_chunks();
        Self {
            index,
            body,
            tail: Tail::new(end, message.len() as u64),
            tail_done: 0,
        }
    }

    /// The blocks that lie side by side and come next; empty only when the message has ended.
    fn next(&self) -> &[Block] {
        if self.body.is_empty() {
            &self.tail.blocks()[self.tail_done..]
        } else {
            self.body
        }
    }

    /// Marks the first `count` blocks of `next` as hashed; true when the message has ended.
    fn advance(&mut self, count: usize) -> bool {
        if self.body.is_empty() {
            self.tail_done += count;
        } else {
            self.body = &self.body[count..];
        }
        self.next().is_empty()
    }
}

/// Writes the MD5 of `messages[n]` to `digests[n]`, for all `n`, with `compress` of a backend.
///
/// With fewer messages left than `worthwhile`, one after the other is faster than `compress`.
/// False when the watch stopped it; what `digests` then holds is unspecified.
pub(crate) fn hash_all<const LANES: usize>(
    compress: impl Fn(&mut [[u32; LANES]; 4], &[&[Block]; LANES], usize),
    worthwhile: usize,
    messages: &[&[u8]],
    digests: &mut [[u8; 16]],
    watch: &mut Watch<'_>,
) -> bool {
    // Longest first, so that the lanes end close together rather than with one long message
    // alone in the last of them.
    let mut order: Vec<usize> = (0..messages.len()).collect();
    if messages.len() > LANES {
        order.sort_unstable_by_key(|&index| Reverse(messages[index].len()));
    }
    let mut waiting = order
        .into_iter()
        .map(|index| Job::new(index, messages[index]));

    let mut jobs: [Option<Job<'_>>; LANES] = std::array::from_fn(|_| waiting.next());
    let mut state = START.map(|word| [word; LANES]);
    loop {
        let running = jobs.iter().flatten().count();
        if running < worthwhile.max(1) {
            break;
        }
        let mut count = BYTES_BETWEEN_LOOKS / (size_of::<Block>() * LANES);
        let mut spare: &[Block] = &[];
        for job in jobs.iter().flatten() {
            spare = job.next();
            count = count.min(spare.len());
        }
        if !watch.allows(count * size_of::<Block>() * running) {
            return false;
        }
        // An idle lane hashes what another one hashes, and nobody looks at the result.
        let lanes: [&[Block]; LANES] =
            std::array::from_fn(|lane| jobs[lane].as_ref().map_or(spare, Job::next));
        compress(&mut state, &lanes, count);

        for (lane, slot) in jobs.iter_mut().enumerate() {
            let Some(job) = slot else { continue };
            if job.advance(count) {
                digests[job.index] = digest(state.map(|word| word[lane]));
                for (word, start) in state.iter_mut().zip(START) {
                    word[lane] = start;
                }
                *slot = waiting.next();
            }
        }
    }

    for (lane, slot) in jobs.iter_mut().enumerate() {
        let Some(job) = slot else { continue };
        if !finish_alone(job, state.map(|word| word[lane]), digests, watch) {
            return false;
        }
    }
    true
}

fn finish_alone(
    job: &mut Job<'_>,
    mut state: [u32; 4],
    digests: &mut [[u8; 16]],
    watch: &mut Watch<'_>,
) -> bool {
    loop {
        let blocks = job.next();
        let count = blocks.len().min(BYTES_BETWEEN_LOOKS / size_of::<Block>());
        if !watch.allows(count * size_of::<Block>()) {
            return false;
        }
        scalar::compress(&mut state, &blocks[..count]);
        if job.advance(count) {
            digests[job.index] = digest(state);
            return true;
        }
    }
}
