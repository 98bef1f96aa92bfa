//! `ashlar config from-cinder`

use std::fs::OpenOptions;
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use backup_core::Error;

use crate::args::{ConfigCommand, FromCinder, Global};
use crate::cinder_conf::{Converted, REPOSITORY, convert};
use crate::failure::{Failure, Result};
use crate::messages::Messages;

pub(super) fn run(command: ConfigCommand, global: &Global) -> Result<()> {
    let ConfigCommand::FromCinder(args) = command;
    from_cinder(&args, Messages::new(global.quiet, global.verbose > 0))
}

fn from_cinder(args: &FromCinder, messages: Messages) -> Result<()> {
    let bytes = std::fs::read(&args.file)
        .map_err(|e| Error::io("read cinder.conf", args.file.display(), e))?;
    let text = String::from_utf8(bytes).map_err(|_| {
        Error::invalid("read cinder.conf", "it is not UTF-8").on(args.file.display())
    })?;
    let made = convert(&text).map_err(|e| e.on(args.file.display()))?;
    match &args.output {
        Some(output) => write_all(&made, output)?,
        None => print(&made.text(&[]))?,
    }
    for note in &made.notes {
        messages.note(format_args!("note: to do: {note}"));
    }
    for left in &made.left {
        messages.note(format_args!("note: not carried over: {left}"));
    }
    Ok(())
}

fn print(text: &str) -> Result<()> {
    std::io::stdout()
        .lock()
        .write_all(text.as_bytes())
        .map_err(|e| match e.kind() {
            std::io::ErrorKind::BrokenPipe => Failure::BrokenPipe,
            _ => Error::io("print", "standard output", e).into(),
        })
}

/// The configuration, and each secret beside it. What is there is not overwritten; where one cannot be made, those made
/// before are removed again.
fn write_all(made: &Converted, output: &Path) -> Result<()> {
    let output = std::path::absolute(output)
        .map_err(|e| Error::io("write the configuration", output.display(), e))?;
    let stem = output
        .file_stem()
        .unwrap_or_default()
        .to_string_lossy()
        .into_owned();
    let mut done: Vec<PathBuf> = Vec::new();
    let mut files = Vec::new();
    let mut write = || -> backup_core::Result<()> {
        for (setting, secret) in made.secrets() {
            let name = setting.trim_end_matches("_file");
            let path = output.with_file_name(format!("{stem}.{REPOSITORY}.{name}"));
            write_new(&path, &format!("{secret}\n"))?;
            files.push(path.to_string_lossy().into_owned());
            done.push(path);
        }
        write_new(&output, &made.text(&files))
    };
    let written = write();
    if written.is_err() {
        for path in done {
            // What stays behind is readable for its owner only, and the first error is the one that counts.
            let _left = std::fs::remove_file(path);
        }
    }
    Ok(written?)
}

fn write_new(path: &Path, text: &str) -> backup_core::Result<()> {
    let made = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path)
        .and_then(|mut file| file.write_all(text.as_bytes()));
    made.map_err(|e| {
        let exists = e.kind() == std::io::ErrorKind::AlreadyExists;
        let error = Error::io("write the configuration", path.display(), e);
        if exists {
            error.hint("it is not overwritten: move it away, or give another --output")
        } else {
            error
        }
    })
}
