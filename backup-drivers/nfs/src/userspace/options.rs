//! What of `mount_options` concerns a client without a mount, and the URL that the library takes.

use std::fmt::Write as _;

use backup_core::{Error, ErrorKind, Result};
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};

use crate::share::Share;

const READ: &str = "read mount_options";

/// A version of the protocol that the library speaks and mounts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Version {
    V4p1,
    V3,
}

impl Version {
    /// As `vers=` names it.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::V4p1 => "4.1",
            Self::V3 => "3",
        }
    }
}

/// How the server is reached.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Options {
    /// In the order in which they are tried.
    pub(super) versions: Vec<Version>,
    /// Of NFS itself: without it 2049, or what the server's rpcbind says for version 3.
    pub(super) port: Option<u16>,
    /// Of version 3's mount protocol: without it what the server's rpcbind says.
    pub(super) mount_port: Option<u16>,
    /// Whether our own port is below 1024: without it where that is allowed to us.
    pub(super) reserved_port: Option<bool>,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            versions: vec![Version::V4p1, Version::V3],
            port: None,
            mount_port: None,
            reserved_port: None,
        }
    }
}

/// What concerns the kernel's client alone, or changes nothing here: one configuration serves both clients.
const KERNELS: &[&str] = &[
    "ac",
    "acdirmax",
    "acdirmin",
    "acl",
    "acregmax",
    "acregmin",
    "actimeo",
    "addr",
    "async",
    "bg",
    "bsize",
    "clientaddr",
    "cto",
    "defaults",
    "fg",
    "fsc",
    "hard",
    "intr",
    "local_lock",
    "lock",
    "lookupcache",
    "max_connect",
    "migration",
    "mountproto",
    "mountvers",
    "namlen",
    "nconnect",
    "noac",
    "noacl",
    "noatime",
    "nocto",
    "nodev",
    "nodiratime",
    "noexec",
    "nofsc",
    "nointr",
    "nolock",
    "nomigration",
    "nordirplus",
    "nosharecache",
    "nosuid",
    "posix",
    "rdirplus",
    "relatime",
    "retrans",
    "retry",
    "rsize",
    "rw",
    "sharecache",
    "soft",
    "softerr",
    "softreval",
    "strictatime",
    "sync",
    "timeo",
    "trunkdiscovery",
    "write",
    "wsize",
    "_netdev",
];

impl Options {
    /// Reads what `mount -o` would be given.
    ///
    /// # Errors
    /// [`InvalidInput`](ErrorKind::InvalidInput) for what no NFS client knows, [`Unsupported`](ErrorKind::Unsupported)
    /// for what this one cannot do.
    pub(super) fn parse(text: &str) -> Result<Self> {
        let mut options = Self::default();
        for option in text.split(',').map(str::trim).filter(|o| !o.is_empty()) {
            let (name, value) = option.split_once('=').unwrap_or((option, ""));
            match name {
                "vers" | "nfsvers" => options.versions = versions(option, value)?,
                "v3" => options.versions = versions(option, "3")?,
                "v4" => options.versions = versions(option, "4")?,
                "v4.0" | "v4.1" | "v4.2" => options.versions = versions(option, &name[1..])?,
                "minorversion" if value == "1" => {}
                "minorversion" => return Err(no_such_version(option)),
                "port" => options.port = Some(port(option, value)?).filter(|p| *p != 0),
                "mountport" => options.mount_port = Some(port(option, value)?).filter(|p| *p != 0),
                "resvport" => options.reserved_port = Some(true),
                "noresvport" => options.reserved_port = Some(false),
                "sec" if matches!(value, "sys" | "none") => {}
                "sec" => {
                    return Err(unsupported(
                        option,
                        "it signs in with user numbers alone (sec=sys)",
                    )
                    .hint("use client = \"kernel\" for Kerberos"));
                }
                "tcp" | "tcp6" => {}
                "proto" if matches!(value, "tcp" | "tcp6") => {}
                "proto" | "udp" | "rdma" => return Err(unsupported(option, "it speaks TCP alone")),
                "ro" => {
                    return Err(Error::invalid(READ, "a repository is written to").on(option));
                }
                _ if KERNELS.contains(&name) || name.starts_with("x-") => {}
                _ => {
                    return Err(Error::invalid(READ, "it is none of NFS")
                        .on(format!("{option:?}"))
                        .hint("docs/nfs.md lists what this client heeds"));
                }
            }
        }
        Ok(options)
    }

    /// The URL by which the library mounts `share`.
    ///
    /// # Errors
    /// `Unsupported` for a share that the library cannot name.
    pub(super) fn url(
        &self,
        share: &Share,
        version: Version,
        reserved_port: bool,
    ) -> Result<String> {
        let refuse = |why: &str| {
            Error::new(ErrorKind::Unsupported, "connect to the NFS server")
                .on(share)
                .because(why)
                .hint("use client = \"kernel\", or another name of the server")
        };
        let server = share.server();
        let host = if server.contains(':') {
            if server.contains('%') {
                return Err(refuse("this client takes no interface in an address"));
            }
            // The library looks an address in brackets up as a name there.
            if version == Version::V3 {
                return Err(refuse(
                    "version 3 takes no IPv6 address, only a server's name",
                ));
            }
            format!("[{server}]")
        } else {
            server.to_owned()
        };
        let mut path = String::new();
        for part in share.export().split('/').filter(|p| !p.is_empty()) {
            if matches!(part, "." | "..") {
                return Err(refuse("this client takes no '.' or '..' in an export"));
            }
            let _never_fails = write!(path, "/{}", utf8_percent_encode(part, NON_ALPHANUMERIC));
        }
        if path.is_empty() {
            path.push('/');
        }
        let mut url = format!(
            "nfs://{host}{path}?version={}&noresvport={}",
            version.name(),
            !reserved_port
        );
        for (name, port) in [("nfsport", self.port), ("mountport", self.mount_port)] {
            if let Some(port) = port {
                let _never_fails = write!(url, "&{name}={port}");
            }
        }
        Ok(url)
    }
}

fn versions(option: &str, value: &str) -> Result<Vec<Version>> {
    match value {
        "3" => Ok(vec![Version::V3]),
        "4" | "4.1" => Ok(vec![Version::V4p1]),
        _ => Err(no_such_version(option)),
    }
}

fn no_such_version(option: &str) -> Error {
    unsupported(option, "it speaks versions 4.1 and 3")
        .hint("write vers=4.1 or vers=3, or leave it out: 4.1 is tried first, then 3")
}

fn port(option: &str, value: &str) -> Result<u16> {
    value
        .parse()
        .map_err(|_| Error::invalid(READ, "it is no port").on(option))
}

fn unsupported(option: &str, why: &str) -> Error {
    Error::new(ErrorKind::Unsupported, READ)
        .on(option)
        .because(format!("client = \"userspace\" cannot do that: {why}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_concerns_the_line_is_heeded_and_what_concerns_the_kernel_is_passed_over() {
        let text =
            "vers=3,port=20490,mountport=20491,noresvport,soft,timeo=50,retrans=2,rsize=65536";
        let expected = Options {
            versions: vec![Version::V3],
            port: Some(20490),
            mount_port: Some(20491),
            reserved_port: Some(false),
        };
        assert_eq!(Options::parse(text).unwrap(), expected);
        assert_eq!(Options::parse("").unwrap(), Options::default());
        assert_eq!(Options::parse("v4.1,port=0").unwrap().port, None);
    }

    #[test]
    fn what_it_cannot_do_is_refused_with_a_way_out() {
        for (text, kind) in [
            ("vers=4.2", ErrorKind::Unsupported),
            ("vers=4.0", ErrorKind::Unsupported),
            ("sec=krb5p", ErrorKind::Unsupported),
            ("proto=rdma", ErrorKind::Unsupported),
            ("ro", ErrorKind::InvalidInput),
            ("port=x", ErrorKind::InvalidInput),
            ("verse=4.1", ErrorKind::InvalidInput),
        ] {
            let refused = Options::parse(text).unwrap_err();
            assert_eq!(refused.kind(), kind, "{text}: {refused}");
        }
    }

    #[test]
    fn odd_exports_come_whole_into_the_url() {
        let url = |share: &str, version| {
            let share: Share = share.parse().unwrap();
            Options::default().url(&share, version, false)
        };
        assert_eq!(
            url("nas:/a b/100%/größe?x#y", Version::V3).unwrap(),
            "nfs://nas/a%20b/100%25/gr%C3%B6%C3%9Fe%3Fx%23y?version=3&noresvport=true"
        );
        assert!(
            url("[2001:db8::1]:/x", Version::V4p1)
                .unwrap()
                .starts_with("nfs://[2001:db8::1]/x?version=4.1")
        );
        for (share, version) in [
            ("[2001:db8::1]:/x", Version::V3),
            ("[fe80::1%eth0]:/x", Version::V4p1),
            ("nas:/a/../b", Version::V4p1),
        ] {
            let refused = url(share, version).unwrap_err();
            assert!(refused.is(ErrorKind::Unsupported), "{share}: {refused}");
        }
    }
}
