//! Ctrl-C and SIGTERM: the first cancels cleanly, the second quits at once.

use backup_core::{CancelToken, Error, ErrorKind, Result};
use tokio::signal::unix::{SignalKind, signal};

use crate::failure::line;

/// Watches for the signals for as long as the runtime lives; the first one cancels `token`.
pub(crate) fn watch(token: CancelToken) -> Result<()> {
    let unable =
        |e: std::io::Error| Error::new(ErrorKind::Unavailable, "watch for signals").caused_by(e);
    let mut interrupt = signal(SignalKind::interrupt()).map_err(unable)?;
    let mut terminate = signal(SignalKind::terminate()).map_err(unable)?;
    tokio::spawn(async move {
        loop {
            let number = tokio::select! {
                _ = interrupt.recv() => 2,
                _ = terminate.recv() => 15,
            };
            if token.is_cancelled() {
                line(format_args!(
                    "stopped at once; the next command cleans up behind this one"
                ));
                std::process::exit(128 + number);
            }
            line(format_args!(
                "stopping and cleaning up; once more to quit at once"
            ));
            token.cancel();
        }
    });
    Ok(())
}
