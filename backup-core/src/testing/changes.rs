use std::collections::BTreeMap;
use std::fmt;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};

use async_trait::async_trait;

use super::device::MemoryDevice;
use super::lock;
use super::pages::Pages;
use crate::device::{BlockDevice, ChangePoint, ChangeSource};
use crate::error::{Error, ErrorKind, Result};
use crate::id::BackupId;
use crate::range::{ByteRange, Extent, ExtentKind};

/// Knows the changes of a [`MemoryDevice`], in pages of 4096 bytes.
pub struct MemoryChangeSource {
    device: MemoryDevice,
    marks: Mutex<BTreeMap<String, Mark>>,
    unsure: AtomicBool,
}

struct Mark {
    pages: Pages,
    length: u64,
}

impl MemoryChangeSource {
    /// Watches `device`.
    pub fn new(device: MemoryDevice) -> Self {
        Self {
            device,
            marks: Mutex::default(),
            unsure: AtomicBool::new(false),
        }
    }

    /// From now on it answers that it knows nothing, as after a guest's crash.
    pub fn become_unsure(&self) {
        self.unsure.store(true, Ordering::SeqCst);
    }

    /// Names of the change points that it holds.
    pub fn points(&self) -> Vec<String> {
        lock(&self.marks).keys().cloned().collect()
    }

    /// Watches another device under the same marks: a copy of the volume that was written since.
    pub fn moved_to(self, device: MemoryDevice) -> Self {
        Self { device, ..self }
    }
}

impl fmt::Debug for MemoryChangeSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MemoryChangeSource")
            .field("points", &self.points())
            .finish_non_exhaustive()
    }
}

#[async_trait]
impl ChangeSource for MemoryChangeSource {
    async fn mark(&self, id: BackupId) -> Result<ChangePoint> {
        let name = format!("memory.{id}");
        lock(&self.marks)
            .entry(name.clone())
            .or_insert_with(|| Mark {
                pages: self.device.pages(),
                length: self.device.geometry().length,
            });
        ChangePoint::new(name)
    }

    async fn changed(&self, since: &ChangePoint, range: ByteRange) -> Result<Vec<Extent>> {
        let length = self.device.geometry().length;
        if range.end() > length {
            return Err(Error::invalid(
                "ask for changes",
                format!("{range} reaches past the end at {length}"),
            ));
        }
        let marks = lock(&self.marks);
        let mark = marks.get(since.as_str()).ok_or_else(|| {
            Error::new(ErrorKind::NotFound, "ask for changes since").on(since.as_str())
        })?;
        if range.is_empty() {
            return Ok(Vec::new());
        }
        if self.unsure.load(Ordering::SeqCst) {
            return Ok(vec![Extent::new(range, ExtentKind::Unknown)]);
        }
        // What the volume grew by was not there: it cannot be unchanged.
        let (old, grown) = range.split_at(mark.length);
        let mut extents = self.device.pages().differences(&mark.pages, old);
        extents.extend(self.device.pages().allocated(grown));
        Ok(extents)
    }

    async fn release(&self, point: &ChangePoint) -> Result<()> {
        lock(&self.marks).remove(point.as_str());
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn changes_since_a_mark_are_told_until_it_is_released() {
        use ExtentKind::{Data, Unchanged, Unknown, Zero};
        let device = MemoryDevice::new(40_960);
        device.poke(0, &[1; 8192]);
        let source = MemoryChangeSource::new(device.clone());
        let point = source.mark(BackupId::generate()).await.unwrap();
        device.poke(4096, &[0; 4096]);
        device.poke(20_000, &[7; 10]);
        let grown = device.resized(50_000);
        grown.poke(45_056, &[1]);
        let source = source.moved_to(grown);
        let all = ByteRange::up_to(50_000);
        let told: Vec<_> = source
            .changed(&point, all)
            .await
            .unwrap()
            .iter()
            .map(|e| (e.range.start(), e.kind))
            .collect();
        assert_eq!(
            told,
            [
                (0, Unchanged),
                (4096, Zero),
                (8192, Unchanged),
                (16_384, Data),
                (20_480, Unchanged),
                (40_960, Zero),
                (45_056, Data),
                (49_152, Zero),
            ]
        );
        source.become_unsure();
        let told = source.changed(&point, all).await.unwrap();
        assert_eq!(told, [Extent::new(all, Unknown)]);
        source.release(&point).await.unwrap();
        let gone = source.changed(&point, all).await.unwrap_err();
        assert!(gone.is(ErrorKind::NotFound));
    }
}
