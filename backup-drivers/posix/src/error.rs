//! The operating system's errors as a repository tells them.

use std::fmt::Display;
use std::io;
use std::path::Path;

use backup_core::{Error, ErrorKind};
use rustix::io::Errno;

/// An error on `path`.
pub(crate) fn on_path(operation: &'static str, path: &Path, error: io::Error) -> Error {
    let target = path.display();
    match Errno::from_io_error(&error) {
        Some(Errno::NAMETOOLONG) => {
            Error::invalid(operation, "the name is too long for that filesystem")
                .on(target)
                .caused_by(error)
        }
        // A mount whose export came back as another one; the next call finds the new one.
        Some(Errno::STALE) => Error::new(ErrorKind::Unavailable, operation)
            .on(target)
            .caused_by(error),
        Some(Errno::ISDIR) => Error::new(ErrorKind::Conflict, operation)
            .on(target)
            .because("a folder of that name is in the way"),
        Some(Errno::NOTDIR) => Error::new(ErrorKind::Conflict, operation)
            .on(target)
            .because("a file is in the way where a folder should be"),
        _ => Error::io(operation, target, error),
    }
}

/// Whether it says that the file, or a folder on the way to it, is not there.
pub(crate) fn is_missing(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::NotFound | io::ErrorKind::NotADirectory
    )
}

/// An object that is not there.
pub(crate) fn missing(operation: &'static str, path: impl Display) -> Error {
    Error::new(ErrorKind::NotFound, operation).on(path)
}

/// Something at an object's name that is no file: a symbolic link, a pipe, a device.
pub(crate) fn no_file(operation: &'static str, path: &Path) -> Error {
    Error::corrupt(operation, path.display(), "it is not a regular file")
}
