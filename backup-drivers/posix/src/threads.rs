//! Threads for calls that may never come back.
//!
//! A call on a mount whose server is gone can hang in the kernel, and nobody can call its thread back. The runtime's own
//! blocking threads are none for that: a runtime that is dropped waits for them. These here are waited for by nobody, so
//! that a process can end whatever hangs.

use std::cell::Cell;
use std::collections::VecDeque;
use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

/// How long a thread without work stays.
const IDLE: Duration = Duration::from_secs(10);

/// Work for a thread.
pub(crate) type Job = Box<dyn FnOnce() + Send + 'static>;

thread_local! {
    /// Whether this is one of our threads.
    static OURS: Cell<bool> = const { Cell::new(false) };
}

/// A bounded number of threads, each begun when there is work for it.
#[derive(Clone)]
pub(crate) struct Threads {
    shared: Arc<Shared>,
}

struct Shared {
    state: Mutex<State>,
    work: Condvar,
    most: usize,
}

#[derive(Default)]
struct State {
    queue: VecDeque<Job>,
    idle: usize,
    running: usize,
}

impl Threads {
    /// At most `most` threads at once.
    pub(crate) fn new(most: usize) -> Self {
        Self {
            shared: Arc::new(Shared {
                state: Mutex::default(),
                work: Condvar::new(),
                most: most.max(1),
            }),
        }
    }

    /// Has a thread do `job`, as soon as one is free.
    ///
    /// # Errors
    /// The job itself, where there is no thread and the system gives none.
    pub(crate) fn run(&self, job: Job) -> Result<(), Job> {
        let mut state = self.shared.state();
        state.queue.push_back(job);
        if state.idle >= state.queue.len() {
            drop(state);
            self.shared.work.notify_one();
            return Ok(());
        }
        if state.running == self.shared.most {
            return Ok(());
        }
        let shared = Arc::clone(&self.shared);
        let begun = thread::Builder::new()
            .name("ashlar-files".into())
            .spawn(move || shared.work());
        match begun {
            Ok(_detached) => state.running += 1,
            Err(e) => {
                tracing::warn!(error = %e, "no further thread for files");
                if state.running == 0
                    && let Some(job) = state.queue.pop_back()
                {
                    return Err(job);
                }
            }
        }
        Ok(())
    }

    /// Does what may block where it may: at once on one of our threads, else by one of them. Where none can be had, it
    /// is done at once too.
    pub(crate) fn run_aside(&self, job: impl FnOnce() + Send + 'static) {
        if OURS.get() {
            return job();
        }
        if let Err(job) = self.run(Box::new(job)) {
            job();
        }
    }
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn work(&self) {
        OURS.set(true);
        let mut state = self.state();
        loop {
            if let Some(job) = state.queue.pop_front() {
                drop(state);
                // Who waits for it learns of a panic by getting no answer; the thread goes on.
                let _panicked = catch_unwind(AssertUnwindSafe(job));
                state = self.state();
                continue;
            }
            state.idle += 1;
            let (woken, waited) = self
                .work
                .wait_timeout(state, IDLE)
                .unwrap_or_else(PoisonError::into_inner);
            state = woken;
            state.idle -= 1;
            if waited.timed_out() && state.queue.is_empty() {
                state.running -= 1;
                return;
            }
        }
    }
}

impl fmt::Debug for Threads {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Threads")
            .field("most", &self.shared.most)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;

    fn run(threads: &Threads, job: impl FnOnce() + Send + 'static) {
        assert!(threads.run(Box::new(job)).is_ok());
    }

    #[test]
    fn no_more_than_so_many_run_at_once_and_all_are_done() {
        let threads = Threads::new(3);
        let (tell, told) = mpsc::channel();
        let (release, hold) = mpsc::channel::<()>();
        let hold = Arc::new(Mutex::new(hold));
        for _ in 0..20 {
            let (tell, hold) = (tell.clone(), Arc::clone(&hold));
            run(&threads, move || {
                let _released = hold.lock().unwrap().recv();
                tell.send(()).unwrap();
            });
        }
        assert_eq!(threads.shared.state().running, 3);
        drop(release);
        drop(tell);
        assert_eq!(told.iter().count(), 20);
        assert!(threads.shared.state().running <= 3);
    }

    #[test]
    fn a_panic_takes_no_thread_with_it() {
        let threads = Threads::new(1);
        let (tell, told) = mpsc::channel();
        run(&threads, || panic!("on purpose"));
        run(&threads, move || tell.send(1).unwrap());
        assert_eq!(told.recv(), Ok(1));
    }

    #[test]
    fn what_is_done_aside_runs_at_once_on_our_threads_and_elsewhere_by_one_of_them() {
        let threads = Threads::new(1);
        let (tell, told) = mpsc::channel();
        let own = thread::current().id();
        let (inner, more) = (threads.clone(), tell.clone());
        threads.run_aside(move || {
            let this = thread::current().id();
            tell.send(this != own).unwrap();
            // There is one thread only: if it were queued, this would wait for ever.
            let (done, wait) = mpsc::channel();
            inner.run_aside(move || done.send(thread::current().id()).unwrap());
            more.send(wait.recv() == Ok(this)).unwrap();
        });
        assert_eq!(told.iter().collect::<Vec<_>>(), [true, true]);
    }
}
