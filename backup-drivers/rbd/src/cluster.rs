//! A connection to a cluster.

use std::ffi::CString;
use std::fmt;
use std::path::PathBuf;
use std::ptr;
use std::sync::Arc;
use std::time::Duration;

use backup_core::error::{Error, ErrorKind, Result};
use librbd_sys as sys;

use crate::error::{check, errno_of, failed};
use crate::open::{ClosingHandle, OpenHandle};
use crate::pool::Pool;
use crate::thread::{aside, on_thread};

/// How a cluster is reached, and how long its answers may take.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct ClusterConfig {
    /// Ceph's configuration file.
    pub conf: PathBuf,
    /// The user, without `client.`.
    pub user: String,
    /// The user's keyring; where the configuration file says, else Ceph's usual places, where it is not set.
    pub keyring: Option<PathBuf>,
    /// How long connecting may take.
    pub connect_timeout: Duration,
    /// How long a call may take; long ones may take more, by their size.
    pub timeout: Duration,
}

impl ClusterConfig {
    /// Of the file `conf`, as `user`, with half a minute to connect and two minutes for a call.
    pub fn new(conf: impl Into<PathBuf>, user: impl Into<String>) -> Self {
        Self {
            conf: conf.into(),
            user: user.into(),
            keyring: None,
            connect_timeout: Duration::from_secs(30),
            timeout: Duration::from_mins(2),
        }
    }
}

/// A connection to a Ceph cluster. Clones share it; it ends with the last of them and of all that was opened by them.
#[derive(Clone)]
pub struct Cluster {
    pub(crate) shared: Arc<Connection>,
}

pub(crate) struct Connection {
    raw: sys::rados_t,
    name: String,
    fsid: String,
    pub(crate) timeout: Duration,
    _open: OpenHandle,
}

// SAFETY: librados allows a cluster handle to be used from any thread, also from several at once.
unsafe impl Send for Connection {}
// SAFETY: as above.
unsafe impl Sync for Connection {}

impl Drop for Connection {
    fn drop(&mut self) {
        // The last reference may go in a callback on one of librados' own threads, which a shutdown waits for.
        let raw = Raw(self.raw);
        let closing = ClosingHandle::new();
        aside(move || {
            let raw = raw;
            // SAFETY: nothing else holds the handle: this is the drop of its only owner, and what was opened by it
            // held a reference to that owner.
            unsafe { sys::rados_shutdown(raw.0) };
            drop(closing);
        });
    }
}

/// A cluster handle on its way to another thread.
struct Raw(sys::rados_t);

// SAFETY: see `Connection`.
unsafe impl Send for Raw {}

impl Cluster {
    /// Connects.
    ///
    /// librbd's own cache is off, and so is every time-out of librados for single operations: a write that was given
    /// up may still land. Deadlines are kept by this layer.
    ///
    /// # Errors
    /// [`Timeout`](ErrorKind::Timeout) where no monitor answers in time,
    /// [`NotFound`](ErrorKind::NotFound) where the configuration file or the keyring is missing,
    /// [`PermissionDenied`](ErrorKind::PermissionDenied) where the cluster does not know the user or its key.
    pub async fn connect(config: &ClusterConfig) -> Result<Self> {
        let config = config.clone();
        let target = describe(&config);
        // librados keeps the deadline itself; this one is for what it does besides.
        let deadline = config.connect_timeout + Duration::from_secs(10);
        on_thread("connect to Ceph", target, deadline, move || {
            connect(&config).map(|shared| Self {
                shared: Arc::new(shared),
            })
        })
        .await
    }

    /// The cluster's ID: a UUID.
    pub fn fsid(&self) -> &str {
        &self.shared.fsid
    }

    /// What it is, for messages: the user and the configuration file.
    pub fn describe(&self) -> &str {
        &self.shared.name
    }

    /// Opens the pool `name`; `pool/namespace` opens a namespace in it.
    ///
    /// # Errors
    /// [`NotFound`](ErrorKind::NotFound) where there is no such pool.
    pub async fn pool(&self, name: &str) -> Result<Pool> {
        Pool::open(self, name).await
    }
}

impl Connection {
    pub(crate) fn raw(&self) -> sys::rados_t {
        self.raw
    }
}

impl fmt::Debug for Cluster {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Cluster")
            .field("name", &self.shared.name)
            .field("fsid", &self.shared.fsid)
            .finish_non_exhaustive()
    }
}

fn describe(config: &ClusterConfig) -> String {
    format!("as client.{} by {}", config.user, config.conf.display())
}

/// A text for C.
pub(crate) fn c_text(operation: &'static str, text: &str) -> Result<CString> {
    CString::new(text).map_err(|_| Error::invalid(operation, format!("{text:?} holds a zero byte")))
}

const CONNECT: &str = "connect to Ceph";

fn connect(config: &ClusterConfig) -> Result<Connection> {
    let target = describe(config);
    let path_text = |path: &PathBuf| -> Result<CString> {
        let text = path
            .to_str()
            .ok_or_else(|| Error::invalid(CONNECT, format!("{} is not UTF-8", path.display())))?;
        c_text(CONNECT, text)
    };
    let user = c_text(CONNECT, &config.user)?;
    let conf = path_text(&config.conf)?;
    if !config.conf.exists() {
        return Err(Error::new(ErrorKind::NotFound, CONNECT)
            .on(&target)
            .because("there is no such configuration file")
            .hint("the setting `conf` names it"));
    }
    let mut raw: sys::rados_t = ptr::null_mut();
    // SAFETY: `raw` is a place for the handle, the text ends with a zero byte.
    let made = unsafe { sys::rados_create(&raw mut raw, user.as_ptr()) };
    check(CONNECT, &target, made)?;
    // From here on the handle is ended by its drop, also on an error.
    let mut connection = Connection {
        raw,
        name: target,
        fsid: String::new(),
        timeout: config.timeout,
        _open: OpenHandle::new(),
    };
    let target = connection.name.clone();
    // SAFETY: the handle is live, the text ends with a zero byte.
    let read = unsafe { sys::rados_conf_read_file(raw, conf.as_ptr()) };
    check("read Ceph's configuration", &target, read)
        .map_err(|e| e.hint("the setting `conf` names Ceph's configuration file"))?;
    let connect_timeout = config.connect_timeout.as_secs().max(1).to_string();
    let mut settings = vec![
        ("client_mount_timeout", connect_timeout),
        // A write that was given up may still land.
        ("rados_osd_op_timeout", "0".to_owned()),
        ("rados_mon_op_timeout", "0".to_owned()),
        ("rbd_cache", "false".to_owned()),
        // What it would print is told by our errors.
        ("log_to_stderr", "false".to_owned()),
        ("err_to_stderr", "false".to_owned()),
    ];
    if let Some(keyring) = &config.keyring {
        settings.push(("keyring", keyring.to_string_lossy().into_owned()));
    }
    for (key, value) in settings {
        let (key, value) = (c_text(CONNECT, key)?, c_text(CONNECT, &value)?);
        // SAFETY: the handle is live, both texts end with a zero byte.
        let set = unsafe { sys::rados_conf_set(raw, key.as_ptr(), value.as_ptr()) };
        check("set Ceph's options", &target, set)?;
    }
    // SAFETY: the handle is live and not yet connected.
    let connected = unsafe { sys::rados_connect(raw) };
    check(CONNECT, &target, connected).map_err(|e| tell(e, config))?;
    connection.fsid = fsid(raw, &target)?;
    Ok(connection)
}

/// What a failed connect means, in words: librados has only numbers.
fn tell(error: Error, config: &ClusterConfig) -> Error {
    use crate::error::errno;
    let user = &config.user;
    match errno_of(&error) {
        Some(errno::ETIMEDOUT) => error
            .because(format!(
                "no monitor answered within {} s",
                config.connect_timeout.as_secs()
            ))
            .hint("look at mon_host in that file, and whether the monitors run and can be reached from here"),
        Some(errno::ENOENT) => error
            .because(format!("no keyring of client.{user} was found"))
            .hint(format!(
                "put it at /etc/ceph/ceph.client.{user}.keyring, or name it with the setting `keyring`"
            )),
        Some(errno::EPERM | errno::EACCES) => error
            .because(format!("the cluster refuses client.{user} or its key"))
            .hint(format!("compare with: ceph auth get client.{user}")),
        _ => error,
    }
}

fn fsid(raw: sys::rados_t, target: &str) -> Result<String> {
    let mut text = [0_u8; 64];
    // SAFETY: the handle is connected; the buffer is as long as is said.
    let told = unsafe { sys::rados_cluster_fsid(raw, text.as_mut_ptr().cast(), text.len()) };
    if told < 0 {
        return Err(failed("ask for the cluster's ID", target, told.into()));
    }
    let end = text.iter().position(|&b| b == 0).unwrap_or(text.len());
    Ok(String::from_utf8_lossy(&text[..end]).into_owned())
}
