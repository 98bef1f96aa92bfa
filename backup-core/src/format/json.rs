//! JSON as Python's `json.dumps` writes it (ASCII-escaped), and what bounds a JSON text before it is made a tree.

use serde_json::Value;

use crate::error::{Error, Result};

/// More values than any volume's metadata or record has: what keeps a tree of `[[],[],…` small.
const MAX_VALUES: usize = 100_000;

/// Appends `text` as a JSON string: ASCII only, surrogate pairs above U+FFFF, as `ensure_ascii` does.
pub(super) fn push_string(out: &mut Vec<u8>, text: &str) {
    out.reserve(text.len() + 2);
    out.push(b'"');
    for c in text.chars() {
        match c {
            '"' => out.extend_from_slice(b"\\\""),
            '\\' => out.extend_from_slice(b"\\\\"),
            '\n' => out.extend_from_slice(b"\\n"),
            '\r' => out.extend_from_slice(b"\\r"),
            '\t' => out.extend_from_slice(b"\\t"),
            '\u{8}' => out.extend_from_slice(b"\\b"),
            '\u{c}' => out.extend_from_slice(b"\\f"),
            // Python escapes DEL too.
            ' '..='~' => out.push(c as u8),
            _ => {
                for unit in c.encode_utf16(&mut [0; 2]) {
                    out.extend_from_slice(format!("\\u{unit:04x}").as_bytes());
                }
            }
        }
    }
    out.push(b'"');
}

/// Appends a JSON string, or `null`.
pub(super) fn push_optional(out: &mut Vec<u8>, text: Option<&str>) {
    match text {
        Some(text) => push_string(out, text),
        None => out.extend_from_slice(b"null"),
    }
}

/// Appends a number.
pub(super) fn push_number(out: &mut Vec<u8>, number: u64) {
    out.extend_from_slice(number.to_string().as_bytes());
}

/// Starts a key of an indented object: `,` unless it is the first, a new line, the indent, the key.
pub(super) fn push_key(out: &mut Vec<u8>, indent: usize, first: &mut bool, key: &str) {
    if !std::mem::replace(first, false) {
        out.push(b',');
    }
    push_line(out, indent);
    push_string(out, key);
    out.extend_from_slice(b": ");
}

/// Starts a new line with its indent.
pub(super) fn push_line(out: &mut Vec<u8>, indent: usize) {
    out.push(b'\n');
    out.resize(out.len() + indent, b' ');
}

/// Appends any value in the style of `json.dumps` without arguments: one line, `, ` and `: ` between, keys as they come.
pub(super) fn push_value(out: &mut Vec<u8>, value: &Value) {
    match value {
        Value::Null => out.extend_from_slice(b"null"),
        Value::Bool(yes) => out.extend_from_slice(if *yes { b"true" } else { b"false" }),
        Value::Number(number) => out.extend_from_slice(number.to_string().as_bytes()),
        Value::String(text) => push_string(out, text),
        Value::Array(values) => {
            out.push(b'[');
            for (i, value) in values.iter().enumerate() {
                if i > 0 {
                    out.extend_from_slice(b", ");
                }
                push_value(out, value);
            }
            out.push(b']');
        }
        Value::Object(map) => push_map(out, map.iter(), push_value),
    }
}

/// Appends a one-line object of these entries.
pub(super) fn push_map<'a, T: 'a + ?Sized>(
    out: &mut Vec<u8>,
    entries: impl Iterator<Item = (&'a String, &'a T)>,
    push: fn(&mut Vec<u8>, &T),
) {
    out.push(b'{');
    for (i, (key, value)) in entries.enumerate() {
        if i > 0 {
            out.extend_from_slice(b", ");
        }
        push_string(out, key);
        out.extend_from_slice(b": ");
        push(out, value);
    }
    out.push(b'}');
}

/// Parses a text that is held whole already, after a look at its length and at how many values it can hold.
pub(super) fn parse_bounded(
    operation: &'static str,
    text: &[u8],
    max_bytes: usize,
) -> Result<Value> {
    if text.len() > max_bytes {
        return Err(Error::new(crate::ErrorKind::Corrupt, operation)
            .because(format!("{} bytes are more than {max_bytes}", text.len())));
    }
    if separators(text) > MAX_VALUES {
        return Err(Error::new(crate::ErrorKind::Corrupt, operation)
            .because(format!("it holds more than {MAX_VALUES} values")));
    }
    serde_json::from_slice(text).map_err(|e| {
        Error::new(crate::ErrorKind::Corrupt, operation).because(super::guard::describe(&e))
    })
}

/// An upper bound of the number of values in a JSON text: what separates or opens one, outside of strings.
fn separators(text: &[u8]) -> usize {
    let mut count = 0;
    let (mut in_string, mut escaped) = (false, false);
    for &byte in text {
        if in_string {
            in_string = escaped || byte != b'"';
            escaped = !escaped && byte == b'\\';
        } else {
            match byte {
                b'"' => in_string = true,
                b',' | b'[' | b'{' => count += 1,
                _ => {}
            }
        }
    }
    count
}

/// The text of a scalar, for maps that should hold strings only: Cinder turns what it finds there into one.
pub(super) fn scalar_text(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Null => String::new(),
        other => {
            let mut out = Vec::new();
            push_value(&mut out, other);
            String::from_utf8_lossy(&out).into_owned()
        }
    }
}

/// At most `limit` characters of `text`, for messages about hostile input.
pub(crate) fn shorten(text: &str, limit: usize) -> String {
    match text.char_indices().nth(limit) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn string(text: &str) -> String {
        let mut out = Vec::new();
        push_string(&mut out, text);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn strings_are_escaped_as_python_does() {
        // The right-hand sides are what `python3 -c 'import json; print(json.dumps(…))'` prints.
        for (text, python) in [
            ("", r#""""#),
            ("a/b", r#""a/b""#),
            ("q\"\\", r#""q\"\\""#),
            ("\n\r\t\u{8}\u{c}", r#""\n\r\t\b\f""#),
            ("\0\u{1f}\u{7f}", r#""\u0000\u001f\u007f""#),
            ("ä☃\u{2028}", r#""\u00e4\u2603\u2028""#),
            ("😀\u{10ffff}", r#""\ud83d\ude00\udbff\udfff""#),
        ] {
            assert_eq!(string(text), python);
        }
    }

    #[test]
    fn values_are_counted_outside_of_strings_only() {
        assert_eq!(separators(br#"{"a,[\"{,": [1, 2]}"#), 3);
        let bomb = format!("[{}1]", "[],".repeat(MAX_VALUES));
        let e = parse_bounded("x", bomb.as_bytes(), usize::MAX).unwrap_err();
        assert!(e.to_string().contains("values"), "{e}");
    }

    #[test]
    fn a_message_shows_only_the_beginning_of_a_giant_text() {
        assert_eq!(shorten("größe", 3), "grö…");
        assert_eq!(shorten("größe", 5), "größe");
    }
}
