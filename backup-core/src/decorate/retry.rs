mod body;
mod listing;
mod upload;

use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use futures::TryStreamExt;
use tokio::time::Instant;

use crate::error::{Error, ErrorKind, Result};
use crate::id::{ContainerName, ObjectKey};
use crate::range::ByteRange;
use crate::repository::{
    BoxStream, Download, Layout, Leftover, Limits, Listed, PutMode, Repository, Upload,
};

/// How often and how long a call is repeated.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct RetryPolicy {
    /// Tries in all, the first included.
    pub attempts: u32,
    /// The wait before the second try; each further wait is twice as long.
    pub first_wait: Duration,
    /// The longest wait.
    pub longest_wait: Duration,
    /// No try begins later than this after the first one.
    pub deadline: Duration,
}

impl Default for RetryPolicy {
    /// 8 tries within 5 minutes, after 0.2, 0.4, 0.8 … 12.8 s: a restarted server or load balancer is waited for.
    fn default() -> Self {
        Self {
            attempts: 8,
            first_wait: Duration::from_millis(200),
            longest_wait: Duration::from_secs(30),
            deadline: Duration::from_mins(5),
        }
    }
}

impl RetryPolicy {
    /// With this many tries in all (at least 1).
    pub fn with_attempts(mut self, attempts: u32) -> Self {
        self.attempts = attempts.max(1);
        self
    }

    /// With these waits.
    pub fn with_waits(mut self, first: Duration, longest: Duration) -> Self {
        self.first_wait = first;
        self.longest_wait = longest;
        self
    }

    /// With this time within which the last try begins.
    pub fn with_deadline(mut self, deadline: Duration) -> Self {
        self.deadline = deadline;
        self
    }
}

/// The tries of one call.
struct Tries {
    policy: RetryPolicy,
    made: u32,
    begun: Instant,
}

impl Tries {
    fn new(policy: RetryPolicy) -> Self {
        Self {
            policy,
            made: 0,
            begun: Instant::now(),
        }
    }

    /// Waits before the next try, or gives `error` back where there is none: it would not help, or enough is enough.
    async fn after(&mut self, error: Error) -> Result<()> {
        self.made += 1;
        if !error.is_retryable() || self.made >= self.policy.attempts {
            return Err(error);
        }
        let doubled = 1u32.checked_shl(self.made - 1).unwrap_or(u32::MAX);
        let wait = self
            .policy
            .first_wait
            .saturating_mul(doubled)
            .min(self.policy.longest_wait);
        // Between half and all of it, so that many clients of a server that comes back do not all come at once.
        let wait = wait / 2 + wait.mul_f64(random_share() / 2.0);
        if self.begun.elapsed() + wait > self.policy.deadline {
            return Err(error);
        }
        tracing::debug!(%error, try_number = self.made + 1, ?wait, "trying again");
        tokio::time::sleep(wait).await;
        Ok(())
    }

    /// Something went forward: counting starts anew.
    fn progress(&mut self) {
        self.made = 0;
        self.begun = Instant::now();
    }
}

/// A number from 0 to 1. The standard library's hasher is seeded at random, which is random enough for a wait.
fn random_share() -> f64 {
    let bits = RandomState::new().hash_one(0u8) >> 32;
    f64::from(u32::try_from(bits).unwrap_or(0)) / f64::from(u32::MAX)
}

/// A repository around a repository that repeats what may succeed later
/// ([`Error::is_retryable`](crate::Error::is_retryable)).
///
/// * A put whose answer was lost is repeated: the same bytes to the same name. One that must not replace anything is
///   looked for first: what is there with these bytes is taken as its own.
/// * A body that breaks, or ends short of its length, goes on with a range request from where it stopped.
/// * A listing that breaks is begun anew; what was told already is not told again.
/// * An upload of up to 8 MiB is kept and sent anew where a part or its end fails; a longer one fails, unless its
///   repository repeats parts itself.
#[derive(Debug, Clone)]
pub struct Retrying {
    inner: Arc<dyn Repository>,
    policy: RetryPolicy,
}

impl Retrying {
    /// Repeats calls to `inner`.
    pub fn new(inner: Arc<dyn Repository>, policy: RetryPolicy) -> Self {
        Self { inner, policy }
    }

    fn tries(&self) -> Tries {
        Tries::new(self.policy)
    }

    async fn again<T, F>(&self, mut call: impl FnMut() -> F) -> Result<T>
    where
        F: Future<Output = Result<T>>,
    {
        let mut tries = self.tries();
        loop {
            match call().await {
                Ok(done) => return Ok(done),
                Err(error) => tries.after(error).await?,
            }
        }
    }

    async fn create_only(&self, key: &ObjectKey, data: Bytes) -> Result<()> {
        let mut tries = self.tries();
        let mut answer_lost = false;
        loop {
            let error = match self.create_once(key, &data, answer_lost).await {
                Ok(()) => return Ok(()),
                Err(error) => error,
            };
            // An error of the look before the try tells nothing of the put: the answer stays lost.
            answer_lost = true;
            tries.after(error).await?;
        }
    }

    async fn create_once(&self, key: &ObjectKey, data: &Bytes, answer_lost: bool) -> Result<()> {
        let exists = || Error::new(ErrorKind::AlreadyExists, "put object").on(key);
        if answer_lost {
            match self.holds(key, data).await? {
                Some(true) => return Ok(()),
                Some(false) => return Err(exists()),
                None => {}
            }
        }
        let put = self.inner.put(key, data.clone(), PutMode::CreateOnly).await;
        match put {
            // The put whose answer was lost may arrive after the look.
            Err(e) if answer_lost && e.is(ErrorKind::AlreadyExists) => {
                match self.holds(key, data).await? {
                    Some(true) => Ok(()),
                    _ => Err(e),
                }
            }
            other => other,
        }
    }

    /// Whether the object has these bytes; `None` where it is not there.
    async fn holds(&self, key: &ObjectKey, data: &Bytes) -> Result<Option<bool>> {
        let mut download = match self.inner.get(key, None).await {
            Ok(download) => download,
            Err(e) if e.is(ErrorKind::NotFound) => return Ok(None),
            Err(e) => return Err(e),
        };
        let mut rest = data.clone();
        while let Some(piece) = download.body.try_next().await? {
            if !rest.starts_with(&piece) {
                return Ok(Some(false));
            }
            rest = rest.split_off(piece.len());
        }
        Ok(Some(rest.is_empty()))
    }
}

#[async_trait]
impl Repository for Retrying {
    fn limits(&self) -> Limits {
        self.inner.limits().with_retries(true)
    }

    fn layout(&self) -> Layout {
        self.inner.layout()
    }

    fn describe(&self) -> String {
        self.inner.describe()
    }

    async fn account(&self) -> Result<Option<String>> {
        self.again(|| self.inner.account()).await
    }

    async fn containers(&self) -> Result<BoxStream<ContainerName>> {
        let first = self.again(|| self.inner.containers()).await?;
        let this = self.clone();
        let anew = move || {
            let this = this.clone();
            async move { this.inner.containers().await }
        };
        Ok(listing::resumed(
            first,
            self.tries(),
            anew,
            ContainerName::as_str,
        ))
    }

    async fn ensure_container(&self, container: &ContainerName) -> Result<()> {
        self.again(|| self.inner.ensure_container(container)).await
    }

    async fn put(&self, key: &ObjectKey, data: Bytes, mode: PutMode) -> Result<()> {
        match mode {
            PutMode::Overwrite => self.again(|| self.inner.put(key, data.clone(), mode)).await,
            PutMode::CreateOnly => self.create_only(key, data).await,
        }
    }

    async fn begin(&self, key: &ObjectKey, size_hint: Option<u64>) -> Result<Box<dyn Upload>> {
        let first = self.again(|| self.inner.begin(key, size_hint)).await?;
        Ok(upload::repeated(
            self.clone(),
            key.clone(),
            size_hint,
            first,
        ))
    }

    async fn get(&self, key: &ObjectKey, range: Option<ByteRange>) -> Result<Download> {
        let first = self.again(|| self.inner.get(key, range)).await?;
        Ok(body::resumed(self.clone(), key.clone(), range, first))
    }

    async fn list(
        &self,
        container: &ContainerName,
        prefix: &str,
        delimiter: Option<char>,
    ) -> Result<BoxStream<Listed>> {
        let first = self
            .again(|| self.inner.list(container, prefix, delimiter))
            .await?;
        let (this, container, prefix) = (self.clone(), container.clone(), prefix.to_owned());
        let anew = move || {
            let (this, container, prefix) = (this.clone(), container.clone(), prefix.clone());
            async move { this.inner.list(&container, &prefix, delimiter).await }
        };
        Ok(listing::resumed(first, self.tries(), anew, |l: &Listed| {
            &l.name
        }))
    }

    async fn copy(&self, from: &ObjectKey, to: &ObjectKey) -> Result<()> {
        self.again(|| self.inner.copy(from, to)).await
    }

    async fn delete(&self, keys: &[ObjectKey]) -> Vec<Result<()>> {
        let mut results = self.inner.delete(keys).await;
        let mut tries = self.tries();
        loop {
            let again: Vec<usize> = (0..results.len().min(keys.len()))
                .filter(|&i| matches!(&results[i], Err(e) if e.is_retryable()))
                .collect();
            let Some(&first) = again.first() else {
                return results;
            };
            // The first error decides on the wait; where there is no further try, it goes back to its place.
            let Err(error) = std::mem::replace(&mut results[first], Ok(())) else {
                return results;
            };
            if let Err(error) = tries.after(error).await {
                results[first] = Err(error);
                return results;
            }
            let left: Vec<ObjectKey> = again.iter().map(|&i| keys[i].clone()).collect();
            for (i, result) in again.into_iter().zip(self.inner.delete(&left).await) {
                results[i] = result;
            }
        }
    }

    async fn barrier(&self, container: &ContainerName) -> Result<()> {
        self.again(|| self.inner.barrier(container)).await
    }

    async fn leftovers(&self, container: Option<&ContainerName>) -> Result<BoxStream<Leftover>> {
        // A listing that breaks is the caller's to begin anew: its items have no name of their own to tell them apart by.
        self.again(|| self.inner.leftovers(container)).await
    }

    async fn remove_leftover(&self, leftover: &Leftover) -> Result<()> {
        self.again(|| self.inner.remove_leftover(leftover)).await
    }

    async fn clear_leftovers(&self, container: &ContainerName, prefix: &str) -> Result<()> {
        self.again(|| self.inner.clear_leftovers(container, prefix))
            .await
    }
}

#[cfg(test)]
mod tests;
