use crate::error::{Error, Result};

/// How backups in images are made.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct ImagedConfig {
    /// How many thousandths of what a change source calls unchanged are read all the same and compared, to find out a
    /// tracker that misses writes.
    pub audit: u32,
}

impl ImagedConfig {
    /// One in a hundred.
    pub const AUDIT: u32 = 10;

    /// The defaults.
    pub fn new() -> Self {
        Self { audit: Self::AUDIT }
    }

    /// Audits this many thousandths (0: nothing, 1000: everything).
    pub fn with_audit(mut self, thousandths: u32) -> Self {
        self.audit = thousandths;
        self
    }

    pub(crate) fn check(&self) -> Result<()> {
        if self.audit > 1000 {
            return Err(Error::invalid(
                "configure",
                format!("an audit of {} thousandths is more than 1000", self.audit),
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
