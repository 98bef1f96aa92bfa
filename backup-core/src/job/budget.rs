use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::error::{Error, Result};

/// Accounting unit in bytes: a semaphore counts in 32 bits, so bytes would end at 4 GiB.
const UNIT: u64 = 4096;

/// Memory that jobs may hold at once, first come first served.
///
/// It counts, it does not allocate. A holder acquires all that it may need at once and never asks for more while it
/// holds some: so nobody waits for itself.
#[derive(Debug, Clone)]
pub struct MemoryBudget {
    semaphore: Arc<Semaphore>,
    total: u64,
}

/// A part of the budget; it goes back when this is dropped.
#[derive(Debug)]
pub struct MemoryPermit {
    permit: OwnedSemaphorePermit,
}

fn units(bytes: u64) -> u32 {
    u32::try_from(bytes.div_ceil(UNIT)).unwrap_or(u32::MAX)
}

impl MemoryBudget {
    /// A budget of `bytes` (rounded up to 4 KiB; 8 TiB at most).
    pub fn new(bytes: u64) -> Self {
        let total = units(bytes).min(u32::MAX >> 1);
        Self {
            semaphore: Arc::new(Semaphore::new(total as usize)),
            total: u64::from(total) * UNIT,
        }
    }

    /// All of it, in bytes.
    pub fn total(&self) -> u64 {
        self.total
    }

    /// What is free now, in bytes.
    pub fn free(&self) -> u64 {
        self.semaphore.available_permits() as u64 * UNIT
    }

    /// Waits for `bytes`.
    ///
    /// # Errors
    /// [`InvalidInput`](crate::ErrorKind::InvalidInput) where it can never be had.
    pub async fn acquire(&self, bytes: u64) -> Result<MemoryPermit> {
        self.check(bytes)?;
        let permit = Arc::clone(&self.semaphore)
            .acquire_many_owned(units(bytes))
            .await
            .map_err(|e| Error::internal("acquire memory", e.to_string()))?;
        Ok(MemoryPermit { permit })
    }

    /// `bytes` if they are free now and nobody waits for some.
    ///
    /// # Errors
    /// [`InvalidInput`](crate::ErrorKind::InvalidInput) where it can never be had.
    pub fn try_acquire(&self, bytes: u64) -> Result<Option<MemoryPermit>> {
        self.check(bytes)?;
        Ok(Arc::clone(&self.semaphore)
            .try_acquire_many_owned(units(bytes))
            .ok()
            .map(|permit| MemoryPermit { permit }))
    }

    fn check(&self, bytes: u64) -> Result<()> {
        if bytes > self.total {
            return Err(Error::invalid(
                "acquire memory",
                format!(
                    "{bytes} bytes are needed at once and the budget is {} bytes",
                    self.total
                ),
            )
            .hint("raise the setting `memory` or use a smaller chunk_size"));
        }
        Ok(())
    }
}

impl MemoryPermit {
    /// Gives back all but `bytes`; does nothing where it holds less.
    pub fn shrink_to(&mut self, bytes: u64) {
        let surplus = self
            .permit
            .num_permits()
            .saturating_sub(units(bytes) as usize);
        drop(self.permit.split(surplus));
    }

    /// Takes a part of `bytes` out, to be dropped on its own; `None` where it holds less.
    pub fn split(&mut self, bytes: u64) -> Option<Self> {
        let permit = self.permit.split(units(bytes) as usize)?;
        Some(Self { permit })
    }

    /// What it holds, in bytes.
    pub fn bytes(&self) -> u64 {
        self.permit.num_permits() as u64 * UNIT
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_is_given_back_can_be_taken_by_another() {
        let b = MemoryBudget::new(64 * 1024);
        let mut p = b.acquire(64 * 1024).await.unwrap();
        assert!(b.try_acquire(1).unwrap().is_none());
        p.shrink_to(32 * 1024);
        assert_eq!(b.free(), 32 * 1024);
        let part = p.split(4096).unwrap();
        assert_eq!((part.bytes(), p.bytes()), (4096, 28 * 1024));
        drop((p, part));
        assert_eq!(b.free(), b.total());
        assert!(b.acquire(64 * 1024 + 1).await.is_err());
    }
}
