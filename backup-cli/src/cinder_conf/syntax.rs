//! The syntax of oslo.config: sections, `key = value` or `key: value`, lines that go on, `$name`.

use std::collections::BTreeMap;

use backup_core::{Error, Result};

/// The options of `[DEFAULT]`, each with its last value as it stands, and those of the other sections.
#[derive(Debug, Default)]
pub(super) struct Options(BTreeMap<String, String>, BTreeMap<String, Section>);

type Section = BTreeMap<String, String>;

/// Cinder's defaults that others refer to.
const REFERRED: &[(&str, &str)] = &[("state_path", "/var/lib/cinder")];

/// How often a value may refer to another.
const DEPTH: usize = 10;

impl Options {
    /// Reads a file's text.
    ///
    /// # Errors
    /// [`InvalidInput`](backup_core::ErrorKind::InvalidInput) with the number of a line that is none of the syntax.
    /// What the line says is not told: it may be a secret.
    pub(super) fn parse(text: &str) -> Result<Self> {
        let mut options = Self::default();
        let mut section = String::new();
        let mut open: Option<(String, Vec<String>)> = None;
        for (number, line) in text.lines().enumerate() {
            let wrong = |why: &str| {
                Err(Error::invalid(
                    "read cinder.conf",
                    format!("line {}: {why}", number + 1),
                ))
            };
            let line = line.trim_end();
            if line.is_empty() {
                options.close(&section, open.take());
            } else if line.starts_with([' ', '\t']) {
                match &mut open {
                    Some((_, lines)) => lines.push(line.trim_start().to_owned()),
                    None => return wrong("it goes on with a line that is not there"),
                }
            } else {
                options.close(&section, open.take());
                if let Some(rest) = line.strip_prefix('[') {
                    match rest.strip_suffix(']') {
                        Some(name) if !name.is_empty() => name.clone_into(&mut section),
                        _ => return wrong("a section must be [NAME]"),
                    }
                } else if !line.starts_with(['#', ';']) {
                    let Some((key, value)) = line.split_once([':', '=']) else {
                        return wrong("it has neither = nor :");
                    };
                    let (key, value) = (key.trim(), unquoted(value.trim()));
                    if key.is_empty() {
                        return wrong("it names no option");
                    }
                    open = Some((key.to_owned(), vec![value.to_owned()]));
                }
            }
        }
        options.close(&section, open);
        Ok(options)
    }

    fn close(&mut self, section: &str, option: Option<(String, Vec<String>)>) {
        if let Some((key, lines)) = option {
            let options = match section {
                "DEFAULT" => &mut self.0,
                other => self.1.entry(other.to_owned()).or_default(),
            };
            // Older files have hyphens.
            options.insert(key.replace('-', "_"), lines.join("\n"));
        }
    }

    /// The names that are set, in order.
    pub(super) fn names(&self) -> impl Iterator<Item = &str> {
        self.0.keys().map(String::as_str)
    }

    /// The value of an option with what it refers to put in; `None` where it is not set, or empty.
    ///
    /// # Errors
    /// The name that it refers to, where that is not known.
    pub(super) fn get(&self, name: &str) -> Result<Option<String>, String> {
        match self.0.get(name) {
            Some(value) => Ok(Some(self.substitute(value, DEPTH)?).filter(|v| !v.is_empty())),
            None => Ok(None),
        }
    }

    /// The value of an option of another section, as [`get`](Self::get) has it.
    pub(super) fn get_in(&self, section: &str, name: &str) -> Result<Option<String>, String> {
        let value = self.1.get(section).and_then(|options| options.get(name));
        match value {
            Some(value) => Ok(Some(self.substitute(value, DEPTH)?).filter(|v| !v.is_empty())),
            None => Ok(None),
        }
    }

    /// Puts in what `text` refers to by `$name` and `${name}`; `$$` and `\$` are a dollar.
    pub(super) fn substitute(&self, text: &str, depth: usize) -> Result<String, String> {
        let mut out = String::with_capacity(text.len());
        let mut rest = text;
        while let Some(at) = rest.find('$') {
            let (before, behind) = (&rest[..at], &rest[at + 1..]);
            if let Some(before) = before.strip_suffix('\\') {
                out.push_str(before);
                out.push('$');
                rest = behind;
                continue;
            }
            out.push_str(before);
            if let Some(behind) = behind.strip_prefix('$') {
                out.push('$');
                rest = behind;
                continue;
            }
            let (name, after) = if let Some(inner) = behind.strip_prefix('{') {
                inner.split_once('}').unwrap_or(("", behind))
            } else {
                let end = behind
                    .find(|c: char| !(c.is_ascii_alphanumeric() || matches!(c, '_' | '.')))
                    .unwrap_or(behind.len());
                behind.split_at(end)
            };
            let begins_well = name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_');
            if !begins_well {
                // As it stands: Cinder takes it so too.
                out.push('$');
                rest = behind;
                continue;
            }
            let default = REFERRED.iter().find(|(n, _)| *n == name).map(|(_, v)| *v);
            match (self.0.get(name).map(String::as_str).or(default), depth) {
                (Some(value), 1..) => out.push_str(&self.substitute(value, depth - 1)?),
                _ => return Err(name.to_owned()),
            }
            rest = after;
        }
        out.push_str(rest);
        Ok(out)
    }

    /// [`substitute`](Self::substitute) for one of Cinder's defaults.
    pub(super) fn expand(&self, text: &str) -> Result<String, String> {
        self.substitute(text, DEPTH)
    }
}

/// Without the quotes around it.
fn unquoted(value: &str) -> &str {
    for quote in ['"', '\''] {
        if value.len() > 1
            && let Some(inner) = value
                .strip_prefix(quote)
                .and_then(|v| v.strip_suffix(quote))
        {
            return inner;
        }
    }
    value
}

/// A truth value as oslo.config reads it.
pub(super) fn truth(text: &str) -> Option<bool> {
    match text.to_ascii_lowercase().as_str() {
        "true" | "1" | "on" | "yes" => Some(true),
        "false" | "0" | "off" | "no" => Some(false),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn get(text: &str, name: &str) -> Option<String> {
        Options::parse(text).unwrap().get(name).unwrap()
    }

    #[test]
    fn lines_are_read_as_oslo_config_reads_them() {
        let text = "# c\n; c\n[DEFAULT]\na = 1\nb: 2 = 3\nc=\"x y\"\nd = 'q'\ne = one\n  two\n\tthree\n\nf-g = h\n\
                    a = 4\n[other]\na = 5\n[DEFAULT]\nz =\n";
        for (name, value) in [
            ("a", Some("4")),
            ("b", Some("2 = 3")),
            ("c", Some("x y")),
            ("d", Some("q")),
            ("e", Some("one\ntwo\nthree")),
            ("f_g", Some("h")),
            ("z", None),
            ("missing", None),
        ] {
            assert_eq!(get(text, name).as_deref(), value, "{name}");
        }
    }

    #[test]
    fn what_a_value_refers_to_is_put_in() {
        let text = "[DEFAULT]\nhost = h1\na = $state_path/b\nb = ${host}-x\nc = 5$$ \\$host\nd = $nowhere/x\n\
                    e = $f\nf = $e\ng = 100$\n";
        assert_eq!(get(text, "a").as_deref(), Some("/var/lib/cinder/b"));
        assert_eq!(get(text, "b").as_deref(), Some("h1-x"));
        assert_eq!(get(text, "c").as_deref(), Some("5$ $host"));
        assert_eq!(get(text, "g").as_deref(), Some("100$"));
        let options = Options::parse(text).unwrap();
        assert_eq!(options.get("d"), Err("nowhere".into()));
        assert!(options.get("e").is_err(), "a circle ends");
        let moved = Options::parse("[DEFAULT]\nstate_path = /s\na = $state_path/b").unwrap();
        assert_eq!(moved.get("a"), Ok(Some("/s/b".into())));
    }

    #[test]
    fn a_broken_line_is_told_by_its_number_alone() {
        for (text, line) in [
            ("[DEFAULT]\nhush", "line 2"),
            (" x = hush", "line 1"),
            ("[DEFAULT\nx = 1", "line 1"),
            ("[DEFAULT]\n\n= hush", "line 3"),
        ] {
            let e = Options::parse(text).unwrap_err();
            assert!(e.to_string().contains(line), "{e}");
            assert!(!e.to_string().contains("hush"), "{e}");
        }
    }
}
