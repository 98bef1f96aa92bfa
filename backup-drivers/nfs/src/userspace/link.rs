//! The line to the export: connects, connects anew, and repeats what may pass until a deadline.

use std::fmt;
use std::hash::{BuildHasher, RandomState};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use backup_core::{Error, ErrorKind, Result};
use nfs_rs::parse_url_and_mount;
use tokio::sync::{Semaphore, SemaphorePermit};
use tokio::task::JoinHandle;
use tokio::time::{Instant, timeout_at};

use super::connection::Connection;
use super::failure::{Failure, Verdict, judge, may_not_bind, told};
use super::options::{Options, Version};
use super::refusal::{Refusal, UNREACHABLE, Unreached, unreached};
use crate::share::Share;

/// Bytes a second that any server in use is expected to reach.
const FLOOR: u64 = 1 << 20;

/// Requests of each kind that carry data at once. At 1 MiB each and the floor rate, the last of them is answered within
/// the library's deadline for one (10 s and more).
pub(super) const REQUESTS: usize = 8;

/// How long a server is waited for that this process has never reached: a wrong address should not look like a long
/// restart.
const FIRST_CONTACT: Duration = Duration::from_secs(30);

const FIRST_WAIT: Duration = Duration::from_millis(100);
const LONGEST_WAIT: Duration = Duration::from_secs(3);

/// A call by what it does, on what, and how many bytes it moves.
#[derive(Debug, Clone)]
pub(super) struct Call {
    pub(super) operation: &'static str,
    pub(super) target: String,
    pub(super) bytes: u64,
}

impl Call {
    pub(super) fn new(operation: &'static str, target: impl fmt::Display, bytes: u64) -> Self {
        Self {
            operation,
            target: target.to_string(),
            bytes,
        }
    }
}

/// Which try of a call it is.
#[derive(Debug, Clone, Copy)]
pub(super) struct Try {
    /// An earlier one may have happened on the server although it failed here.
    pub(super) doubtful: bool,
}

pub(super) struct Link {
    share: Share,
    options: Options,
    /// The repository's folder in the export.
    path: String,
    patience: Duration,
    line: tokio::sync::Mutex<Line>,
    outage: Mutex<Option<Outage>>,
    writes: Semaphore,
    reads: Semaphore,
}

/// The connection in use, and what was learnt of the server with those before.
#[derive(Debug, Default)]
struct Line {
    connection: Option<Arc<Connection>>,
    made: u64,
    /// What worked: the server is not asked for another version when it comes back.
    settled: Option<(Version, bool)>,
}

/// A time in which the server was not reached.
#[derive(Debug, Clone, Copy)]
struct Outage {
    since: Instant,
    seen: Instant,
}

impl fmt::Debug for Link {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Link")
            .field("share", &self.share)
            .field("options", &self.options)
            .finish_non_exhaustive()
    }
}

impl Link {
    pub(super) fn new(share: Share, options: Options, path: String, patience: Duration) -> Self {
        Self {
            share,
            options,
            path,
            patience,
            line: tokio::sync::Mutex::default(),
            outage: Mutex::default(),
            writes: Semaphore::new(REQUESTS),
            reads: Semaphore::new(REQUESTS),
        }
    }

    /// The export and the repository's folder in it, for people.
    pub(super) fn describe(&self) -> String {
        if self.path.is_empty() {
            return self.share.to_string();
        }
        let export = self.share.as_str().trim_end_matches('/');
        format!("{export}/{}", self.path)
    }

    /// Waits for its turn among all WRITEs.
    pub(super) async fn write_permit(&self) -> Result<SemaphorePermit<'_>> {
        permit(&self.writes).await
    }

    /// Waits for its turn among all READs.
    pub(super) async fn read_permit(&self) -> Result<SemaphorePermit<'_>> {
        permit(&self.reads).await
    }

    /// Runs `step` on a connection, and again on the next one, until it succeeds, fails for good, or the time is over.
    /// It goes on in a task of its own where this future is dropped: a request that is cut in its middle would take
    /// the connection of all others with it.
    pub(super) async fn run<T, F, S>(self: &Arc<Self>, call: Call, step: F) -> Result<T>
    where
        T: Send + 'static,
        F: Fn(Arc<Connection>, Try) -> S + Send + 'static,
        S: Future<Output = Result<T, Failure>> + Send,
    {
        let operation = call.operation;
        match self.start(call, step).await {
            Ok(result) => result,
            Err(error) => Err(Error::internal(operation, error.to_string())),
        }
    }

    /// The same, begun at once.
    pub(super) fn start<T, F, S>(self: &Arc<Self>, call: Call, step: F) -> JoinHandle<Result<T>>
    where
        T: Send + 'static,
        F: Fn(Arc<Connection>, Try) -> S + Send + 'static,
        S: Future<Output = Result<T, Failure>> + Send,
    {
        let this = Arc::clone(self);
        tokio::spawn(async move { this.tries(&call, step).await })
    }

    async fn tries<T, F, S>(&self, call: &Call, step: F) -> Result<T>
    where
        F: Fn(Arc<Connection>, Try) -> S,
        S: Future<Output = Result<T, Failure>>,
    {
        let allowed = self.patience + Duration::from_secs(call.bytes / FLOOR);
        let deadline = Instant::now() + allowed;
        let mut wait = FIRST_WAIT;
        let mut doubtful = false;
        let mut stale = false;
        let mut last: Option<Error> = None;
        loop {
            let (error, verdict) = match timeout_at(deadline, self.connect()).await {
                Err(_) => {
                    self.not_heard();
                    return Err(out_of_time(call, allowed, last));
                }
                Ok(Err(Unreached {
                    error,
                    lasting: true,
                })) => return Err(error),
                Ok(Err(Unreached {
                    error,
                    lasting: false,
                })) => (error, Verdict::Lost),
                Ok(Ok(connection)) => {
                    let one = step(Arc::clone(&connection), Try { doubtful });
                    match timeout_at(deadline, one).await {
                        Err(_) => {
                            self.not_heard();
                            self.drop_line(&connection).await;
                            return Err(out_of_time(call, allowed, last));
                        }
                        Ok(Ok(done)) => {
                            self.heard();
                            return Ok(done);
                        }
                        Ok(Err(Failure::Told(error))) => {
                            self.heard();
                            return Err(error);
                        }
                        Ok(Err(Failure::Nfs(error))) => {
                            let verdict = judge(&error);
                            doubtful = true;
                            self.after(verdict, &connection, &mut stale).await;
                            (told(call.operation, &call.target, error), verdict)
                        }
                    }
                }
            };
            if verdict == Verdict::Final {
                return Err(error);
            }
            let end = match verdict {
                Verdict::Lost => deadline.min(self.end_of_patience()),
                _ => deadline,
            };
            let pause = wait / 2 + wait.mul_f64(random_share() / 2.0);
            wait = (wait * 2).min(LONGEST_WAIT);
            if Instant::now() + pause >= end {
                return Err(gave_up(error, verdict));
            }
            tracing::debug!(%error, ?pause, "trying again");
            last = Some(error);
            tokio::time::sleep(pause).await;
        }
    }

    /// Does to the line what a failed call asks for.
    async fn after(&self, verdict: Verdict, connection: &Arc<Connection>, stale: &mut bool) {
        match verdict {
            Verdict::Final | Verdict::Busy => self.heard(),
            Verdict::Stale => {
                self.heard();
                connection.forget_folders();
                // The root itself may be stale: the second time it is asked for anew.
                if std::mem::replace(stale, true) {
                    self.drop_line(connection).await;
                }
            }
            Verdict::Lost => {
                self.not_heard();
                self.drop_line(connection).await;
            }
        }
    }

    fn outage(&self) -> std::sync::MutexGuard<'_, Option<Outage>> {
        self.outage.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn heard(&self) {
        *self.outage() = None;
    }

    fn not_heard(&self) {
        let now = Instant::now();
        let mut outage = self.outage();
        // One that nobody has looked at for long is another one: a new job has all of its patience.
        let since = outage
            .filter(|o| now.duration_since(o.seen) < self.patience)
            .map_or(now, |o| o.since);
        *outage = Some(Outage { since, seen: now });
    }

    /// When a server that is away has been away for too long. It counts from when it went, not for each call anew, so
    /// that a job that has lost its server and then clears up does not wait for it twice.
    fn end_of_patience(&self) -> Instant {
        let since = self.outage().map_or_else(Instant::now, |o| o.since);
        since + self.patience
    }

    /// The connection in use, or a new one. Calls that need one wait for the one that makes it.
    async fn connect(&self) -> Result<Arc<Connection>, Unreached> {
        let mut line = self.line.lock().await;
        if let Some(connection) = &line.connection {
            return Ok(Arc::clone(connection));
        }
        let candidates = match line.settled {
            Some(settled) => vec![settled],
            None => self.candidates(),
        };
        let mut refusals = Vec::new();
        for (version, reserved) in candidates {
            match self.mount(version, reserved, line.made + 1).await {
                Ok(connection) => {
                    tracing::debug!(share = %self.share, version = version.name(), reserved, "connected");
                    line.made += 1;
                    line.settled = Some((version, reserved));
                    let connection = Arc::new(connection);
                    line.connection = Some(Arc::clone(&connection));
                    return Ok(connection);
                }
                Err(failure) => refusals.push(Refusal {
                    version,
                    reserved,
                    failure,
                }),
            }
        }
        self.not_heard();
        let known = line.settled.is_some();
        let since = self.outage().map_or_else(Instant::now, |o| o.since);
        let waited = since.elapsed() >= FIRST_CONTACT.min(self.patience);
        Err(unreached(refusals, &self.describe(), known, waited))
    }

    /// Versions in the order in which they are tried, and whether from a port below 1024.
    fn candidates(&self) -> Vec<(Version, bool)> {
        let reserved = self
            .options
            .reserved_port
            .unwrap_or_else(reserved_ports_are_ours);
        let versions = self.options.versions.iter();
        versions.map(|version| (*version, reserved)).collect()
    }

    async fn mount(
        &self,
        version: Version,
        reserved: bool,
        number: u64,
    ) -> Result<Connection, Failure> {
        let url = self.options.url(&self.share, version, reserved)?;
        let mount = match parse_url_and_mount(&url).await {
            // Root without the right to such ports, as in some containers.
            Err(error) if may_not_bind(&error) && self.options.reserved_port.is_none() => {
                parse_url_and_mount(&self.options.url(&self.share, version, false)?).await?
            }
            mount => mount?,
        };
        let mut connection = Connection::new(mount, number).await;
        if let Err(failure) = connection.enter(&self.path).await {
            release(Arc::new(connection));
            return Err(failure);
        }
        Ok(connection)
    }

    /// Takes `connection` out of use where it still is. Calls that run on it go on as far as they come.
    async fn drop_line(&self, connection: &Arc<Connection>) {
        let mut line = self.line.lock().await;
        let in_use = line.connection.as_ref();
        if in_use.is_some_and(|c| c.number == connection.number) {
            line.connection = None;
            release(Arc::clone(connection));
        }
    }
}

impl Drop for Link {
    fn drop(&mut self) {
        if let Some(connection) = self.line.get_mut().connection.take() {
            release(connection);
        }
    }
}

/// Ends a connection politely in the background; the library's tasks for it end only so.
fn release(connection: Arc<Connection>) {
    if let Ok(runtime) = tokio::runtime::Handle::try_current() {
        runtime.spawn(async move {
            if let Err(error) = connection.mount().umount().await {
                tracing::debug!(%error, "the connection's state stays on the server until its lease ends");
            }
        });
    }
}

async fn permit(semaphore: &Semaphore) -> Result<SemaphorePermit<'_>> {
    semaphore
        .acquire()
        .await
        .map_err(|e| Error::internal("wait for a request's turn", e.to_string()))
}

/// Whether this process may bind a port below 1024.
fn reserved_ports_are_ours() -> bool {
    rustix::process::geteuid().is_root()
}

fn out_of_time(call: &Call, allowed: Duration, last: Option<Error>) -> Error {
    let error = Error::new(ErrorKind::Timeout, call.operation).on(&call.target);
    match last {
        Some(last) => error.because(format!(
            "no end after {} s; before that: {last}",
            allowed.as_secs()
        )),
        None => error.because(format!("no end after {} s", allowed.as_secs())),
    }
    .hint("see whether the NFS server still answers; then run it again")
}

fn gave_up(error: Error, verdict: Verdict) -> Error {
    match verdict {
        Verdict::Lost if error.hint_text().is_none() => error.hint(UNREACHABLE),
        _ => error,
    }
}

/// A number from 0 to 1. The standard library's hasher is seeded at random, which is random enough for a wait.
fn random_share() -> f64 {
    let bits = RandomState::new().hash_one(0u8) >> 32;
    f64::from(u32::try_from(bits).unwrap_or(0)) / f64::from(u32::MAX)
}
