//! Names of exports.

use std::fmt;
use std::str::FromStr;

use backup_core::Error;

/// An export of a server, as `mount` and Cinder's `backup_share` name it: `server:/export`, `192.0.2.1:/export`,
/// `[2001:db8::1]:/export`. Shows as the text that it was made of, to the letter: mount points are named by it.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Share {
    text: String,
    /// Where the server's name ends.
    colon: usize,
}

impl Share {
    /// The server: a name or an address, an IPv6 address without its brackets.
    pub fn server(&self) -> &str {
        let server = &self.text[..self.colon];
        server
            .strip_prefix('[')
            .and_then(|s| s.strip_suffix(']'))
            .unwrap_or(server)
    }

    /// The export's path on the server, from its slash on.
    pub fn export(&self) -> &str {
        &self.text[self.colon + 1..]
    }

    /// The whole text.
    pub fn as_str(&self) -> &str {
        &self.text
    }
}

impl FromStr for Share {
    type Err = Error;

    /// # Errors
    /// [`InvalidInput`](backup_core::ErrorKind::InvalidInput) for what names no export.
    fn from_str(text: &str) -> Result<Self, Error> {
        let refuse = |why: &str| {
            Error::invalid("read the NFS share", why)
                .on(format!("{text:?}"))
                .hint("write server:/export, or [2001:db8::1]:/export")
        };
        if text.chars().any(char::is_control) {
            return Err(refuse("it has a control character"));
        }
        let colon = if text.starts_with('[') {
            match text.find(']') {
                Some(end) if text[end + 1..].starts_with(':') => end + 1,
                _ => return Err(refuse("behind the address stands no \"]:\"")),
            }
        } else {
            text.find(':')
                .ok_or_else(|| refuse("it has no colon behind the server"))?
        };
        let share = Self {
            text: text.to_owned(),
            colon,
        };
        let server = share.server();
        if server.is_empty() {
            return Err(refuse("it names no server"));
        }
        // A server with a hyphen in front would be an option to mount, one with a comma two servers.
        if server.starts_with('-') || server.contains([' ', ',', '/', '[', ']']) {
            return Err(refuse("the server is no name and no address"));
        }
        if text.starts_with('[') {
            // Behind a percent sign stands the interface of a link-local address.
            let address = server.split('%').next().unwrap_or_default();
            if address.parse::<std::net::Ipv6Addr>().is_err() {
                return Err(refuse("what stands in brackets is no IPv6 address"));
            }
        }
        if !share.export().starts_with('/') {
            return Err(refuse(if share.export().contains(':') {
                "an IPv6 address needs brackets"
            } else {
                "the export does not begin with a slash"
            }));
        }
        Ok(share)
    }
}

impl fmt::Display for Share {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_addresses_of_both_kinds_are_told_from_their_exports() {
        for (text, server, export) in [
            ("nas:/", "nas", "/"),
            ("nas.example.org:/a/b c:d", "nas.example.org", "/a/b c:d"),
            ("192.0.2.1:/export/", "192.0.2.1", "/export/"),
            ("[2001:db8::1]:/export", "2001:db8::1", "/export"),
            ("[fe80::1%eth0]:/x", "fe80::1%eth0", "/x"),
        ] {
            let share: Share = text.parse().unwrap();
            assert_eq!((share.server(), share.export()), (server, export));
            assert_eq!(share.to_string(), text);
        }
    }

    #[test]
    fn what_names_no_export_is_refused_with_a_reason() {
        for (text, why) in [
            ("", "colon"),
            ("/export", "colon"),
            (":/export", "no server"),
            ("nas:export", "slash"),
            ("nas:", "slash"),
            ("2001:db8::1:/export", "brackets"),
            ("[2001:db8::1]/export", "]:"),
            ("[2001:db8::1", "]:"),
            ("[nas]:/export", "IPv6"),
            ("-oremount:/export", "no name"),
            ("a,b:/export", "no name"),
            ("nas:/exp\nort", "control"),
        ] {
            let refused = text.parse::<Share>().unwrap_err().to_string();
            assert!(refused.contains(why), "{text}: {refused}");
        }
    }
}
