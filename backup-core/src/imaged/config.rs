use crate::error::{Error, Result};

/// How backups in images are made.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct ImagedConfig {
    /// How many in a million bytes that a change source calls unchanged are read all the same and compared, in pieces of
    /// 4 MiB, to find out a tracker that misses writes.
    pub audit_per_million: u32,
}

impl ImagedConfig {
    /// One in a hundred.
    pub const AUDIT_PER_MILLION: u32 = 10_000;

    /// The defaults.
    pub fn new() -> Self {
        Self {
            audit_per_million: Self::AUDIT_PER_MILLION,
        }
    }

    /// Audits this many in a million bytes (0: nothing, `1_000_000`: everything).
    pub fn with_audit(mut self, per_million: u32) -> Self {
        self.audit_per_million = per_million;
        self
    }

    pub(crate) fn check(&self) -> Result<()> {
        if self.audit_per_million > 1_000_000 {
            return Err(Error::invalid(
                "configure",
                format!(
                    "an audit of {} in a million is more than all",
                    self.audit_per_million
                ),
            ));
        }
        Ok(())
    }
}

impl Default for ImagedConfig {
    fn default() -> Self {
        Self::new()
    }
}
