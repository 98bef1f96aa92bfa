//! What is mounted, as the kernel tells in /proc/self/mountinfo.

use std::ffi::OsString;
use std::io;
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};

/// A mount as its line tells it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Mount {
    /// Where it is mounted.
    pub(super) point: PathBuf,
    /// `nfs`, `nfs4`, `ext4` ...
    pub(super) kind: String,
    /// The share, as it was given.
    pub(super) source: String,
}

impl Mount {
    pub(super) fn is_nfs(&self) -> bool {
        matches!(self.kind.as_str(), "nfs" | "nfs4")
    }

    /// Whether it may be of this share: the same export, where slashes at the end and several in a row mean nothing. The
    /// server's name says nothing: the kernel finds out that two names or addresses are one server, and tells the one that
    /// was mounted first for all of its mounts.
    pub(super) fn may_be(&self, share: &str) -> bool {
        parts(&self.source) == parts(share)
    }
}

/// The folders of a share's export.
fn parts(share: &str) -> Vec<&str> {
    let export = share.split_once(":/").map_or("", |(_, export)| export);
    export.split('/').filter(|part| !part.is_empty()).collect()
}

/// What is mounted at `point`; of several mounts on each other the topmost.
pub(super) fn at(point: &Path) -> io::Result<Option<Mount>> {
    let table = std::fs::read("/proc/self/mountinfo")?;
    Ok(find(&table, point))
}

fn find(table: &[u8], point: &Path) -> Option<Mount> {
    // A later line lies on an earlier one.
    table
        .split(|byte| *byte == b'\n')
        .filter_map(parse)
        .rfind(|mount| mount.point == point)
}

/// Reads `36 35 98:0 /mnt1 /mnt2 rw,noatime master:1 - ext3 /dev/root rw,errors=continue`: any number of fields stands
/// before the lone hyphen.
fn parse(line: &[u8]) -> Option<Mount> {
    let mut fields = line.split(|byte| *byte == b' ');
    let point = fields.nth(4)?;
    let mut behind = fields.skip_while(|field| *field != b"-").skip(1);
    let kind = behind.next()?;
    let source = behind.next()?;
    let text = |field| String::from_utf8_lossy(&unescaped(field)).into_owned();
    Some(Mount {
        point: OsString::from_vec(unescaped(point)).into(),
        kind: text(kind),
        source: text(source),
    })
}

/// Space, tab, newline and backslash stand there as a backslash and three octal digits.
fn unescaped(field: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(field.len());
    let mut rest = field;
    while let Some((&first, behind)) = rest.split_first() {
        let code = (first == b'\\')
            .then(|| behind.first_chunk::<3>())
            .flatten()
            .and_then(|digits| octal(*digits));
        if let Some(byte) = code {
            out.push(byte);
            rest = &behind[3..];
        } else {
            out.push(first);
            rest = behind;
        }
    }
    out
}

fn octal(digits: [u8; 3]) -> Option<u8> {
    let mut value = 0u32;
    for digit in digits {
        if !(b'0'..=b'7').contains(&digit) {
            return None;
        }
        value = value * 8 + u32::from(digit - b'0');
    }
    u8::try_from(value).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    const TABLE: &[u8] = b"\
22 1 254:0 / / rw,relatime shared:1 - ext4 /dev/vda1 rw\n\
30 22 0:50 / /mnt/with\\040space\\134and\\011tab rw - nfs4 nas:/a\\040b rw,vers=4.2\n\
31 22 0:51 / /mnt/a rw shared:2 master:3 propagate_from:4 - nfs [2001:db8::1]:/export/ rw,vers=3\n\
32 22 0:52 / /mnt/b rw - nfs4 nas:/old rw\n\
33 32 0:53 / /mnt/b rw - nfs4 nas:/new rw\n\
nonsense\n";

    fn found(point: &str) -> Option<Mount> {
        find(TABLE, Path::new(point))
    }

    #[test]
    fn a_mount_is_found_by_its_point_with_escapes_and_any_number_of_fields() {
        let mount = found("/mnt/with space\\and\ttab").unwrap();
        assert_eq!(
            (mount.kind.as_str(), mount.source.as_str()),
            ("nfs4", "nas:/a b")
        );
        let mount = found("/mnt/a").unwrap();
        assert!(mount.is_nfs() && mount.may_be("[2001:db8::1]:/export"));
        assert!(!found("/").unwrap().is_nfs());
        assert_eq!(found("/mnt"), None);
    }

    #[test]
    fn of_mounts_on_each_other_the_topmost_counts() {
        let mount = found("/mnt/b").unwrap();
        assert!(mount.may_be("nas:/new") && !mount.may_be("nas:/old"));
    }

    #[test]
    fn slashes_and_another_name_of_the_server_make_no_other_export() {
        let mount = |source: &str| Mount {
            point: "/x".into(),
            kind: "nfs".into(),
            source: source.into(),
        };
        for (source, share, same) in [
            ("127.0.0.1:/a", "[::1]:/a", true),
            ("nas:/a//b/", "nas:/a/b", true),
            ("nas:/", "nas:/", true),
            ("nas:/A", "nas:/a", false),
            ("nas:/a", "nas:/", false),
            ("nas:/a/b", "nas:/a", false),
        ] {
            assert_eq!(mount(source).may_be(share), same, "{source} {share}");
        }
    }

    #[test]
    fn what_only_looks_like_an_escape_stays() {
        assert_eq!(unescaped(br"a\09b\1"), br"a\09b\1");
        assert_eq!(unescaped(br"\040\777"), br" \777");
    }

    #[test]
    fn the_running_kernels_own_table_has_the_root() {
        assert!(at(Path::new("/")).unwrap().is_some());
    }
}
