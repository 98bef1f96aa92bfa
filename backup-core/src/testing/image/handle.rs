use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};

use async_trait::async_trait;
use bytes::Bytes;

use super::super::device::{outside, refuse_writes};
use super::super::lock;
use super::super::pages::Pages;
use super::{Content, MemoryImages, Stored, check_snapshot};
use crate::buffer::Buf;
use crate::device::{BlockDevice, Geometry};
use crate::error::{Error, ErrorKind, Result};
use crate::image::{Image, ImageKey, ImageSnapshot, MAX_NOTE};
use crate::range::{ByteRange, Extent};
use crate::timestamp::Timestamp;

/// What a handle may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Access {
    /// Nothing but look.
    Look,
    Write,
    /// Write to an image that was just made.
    Fresh,
}

/// An image of [`MemoryImages`], as it is or at a snapshot.
pub(super) struct MemoryImage {
    store: MemoryImages,
    key: ImageKey,
    snapshot: Option<String>,
    number: u64,
    length: AtomicU64,
    access: Access,
}

impl MemoryImage {
    pub(super) fn new(
        store: MemoryImages,
        key: ImageKey,
        snapshot: Option<String>,
        number: u64,
        length: u64,
        access: Access,
    ) -> Self {
        Self {
            store,
            key,
            snapshot,
            number,
            length: AtomicU64::new(length),
            access,
        }
    }

    fn missing(&self, operation: &'static str) -> Error {
        Error::new(ErrorKind::NotFound, operation).on(self.describe())
    }

    /// Works on the image that this handle is of.
    fn image<T>(
        &self,
        operation: &'static str,
        work: impl FnOnce(&mut Stored) -> Result<T>,
    ) -> Result<T> {
        let mut state = lock(&self.store.state);
        let stored = state
            .images
            .get_mut(&self.key)
            .ok_or_else(|| self.missing(operation))?;
        work(stored)
    }

    /// Whether it shows a snapshot that was removed, perhaps with its image.
    fn is_gone(&self) -> bool {
        let state = lock(&self.store.state);
        let stored = state.images.get(&self.key);
        self.snapshot.is_some()
            && stored.is_none_or(|stored| stored.at(self.snapshot.as_deref()).is_none())
    }

    /// Works on what this handle shows.
    fn shown<T>(
        &self,
        operation: &'static str,
        work: impl FnOnce(&Content) -> Result<T>,
    ) -> Result<T> {
        self.image(operation, |stored| {
            let content = stored
                .at(self.snapshot.as_deref())
                .ok_or_else(|| self.missing(operation))?;
            work(content)
        })
    }

    /// Changes the image itself, which a snapshot or somebody else's lock does not let.
    fn changed<T>(
        &self,
        operation: &'static str,
        work: impl FnOnce(&mut Stored) -> Result<T>,
    ) -> Result<T> {
        refuse_writes(self.geometry(), operation, &self.describe())?;
        self.image(operation, |stored| {
            if stored.holder.is_some_and(|holder| holder != self.number) {
                return Err(Error::new(ErrorKind::Conflict, operation)
                    .on(self.describe())
                    .because("somebody else has locked it"));
            }
            let done = work(stored)?;
            stored.modified = Timestamp::now();
            Ok(done)
        })
    }

    fn write_pages(
        &self,
        operation: &'static str,
        range: Option<ByteRange>,
        work: impl FnOnce(&mut Pages),
    ) -> Result<()> {
        self.changed(operation, |stored| {
            let length = stored.now.length;
            match range {
                Some(range) if range.end() <= length => {
                    work(&mut stored.now.pages);
                    Ok(())
                }
                _ => Err(
                    Error::invalid(operation, format!("it reaches past the end at {length}"))
                        .on(self.describe()),
                ),
            }
        })
    }
}

impl Drop for MemoryImage {
    fn drop(&mut self) {
        let mut state = lock(&self.store.state);
        if let Some(stored) = state.images.get_mut(&self.key)
            && stored.holder == Some(self.number)
        {
            stored.holder = None;
        }
    }
}

impl fmt::Debug for MemoryImage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MemoryImage")
            .field("key", &self.key)
            .field("snapshot", &self.snapshot)
            .finish_non_exhaustive()
    }
}

#[async_trait]
impl BlockDevice for MemoryImage {
    fn geometry(&self) -> Geometry {
        Geometry::new(self.length.load(Ordering::SeqCst))
            .with_read_only(self.access == Access::Look)
            .with_known_zero(self.access == Access::Fresh)
    }

    fn describe(&self) -> String {
        match &self.snapshot {
            Some(snapshot) => format!("{}@{snapshot}", self.key),
            None => self.key.to_string(),
        }
    }

    /// Of a snapshot that was removed, zeroes without an error: as RBD does it.
    async fn read(&self, at: u64, mut buf: Buf) -> (Buf, Result<()>) {
        let length = buf.len() as u64;
        if self.is_gone() {
            buf.fill(0);
            return (buf, Ok(()));
        }
        let done = self.shown("read", |content| {
            match ByteRange::at(at, length).filter(|r| r.end() <= content.length) {
                Some(_) => {
                    content.pages.read(at, &mut buf);
                    Ok(())
                }
                None => Err(outside(
                    "read",
                    &self.describe(),
                    at,
                    length,
                    content.length,
                )),
            }
        });
        (buf, done)
    }

    async fn write(&self, at: u64, data: Bytes) -> Result<()> {
        let range = ByteRange::at(at, data.len() as u64);
        self.write_pages("write", range, |pages| pages.write(at, &data))
    }

    async fn write_zeroes(&self, range: ByteRange) -> Result<()> {
        self.write_pages("write zeroes", Some(range), |pages| pages.zero(range))
    }

    /// Fills the range with 0xDC, so that who takes a discard for zeroing is found out.
    async fn discard(&self, range: ByteRange) -> Result<()> {
        self.write_pages("discard", Some(range), |pages| {
            for piece in range.pieces(1 << 20) {
                let length = usize::try_from(piece.len()).unwrap_or(0);
                pages.write(piece.start(), &vec![0xDC; length]);
            }
        })
    }

    async fn flush(&self) -> Result<()> {
        self.image("flush", |_| Ok(()))
    }

    async fn allocated(&self, range: ByteRange) -> Result<Vec<Extent>> {
        self.diff(None, range).await
    }

    async fn still_there(&self) -> Result<()> {
        if self.is_gone() {
            return Err(
                Error::new(ErrorKind::Conflict, "look whether it is still there")
                    .on(self.describe())
                    .because("it was removed while it was read"),
            );
        }
        Ok(())
    }
}

#[async_trait]
impl Image for MemoryImage {
    async fn snapshots(&self) -> Result<Vec<ImageSnapshot>> {
        self.image("list snapshots", |stored| {
            Ok(stored.snapshots.iter().map(|(s, _)| s.clone()).collect())
        })
    }

    async fn snapshot(&self, name: &str) -> Result<()> {
        check_snapshot(name)?;
        self.changed("make snapshot", |stored| {
            if stored.at(Some(name)).is_some() {
                return Err(Error::new(ErrorKind::AlreadyExists, "make snapshot")
                    .on(format!("{}@{name}", self.key)));
            }
            let now = stored.now.clone();
            let snapshot = ImageSnapshot::new(name, now.length, Some(Timestamp::now()));
            stored.snapshots.push((snapshot, now));
            Ok(())
        })
    }

    async fn remove_snapshot(&self, name: &str) -> Result<()> {
        self.changed("remove snapshot", |stored| {
            stored.snapshots.retain(|(s, _)| s.name != name);
            Ok(())
        })
    }

    async fn diff(&self, from: Option<&str>, range: ByteRange) -> Result<Vec<Extent>> {
        let operation = "ask for differences";
        self.image(operation, |stored| {
            let shown = stored
                .at(self.snapshot.as_deref())
                .ok_or_else(|| self.missing(operation))?;
            if range.end() > shown.length {
                let (at, length) = (range.start(), range.len());
                return Err(outside(
                    operation,
                    &self.describe(),
                    at,
                    length,
                    shown.length,
                ));
            }
            let Some(from) = from else {
                return Ok(shown.pages.allocated(range));
            };
            let before = stored.at(Some(from)).ok_or_else(|| {
                Error::new(ErrorKind::NotFound, operation).on(format!("{}@{from}", self.key))
            })?;
            // What the image grew by was not there: it cannot be unchanged.
            let (old, grown) = range.split_at(before.length);
            let mut extents = shown.pages.differences(&before.pages, old);
            extents.extend(shown.pages.allocated(grown));
            Ok(extents)
        })
    }

    async fn resize(&self, size: u64) -> Result<()> {
        self.changed("resize image", |stored| {
            stored.now.pages.cut(size);
            stored.now.length = size;
            Ok(())
        })?;
        self.length.store(size, Ordering::SeqCst);
        Ok(())
    }

    async fn lock(&self) -> Result<()> {
        self.changed("lock image", |stored| {
            stored.holder = Some(self.number);
            Ok(())
        })
    }

    async fn unlock(&self) -> Result<()> {
        self.image("unlock image", |stored| {
            if stored.holder == Some(self.number) {
                stored.holder = None;
            }
            Ok(())
        })
    }

    async fn modified(&self) -> Result<Option<Timestamp>> {
        self.image("tell when it changed", |stored| Ok(Some(stored.modified)))
    }

    async fn set_note(&self, key: &str, value: &str) -> Result<()> {
        if value.len() > MAX_NOTE {
            return Err(Error::invalid("note", "it is too long").on(&self.key));
        }
        self.changed("note", |stored| {
            stored.notes.insert(key.to_owned(), value.to_owned());
            Ok(())
        })
    }

    async fn notes(&self, prefix: &str) -> Result<Vec<(String, String)>> {
        self.image("read notes", |stored| {
            let notes = stored.notes.iter().filter(|(k, _)| k.starts_with(prefix));
            Ok(notes.map(|(k, v)| (k.clone(), v.clone())).collect())
        })
    }

    async fn remove_note(&self, key: &str) -> Result<()> {
        self.changed("remove note", |stored| {
            stored.notes.remove(key);
            Ok(())
        })
    }
}
