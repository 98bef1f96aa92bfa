//! Which block devices are mounted, from `/proc/self/mountinfo` (its fields: proc_pid_mountinfo(5)).

use std::fs;
use std::path::{Path, PathBuf};

use backup_core::error::{Error, Result};

const MOUNTINFO: &str = "/proc/self/mountinfo";

/// A mounted filesystem of a block device.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Mount {
    pub(crate) point: PathBuf,
    /// Whether the filesystem itself is open for writing, whatever this mount point allows.
    pub(crate) writable: bool,
}

/// Where the block device `major:minor` is mounted: the first writable mount, else the first.
///
/// Filesystems over several devices (btrfs) show a number of their own there; opening with `O_EXCL` finds those.
pub(crate) fn mount_of(major: u32, minor: u32) -> Result<Option<Mount>> {
    let text = fs::read(MOUNTINFO).map_err(|e| Error::io("read mounts", MOUNTINFO, e))?;
    Ok(find(&String::from_utf8_lossy(&text), major, minor))
}

fn find(mountinfo: &str, major: u32, minor: u32) -> Option<Mount> {
    let device = format!("{major}:{minor}");
    let mut mounts: Vec<Mount> = mountinfo
        .lines()
        .filter_map(|line| {
            let (mount, filesystem) = line.split_once(" - ")?;
            let mut mount = mount.split(' ').skip(2);
            let of_device = mount.next()? == device;
            let point = mount.nth(1)?;
            let options = filesystem.split(' ').nth(2).unwrap_or("rw");
            of_device.then(|| Mount {
                point: Path::new(&unescape(point)).to_owned(),
                writable: options.split(',').any(|o| o == "rw"),
            })
        })
        .collect();
    mounts.sort_by_key(|m| !m.writable);
    mounts.into_iter().next()
}

/// Space, tab, newline and backslash are written there as `\` and three octal digits.
fn unescape(field: &str) -> String {
    [
        ("\\040", " "),
        ("\\011", "\t"),
        ("\\012", "\n"),
        ("\\134", "\\"),
    ]
    .into_iter()
    .fold(field.to_owned(), |text, (code, character)| {
        text.replace(code, character)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const SAMPLE: &str = "\
22 27 0:21 / /proc rw,relatime - proc proc rw
27 1 254:0 / / rw,relatime - ext4 /dev/vda rw,discard
40 27 7:1 / /mnt/my\\040disk ro,relatime shared:1 - ext4 /dev/loop1 ro,errors=continue
41 27 7:2 / /a rw - xfs /dev/loop2 ro
42 27 7:2 / /b ro - xfs /dev/loop2 rw
";

    #[test]
    fn a_mounted_device_is_found_by_its_numbers() {
        let root = find(SAMPLE, 254, 0).unwrap();
        assert_eq!((root.point, root.writable), (PathBuf::from("/"), true));
        let disk = find(SAMPLE, 7, 1).unwrap();
        assert_eq!(disk.point, PathBuf::from("/mnt/my disk"));
        assert!(!disk.writable);
        assert_eq!(find(SAMPLE, 7, 11), None);
        assert_eq!(find(SAMPLE, 54, 0), None);
    }

    #[test]
    fn a_writable_mount_counts_before_a_read_only_one() {
        assert_eq!(find(SAMPLE, 7, 2).unwrap().point, PathBuf::from("/b"));
    }
}
