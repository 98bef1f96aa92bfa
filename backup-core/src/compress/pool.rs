//! Working memory of codecs, kept between calls.

use std::fmt;
use std::sync::{Mutex, PoisonError};

/// Contexts that are free to be used. Holds as many as were in use at the same time, so at most one a CPU thread.
pub(super) struct Pool<T>(Mutex<Vec<T>>);

impl<T> Pool<T> {
    pub(super) fn new() -> Self {
        Self(Mutex::new(Vec::new()))
    }

    /// Runs `work` with a free context, or one made by `make`. A context that `work` failed with is dropped: its state
    /// is not to be trusted.
    pub(super) fn with<R, E>(
        &self,
        make: impl FnOnce() -> Result<T, E>,
        work: impl FnOnce(&mut T) -> Result<R, E>,
    ) -> Result<R, E> {
        let free = self.lock().pop();
        let mut context = match free {
            Some(context) => context,
            None => make()?,
        };
        let result = work(&mut context)?;
        self.lock().push(context);
        Ok(result)
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Vec<T>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<T> fmt::Debug for Pool<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} free", self.lock().len())
    }
}
