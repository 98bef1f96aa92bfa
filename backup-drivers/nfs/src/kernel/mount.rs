//! Mounting a share, as os-brick does it for Cinder: `mount -t nfs -o OPTIONS SHARE BASE/MD5-OF-SHARE`.

use std::fs::{DirBuilder, File};
use std::io::{self, Read};
use std::os::unix::fs::DirBuilderExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use backup_core::{Error, ErrorKind, Result};
use md5::{Digest, Md5};
use rustix::fs::FlockOperation;
use rustix::process::{Pid, Signal};

use super::mounts;
use crate::config::NfsConfig;
use crate::share::Share;

const MOUNT: &str = "mount";

/// Options where none are set; docs/nfs.md says why each.
pub(crate) const DEFAULT_OPTIONS: &str = "softerr,timeo=300,retrans=7,retry=0,nosuid,nodev,noexec";

/// Between two looks at a program that runs, or at a lock that somebody has.
const PAUSE: Duration = Duration::from_millis(20);
/// The wait before the second attempt; each further one is twice as long.
const FIRST_WAIT: Duration = Duration::from_secs(1);

/// A share and where it is to be mounted.
#[derive(Debug, Clone)]
pub(super) struct Mounting {
    share: Share,
    base: PathBuf,
    point: PathBuf,
    options: String,
    attempts: u32,
    /// The program; another one only in tests.
    program: PathBuf,
}

impl Mounting {
    /// # Errors
    /// [`InvalidInput`](ErrorKind::InvalidInput) for options that are none.
    pub(super) fn new(share: &Share, config: &NfsConfig) -> Result<Self> {
        let options = match &config.mount_options {
            None => DEFAULT_OPTIONS.to_owned(),
            Some(options) => checked(options)?,
        };
        let base = std::path::absolute(&config.mount_point_base)
            .map_err(|e| Error::io(MOUNT, config.mount_point_base.display(), e))?;
        Ok(Self {
            point: base.join(point_name(share)),
            base,
            share: share.clone(),
            options,
            attempts: config.mount_attempts.max(1),
            program: "mount".into(),
        })
    }

    /// Where it is mounted.
    pub(super) fn point(&self) -> &Path {
        &self.point
    }

    /// Mounts the share where it is not mounted. It is never unmounted: another process may use the mount, and would then
    /// write to the bare folder. Blocks, for `patience` at most and a little.
    ///
    /// # Errors
    /// [`Conflict`](ErrorKind::Conflict) where something else is mounted there,
    /// [`PermissionDenied`](ErrorKind::PermissionDenied) where this user cannot mount, else what `mount` said.
    pub(super) fn ensure(&self, patience: Duration) -> Result<()> {
        if self.is_mounted()? {
            return Ok(());
        }
        if !rustix::process::geteuid().is_root() {
            return Err(self
                .error(ErrorKind::PermissionDenied)
                .because("it is not mounted, and only root can mount it")
                .hint(format!(
                    "run this as root, or have root run: mount -t nfs -o {} {} {}",
                    self.options,
                    self.share,
                    self.point.display()
                )));
        }
        let deadline = Instant::now() + patience;
        let failed = |path: &Path, e| Error::io("make the mount point", path.display(), e);
        DirBuilder::new()
            .recursive(true)
            .mode(0o755)
            .create(&self.point)
            .map_err(|e| failed(&self.point, e))?;
        // Two processes that both saw it unmounted would mount it twice. The base is a local folder.
        let base = File::open(&self.base).map_err(|e| failed(&self.base, e))?;
        self.lock(&base, deadline)?;
        if self.is_mounted()? {
            return Ok(());
        }
        self.mount(deadline)?;
        if self.is_mounted()? {
            return Ok(());
        }
        Err(self
            .error(ErrorKind::Unavailable)
            .because("mount ended well, and nothing is mounted"))
    }

    fn error(&self, kind: ErrorKind) -> Error {
        Error::new(kind, MOUNT).on(format!("{} at {}", self.share, self.point.display()))
    }

    fn is_mounted(&self) -> Result<bool> {
        // Whatever leads to the base by links, the kernel tells the real path.
        let real = std::fs::canonicalize(&self.base).unwrap_or_else(|_| self.base.clone());
        let point = real.join(point_name(&self.share));
        let mount = mounts::at(&point)
            .map_err(|e| Error::io("see what is mounted", "/proc/self/mountinfo", e))?;
        let Some(mount) = mount else {
            return Ok(false);
        };
        if mount.is_nfs() && mount.may_be(self.share.as_str()) {
            return Ok(true);
        }
        Err(self
            .error(ErrorKind::Conflict)
            .because(format!(
                "{} of type {} is mounted there",
                mount.source, mount.kind
            ))
            .hint("unmount it, or give another mount_point_base"))
    }

    fn lock(&self, base: &File, deadline: Instant) -> Result<()> {
        loop {
            match rustix::fs::flock(base, FlockOperation::NonBlockingLockExclusive) {
                Ok(()) => return Ok(()),
                Err(rustix::io::Errno::WOULDBLOCK) if Instant::now() < deadline => {
                    thread::sleep(PAUSE);
                }
                Err(rustix::io::Errno::WOULDBLOCK) => {
                    return Err(self
                        .error(ErrorKind::Timeout)
                        .because("another process is still mounting"));
                }
                Err(e) => return Err(Error::io("lock", self.base.display(), e.into())),
            }
        }
    }

    fn mount(&self, deadline: Instant) -> Result<()> {
        let mut wait = FIRST_WAIT;
        let mut attempt = 1;
        loop {
            let error = match self.try_once(deadline) {
                Ok(()) => {
                    tracing::info!(share = %self.share, at = %self.point.display(), "mounted");
                    return Ok(());
                }
                Err(error) => error,
            };
            let late = Instant::now() + wait >= deadline;
            if !error.is(ErrorKind::Unavailable) || attempt >= self.attempts || late {
                // It was tried again here; nobody else need to.
                return Err(error.retryable(false));
            }
            tracing::debug!(%error, attempt, "mounting again");
            thread::sleep(wait);
            attempt += 1;
            wait *= 2;
        }
    }

    fn try_once(&self, deadline: Instant) -> Result<()> {
        let mut command = Command::new(&self.program);
        command.args(["-t", "nfs"]);
        if !self.options.is_empty() {
            command.args(["-o", &self.options]);
        }
        let begun = command
            .arg(self.share.as_str())
            .arg(&self.point)
            // What it says is looked into.
            .env("LC_ALL", "C")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            // It has a child, which is to end with it.
            .process_group(0)
            .spawn();
        let child = begun.map_err(|e| {
            self.error(ErrorKind::Unsupported)
                .because("the program `mount` cannot be run")
                .caused_by(e)
        })?;
        match awaited(child, deadline) {
            Ok(Some((true, _))) => Ok(()),
            Ok(Some((false, said))) => Err(self.refused(&said)),
            Ok(None) => Err(self
                .error(ErrorKind::Timeout)
                .because("`mount` came to no end in time")
                .hint("see whether that server answers")
                .retryable(false)),
            Err(e) => Err(self.error(ErrorKind::Io).caused_by(e)),
        }
    }

    /// What `mount` said, and what it means.
    fn refused(&self, said: &str) -> Error {
        let text = said.split_whitespace().collect::<Vec<_>>().join(" ");
        let has = |parts: &[&str]| parts.iter().any(|part| text.contains(part));
        let (kind, hint) = if has(&[
            "access denied",
            "Operation not permitted",
            "must be superuser",
        ]) {
            (
                ErrorKind::PermissionDenied,
                "see the server's list of exports (/etc/exports), and whether this process may mount at all",
            )
        } else if has(&[
            "helper program",
            "need a /sbin/mount",
            "unknown filesystem type",
        ]) {
            (
                ErrorKind::Unsupported,
                "install the NFS client: nfs-common (Debian, Ubuntu) or nfs-utils (Fedora, RHEL)",
            )
        } else if has(&["incorrect mount option", "bad option", "Invalid argument"]) {
            (ErrorKind::InvalidInput, "see mount_options, and nfs(5)")
        } else if has(&["No such file or directory"]) {
            (
                ErrorKind::NotFound,
                "see which exports the server has: showmount -e, or its /etc/exports",
            )
        } else if has(&["Protocol not supported", "not supported"]) {
            (
                ErrorKind::Unsupported,
                "the server does not speak that version: see vers in mount_options",
            )
        } else {
            (
                ErrorKind::Unavailable,
                "see whether the server runs and whether a firewall is between",
            )
        };
        let text = if text.is_empty() {
            "`mount` failed and said nothing".to_owned()
        } else {
            text
        };
        self.error(kind).because(text).hint(hint)
    }
}

/// The name of the share's mount point, as os-brick makes it.
fn point_name(share: &Share) -> String {
    hex::encode(Md5::digest(share.as_str().as_bytes()))
}

fn checked(options: &str) -> Result<String> {
    let options = options.trim();
    let refuse = |why: &str| {
        Error::invalid("read mount_options", why)
            .on(format!("{options:?}"))
            .hint("write them as mount -o takes them: vers=4.2,softerr")
    };
    if options.starts_with('-') {
        return Err(refuse("it begins with a hyphen"));
    }
    if options.chars().any(|c| c.is_control() || c == ' ') {
        return Err(refuse("it has a space"));
    }
    Ok(options.to_owned())
}

/// Waits for a program: whether it ended well, and its standard error. `None` where it did not end by the deadline; it
/// and its children are then killed.
fn awaited(mut child: Child, deadline: Instant) -> io::Result<Option<(bool, String)>> {
    let status = loop {
        if let Some(status) = child.try_wait()? {
            break status;
        }
        if Instant::now() >= deadline {
            if let Some(group) = i32::try_from(child.id()).ok().and_then(Pid::from_raw) {
                let _gone = rustix::process::kill_process_group(group, Signal::KILL);
            }
            // Not waited for: in the kernel it may hang on.
            return Ok(None);
        }
        thread::sleep(PAUSE);
    };
    let mut said = Vec::new();
    if let Some(mut stderr) = child.stderr.take() {
        // A child of its that stays, as with the option `bg`, may hold it open: what is there is enough.
        rustix::io::ioctl_fionbio(&stderr, true)?;
        if let Err(e) = stderr.read_to_end(&mut said)
            && e.kind() != io::ErrorKind::WouldBlock
        {
            return Err(e);
        }
    }
    Ok(Some((
        status.success(),
        String::from_utf8_lossy(&said).into_owned(),
    )))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    fn mounting(text: &str, config: impl FnOnce(NfsConfig) -> NfsConfig) -> Result<Mounting> {
        Mounting::new(&text.parse()?, &config(NfsConfig::new(text)))
    }

    #[test]
    fn the_mount_point_is_named_as_cinder_names_it() {
        let text = "192.168.1.1:/var/export/cinder-backup";
        let base = "/var/lib/cinder/backup_mount";
        let made = mounting(text, |c| c.with_mount_point_base(base)).unwrap();
        // echo -n 192.168.1.1:/var/export/cinder-backup | md5sum
        let expected = format!("{base}/b60472d03c47b3f94e78479b32f75fa6");
        assert_eq!(made.point(), Path::new(&expected));
    }

    #[test]
    fn options_that_would_be_arguments_of_their_own_are_refused() {
        for options in ["--bind", "vers=4.2 -v", "a\nb"] {
            assert!(mounting("nas:/a", |c| c.with_mount_options(options)).is_err());
        }
        let made = mounting("nas:/a", |c| c.with_mount_options(" vers=3,soft ")).unwrap();
        assert_eq!(made.options, "vers=3,soft");
    }

    #[test]
    fn what_mount_says_is_told_and_understood() {
        let mounting = mounting("nas:/a", |c| c).unwrap();
        for (said, kind) in [
            (
                "mount.nfs: access denied by server while mounting nas:/a\n",
                ErrorKind::PermissionDenied,
            ),
            ("mount.nfs: Connection refused\n", ErrorKind::Unavailable),
            (
                "mount.nfs: Failed to resolve server nas: Temporary failure in name resolution\n",
                ErrorKind::Unavailable,
            ),
            (
                "mount.nfs: mounting nas:/a failed, reason given by server: No such file or directory\n",
                ErrorKind::NotFound,
            ),
            (
                "mount: /x: bad option; for several filesystems (e.g. nfs, cifs) you might need a /sbin/mount.<type> helper program.\n",
                ErrorKind::Unsupported,
            ),
            (
                "mount.nfs: an incorrect mount option was specified\n",
                ErrorKind::InvalidInput,
            ),
            (
                "mount.nfs: Protocol not supported\n",
                ErrorKind::Unsupported,
            ),
            ("", ErrorKind::Unavailable),
        ] {
            let error = mounting.refused(said);
            assert_eq!(error.kind(), kind, "{error}");
            assert!(error.hint_text().is_some());
            let text = error.to_string();
            assert!(text.contains("nas:/a"), "{text}");
            assert!(text.contains(said.trim_end()), "{text}");
        }
    }

    /// A program in place of `mount`.
    fn instead(folder: &Path, script: &str) -> PathBuf {
        let program = folder.join("mount");
        std::fs::write(&program, format!("#!/bin/sh\n{script}\n")).unwrap();
        std::fs::set_permissions(&program, PermissionsExt::from_mode(0o755)).unwrap();
        program
    }

    fn far() -> Instant {
        Instant::now() + Duration::from_mins(5)
    }

    #[test]
    fn a_server_that_is_away_is_tried_as_often_as_is_set_and_a_refusal_once() {
        let folder = tempfile::tempdir().unwrap();
        for (said, attempts) in [("Connection refused", 2), ("access denied by server", 1)] {
            let log = folder.path().join("log");
            let script = format!(
                "echo \"$@\" >>{}; echo '{said}' >&2; exit 32",
                log.display()
            );
            let mut mounting = mounting("nas:/a", |c| c.with_mount_options("soft")).unwrap();
            mounting.attempts = 2;
            mounting.program = instead(folder.path(), &script);
            let error = mounting.mount(far()).unwrap_err();
            assert!(error.to_string().contains(said), "{error}");
            let line = format!("-t nfs -o soft nas:/a {}\n", mounting.point.display());
            let ran = std::fs::read_to_string(&log).unwrap();
            assert_eq!(ran, line.repeat(attempts));
            std::fs::remove_file(&log).unwrap();
        }
    }

    #[test]
    fn a_mount_that_hangs_is_killed_with_its_children_at_the_deadline() {
        let folder = tempfile::tempdir().unwrap();
        let note = folder.path().join("child");
        let script = format!(
            "sleep 600 & echo $! >{0}.part; mv {0}.part {0}; wait",
            note.display()
        );
        let mut mounting = mounting("nas:/a", |c| c).unwrap();
        mounting.program = instead(folder.path(), &script);
        // As late as the child needs to be there.
        let deadline = Instant::now() + Duration::from_secs(2);
        let error = mounting.mount(deadline).unwrap_err();
        assert!(error.is(ErrorKind::Timeout), "{error}");
        let Ok(child) = std::fs::read_to_string(&note) else {
            // A machine so busy that it was killed before it had a child.
            return;
        };
        let gone = || {
            let stat = std::fs::read_to_string(format!("/proc/{}/stat", child.trim()));
            stat.map_or(true, |s| s.contains(") Z "))
        };
        let end = far();
        while !gone() {
            assert!(Instant::now() < end, "the child of `mount` lives on");
            thread::sleep(PAUSE);
        }
    }

    #[test]
    fn without_root_it_is_said_who_can_mount_and_how() {
        if rustix::process::geteuid().is_root() {
            return;
        }
        let folder = tempfile::tempdir().unwrap();
        let mounting = mounting("nas:/a", |c| c.with_mount_point_base(folder.path())).unwrap();
        let error = mounting.ensure(Duration::from_mins(1)).unwrap_err();
        assert!(error.is(ErrorKind::PermissionDenied));
        assert!(
            error
                .hint_text()
                .unwrap()
                .contains("mount -t nfs -o softerr")
        );
    }
}
