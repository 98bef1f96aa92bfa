//! How files and folders of the layout look, for other clients of the same files: what Cinder's drivers expect of modes,
//! and the names of our temporary files.

use uuid::Uuid;

/// Mode of every object, whatever the umask: Cinder's.
pub const FILE_MODE: u32 = 0o660;
/// Mode of the last folder of a container that was made, whatever the umask: Cinder's.
pub const FOLDER_MODE: u32 = 0o770;

const TEMPORARY_START: &str = ".ashlar-";
const TEMPORARY_END: &str = ".tmp";

/// A new name for a temporary file that is to become `name`, beside it.
pub fn temporary_name(name: &str) -> String {
    format!(
        "{TEMPORARY_START}{}{}",
        Uuid::new_v4().simple(),
        temporary_end(name)
    )
}

/// Whether a file's name is that of a temporary file of ours. Listings hide those, and no object may be named so.
pub fn is_temporary(name: &str) -> bool {
    name.strip_prefix(TEMPORARY_START)
        .and_then(|rest| rest.strip_suffix(TEMPORARY_END))
        .is_some_and(|rest| {
            rest.len() == 32 + 1 + 16 && rest.bytes().all(|b| b.is_ascii_hexdigit() || b == b'-')
        })
}

/// Whether `temporary` was to become the object whose last part of the name is `name`.
pub fn is_temporary_of(temporary: &str, name: &str) -> bool {
    is_temporary(temporary) && temporary.ends_with(temporary_end(name).as_str())
}

/// The end of the names of temporary files that are to become `name`: a delete of `name` finds them by it. A hash,
/// since the name itself may be as long as a name can be.
fn temporary_end(name: &str) -> String {
    let hash = name.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3) // FNV-1a
    });
    format!("-{hash:016x}{TEMPORARY_END}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_our_own_temporary_names_are_taken_for_temporary() {
        let ours = temporary_name("volume_1_metadata");
        assert!(is_temporary(&ours));
        for other in [".ashlar-.tmp", ".ashlar-x.tmp", "volume_1", ".hidden.tmp"] {
            assert!(!is_temporary(other), "{other}");
        }
        assert!(is_temporary_of(&ours, "volume_1_metadata"));
        assert!(!is_temporary_of(&ours, "volume_1"));
    }
}
