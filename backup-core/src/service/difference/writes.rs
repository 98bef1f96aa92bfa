//! Writes to a device, many under way at once, in order where they touch each other.

use std::sync::Arc;

use bytes::Bytes;
use tokio::task::JoinSet;

use crate::device::BlockDevice;
use crate::error::{Error, Result};
use crate::range::ByteRange;

/// Writes under way at once.
const AT_ONCE: usize = 16;

/// Writes that were begun. Begun ones go on by themselves; [`end`](Self::end) waits for them, and must be called.
pub(super) struct Writes {
    device: Arc<dyn BlockDevice>,
    tasks: JoinSet<(ByteRange, Result<()>)>,
    under_way: Vec<ByteRange>, // no two of which touch the same bytes
}

impl Writes {
    pub(super) fn onto(device: Arc<dyn BlockDevice>) -> Self {
        Self {
            device,
            tasks: JoinSet::new(),
            under_way: Vec::new(),
        }
    }

    /// Begins to write `bytes`, or zeroes, to `range`. What is under way to the same bytes is waited for: a device does
    /// not say which of two writes comes last.
    ///
    /// # Errors
    /// That of an earlier write.
    pub(super) async fn begin(&mut self, range: ByteRange, bytes: Option<Bytes>) -> Result<()> {
        if range.is_empty() {
            return Ok(());
        }
        while self.under_way.len() >= AT_ONCE || self.touches(range) {
            self.one().await?;
        }
        self.under_way.push(range);
        let device = Arc::clone(&self.device);
        self.tasks.spawn(async move {
            let done = match bytes {
                Some(bytes) => device.write(range.start(), bytes).await,
                None => device.write_zeroes(range).await,
            };
            (range, done)
        });
        Ok(())
    }

    fn touches(&self, range: ByteRange) -> bool {
        let mut under_way = self.under_way.iter();
        under_way.any(|other| other.start() < range.end() && range.start() < other.end())
    }

    /// Waits for one of them.
    async fn one(&mut self) -> Result<()> {
        match self.tasks.join_next().await {
            Some(Ok((range, done))) => {
                self.under_way.retain(|other| *other != range);
                done
            }
            Some(Err(e)) => Err(Error::internal("write", e.to_string())),
            None => Err(Error::internal("write", "a write that nobody does")),
        }
    }

    /// Waits for all of them.
    ///
    /// # Errors
    /// The first of theirs.
    pub(super) async fn end(mut self) -> Result<()> {
        let mut first = Ok(());
        while !self.tasks.is_empty() {
            first = first.and(self.one().await);
        }
        first
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use async_trait::async_trait;

    use super::*;
    use crate::buffer::Buf;
    use crate::device::Geometry;
    use crate::error::ErrorKind;
    use crate::range::Extent;
    use crate::testing::MemoryDevice;

    /// A device whose first writes take the longest, so that order among writes under way is lost.
    #[derive(Debug)]
    struct Lazy {
        inner: MemoryDevice,
        state: Mutex<State>,
    }

    #[derive(Debug, Default)]
    struct State {
        begun: usize,
        under_way: usize,
        most: usize,
    }

    impl Lazy {
        async fn wait(&self) {
            let turns = {
                let mut state = self.state.lock().unwrap();
                state.begun += 1;
                state.under_way += 1;
                state.most = state.most.max(state.under_way);
                200_usize.saturating_sub(state.begun)
            };
            for _ in 0..turns {
                tokio::task::yield_now().await;
            }
            self.state.lock().unwrap().under_way -= 1;
        }
    }

    #[async_trait]
    impl BlockDevice for Lazy {
        fn geometry(&self) -> Geometry {
            self.inner.geometry()
        }

        fn describe(&self) -> String {
            self.inner.describe()
        }

        async fn read(&self, at: u64, buf: Buf) -> (Buf, Result<()>) {
            self.inner.read(at, buf).await
        }

        async fn write(&self, at: u64, data: Bytes) -> Result<()> {
            self.wait().await;
            self.inner.write(at, data).await
        }

        async fn write_zeroes(&self, range: ByteRange) -> Result<()> {
            self.wait().await;
            self.inner.write_zeroes(range).await
        }

        async fn discard(&self, range: ByteRange) -> Result<()> {
            self.inner.discard(range).await
        }

        async fn flush(&self) -> Result<()> {
            self.inner.flush().await
        }

        async fn allocated(&self, range: ByteRange) -> Result<Vec<Extent>> {
            self.inner.allocated(range).await
        }
    }

    #[tokio::test]
    async fn the_later_of_two_writes_to_the_same_bytes_wins_and_others_go_side_by_side() {
        let device = Arc::new(Lazy {
            inner: MemoryDevice::new(100_000),
            state: Mutex::default(),
        });
        let mut writes = Writes::onto(Arc::<Lazy>::clone(&device));
        let mut expected = vec![0_u8; 100_000];
        for n in 0..150_u64 {
            // Every third one overlaps the one before it, by a byte, a part or as a whole.
            let at = n / 3 * 1900 + [0, 999, 500][usize::try_from(n % 3).unwrap()];
            let range = ByteRange::at(at, 1000).unwrap();
            let place = usize::try_from(at).unwrap()..usize::try_from(at + 1000).unwrap();
            if n % 4 == 3 {
                expected[place].fill(0);
                writes.begin(range, None).await.unwrap();
            } else {
                let byte = u8::try_from(n + 1).unwrap();
                expected[place].fill(byte);
                let bytes = vec![byte; 1000].into();
                writes.begin(range, Some(bytes)).await.unwrap();
            }
        }
        writes.end().await.unwrap();
        let wanted = MemoryDevice::from_bytes(&expected);
        assert_eq!(device.inner.first_difference(&wanted), None);
        let state = device.state.lock().unwrap();
        assert_eq!((state.begun, state.under_way), (150, 0));
        assert!(state.most > 1 && state.most <= AT_ONCE, "{}", state.most);
    }

    #[tokio::test]
    async fn a_write_that_fails_is_told_and_all_others_are_waited_for() {
        let device = Arc::new(Lazy {
            inner: MemoryDevice::new(10_000),
            state: Mutex::default(),
        });
        device.inner.fail_write(2);
        let mut writes = Writes::onto(Arc::<Lazy>::clone(&device));
        for n in 0..8 {
            let range = ByteRange::at(n * 1000, 1000).unwrap();
            writes
                .begin(range, Some(vec![1; 1000].into()))
                .await
                .unwrap();
        }
        let e = writes.end().await.unwrap_err();
        assert!(e.is(ErrorKind::Io), "{e:?}");
        let state = device.state.lock().unwrap();
        assert_eq!((state.begun, state.under_way), (8, 0));
    }
}
