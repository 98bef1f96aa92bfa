use std::fs::File;
use std::io::Write;
use std::os::unix::fs::FileExt;

use crate::error::{Error, Result};

/// Bytes kept in memory before they go to a temporary file.
const IN_MEMORY: usize = 1 << 20;

/// Bytes that are appended once and then read at any offset: in memory while they are few, in an unlinked temporary
/// file from then on.
///
/// Reads and writes are short and meet the page cache, so they are done in place, not on another thread.
#[derive(Debug, Default)]
pub(crate) struct Spool {
    memory: Vec<u8>, // all of it, or the tail that is not yet in the file
    file: Option<File>,
    in_file: u64, // bytes in the file
}

impl Spool {
    pub(crate) fn new() -> Self {
        Self::default()
    }

    pub(crate) fn len(&self) -> u64 {
        self.in_file + self.memory.len() as u64
    }

    pub(crate) fn append(&mut self, bytes: &[u8]) -> Result<()> {
        self.memory.extend_from_slice(bytes);
        if self.memory.len() > IN_MEMORY {
            self.spill()?;
        }
        Ok(())
    }

    fn spill(&mut self) -> Result<()> {
        let failed = |e| {
            Error::io("spool index", std::env::temp_dir().display(), e)
                .hint("free some space there, or set TMPDIR to a folder with more")
        };
        let file = match &mut self.file {
            Some(file) => file,
            none => none.insert(tempfile::tempfile().map_err(failed)?),
        };
        file.write_all(&self.memory).map_err(failed)?;
        self.in_file += self.memory.len() as u64;
        self.memory.clear();
        Ok(())
    }

    /// Fills `out` from offset `at`.
    pub(crate) fn read(&self, at: u64, out: &mut [u8]) -> Result<()> {
        let past = || Error::internal("read spool", "read past its end");
        let end = at.checked_add(out.len() as u64).ok_or_else(past)?;
        if end > self.len() {
            return Err(past());
        }
        let from_file = usize::try_from(self.in_file.saturating_sub(at))
            .unwrap_or(usize::MAX)
            .min(out.len());
        let (head, tail) = out.split_at_mut(from_file);
        if let (Some(file), false) = (&self.file, head.is_empty()) {
            file.read_exact_at(head, at)
                .map_err(|e| Error::io("read spool", std::env::temp_dir().display(), e))?;
        }
        if !tail.is_empty() {
            let from = usize::try_from(at.saturating_sub(self.in_file)).map_err(|_| past())?;
            tail.copy_from_slice(&self.memory[from..from + tail.len()]);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_appended_is_read_at_any_offset_from_memory_and_file() {
        let data: Vec<u8> = (0..3_500_000u32).map(|i| (i % 251) as u8).collect();
        let mut spool = Spool::new();
        for part in data.chunks(70_001) {
            spool.append(part).unwrap();
        }
        assert_eq!(spool.len(), data.len() as u64);
        assert!(spool.in_file > 0 && !spool.memory.is_empty());
        for (at, n) in [
            (0, 10),
            (1_000_000, 2_000_000),
            (3_400_000, 100_000),
            (3_500_000, 0),
        ] {
            let mut out = vec![0; n];
            spool.read(at as u64, &mut out).unwrap();
            assert_eq!(out, data[at..at + n]);
        }
        assert!(spool.read(3_499_999, &mut [0; 2]).is_err());
    }
}
