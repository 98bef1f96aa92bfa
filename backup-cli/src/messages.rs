//! What is said on standard error while a command runs: notes, warnings, progress.

use std::fmt;
use std::io::IsTerminal;
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::Instant;

use backup_core::{Observer, Phase, Progress};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use crate::config::print_size;
use crate::failure::line;

/// How much is said.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Messages {
    quiet: bool,
    verbose: bool,
    terminal: bool,
}

impl Messages {
    /// From `-q` and `-v`.
    pub(crate) fn new(quiet: bool, verbose: bool) -> Self {
        Self {
            quiet,
            verbose,
            terminal: std::io::stderr().is_terminal(),
        }
    }

    /// Says something that most users want to know.
    pub(crate) fn note(self, text: fmt::Arguments<'_>) {
        if !self.quiet {
            line(text);
        }
    }

    /// Says something that a script's log need not have: how it went, when it went well.
    pub(crate) fn summary(self, text: fmt::Arguments<'_>) {
        if !self.quiet && (self.verbose || self.terminal) {
            line(text);
        }
    }

    /// A progress bar where somebody may be looking, else one that draws nothing.
    pub(crate) fn bar(self) -> Bar {
        let visible = self.terminal && !self.quiet;
        let target = if visible {
            ProgressDrawTarget::stderr()
        } else {
            ProgressDrawTarget::hidden()
        };
        Bar {
            drawn: ProgressBar::with_draw_target(None, target),
            phase: AtomicU8::new(NO_PHASE),
            started: Instant::now(),
            messages: self,
        }
    }
}

const NO_PHASE: u8 = u8::MAX;

/// Warns. Also with `-q`: what is wrong with data is never kept silent.
pub(crate) fn warn(text: fmt::Arguments<'_>) {
    line(format_args!("warning: {text}"));
}

/// A job's progress on a terminal: what is done of what, how fast, how long still.
#[derive(Debug)]
pub(crate) struct Bar {
    drawn: ProgressBar,
    phase: AtomicU8,
    started: Instant,
    messages: Messages,
}

impl Bar {
    /// Takes the bar away.
    pub(crate) fn clear(&self) {
        self.drawn.finish_and_clear();
    }

    /// Says how it went: `done` bytes of the volume, since the bar was made.
    pub(crate) fn finish(&self, what: &str, done: u64) {
        self.clear();
        let seconds = self.started.elapsed().as_secs_f64();
        // A rate for people: 52 bits are enough.
        #[expect(
            clippy::cast_precision_loss,
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss
        )]
        let rate = (done as f64 / seconds.max(0.001)) as u64;
        self.messages.summary(format_args!(
            "{what} {} in {seconds:.1} s ({}/s)",
            print_size(done),
            print_size(rate)
        ));
    }

    fn enter(&self, progress: &Progress) {
        let counts_objects = progress.phase == Phase::Delete;
        let template = match (counts_objects, progress.total) {
            (true, 0) => "{msg} {pos} objects",
            (true, _) => "{msg} [{bar:30}] {pos}/{len} objects, {eta} left",
            (false, 0) => "{msg} {spinner} {binary_bytes} {binary_bytes_per_sec}",
            (false, _) => {
                "{msg} [{bar:30}] {percent:>3}% {binary_bytes}/{binary_total_bytes} {binary_bytes_per_sec}, {eta} left"
            }
        };
        // The templates are ours, so that one which does not parse is seen by the tests.
        if let Ok(style) = ProgressStyle::with_template(template) {
            self.drawn.set_style(style.progress_chars("=> "));
        }
        self.drawn.reset();
        self.drawn.set_message(progress.phase.describe());
        match progress.total {
            0 => self.drawn.unset_length(),
            total => self.drawn.set_length(total),
        }
    }
}

fn number(phase: Phase) -> u8 {
    match phase {
        Phase::BackUp => 0,
        Phase::Restore => 1,
        Phase::Verify => 2,
        Phase::Delete => 3,
        Phase::Sync => 4,
        // Phases to come share a bar until they get one.
        _ => 5,
    }
}

impl Observer for Bar {
    fn progress(&self, progress: &Progress) {
        let now = number(progress.phase);
        if self.phase.swap(now, Ordering::Relaxed) != now {
            self.enter(progress);
        }
        self.drawn.set_position(progress.done);
    }

    fn warning(&self, message: &str) {
        self.drawn.suspend(|| warn(format_args!("{message}")));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_phase_has_a_template_that_parses() {
        let bar = Messages::new(true, false).bar();
        for phase in [
            Phase::BackUp,
            Phase::Restore,
            Phase::Verify,
            Phase::Delete,
            Phase::Sync,
        ] {
            for total in [0, 100] {
                bar.phase.store(NO_PHASE, Ordering::Relaxed);
                let mut progress = Progress::start(phase, total);
                progress.done = total / 2;
                bar.progress(&progress);
                assert_eq!(bar.drawn.message(), phase.describe());
                assert_eq!(bar.drawn.position(), total / 2);
            }
        }
    }
}
