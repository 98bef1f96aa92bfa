//! Values to and from columns.

use std::collections::BTreeMap;
use std::fmt::Display;
use std::str::FromStr;

use backup_core::{Error, Result, Timestamp};
use serde::Serialize;
use serde::de::DeserializeOwned;
use sqlx::Row;
use sqlx::sqlite::SqliteRow;

const READ: &str = "read catalogue";

/// Reads a row's columns in the order in which they were asked for.
pub(crate) struct Columns<'a> {
    row: &'a SqliteRow,
    next: usize,
}

fn damaged(column: usize, why: impl Display) -> Error {
    Error::corrupt(READ, format!("column {column}"), why.to_string())
}

impl<'a> Columns<'a> {
    pub(crate) fn new(row: &'a SqliteRow) -> Self {
        Self { row, next: 0 }
    }

    fn take<T>(&mut self) -> Result<T>
    where
        T: sqlx::Decode<'a, sqlx::Sqlite> + sqlx::Type<sqlx::Sqlite>,
    {
        let column = self.next;
        self.next += 1;
        self.row.try_get(column).map_err(|e| damaged(column, e))
    }

    pub(crate) fn text(&mut self) -> Result<String> {
        self.take()
    }

    pub(crate) fn borrowed(&mut self) -> Result<&'a str> {
        self.take()
    }

    pub(crate) fn some_text(&mut self) -> Result<Option<String>> {
        self.take()
    }

    /// Something that is stored as its text.
    pub(crate) fn parsed<T: FromStr<Err = Error>>(&mut self) -> Result<T> {
        self.take::<&str>()?.parse()
    }

    /// Something that may be missing.
    pub(crate) fn some_parsed<T: FromStr<Err = Error>>(&mut self) -> Result<Option<T>> {
        self.take::<Option<&str>>()?.map(str::parse).transpose()
    }

    pub(crate) fn number(&mut self) -> Result<u64> {
        let number: i64 = self.take()?;
        u64::try_from(number).map_err(|e| damaged(self.next - 1, e))
    }

    pub(crate) fn some_number(&mut self) -> Result<Option<u64>> {
        let number: Option<i64> = self.take()?;
        number
            .map(|n| u64::try_from(n).map_err(|e| damaged(self.next - 1, e)))
            .transpose()
    }

    pub(crate) fn flag(&mut self) -> Result<bool> {
        Ok(self.take::<i64>()? != 0)
    }

    pub(crate) fn time(&mut self) -> Result<Timestamp> {
        Timestamp::from_micros(self.take()?)
    }

    pub(crate) fn some_time(&mut self) -> Result<Option<Timestamp>> {
        let micros: Option<i64> = self.take()?;
        micros.map(Timestamp::from_micros).transpose()
    }

    pub(crate) fn properties(&mut self) -> Result<BTreeMap<String, String>> {
        match self.take::<&str>()? {
            "{}" => Ok(BTreeMap::new()),
            text => serde_json::from_str(text).map_err(|e| damaged(self.next - 1, e)),
        }
    }

    pub(crate) fn some_json<T: DeserializeOwned>(&mut self) -> Result<Option<T>> {
        self.take::<Option<&str>>()?
            .map(|text| serde_json::from_str(text).map_err(|e| damaged(self.next - 1, e)))
            .transpose()
    }
}

/// A number for a column. SQLite's integers have 63 bits and a sign.
pub(crate) fn number(n: u64) -> Result<i64> {
    i64::try_from(n)
        .map_err(|_| Error::invalid("store in catalogue", format!("{n} is too large a number")))
}

/// As [`number`], for one that may be missing.
pub(crate) fn some_number(n: Option<u64>) -> Result<Option<i64>> {
    n.map(number).transpose()
}

/// The text of something that may be missing.
pub(crate) fn some_text(value: Option<impl Display>) -> Option<String> {
    value.map(|v| v.to_string())
}

/// JSON for a column.
pub(crate) fn json(value: &impl Serialize) -> Result<String> {
    serde_json::to_string(value).map_err(|e| Error::internal("store in catalogue", e.to_string()))
}

/// JSON of something that may be missing.
pub(crate) fn some_json(value: Option<&impl Serialize>) -> Result<Option<String>> {
    value.map(json).transpose()
}
