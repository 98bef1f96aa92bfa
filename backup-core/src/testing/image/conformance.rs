//! The promises of [`ImageRepository`] and [`Image`], each as a check that runs against a real one.

mod content;
mod life;

use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use crate::buffer::Buf;
use crate::error::{Error, ErrorKind, Result};
use crate::id::{ContainerName, ObjectKey};
use crate::image::{Image, ImageKey, ImageRepository};
use crate::range::{ByteRange, Extent, ExtentKind};

type Checked<'a> = Pin<Box<dyn Future<Output = Result<()>> + Send + 'a>>;

/// A check and its name, which reads like the promise.
struct Check {
    name: &'static str,
    run: for<'a> fn(&'a Trial) -> Checked<'a>,
}

/// Makes a list of [`Check`]s out of functions.
macro_rules! checks {
    ($($name:ident),+ $(,)?) => {
        pub(super) const CHECKS: &[super::Check] = &[
            $(super::Check { name: stringify!($name), run: |trial| Box::pin($name(trial)) }),+
        ];
    };
}
use checks;

/// Ends a check where the promise does not hold.
macro_rules! hold {
    ($promise:expr, $($text:tt)+) => {
        if !$promise {
            return Err(crate::Error::internal("keep the promise", format!($($text)+)));
        }
    };
}
use hold;

/// Runs every check against `repository`, one after another, in images of its own in `container`, which must be there.
/// Answers the names of those that ran, and leaves nothing. Images of up to 24 MiB are made.
///
/// # Errors
/// The first promise that does not hold, with the name of its check; its image then stays.
pub async fn image_conformance(
    repository: Arc<dyn ImageRepository>,
    container: &ContainerName,
) -> Result<Vec<String>> {
    let mut passed = Vec::new();
    for check in [life::CHECKS, content::CHECKS].into_iter().flatten() {
        let trial = Trial {
            repository: Arc::clone(&repository),
            container: container.clone(),
            run: uuid::Uuid::new_v4().simple().to_string(),
        };
        (check.run)(&trial).await.map_err(|e| {
            Error::new(e.kind(), check.name)
                .on(repository.describe())
                .caused_by(e)
        })?;
        trial.clear().await?;
        passed.push(check.name.to_owned());
    }
    Ok(passed)
}

/// What a check works with.
struct Trial {
    repository: Arc<dyn ImageRepository>,
    container: ContainerName,
    run: String,
}

impl Trial {
    fn prefix(&self) -> String {
        format!("conformance-{}-", self.run)
    }

    fn key(&self, name: &str) -> Result<ImageKey> {
        ImageKey::new(&self.container, format!("{}{name}", self.prefix()))
    }

    fn record(&self, name: &str) -> Result<ObjectKey> {
        ObjectKey::new(&self.container, format!("{}{name}", self.prefix()))
    }

    async fn create(&self, name: &str, size: u64) -> Result<Arc<dyn Image>> {
        self.repository.create(&self.key(name)?, size).await
    }

    async fn at(&self, name: &str, snapshot: &str) -> Result<Arc<dyn Image>> {
        self.repository.open(&self.key(name)?, Some(snapshot)).await
    }

    /// Removes the check's images with their snapshots.
    async fn clear(&self) -> Result<()> {
        for name in self
            .repository
            .list(&self.container, &self.prefix())
            .await?
        {
            let key = ImageKey::new(&self.container, name)?;
            let image = self.repository.open_to_write(&key).await?;
            for snapshot in image.snapshots().await? {
                image.remove_snapshot(&snapshot.name).await?;
            }
            drop(image);
            self.remove(&key).await?;
        }
        Ok(())
    }

    /// Removes an image whose last handle may still be on its way to be closed.
    async fn remove(&self, key: &ImageKey) -> Result<()> {
        for _ in 0..100 {
            match self.repository.remove(key).await {
                Err(e) if e.is(ErrorKind::Conflict) => {
                    tokio::time::sleep(Duration::from_millis(100)).await;
                }
                removed => return removed,
            }
        }
        self.repository.remove(key).await
    }
}

async fn read(image: &Arc<dyn Image>, range: ByteRange) -> Result<Vec<u8>> {
    let length = usize::try_from(range.len()).unwrap_or(0);
    let (buf, result) = image.read(range.start(), Buf::zeroed(length)).await;
    result?;
    Ok(buf.to_vec())
}

async fn whole(image: &Arc<dyn Image>) -> Result<Vec<u8>> {
    read(image, ByteRange::up_to(image.geometry().length)).await
}

fn range(start: u64, length: u64) -> Result<ByteRange> {
    ByteRange::at(start, length).ok_or_else(|| Error::internal("check", "a backward range"))
}

/// Whether extents cover exactly `range`, in order, without gaps.
fn covers(extents: &[Extent], range: ByteRange) -> bool {
    let mut at = range.start();
    for extent in extents {
        if extent.range.start() != at || extent.range.is_empty() {
            return false;
        }
        at = extent.range.end();
    }
    at == range.end()
}

/// What `extents` say of the byte `at`.
fn kind_at(extents: &[Extent], at: u64) -> Option<ExtentKind> {
    extents
        .iter()
        .find(|e| e.range.start() <= at && at < e.range.end())
        .map(|e| e.kind)
}

/// Bytes that differ for each `seed` and do not repeat.
fn sample(seed: u64, length: usize) -> Bytes {
    let mut state = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
    let mut bytes = Vec::with_capacity(length + 8);
    while bytes.len() < length {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        bytes.extend_from_slice(&state.to_le_bytes());
    }
    bytes.truncate(length);
    bytes.into()
}

/// Whether it failed, and so.
fn failed_with<T>(result: &Result<T>, kind: ErrorKind) -> bool {
    matches!(result, Err(error) if error.is(kind))
}
