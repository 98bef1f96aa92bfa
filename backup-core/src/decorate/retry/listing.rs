//! A listing that is begun anew where it breaks.

use std::collections::HashSet;
use std::hash::{BuildHasher, RandomState};

use futures::TryStreamExt;

use super::Tries;
use crate::error::Result;
use crate::repository::BoxStream;

struct Listing<T, A> {
    items: Option<BoxStream<T>>,
    tries: Tries,
    anew: A,
    name: fn(&T) -> &str,
    told: Told,
}

/// The names that were told, as two hashes each: 16 bytes a name, and two names alike once in 2^128.
#[derive(Default)]
struct Told {
    names: HashSet<(u64, u64)>,
    hashers: (RandomState, RandomState),
}

impl Told {
    /// Whether it is told for the first time.
    fn first(&mut self, name: &str) -> bool {
        let hashes = (self.hashers.0.hash_one(name), self.hashers.1.hash_one(name));
        self.names.insert(hashes)
    }
}

/// Makes `first` go on where it breaks: begun anew by `anew`, told by `name`.
pub(super) fn resumed<T, A, F>(
    first: BoxStream<T>,
    tries: Tries,
    anew: A,
    name: fn(&T) -> &str,
) -> BoxStream<T>
where
    T: Send + 'static,
    A: FnMut() -> F + Send + 'static,
    F: Future<Output = Result<BoxStream<T>>> + Send + 'static,
{
    let listing = Listing {
        items: Some(first),
        tries,
        anew,
        name,
        told: Told::default(),
    };
    Box::pin(futures::stream::try_unfold(listing, |mut l| async move {
        Ok(l.next().await?.map(|item| (item, l)))
    }))
}

impl<T, A, F> Listing<T, A>
where
    A: FnMut() -> F,
    F: Future<Output = Result<BoxStream<T>>>,
{
    async fn next(&mut self) -> Result<Option<T>> {
        loop {
            match self.step().await {
                Ok(Some(item)) => {
                    if self.told.first((self.name)(&item)) {
                        self.tries.progress();
                        return Ok(Some(item));
                    }
                }
                Ok(None) => return Ok(None),
                Err(error) => {
                    self.items = None;
                    self.tries.after(error).await?;
                }
            }
        }
    }

    async fn step(&mut self) -> Result<Option<T>> {
        let items = match self.items.take() {
            Some(items) => items,
            None => (self.anew)().await?,
        };
        self.items.insert(items).try_next().await
    }
}
