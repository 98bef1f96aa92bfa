//! Results on standard output: tables as the `openstack` client prints them, JSON, YAML and bare values.

use std::borrow::Cow;
use std::io::{self, Write};

use backup_core::Error;
use comfy_table::{Cell, ContentArrangement, Table, presets};
use serde::{Serialize, Serializer};
use serde_json::{Map, Value};
use unicode_width::UnicodeWidthStr;

use crate::args::Format;
use crate::failure::{Failure, Result};

/// A column of a list: its title in tables and its key in JSON.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Column {
    /// As the `openstack` client heads it: `Created At`.
    pub(crate) title: &'static str,
    /// In JSON and YAML: `created_at`.
    pub(crate) key: &'static str,
}

/// Shorthand for a [`Column`].
pub(crate) const fn column(title: &'static str, key: &'static str) -> Column {
    Column { title, key }
}

/// Prints results in the form and with the columns that the user asked for.
#[derive(Debug)]
pub(crate) struct Output {
    format: Format,
    columns: Vec<String>,
}

impl Output {
    /// From `-f` and `-c`.
    pub(crate) fn new(format: Format, columns: Vec<String>) -> Self {
        Self { format, columns }
    }

    /// Prints one thing: a table of fields, or one object.
    pub(crate) fn record(&self, fields: &[(&'static str, Value)]) -> Result<()> {
        let names: Vec<_> = fields.iter().map(|(name, _)| column(name, name)).collect();
        let chosen = self.choose(&names)?;
        let fields = || chosen.iter().map(|&i| &fields[i]);
        match self.format {
            Format::Table => {
                let mut table = new_table(["Field", "Value"]);
                for (name, value) in fields() {
                    table.add_row([Cell::new(name), Cell::new(for_people(value))]);
                }
                print(|out| writeln!(out, "{table}"))
            }
            Format::Value => print(|out| {
                for (_, value) in fields() {
                    writeln!(out, "{}", for_scripts(value))?;
                }
                Ok(())
            }),
            Format::Json | Format::Yaml => {
                let object: Map<_, _> = fields()
                    .map(|(k, v)| ((*k).to_owned(), v.clone()))
                    .collect();
                self.structured(&Value::Object(object))
            }
        }
    }

    /// Prints many things of a kind: a table with a row for each, or a list of objects.
    pub(crate) fn list(&self, columns: &[Column], rows: &[Vec<Value>]) -> Result<()> {
        let chosen = self.choose(columns)?;
        match self.format {
            Format::Table => print(|out| draw_table(out, columns, rows, &chosen)),
            Format::Value => print(|out| {
                for row in rows {
                    let words: Vec<_> = chosen.iter().map(|&i| for_scripts(&row[i])).collect();
                    writeln!(out, "{}", words.join(" "))?;
                }
                Ok(())
            }),
            Format::Json | Format::Yaml => self.structured(&Objects {
                columns,
                chosen: &chosen,
                rows,
            }),
        }
    }

    fn structured(&self, value: &impl Serialize) -> Result<()> {
        if self.format == Format::Yaml {
            let text = serde_norway::to_string(value)
                .map_err(|e| Error::internal("print YAML", e.to_string()))?;
            return print(|out| writeln!(out, "{}", text.trim_end()));
        }
        print(|out| {
            serde_json::to_writer_pretty(&mut *out, value)?;
            writeln!(out)
        })
    }

    /// Which columns are printed, in their own order. `-c` takes a title or a key, in any case.
    fn choose(&self, columns: &[Column]) -> Result<Vec<usize>> {
        if self.columns.is_empty() {
            return Ok((0..columns.len()).collect());
        }
        let is = |c: &Column, asked: &str| {
            c.title.eq_ignore_ascii_case(asked) || c.key.eq_ignore_ascii_case(asked)
        };
        if let Some(unknown) = self
            .columns
            .iter()
            .find(|a| !columns.iter().any(|c| is(c, a)))
        {
            let titles: Vec<_> = columns.iter().map(|c| c.title).collect();
            return Err(Failure::usage(
                format!("print the column {unknown:?}: there is no such column here"),
                Some(format!("there are: {}", titles.join(", "))),
            ));
        }
        Ok((0..columns.len())
            .filter(|&i| self.columns.iter().any(|a| is(&columns[i], a)))
            .collect())
    }

    /// Whether it is printed for people to read.
    pub(crate) fn is_for_people(&self) -> bool {
        self.format == Format::Table
    }

    /// The form that was asked for.
    pub(crate) fn format(&self) -> Format {
        self.format
    }
}

/// The rows of a list as objects, written as they are met: ten thousand backups make no second copy of themselves.
struct Objects<'a> {
    columns: &'a [Column],
    chosen: &'a [usize],
    rows: &'a [Vec<Value>],
}

impl Serialize for Objects<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> std::result::Result<S::Ok, S::Error> {
        serializer.collect_seq(self.rows.iter().map(|row| Object { of: self, row }))
    }
}

struct Object<'a> {
    of: &'a Objects<'a>,
    row: &'a [Value],
}

impl Serialize for Object<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> std::result::Result<S::Ok, S::Error> {
        let fields = self.of.chosen.iter();
        serializer.collect_map(fields.map(|&i| (self.of.columns[i].key, &self.row[i])))
    }
}

fn new_table<const N: usize>(titles: [&str; N]) -> Table {
    let mut table = Table::new();
    style(&mut table);
    table.set_header(titles);
    table
}

/// `+---+` around and below the header, as PrettyTable draws for the `openstack` client.
fn style(table: &mut Table) {
    let style = presets::ASCII_FULL_CONDENSED
        .header_separator(comfy_table::LineStyle::new('+', '-', '+', '+'));
    table
        .load_style(style)
        .set_content_arrangement(ContentArrangement::Disabled);
}

/// The same look as [`style`]'s, drawn here: a list may have ten thousand rows, of which comfy-table would make as many
/// objects of its own first. No cell has more than one line.
fn draw_table(
    out: &mut dyn Write,
    columns: &[Column],
    rows: &[Vec<Value>],
    chosen: &[usize],
) -> io::Result<()> {
    let cells: Vec<Vec<Cow<'_, str>>> = rows
        .iter()
        .map(|row| chosen.iter().map(|&i| for_people(&row[i])).collect())
        .collect();
    let mut widths: Vec<usize> = chosen.iter().map(|&i| columns[i].title.width()).collect();
    for row in &cells {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = (*width).max(cell.width());
        }
    }
    let border: String = widths
        .iter()
        .map(|width| format!("+{}", "-".repeat(width + 2)))
        .chain(["+".to_owned()])
        .collect();
    writeln!(out, "{border}")?;
    for (&i, width) in chosen.iter().zip(&widths) {
        write_cell(out, columns[i].title, *width, false)?;
    }
    writeln!(out, "|\n{border}")?;
    for (row, text) in rows.iter().zip(&cells) {
        for ((&i, cell), width) in chosen.iter().zip(text).zip(&widths) {
            write_cell(out, cell, *width, row[i].is_number())?;
        }
        writeln!(out, "|")?;
    }
    writeln!(out, "{border}")
}

/// A cell with its left border. Padded by what it takes on a terminal, which `format!` does not know.
fn write_cell(out: &mut dyn Write, text: &str, width: usize, right: bool) -> io::Result<()> {
    let padding = width - text.width().min(width);
    if right {
        write!(out, "| {:padding$}{text} ", "")
    } else {
        write!(out, "| {text}{:padding$} ", "")
    }
}

/// A value as the `openstack` client shows it in tables: None, True, key='value'.
fn for_people(value: &Value) -> Cow<'_, str> {
    match value {
        Value::Array(items) => items
            .iter()
            .map(for_scripts)
            .collect::<Vec<_>>()
            .join(", ")
            .into(),
        Value::Object(map) => map
            .iter()
            .map(|(k, v)| match v {
                Value::String(s) => format!("{k}='{}'", one_line(s)),
                other => format!("{k}='{other}'"),
            })
            .collect::<Vec<_>>()
            .join(", ")
            .into(),
        other => for_scripts(other),
    }
}

/// A value on one line.
fn for_scripts(value: &Value) -> Cow<'_, str> {
    match value {
        Value::Null => "None".into(),
        Value::Bool(true) => "True".into(),
        Value::Bool(false) => "False".into(),
        Value::String(s) => one_line(s),
        other => other.to_string().into(),
    }
}

/// Control characters of a name could forge rows or drive the terminal: they are shown escaped.
fn one_line(text: &str) -> Cow<'_, str> {
    if !text.chars().any(char::is_control) {
        return text.into();
    }
    let mut escaped = String::with_capacity(text.len());
    for c in text.chars() {
        if c.is_control() {
            escaped.extend(c.escape_default());
        } else {
            escaped.push(c);
        }
    }
    escaped.into()
}

/// Writes to standard output through one buffer.
///
/// # Errors
/// [`Failure::BrokenPipe`] where the reader is gone (`ashlar ... | head`).
pub(crate) fn print(write: impl FnOnce(&mut dyn Write) -> io::Result<()>) -> Result<()> {
    let mut out = io::BufWriter::with_capacity(64 * 1024, io::stdout().lock());
    write(&mut out).and_then(|()| out.flush()).map_err(|e| {
        if e.kind() == io::ErrorKind::BrokenPipe {
            Failure::BrokenPipe
        } else {
            Error::io("write", "standard output", e).into()
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn values_read_as_in_the_openstack_client() {
        assert_eq!(for_people(&Value::Null), "None");
        assert_eq!(for_people(&json!(true)), "True");
        assert_eq!(for_people(&json!({"a": "1", "b": "2"})), "a='1', b='2'");
        assert_eq!(for_people(&json!({})), "");
        assert_eq!(for_scripts(&json!({"a": "1"})), r#"{"a":"1"}"#);
        assert_eq!(for_scripts(&json!(7)), "7");
    }

    #[test]
    fn a_name_with_control_characters_stays_on_its_line() {
        assert_eq!(for_people(&json!("a\nb\u{1b}[31m")), "a\\nb\\u{1b}[31m");
    }

    #[test]
    fn a_column_is_found_by_title_or_key_and_an_unknown_one_is_wrong_usage() {
        let columns = [column("ID", "id"), column("Created At", "created_at")];
        let chosen = |asked: &[&str]| {
            Output::new(
                Format::Table,
                asked.iter().map(|s| (*s).to_owned()).collect(),
            )
            .choose(&columns)
        };
        assert_eq!(chosen(&[]).unwrap(), [0, 1]);
        assert_eq!(chosen(&["created at"]).unwrap(), [1]);
        assert_eq!(chosen(&["created_at", "id"]).unwrap(), [0, 1]);
        assert_eq!(chosen(&["size"]).unwrap_err().exit_status(), 2);
    }

    #[test]
    fn a_list_looks_as_the_openstack_client_draws_it() {
        let columns = [column("ID", "id"), column("Size", "size")];
        let mut drawn = Vec::new();
        draw_table(
            &mut drawn,
            &columns,
            &[vec![json!("abc"), json!(1)]],
            &[0, 1],
        )
        .unwrap();
        let expected = "\
+-----+------+
| ID  | Size |
+-----+------+
| abc |    1 |
+-----+------+
";
        assert_eq!(String::from_utf8(drawn).unwrap(), expected);
    }

    /// A list is drawn here and a record by comfy-table: both must look the same.
    #[test]
    fn a_list_and_a_record_are_drawn_alike() {
        let columns = [
            column("Name", "name"),
            column("Size", "size"),
            column("Empty", "empty"),
        ];
        for rows in [
            vec![vec![
                json!("a name in Japanese: \u{65e5}\u{672c}"),
                json!(17),
                json!(""),
            ]],
            vec![
                vec![json!("e\u{301}"), json!(1_234_567), json!(null)],
                vec![json!("x"), json!("text"), json!(true)],
            ],
        ] {
            let mut table = Table::new();
            style(&mut table);
            table.set_header(columns.map(|c| c.title));
            for row in &rows {
                table.add_row(row.iter().map(|value| {
                    let cell = Cell::new(for_people(value));
                    if value.is_number() {
                        cell.set_alignment(comfy_table::CellAlignment::Right)
                    } else {
                        cell
                    }
                }));
            }
            let mut drawn = Vec::new();
            draw_table(&mut drawn, &columns, &rows, &[0, 1, 2]).unwrap();
            assert_eq!(String::from_utf8(drawn).unwrap(), format!("{table}\n"));
        }
    }
}
