//! `ashlar`: back up block volumes from the command line. Parses, wires, prints; the rules are the service's.
#![forbid(unsafe_code)]

mod args;
mod cinder_conf;
mod commands;
mod config;
mod failure;
mod home;
mod messages;
mod output;
mod signals;

use std::process::ExitCode;
use std::time::Duration;

use clap::Parser;

use args::Cli;

fn main() -> ExitCode {
    let cli = Cli::parse();
    start_log(cli.global.verbose);
    let done = commands::run(cli);
    // A cluster that does not answer must not keep the program from ending.
    backup_drivers::wait_until_closed(Duration::from_secs(5));
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            failure.tell();
            failure.into()
        }
    }
}

/// The engine's own log: warnings, with `-v` what it does, with `-vv` in detail. Other crates only warn.
fn start_log(verbose: u8) {
    use tracing_subscriber::filter::{LevelFilter, Targets};
    use tracing_subscriber::layer::SubscriberExt;
    use tracing_subscriber::util::SubscriberInitExt;

    let ours = match verbose {
        0 => LevelFilter::WARN,
        1 => LevelFilter::INFO,
        _ => LevelFilter::DEBUG,
    };
    let filter = Targets::new()
        .with_targets([
            ("ashlar", ours),
            ("backup_core", ours),
            ("backup_drivers", ours),
            ("backup_posix", ours),
            ("backup_nfs", ours),
            ("backup_file", ours),
            ("backup_rbd", ours),
            ("backup_catalog_sql", ours),
            // It calls an error what we repeat until it succeeds.
            ("nfs_rs", if verbose < 2 { LevelFilter::OFF } else { ours }),
        ])
        .with_default(LevelFilter::ERROR);
    tracing_subscriber::registry()
        .with(
            tracing_subscriber::fmt::layer()
                .with_writer(std::io::stderr)
                .without_time(),
        )
        .with(filter)
        .init();
}
