//! Every setting by name: its kind, its default, and what it does.

mod table;

use std::str::FromStr;

use backup_core::{Algorithm, Error, Result};

use super::size::parse_size;
pub(crate) use table::KEYS;
use table::TYPES;

/// What kind of value a key takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Any text.
    Text,
    /// A path, made absolute.
    Path,
    /// Bytes, written as a number or as `16MiB`.
    Size {
        /// The smallest that makes sense, in bytes.
        least: u64,
    },
    /// A whole number in these bounds.
    Integer {
        /// Smallest.
        least: i64,
        /// Largest.
        most: i64,
    },
    /// A compression algorithm by any of its names.
    Compression,
    /// One of these words.
    Word(&'static [&'static str]),
    /// Yes or no.
    Boolean,
    /// The version of a protocol: `3`, `1.0`, `v3`.
    Version,
}

/// A setting. In its name, `*` stands for a repository's name.
#[derive(Debug)]
pub(crate) struct Key {
    pub(crate) name: &'static str,
    pub(crate) kind: Kind,
    /// The types of repositories that have it; all where there are none.
    pub(crate) types: &'static [&'static str],
}

/// Whether this is a repository type that the build knows by name only.
pub(super) fn is_later(kind: &str) -> bool {
    TYPES.contains(&kind) && !backup_drivers::in_this_build().contains(&kind)
}

/// What the name of a secret ends with.
const SECRETS: &[&str] = &[
    "password",
    "secret_key",
    "access_key",
    "secret",
    "token",
    "customer_key",
];

impl Key {
    /// A repository of type `kind` has it.
    pub(super) fn fits(&self, kind: &str) -> bool {
        self.types.is_empty() || self.types.contains(&kind)
    }

    fn matches(&self, path: &str) -> bool {
        let mut ours = self.name.split('.');
        let mut theirs = path.split('.');
        loop {
            match (ours.next(), theirs.next()) {
                (None, None) => return true,
                (Some("*"), Some(name)) if !name.is_empty() => {}
                (Some(a), Some(b)) if a == b => {}
                _ => return false,
            }
        }
    }
}

impl Kind {
    /// Reads a value to this kind.
    pub(crate) fn read(self, value: toml::Value) -> Result<toml::Value, String> {
        use toml::Value as V;
        match (self, value) {
            (Self::Text | Self::Path, V::String(s)) if s.is_empty() => {
                Err("the value is empty".into())
            }
            (Self::Text | Self::Path | Self::Version, V::String(s)) => Ok(V::String(s)),
            (Self::Size { least }, V::String(s)) => sized(parse_size(&s)?, least),
            (Self::Size { least }, V::Integer(n)) => sized(
                u64::try_from(n).map_err(|_| format!("{n} is no size"))?,
                least,
            ),
            (Self::Integer { least, most }, V::Integer(n)) if (least..=most).contains(&n) => {
                Ok(V::Integer(n))
            }
            (Self::Integer { least, most }, v) => {
                Err(format!("{v} is not a whole number from {least} to {most}"))
            }
            (Self::Compression, V::String(s)) => Algorithm::from_str(&s)
                .map(|a| V::String(a.word().into()))
                .map_err(|_| format!("{s:?} is no compression; use none, zlib, bzip2 or zstd")),
            (Self::Version, V::Integer(n)) => Ok(V::String(n.to_string())),
            (Self::Version, V::Float(n)) => Ok(V::String(n.to_string())),
            (Self::Boolean, V::Boolean(yes)) => Ok(V::Boolean(yes)),
            // Variables and -o are texts.
            (Self::Boolean, V::String(s)) => match s.to_ascii_lowercase().as_str() {
                "true" | "yes" | "on" | "1" => Ok(V::Boolean(true)),
                "false" | "no" | "off" | "0" => Ok(V::Boolean(false)),
                _ => Err(format!("{s:?} is not true or false")),
            },
            (Self::Boolean, v) => Err(format!("{v} is not true or false")),
            (Self::Word(words), V::String(s)) if words.contains(&s.as_str()) => Ok(V::String(s)),
            (Self::Word(words), v) => Err(format!("{v} is not one of: {}", words.join(", "))),
            // It may be a secret: only what it is is told.
            (_, v) => Err(format!("the value is {}, not a text", v.type_str())),
        }
    }
}

fn sized(bytes: u64, least: u64) -> Result<toml::Value, String> {
    if bytes < least {
        return Err(format!("{bytes} bytes are less than {least}"));
    }
    i64::try_from(bytes)
        .map(toml::Value::Integer)
        .map_err(|_| format!("{bytes} bytes are too many"))
}

/// How many parts the sections above a value of `path` may have.
pub(super) fn depth(path: &str) -> usize {
    if path.starts_with("repository") { 2 } else { 1 }
}

/// The setting at `path`.
///
/// # Errors
/// [`InvalidInput`](backup_core::ErrorKind::InvalidInput), naming the nearest key that there is.
pub(crate) fn find(path: &str) -> Result<&'static Key> {
    if let Some(key) = KEYS.iter().find(|k| k.matches(path)) {
        return Ok(key);
    }
    Err(unknown(path))
}

/// Refuses a section that no key stands in.
pub(super) fn check_section(path: &str) -> Result<()> {
    let mut parts = path.split('.');
    let first = parts.next().unwrap_or_default();
    let known = KEYS.iter().any(|k| k.name.split('.').next() == Some(first));
    if known { Ok(()) } else { Err(unknown(path)) }
}

fn unknown(path: &str) -> Error {
    let repository = path.split('.').nth(1).filter(|_| path.starts_with("repo"));
    let nearest = KEYS
        .iter()
        .map(|k| match repository {
            Some(name) => k.name.replace('*', name),
            None => k.name.replace('*', "NAME"),
        })
        .map(|name| (distance(path, &name), name))
        .min();
    let error = Error::invalid(
        format!("read the setting {path:?}"),
        "there is no such setting",
    );
    match nearest {
        Some((_, name)) => error.hint(format!("the nearest one is {name}")),
        None => error,
    }
}

/// Edits (insert, delete, replace) that make `b` of `a`; a setting given without its section is near to it.
fn distance(a: &str, b: &str) -> usize {
    let last = b.rsplit('.').next().unwrap_or(b);
    edits(a, b).min(edits(a.rsplit('.').next().unwrap_or(a), last) + 1)
}

fn edits(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, ca) in a.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, &cb) in b.iter().enumerate() {
            let replaced = diagonal + usize::from(ca != cb);
            diagonal = row[j + 1];
            row[j + 1] = replaced.min(diagonal + 1).min(row[j] + 1);
        }
    }
    row[b.len()]
}

/// Whether the value of this key must not stand on a command line.
pub(crate) fn is_secret(path: &str) -> bool {
    let name = path.rsplit('.').next().unwrap_or(path).trim();
    SECRETS.iter().any(|end| name.ends_with(end))
}

/// The environment variable of a key.
pub(crate) fn variable_of(path: &str) -> String {
    format!(
        "ASHLAR_{}",
        path.to_ascii_uppercase().replace(['.', '-'], "_")
    )
}

/// The dotted key that an environment variable sets; `None` where it is none of ours. `repositories` are the names
/// that the file has, so that one with a hyphen or capitals is found again.
///
/// # Errors
/// [`InvalidInput`](backup_core::ErrorKind::InvalidInput) for a variable of one of our sections that names no key.
pub(crate) fn of_variable(name: &str, repositories: &[String]) -> Result<Option<String>> {
    const SECTIONS: &[&str] = &["BACKUP_", "REPOSITORY_", "VOLUMES_", "CATALOG_"];
    let Some(rest) = name.strip_prefix("ASHLAR_") else {
        return Ok(None);
    };
    if !SECTIONS.iter().any(|s| rest.starts_with(s)) {
        return Ok(None);
    }
    if let Some(key) = KEYS
        .iter()
        .find(|k| !k.name.contains('*') && variable_of(k.name) == name)
    {
        return Ok(Some(key.name.to_owned()));
    }
    if let Some(rest) = rest.strip_prefix("REPOSITORY_") {
        let known = KEYS
            .iter()
            .filter_map(|k| k.name.strip_prefix("repository.*."));
        // The longest key that fits: a name may hold an underscore too.
        let fit = known
            .filter_map(|key| {
                let repository = rest
                    .strip_suffix(&key.to_ascii_uppercase())?
                    .strip_suffix('_')?;
                (!repository.is_empty()).then_some((repository, key))
            })
            .max_by_key(|(_, key)| key.len());
        if let Some((repository, key)) = fit {
            let named = repositories
                .iter()
                .find(|r| r.to_ascii_uppercase().replace('-', "_") == repository)
                .cloned()
                .unwrap_or_else(|| repository.to_ascii_lowercase());
            return Ok(Some(format!("repository.{named}.{key}")));
        }
        // A variable of one whose driver is to come.
        let later = repositories
            .iter()
            .find(|r| rest.starts_with(&format!("{}_", r.to_ascii_uppercase().replace('-', "_"))));
        if let Some(repository) = later {
            let key = rest[repository.len() + 1..].to_ascii_lowercase();
            return Ok(Some(format!("repository.{repository}.{key}")));
        }
    }
    let guess = rest.to_ascii_lowercase().replacen('_', ".", 1);
    Err(unknown(&guess).on(format!("(from the variable {name})")))
}
