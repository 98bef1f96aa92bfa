//! The rules against a filesystem that answers as servers do whose answers are lost.

use std::collections::VecDeque;
use std::sync::Mutex;

use backup_posix::LocalFiles;

use super::*;

/// What happens to a call.
#[derive(Clone, Copy, Debug)]
enum Fate {
    /// It is not done, and this is the answer.
    Refused(Errno),
    /// It is done, and this is the answer.
    Done(Errno),
    /// It is done and told.
    Well,
}

/// A folder of the disk whose calls have the fates that a test gives them, then none.
#[derive(Debug, Default)]
struct Shaky {
    fates: Mutex<VecDeque<(&'static str, Fate)>>,
    calls: Mutex<Vec<&'static str>>,
}

impl Shaky {
    fn meets<T>(&self, call: &'static str, act: impl FnOnce() -> io::Result<T>) -> io::Result<T> {
        self.calls.lock().unwrap().push(call);
        let mut fates = self.fates.lock().unwrap();
        let fate = match fates.front() {
            Some((on, _)) if *on == call => fates.pop_front().map_or(Fate::Well, |(_, fate)| fate),
            _ => Fate::Well,
        };
        drop(fates);
        match fate {
            Fate::Well => act(),
            Fate::Refused(errno) => Err(errno.into()),
            Fate::Done(errno) => {
                let _done = act();
                Err(errno.into())
            }
        }
    }

    fn count(&self, call: &str) -> usize {
        self.calls
            .lock()
            .unwrap()
            .iter()
            .filter(|c| **c == call)
            .count()
    }
}

impl FileSystem for Shaky {
    fn look(&self, path: &Path) -> io::Result<Metadata> {
        self.meets("look", || LocalFiles.look(path))
    }
    fn entries(&self, path: &Path) -> io::Result<ReadDir> {
        self.meets("entries", || LocalFiles.entries(path))
    }
    fn open(&self, path: &Path) -> io::Result<File> {
        self.meets("open", || LocalFiles.open(path))
    }
    fn create(&self, path: &Path, mode: u32) -> io::Result<File> {
        self.meets("create", || LocalFiles.create(path, mode))
    }
    fn make_folder(&self, path: &Path, mode: Option<u32>) -> io::Result<()> {
        self.meets("make_folder", || LocalFiles.make_folder(path, mode))
    }
    fn remove_file(&self, path: &Path) -> io::Result<()> {
        self.meets("remove_file", || LocalFiles.remove_file(path))
    }
    fn rename(&self, file: &File, from: &Path, to: &Path) -> io::Result<()> {
        self.meets("rename", || LocalFiles.rename(file, from, to))
    }
}

struct Share {
    folder: tempfile::TempDir,
    files: NfsFiles<Shaky>,
}

impl Share {
    fn new(fates: &[(&'static str, Fate)]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path().metadata().unwrap();
        let shaky = Shaky::default();
        shaky.fates.lock().unwrap().extend(fates);
        Self {
            files: NfsFiles::new(shaky, folder.path(), root.dev(), root.gid()),
            folder,
        }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn write(&self, name: &str) -> PathBuf {
        let path = self.path(name);
        std::fs::write(&path, name).unwrap();
        path
    }

    fn mode(&self, name: &str) -> u32 {
        self.path(name).metadata().unwrap().mode() & 0o7777
    }
}

#[test]
fn what_is_said_not_to_be_there_is_looked_at_again_once_after_its_folder() {
    let share = Share::new(&[("open", Fate::Refused(Errno::NOENT))]);
    let path = share.write("object");
    share.files.open(&path).unwrap();
    let calls = share.files.inner.calls.lock().unwrap().clone();
    assert_eq!(calls, ["open", "entries", "open"]);

    let share = Share::new(&[]);
    let missing = share.files.open(&share.path("missing")).unwrap_err();
    assert_eq!(missing.kind(), io::ErrorKind::NotFound);
    assert_eq!(share.files.inner.count("open"), 2);
}

#[test]
fn a_delete_that_finds_nothing_looks_twice_before_it_says_so() {
    let share = Share::new(&[("remove_file", Fate::Refused(Errno::NOENT))]);
    let path = share.write("object");
    share.files.remove_file(&path).unwrap();
    assert!(!path.exists());
}

#[test]
fn a_stale_name_is_looked_up_anew_but_not_for_ever() {
    let stale = ("look", Fate::Refused(Errno::STALE));
    let share = Share::new(&[stale; 3]);
    let path = share.write("object");
    share.files.look(&path).unwrap();
    assert_eq!(share.files.inner.count("look"), 4);

    let share = Share::new(&[stale; 9]);
    let error = share.files.look(&share.write("object")).unwrap_err();
    assert!(is_stale(&error));
    assert_eq!(share.files.inner.count("look"), 4);
}

/// Renames `new` to `named`, where another file is, with these fates of the call.
fn rename(fates: &[Fate]) -> (Share, io::Result<()>) {
    let fates: Vec<_> = fates.iter().map(|fate| ("rename", *fate)).collect();
    let share = Share::new(&fates);
    let (from, to) = (share.write("new"), share.write("named"));
    let file = File::open(&from).unwrap();
    let result = share.files.rename(&file, &from, &to);
    (share, result)
}

#[test]
fn a_rename_whose_answer_was_lost_has_happened() {
    // The server did it, and of the repeated request it says that the file is not there; twice, as it is asked twice.
    for errno in [Errno::NOENT, Errno::TIMEDOUT, Errno::IO, Errno::STALE] {
        let (share, result) = rename(&[Fate::Done(errno)]);
        result.unwrap_or_else(|e| panic!("{errno}: {e}"));
        assert_eq!(std::fs::read(share.path("named")).unwrap(), b"new");
    }
}

#[test]
fn a_rename_that_did_not_happen_is_an_error() {
    for errno in [Errno::TIMEDOUT, Errno::IO, Errno::ACCESS, Errno::NOSPC] {
        let (share, result) = rename(&[Fate::Refused(errno)]);
        assert_eq!(Errno::from_io_error(&result.unwrap_err()), Some(errno));
        assert_eq!(std::fs::read(share.path("named")).unwrap(), b"named");
    }
    // Another file of that name is no proof.
    let (share, _) = rename(&[]);
    let other = File::open(share.write("other")).unwrap();
    std::fs::remove_file(share.path("other")).unwrap();
    let renamed = share
        .files
        .rename(&other, &share.path("other"), &share.path("named"));
    assert_eq!(renamed.unwrap_err().kind(), io::ErrorKind::NotFound);
}

#[test]
fn a_delete_whose_answer_was_lost_has_happened_and_one_that_failed_has_not() {
    for errno in [Errno::TIMEDOUT, Errno::IO] {
        let share = Share::new(&[("remove_file", Fate::Done(errno))]);
        share.files.remove_file(&share.write("object")).unwrap();
        let share = Share::new(&[("remove_file", Fate::Refused(errno))]);
        let path = share.write("object");
        assert!(share.files.remove_file(&path).is_err() && path.exists());
    }
}

#[test]
fn a_folder_whose_making_was_repeated_is_made_and_gets_its_mode() {
    for errno in [Errno::EXIST, Errno::TIMEDOUT, Errno::IO] {
        let share = Share::new(&[("make_folder", Fate::Done(errno))]);
        share
            .files
            .make_folder(&share.path("c"), Some(0o770))
            .unwrap();
        assert_eq!(share.mode("c"), 0o770, "{errno}");
    }
    let share = Share::new(&[("make_folder", Fate::Refused(Errno::TIMEDOUT))]);
    let failed = share.files.make_folder(&share.path("c"), Some(0o770));
    assert_eq!(failed.unwrap_err().kind(), io::ErrorKind::TimedOut);
    // A file in the way stays one.
    let share = Share::new(&[]);
    let failed = share.files.make_folder(&share.write("c"), Some(0o770));
    assert_eq!(failed.unwrap_err().kind(), io::ErrorKind::AlreadyExists);
}

#[test]
fn folders_are_open_to_the_group_and_hand_it_down() {
    let share = Share::new(&[]);
    let set = |name: &str, mode| {
        std::fs::set_permissions(share.path(name), Permissions::from_mode(mode)).unwrap();
    };
    share.files.make_folder(&share.path("ab"), None).unwrap();
    assert_eq!(
        share.mode("ab") & 0o770,
        0o770,
        "the umask does not shut the group out"
    );
    set("ab", 0o2770);
    share
        .files
        .make_folder(&share.path("ab/c"), Some(0o770))
        .unwrap();
    assert_eq!(share.mode("ab/c"), 0o2770, "a bit that was inherited stays");
}

#[test]
fn what_is_made_gets_the_roots_group() {
    if !rustix::process::geteuid().is_root() {
        return;
    }
    let mut share = Share::new(&[]);
    share.files.group = 4242;
    share
        .files
        .make_folder(&share.path("c"), Some(0o770))
        .unwrap();
    let file = share.files.create(&share.path("c/object"), 0o660).unwrap();
    assert_eq!(file.metadata().unwrap().gid(), 4242);
    assert_eq!(share.path("c").metadata().unwrap().gid(), 4242);
    assert_eq!(share.mode("c/object"), 0o660);
}

#[test]
fn nothing_is_made_where_the_share_is_not_mounted_any_more() {
    let mut share = Share::new(&[]);
    share.files.device += 1;
    let error = share
        .files
        .create(&share.path("object"), 0o660)
        .unwrap_err();
    assert!(error.to_string().contains("no longer mounted"), "{error}");
    assert!(share.files.make_folder(&share.path("c"), None).is_err());
    assert_eq!(share.folder.path().read_dir().unwrap().count(), 0);
}

#[test]
fn what_the_client_keeps_of_removed_files_is_no_object() {
    let share = Share::new(&[]);
    assert!(share.files.hides(".nfs0000000000a3f1c200000001"));
    for object in [".nfs", ".nfs-object", "volume_1", ".nfszzzzzzzzzzzzzzzz"] {
        assert!(!share.files.hides(object), "{object}");
    }
}
