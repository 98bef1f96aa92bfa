//! MD5 of what is sent. One message uses a fraction of a core, so the bodies of several puts are hashed side by side.

use std::mem;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use backup_core::ErrorKind;
use bytes::Bytes;
use tokio::sync::oneshot;

use crate::error::Failure;

/// Up to here a body is hashed where it stands: to hand it to a thread would take longer.
const SHORT: usize = 64 << 10;

/// From so many other puts on one waits for company: the server has enough to do meanwhile.
const MANY: usize = 4;
/// How long it waits. A long body is sent in about as much, so that a few come together.
const COMPANY: Duration = Duration::from_millis(25);

/// Hashes bodies. Those that come while others are hashed wait, and then share the lanes of one run.
#[derive(Debug, Default)]
pub(crate) struct Sums {
    waiting: Mutex<Vec<Waiting>>,
    turn: Mutex<()>,
    /// One reference for each put under way, and this one.
    puts: Arc<()>,
}

/// A put under way, until it is dropped.
#[derive(Debug)]
pub(crate) struct Put {
    _one: Arc<()>,
}

#[derive(Debug)]
struct Waiting {
    body: Bytes,
    sum: oneshot::Sender<[u8; 16]>,
}

impl Sums {
    /// Counts a put, so that the bodies of others wait for company.
    pub(crate) fn put(&self) -> Put {
        Put {
            _one: Arc::clone(&self.puts),
        }
    }

    /// The MD5 of `body`, which a put sends, in hexadecimal digits.
    pub(crate) async fn of(self: &Arc<Self>, body: &Bytes) -> Result<String, Failure> {
        if body.len() <= SHORT {
            return Ok(hex::encode(md5_lanes::md5(body)));
        }
        let (sender, sum) = oneshot::channel();
        lock(&self.waiting).push(Waiting {
            body: body.clone(),
            sum: sender,
        });
        // Each comes with a turn of its own, so that none is left waiting: the first one hashes what all have brought,
        // and the next ones find less or nothing to do.
        let this = Arc::clone(self);
        let many = Arc::strong_count(&self.puts) > MANY + 1;
        tokio::spawn(async move {
            if many {
                tokio::time::sleep(COMPANY).await;
            }
            tokio::task::spawn_blocking(move || this.hash_all()).await
        });
        let sum = sum.await;
        sum.map(hex::encode)
            .map_err(|_| Failure::local(ErrorKind::Internal, "its MD5 was not finished"))
    }

    fn hash_all(&self) {
        let _turn = lock(&self.turn);
        let waiting = mem::take(&mut *lock(&self.waiting));
        let bodies: Vec<&[u8]> = waiting.iter().map(|w| &w.body[..]).collect();
        let sums = md5_lanes::md5_many(&bodies);
        for (waiting, sum) in waiting.into_iter().zip(sums) {
            // Who gave up waiting needs no answer.
            let _ = waiting.sum.send(sum);
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use futures::future::join_all;
    use md5::{Digest, Md5};

    use super::*;

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn many_at_once_get_each_its_own() {
        let sums = Arc::new(Sums::default());
        let bodies: Vec<Bytes> = (0..40_u8)
            .map(|n| Bytes::from(vec![n; usize::from(n) * 9_999]))
            .collect();
        let got = join_all(bodies.iter().map(async |body| {
            let _put = sums.put();
            sums.of(body).await
        }))
        .await;
        for (body, sum) in bodies.iter().zip(got) {
            assert_eq!(
                sum.unwrap(),
                hex::encode(Md5::digest(body)),
                "{}",
                body.len()
            );
        }
        assert!(lock(&sums.waiting).is_empty());
    }

    #[tokio::test]
    async fn one_that_is_given_up_does_not_keep_the_others_waiting() {
        let sums = Arc::new(Sums::default());
        let body = Bytes::from(vec![7; SHORT + 1]);
        {
            let given_up = sums.of(&body);
            futures::pin_mut!(given_up);
            assert!(futures::poll!(given_up.as_mut()).is_pending());
        }
        let sum = sums.of(&body).await.unwrap();
        assert_eq!(sum, hex::encode(Md5::digest(&body)));
    }
}
