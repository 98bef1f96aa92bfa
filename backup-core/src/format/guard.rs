//! The reader under every streamed parser: it bounds what a parser would buffer, and keeps the true cause of a failure.

use std::cell::RefCell;
use std::io::{self, Read};

use crate::error::{Error, ErrorKind};

/// Longest string that is accepted, in bytes as stored (escapes counted as they stand).
pub(super) const MAX_STRING: u64 = 4 << 20;
/// Longest number or word. Some builds of serde_json buffer a number's digits.
const MAX_TOKEN: u64 = 1024;
/// Deepest nesting. serde_json has this limit only for values that it does not skip.
const MAX_DEPTH: u32 = 128;
const BUFFER: usize = 128 << 10;

/// Where a parser stands, as far as the bounds need it.
#[derive(Debug, Clone, Copy)]
enum At {
    Outside,
    InString,
    Escaped,
}

struct Guard<R> {
    inner: R,
    buffer: Box<[u8]>,
    next: usize,
    filled: usize,
    /// Bytes handed out or taken.
    offset: u64,
    /// Whether some were taken, so that the parser no longer knows its line.
    taken: bool,
    last: u8,
    at: At,
    /// Length of the present string or word.
    run: u64,
    depth: u32,
    /// How many more bytes may be handed out.
    budget: u64,
}

/// An input under guard, shared by the parser that reads from it and the visitors that it calls.
pub(super) struct Source<R> {
    operation: &'static str,
    guard: RefCell<Guard<R>>,
    /// What really happened, where the parser's own error cannot carry it.
    failure: RefCell<Option<Error>>,
    /// What the parser was at, for the message.
    place: RefCell<Option<String>>,
}

impl<R: Read> Source<R> {
    pub(super) fn new(operation: &'static str, inner: R) -> Self {
        Self {
            operation,
            guard: RefCell::new(Guard {
                inner,
                buffer: vec![0; BUFFER].into_boxed_slice(),
                next: 0,
                filled: 0,
                offset: 0,
                taken: false,
                last: 0,
                at: At::Outside,
                run: 0,
                depth: 0,
                budget: u64::MAX,
            }),
            failure: RefCell::new(None),
            place: RefCell::new(None),
        }
    }

    /// Keeps the error that the caller shall get in place of the parser's, and gives the parser one to stop with.
    pub(super) fn stop<E: serde::de::Error>(&self, error: Error) -> E {
        self.failure.borrow_mut().get_or_insert(error);
        E::custom("stopped")
    }

    /// Notes what the parser was at when it failed.
    pub(super) fn note_place(&self, place: String) {
        self.place.borrow_mut().get_or_insert(place);
    }

    /// Allows only `bytes` more to be read, until [`unlimited`](Self::unlimited).
    pub(super) fn limit(&self, bytes: u64) {
        self.guard.borrow_mut().budget = bytes;
    }

    pub(super) fn unlimited(&self) {
        self.guard.borrow_mut().budget = u64::MAX;
    }

    /// Hands what lies in the buffer to `take`, which tells how much of it is used up, until it takes nothing.
    ///
    /// For a fast path beside the parser: it must leave the input where the parser expects it, outside of a string and
    /// at the same depth. It is only called when the byte that was read last is `after`, that is, when the parser holds
    /// no byte of what follows.
    pub(super) fn take_while(
        &self,
        after: u8,
        needed: usize,
        mut take: impl FnMut(&[u8]) -> Result<usize, Error>,
    ) -> Result<(), Error> {
        let mut guard = self.guard.borrow_mut();
        if guard.last != after || !matches!(guard.at, At::Outside) {
            return Ok(());
        }
        loop {
            if !guard.have(needed, self.operation)? {
                return Ok(());
            }
            let used = take(&guard.buffer[guard.next..guard.filled])?;
            guard.next += used;
            guard.offset += used as u64;
            guard.taken |= used > 0;
            if used == 0 {
                return Ok(());
            }
        }
    }

    /// The error for the caller, after the parser gave up with `error`.
    pub(super) fn explain(&self, error: &serde_json::Error) -> Error {
        if let Some(failure) = self.failure.borrow_mut().take() {
            return failure;
        }
        let guard = self.guard.borrow();
        let mut reason = if guard.taken {
            describe_at(error, &format!(" at byte {}", guard.offset))
        } else {
            describe(error)
        };
        if let Some(place) = self.place.borrow_mut().take() {
            reason = format!("{place}: {reason}");
        }
        Error::new(ErrorKind::Corrupt, self.operation).because(reason)
    }
}

impl<R: Read> Guard<R> {
    /// Reads until `needed` bytes are in the buffer; `false` where the input ends before that.
    fn have(&mut self, needed: usize, operation: &'static str) -> Result<bool, Error> {
        while self.filled - self.next < needed {
            if self.next > 0 {
                self.buffer.copy_within(self.next..self.filled, 0);
                self.filled -= self.next;
                self.next = 0;
            }
            match self.inner.read(&mut self.buffer[self.filled..]) {
                Ok(0) => return Ok(false),
                Ok(n) => self.filled += n,
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) => return Err(input_error(operation, e)),
            }
        }
        Ok(true)
    }

    /// Follows one byte; the reason where a bound is passed.
    fn watch(&mut self, byte: u8) -> Result<(), String> {
        self.offset += 1;
        self.last = byte;
        self.budget = self
            .budget
            .checked_sub(1)
            .ok_or("a value is larger than allowed")?;
        match self.at {
            At::Outside => match byte {
                b'"' => {
                    self.at = At::InString;
                    self.run = 0;
                }
                b'[' | b'{' => {
                    self.run = 0;
                    self.depth += 1;
                    if self.depth > MAX_DEPTH {
                        return Err(format!("it is nested deeper than {MAX_DEPTH} levels"));
                    }
                }
                b']' | b'}' => {
                    self.run = 0;
                    self.depth = self.depth.saturating_sub(1);
                }
                b',' | b':' | b' ' | b'\n' | b'\r' | b'\t' => self.run = 0,
                _ => {
                    self.run += 1;
                    if self.run > MAX_TOKEN {
                        return Err(format!("a number is longer than {MAX_TOKEN} characters"));
                    }
                }
            },
            At::InString => {
                self.run += 1;
                if self.run > MAX_STRING {
                    return Err(format!("a string is longer than {MAX_STRING} bytes"));
                }
                match byte {
                    b'"' => {
                        self.at = At::Outside;
                        self.run = 0;
                    }
                    b'\\' => self.at = At::Escaped,
                    _ => {}
                }
            }
            At::Escaped => {
                self.run += 1;
                self.at = At::InString;
            }
        }
        Ok(())
    }
}

impl<R: Read> Read for &Source<R> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        let mut guard = self.guard.borrow_mut();
        // The cause is kept aside, since serde_json would make one text of it.
        let fail = |error: Error| {
            self.failure.borrow_mut().get_or_insert(error);
            io::Error::from(io::ErrorKind::InvalidData)
        };
        if out.is_empty()
            || (guard.next == guard.filled && !guard.have(1, self.operation).map_err(fail)?)
        {
            return Ok(0);
        }
        let count = out.len().min(guard.filled - guard.next);
        for slot in &mut out[..count] {
            let byte = guard.buffer[guard.next];
            if let Err(reason) = guard.watch(byte) {
                return Err(fail(
                    Error::new(ErrorKind::Corrupt, self.operation)
                        .because(format!("{reason} (at byte {})", guard.offset)),
                ));
            }
            guard.next += 1;
            *slot = byte;
        }
        Ok(count)
    }
}

/// An error of the input: one of ours that travelled inside of an `io::Error` comes out as it went in.
fn input_error(operation: &'static str, error: io::Error) -> Error {
    match error.downcast::<Error>() {
        Ok(ours) => ours,
        Err(error) => Error::io(operation, "the stored object", error),
    }
}

/// What is wrong and where, in a bounded text: serde_json quotes the input, of any length, before it names the place.
pub(super) fn describe(error: &serde_json::Error) -> String {
    describe_at(error, &place_of(error))
}

fn place_of(error: &serde_json::Error) -> String {
    format!(" at line {} column {}", error.line(), error.column())
}

fn describe_at(error: &serde_json::Error, place: &str) -> String {
    let text = error.to_string();
    let what = text.strip_suffix(&place_of(error)).unwrap_or(&text);
    let what = super::json::shorten(what, 200);
    if error.is_eof() {
        format!("it is cut short: {what}{place}")
    } else {
        format!("{what}{place}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde::de::IgnoredAny;

    fn skip(input: impl Read) -> Result<(), Error> {
        let source = Source::new("read", input);
        let mut parser = serde_json::Deserializer::from_reader(&source);
        serde::Deserialize::deserialize(&mut parser)
            .and_then(|IgnoredAny| parser.end())
            .map_err(|e| source.explain(&e))
    }

    fn reason(input: impl Read) -> String {
        let e = skip(input).unwrap_err();
        assert_eq!(e.kind(), ErrorKind::Corrupt, "{e}");
        e.reason().unwrap().to_owned()
    }

    #[test]
    fn a_giant_string_is_refused_before_it_is_held() {
        let input = b"[\"".chain(io::repeat(b'x').take(MAX_STRING + 1));
        assert!(reason(input).contains("longer than 4194304 bytes"));
        let just = "x".repeat(usize::try_from(MAX_STRING).unwrap() - 1);
        skip(format!("[\"{just}\"]").as_bytes()).unwrap();
    }

    #[test]
    fn an_endless_number_and_endless_nesting_are_refused() {
        assert!(reason(io::repeat(b'7')).contains("longer than 1024 characters"));
        assert!(reason(io::repeat(b'[')).contains("deeper than 128"));
    }

    #[test]
    fn brackets_and_quotes_inside_of_strings_do_not_count() {
        let deep = format!(r#"["{}", "\"[[[\\", "a"]"#, "[".repeat(500));
        skip(deep.as_bytes()).unwrap();
    }

    #[test]
    fn an_error_of_the_input_keeps_its_kind() {
        struct Failing(Option<io::Error>);
        impl Read for Failing {
            fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
                Err(self.0.take().unwrap())
            }
        }
        let ours = Error::new(ErrorKind::Timeout, "get").on("key");
        let e = skip(Failing(Some(io::Error::other(ours)))).unwrap_err();
        assert_eq!((e.kind(), e.target()), (ErrorKind::Timeout, Some("key")));
        let full = io::Error::from(io::ErrorKind::PermissionDenied);
        let e = skip(Failing(Some(full))).unwrap_err();
        assert_eq!(e.kind(), ErrorKind::PermissionDenied);
    }

    #[test]
    fn what_is_cut_is_called_so_and_a_long_quote_is_shortened() {
        assert!(reason(&b"[1, 2"[..]).contains("cut short"));
        let e = serde_json::from_str::<u8>(&format!("\"{}\"", "x".repeat(9999))).unwrap_err();
        let text = describe(&e);
        assert!(
            text.len() < 300 && text.contains("at line 1 column"),
            "{text}"
        );
    }
}
