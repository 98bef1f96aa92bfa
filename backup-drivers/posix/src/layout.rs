//! How files and folders of the layout look, for other clients of the same files: what Cinder's drivers expect of modes,
//! and the names of our temporary files.

use uuid::Uuid;

/// Mode of every object, whatever the umask: Cinder's.
pub const FILE_MODE: u32 = 0o660;
/// Mode of the last folder of a container that was made, whatever the umask: Cinder's.
pub const FOLDER_MODE: u32 = 0o770;

const TEMPORARY_START: &str = ".ashlar-";
const TEMPORARY_END: &str = ".tmp";
/// Hexadecimal digits of what is random in a temporary name, and of the hash behind it.
const RANDOM: usize = 32;
const HASH: usize = 16;

/// The longest name that filesystems take, in bytes.
const LONGEST_NAME: usize = 255;

/// A new name for a temporary file that is to become `name`, beside it: something random, a hash of `name`, and as much
/// of `name` as a name has room for.
///
/// It does not begin as `name` does: Cinder takes every file that begins with a backup's prefix for one of its objects, and
/// refuses to restore a backup that has more of them than its metadata tells.
pub fn temporary_name(name: &str) -> String {
    let room = LONGEST_NAME - TEMPORARY_START.len() - RANDOM - 1 - HASH - 1 - TEMPORARY_END.len();
    format!(
        "{TEMPORARY_START}{}-{:016x}-{}{TEMPORARY_END}",
        Uuid::new_v4().simple(),
        hash(name),
        &name[..name.floor_char_boundary(room)]
    )
}

/// Whether a file's name is that of a temporary file of ours. Listings hide those, and no object may be named so.
pub fn is_temporary(name: &str) -> bool {
    parts(name).is_some()
}

/// Whether `temporary` was to become the object whose last part of the name is `name`.
pub fn is_temporary_of(temporary: &str, name: &str) -> bool {
    parts(temporary).is_some_and(|(hashed, _)| hashed == format!("{:016x}", hash(name)))
}

/// Whether `temporary` was to become an object the last part of whose name begins with `prefix`. Of names so long that
/// they are cut before the end of `prefix`, nobody knows it.
pub fn is_temporary_below(temporary: &str, prefix: &str) -> bool {
    parts(temporary).is_some_and(|(_, beginning)| beginning.starts_with(prefix))
}

/// The hash in a temporary name, and the beginning of the name that the file was to get.
fn parts(temporary: &str) -> Option<(&str, &str)> {
    let (random, rest) = temporary
        .strip_prefix(TEMPORARY_START)?
        .strip_suffix(TEMPORARY_END)?
        .split_once('-')?;
    let (hashed, beginning) = rest.split_once('-').unwrap_or((rest, ""));
    let is_hex =
        |text: &str, length| text.len() == length && text.bytes().all(|b| b.is_ascii_hexdigit());
    (is_hex(random, RANDOM) && is_hex(hashed, HASH)).then_some((hashed, beginning))
}

/// By which a delete of `name` finds the temporary files that were to become it: a name may be too long to be in theirs.
fn hash(name: &str) -> u64 {
    name.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3) // FNV-1a
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_our_own_temporary_names_are_taken_for_temporary() {
        let ours = temporary_name("volume_1_metadata");
        assert!(is_temporary(&ours));
        let hash = "0".repeat(16);
        let random = "0".repeat(32);
        for other in [
            ".ashlar-.tmp".to_owned(),
            ".ashlar-x.tmp".to_owned(),
            "volume_1".to_owned(),
            ".hidden.tmp".to_owned(),
            format!(".ashlar-{random}.tmp"),
            format!(".ashlar-{random}-{}-x.tmp", &hash[1..]),
            format!(".ashlar-{random}-{hash}-x"),
            format!(".ashlar-{random}0-{hash}-x.tmp"),
        ] {
            assert!(!is_temporary(&other), "{other}");
        }
        assert!(is_temporary_of(&ours, "volume_1_metadata"));
        assert!(!is_temporary_of(&ours, "volume_1"));
    }

    #[test]
    fn a_temporary_name_tells_what_it_was_to_become() {
        let ours = temporary_name("volume_1_backup_2-00001");
        for (prefix, is) in [
            ("volume_1_backup_2-", true),
            ("volume_1_backup_2-00001", true),
            ("volume_1_backup_2_", false),
            ("volume_1_backup_2-00001-", false),
            ("olume_1_backup_2-", false),
        ] {
            assert_eq!(is_temporary_below(&ours, prefix), is, "{prefix}");
        }
        assert!(!is_temporary_below("volume_1_backup_2-00001", "volume_1"));
    }

    #[test]
    fn names_of_any_length_have_temporary_names_that_fit() {
        for name in ["a".repeat(255), "\u{e4}".repeat(127), String::new()] {
            let temporary = temporary_name(&name);
            assert!(temporary.len() <= 255, "{}", temporary.len());
            assert!(is_temporary(&temporary) && is_temporary_of(&temporary, &name));
        }
        let long = "b".repeat(200);
        let temporary = temporary_name(&long);
        assert!(is_temporary_below(&temporary, &long[..193]));
        assert!(!is_temporary_below(&temporary, &long[..194]));
    }
}
