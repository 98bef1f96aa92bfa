//! One file for each group of commands: each asks the service and prints its answer.

mod backup;
mod config;
mod create;
mod delete;
mod demo;
mod difference;
mod list;
mod manual;
mod record;
mod repository;
mod restore;
mod scan;
mod snapshot;
mod volume;

use std::collections::BTreeMap;

use backup_core::{Error, ErrorKind};

use crate::args::{Cli, Command, Global, Property, VolumeCommand};
use crate::failure::{Failure, Result};
use crate::home::{self, Home};
use crate::messages::Messages;
use crate::output::Output;

/// Runs the command.
pub(crate) fn run(cli: Cli) -> Result<()> {
    let Cli { global, command } = cli;
    let output = Output::new(global.format, global.column.clone());
    match command {
        Command::Completion { shell } => manual::completion(shell),
        Command::Man { dir } => manual::man(dir.as_deref()),
        Command::Demo(args) => block_on(demo::run(&args, &global, &output)),
        Command::Config(command) => config::run(command, &global),
        Command::Repository(command) => block_on(repository::run(command, &global, &output)),
        Command::Volume(command) => block_on(async {
            let home = open(&global).await?;
            volume(&home, command, &output).await
        }),
    }
}

async fn volume(home: &Home, command: VolumeCommand, output: &Output) -> Result<()> {
    match command {
        VolumeCommand::Snapshot(command) => snapshot::run(home, command, output).await,
        VolumeCommand::Backup(command) => backup::run(home, command, output).await,
        command => volume::run(home, command, output).await,
    }
}

/// Opens the home that the options name.
async fn open(global: &Global) -> Result<Home> {
    let (root, settings) = settings(global)?;
    let messages = Messages::new(global.quiet, global.verbose > 0);
    Ok(Box::pin(Home::open(root, settings, messages)).await?)
}

/// The home's place and its settings. What is wrong with `-o` is wrong usage.
fn settings(global: &Global) -> Result<(std::path::PathBuf, crate::config::Settings)> {
    let root = home::root(global)?;
    match home::settings(&root, global) {
        Ok(settings) => Ok((root, settings)),
        Err(e)
            if e.is(ErrorKind::InvalidInput)
                && !global.option.is_empty()
                && home::settings(&root, &without_options(global)).is_ok() =>
        {
            Err(Failure::usage(
                e.to_string(),
                e.hint_text().map(str::to_owned),
            ))
        }
        Err(e) => Err(e.into()),
    }
}

fn without_options(global: &Global) -> Global {
    Global {
        home: global.home.clone(),
        config: global.config.clone(),
        option: Vec::new(),
        format: global.format,
        column: Vec::new(),
        quiet: global.quiet,
        verbose: global.verbose,
    }
}

/// Runs a command to its end on a small runtime: the work itself is done on the engine's CPU threads and on threads
/// for blocking I/O.
fn block_on(command: impl Future<Output = Result<()>>) -> Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .map_err(|e| Error::new(ErrorKind::Unavailable, "start").caused_by(e))?;
    let result = runtime.block_on(command);
    // What still runs in the background (a timer, a finished job's last thread) must not hold the end up.
    runtime.shutdown_background();
    result
}

/// Says what a cancel left, where the service does not.
fn cancelled(hint: &'static str) -> impl Fn(Error) -> Error {
    move |e| {
        if e.is(ErrorKind::Cancelled) && e.hint_text().is_none() {
            e.hint(hint)
        } else {
            e
        }
    }
}

/// `--property` as a map; the last of a key counts.
fn properties(given: Vec<Property>) -> BTreeMap<String, String> {
    given.into_iter().map(|p| (p.key, p.value)).collect()
}

/// Does something for each of several names, telling each failure and going on; a cancel ends it.
async fn for_each(
    names: &[String],
    what: &str,
    act: impl AsyncFn(String) -> backup_core::Result<()>,
) -> Result<()> {
    let mut failed = 0;
    for name in names {
        match act(name.clone()).await {
            Ok(()) => {}
            Err(e) if names.len() == 1 || e.is(ErrorKind::Cancelled) => return Err(e.into()),
            Err(e) => {
                crate::failure::tell_error(&e);
                failed += 1;
            }
        }
    }
    if failed == 0 {
        return Ok(());
    }
    crate::failure::line(format_args!(
        "error: {failed} of {} {what} could not be deleted",
        names.len()
    ));
    Err(Failure::Told)
}
