//! How a command can end badly, what is said then, and with which status.

use std::fmt;
use std::io::Write;
use std::process::ExitCode;

use backup_core::Error;

/// The result of a command and of its steps.
pub(crate) type Result<T, E = Failure> = std::result::Result<T, E>;

/// A command's bad end.
#[derive(Debug)]
pub(crate) enum Failure {
    /// The command line is wrong: status 2.
    Usage {
        /// What is wrong.
        message: String,
        /// What to do.
        hint: Option<String>,
    },
    /// It was tried and failed: status 1.
    Failed(Error),
    /// What failed was told already, one line each; nothing more is said: status 1.
    Told,
    /// The reader of standard output is gone. Not an error of ours; ends like a program that the signal stopped.
    BrokenPipe,
}

impl Failure {
    /// Wrong usage.
    pub(crate) fn usage(message: impl Into<String>, hint: Option<String>) -> Self {
        Self::Usage {
            message: message.into(),
            hint,
        }
    }

    /// The exit status.
    pub(crate) fn exit_status(&self) -> u8 {
        match self {
            Self::Usage { .. } => 2,
            Self::Failed(_) | Self::Told => 1,
            // What a shell reports of a program that SIGPIPE ended.
            Self::BrokenPipe => 141,
        }
    }

    /// Says what happened on standard error.
    pub(crate) fn tell(&self) {
        match self {
            Self::Usage { message, hint } => tell(message, hint.as_deref()),
            Self::Failed(error) => tell_error(error),
            Self::Told | Self::BrokenPipe => {}
        }
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self::Failed(error)
    }
}

impl From<Failure> for ExitCode {
    fn from(failure: Failure) -> Self {
        Self::from(failure.exit_status())
    }
}

/// Says `error: what failed, on what: why`, and `hint: what to do`.
pub(crate) fn tell_error(error: &Error) {
    tell(&error.to_string(), error.hint_text());
}

fn tell(message: &str, hint: Option<&str>) {
    line(format_args!("error: {message}"));
    if let Some(hint) = hint {
        line(format_args!("hint: {hint}"));
    }
}

/// Writes a line to standard error; one that cannot be written is lost, there is nobody to tell.
pub(crate) fn line(text: fmt::Arguments<'_>) {
    let _ = writeln!(std::io::stderr().lock(), "{text}");
}
