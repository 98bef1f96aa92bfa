//! How much memory jobs may take, where nothing is set.

use backup_core::{Error, Result};

use super::print_size;

/// What a process takes besides the chunks, at least: 64 MiB.
const FIXED: u64 = 64 << 20;

/// The budget in bytes: what is set, else max(256 MiB, (cores + 1) x 2 x chunk), at most a quarter of the RAM.
///
/// # Errors
/// [`InvalidInput`](backup_core::ErrorKind::InvalidInput) where it is less than a writer needs: two chunks and 64 MiB.
pub(crate) fn budget(set: Option<u64>, chunk: u64, cores: u64, ram: Option<u64>) -> Result<u64> {
    let needed = chunk.saturating_mul(2).saturating_add(FIXED);
    let bytes = set.unwrap_or_else(|| {
        let wanted = (256 << 20).max((cores + 1).saturating_mul(2).saturating_mul(chunk));
        // A small machine still gets what one chunk needs.
        wanted
            .min(ram.map_or(u64::MAX, |r| r / 4))
            .max(needed.min(256 << 20))
    });
    if bytes < needed {
        return Err(Error::invalid(
            "set the memory budget",
            format!(
                "{} are less than the {} that chunks of {} need (two chunks and 64 MiB)",
                print_size(bytes),
                print_size(needed),
                print_size(chunk)
            ),
        )
        .hint("raise backup.memory or lower backup.chunk_size"));
    }
    Ok(bytes)
}

/// RAM of this machine in bytes, as far as the kernel tells.
pub(crate) fn ram() -> Option<u64> {
    let text = std::fs::read_to_string("/proc/meminfo").ok()?;
    let line = text.lines().find_map(|l| l.strip_prefix("MemTotal:"))?;
    let kib: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    kib.checked_mul(1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: u64 = 1 << 20;

    #[test]
    fn the_default_grows_with_cores_and_chunks_and_ends_at_a_quarter_of_the_ram() {
        assert_eq!(budget(None, 8 * MIB, 2, Some(24 << 30)).unwrap(), 256 * MIB);
        assert_eq!(
            budget(None, 50 * MIB, 2, Some(24 << 30)).unwrap(),
            300 * MIB
        );
        assert_eq!(
            budget(None, 50 * MIB, 64, Some(8 << 30)).unwrap(),
            2048 * MIB
        );
        assert_eq!(budget(None, 8 * MIB, 2, None).unwrap(), 256 * MIB);
    }

    #[test]
    fn a_budget_below_two_chunks_is_refused_with_what_to_do() {
        let e = budget(Some(100 * MIB), 50 * MIB, 2, None).unwrap_err();
        assert!(e.to_string().contains("164.00 MiB"), "{e}");
        assert!(e.hint_text().unwrap().contains("chunk_size"));
    }

    #[test]
    fn the_kernel_tells_the_ram() {
        assert!(ram().is_none_or(|bytes| bytes > 64 * MIB));
    }
}
