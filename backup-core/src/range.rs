//! Byte ranges of a volume or an object, and extents: ranges with what is known of their content.

use std::fmt;

use serde::{Deserialize, Serialize};

/// A range of bytes, `start` included and `end` excluded, never backwards.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "RawRange", into = "RawRange")]
pub struct ByteRange {
    start: u64,
    end: u64,
}

#[derive(Serialize, Deserialize)]
struct RawRange {
    start: u64,
    end: u64,
}

impl TryFrom<RawRange> for ByteRange {
    type Error = String;
    fn try_from(raw: RawRange) -> Result<Self, String> {
        Self::new(raw.start, raw.end).ok_or_else(|| {
            format!(
                "range ends at {} before it starts at {}",
                raw.end, raw.start
            )
        })
    }
}

impl From<ByteRange> for RawRange {
    fn from(r: ByteRange) -> Self {
        Self {
            start: r.start,
            end: r.end,
        }
    }
}

impl ByteRange {
    /// `start..end`, or `None` where the end lies before the start.
    pub fn new(start: u64, end: u64) -> Option<Self> {
        (start <= end).then_some(Self { start, end })
    }

    /// `length` bytes from `start`, or `None` where the end would not fit into 64 bits.
    pub fn at(start: u64, length: u64) -> Option<Self> {
        start.checked_add(length).map(|end| Self { start, end })
    }

    /// `0..length`.
    pub fn up_to(length: u64) -> Self {
        Self {
            start: 0,
            end: length,
        }
    }

    /// The first byte's offset.
    pub fn start(self) -> u64 {
        self.start
    }

    /// The offset behind the last byte.
    pub fn end(self) -> u64 {
        self.end
    }

    /// How many bytes it holds.
    pub fn len(self) -> u64 {
        self.end - self.start
    }

    /// Whether it holds no byte.
    pub fn is_empty(self) -> bool {
        self.start == self.end
    }

    /// What it shares with `other`; `None` where that is nothing.
    pub fn intersection(self, other: Self) -> Option<Self> {
        let start = self.start.max(other.start);
        let end = self.end.min(other.end);
        (start < end).then_some(Self { start, end })
    }

    /// Whether all of `other` lies in it.
    pub fn contains(self, other: Self) -> bool {
        self.start <= other.start && other.end <= self.end
    }

    /// The parts before and from `at` on; `at` is moved into the range where it lies outside.
    pub fn split_at(self, at: u64) -> (Self, Self) {
        let at = at.clamp(self.start, self.end);
        (
            Self {
                start: self.start,
                end: at,
            },
            Self {
                start: at,
                end: self.end,
            },
        )
    }

    /// Cut into pieces that end at multiples of `step` bytes; a `step` of 0 gives the range itself.
    pub fn pieces(self, step: u64) -> impl Iterator<Item = Self> + Send {
        let mut rest = self;
        std::iter::from_fn(move || {
            if rest.is_empty() {
                return None;
            }
            let end = match step {
                0 => rest.end,
                _ => (rest.start / step)
                    .saturating_add(1)
                    .saturating_mul(step)
                    .min(rest.end),
            };
            let (head, tail) = rest.split_at(end);
            rest = tail;
            Some(head)
        })
    }
}

impl fmt::Display for ByteRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}..{}", self.start, self.end)
    }
}

/// What is known of the bytes of an extent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ExtentKind {
    /// Content that must be read.
    Data,
    /// Reads as zeroes (a hole, a discarded or zeroed range).
    Zero,
    /// The same as at the change point that was asked about.
    Unchanged,
    /// Nothing is known: treat it as data.
    Unknown,
}

/// A byte range of a volume with what is known of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Extent {
    /// Where it lies.
    pub range: ByteRange,
    /// What is known of it.
    pub kind: ExtentKind,
}

impl Extent {
    /// An extent of `kind` over `range`.
    pub fn new(range: ByteRange, kind: ExtentKind) -> Self {
        Self { range, kind }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_end_at_multiples_and_cover_the_range() {
        let r = ByteRange::new(5, 23).unwrap();
        let p: Vec<_> = r.pieces(10).map(|r| (r.start(), r.end())).collect();
        assert_eq!(p, [(5, 10), (10, 20), (20, 23)]);
    }

    #[test]
    fn a_backward_range_cannot_be_made_or_read() {
        assert!(ByteRange::new(2, 1).is_none());
        assert!(serde_json::from_str::<ByteRange>(r#"{"start":2,"end":1}"#).is_err());
        assert!(ByteRange::at(u64::MAX, 1).is_none());
    }
}
