//! The promises of [`Repository`], each as a check that runs against a real one.

mod list;
mod names;
mod read;
mod together;
mod upload;
mod whole;

use std::pin::Pin;
use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use futures::TryStreamExt;

use crate::error::{Error, ErrorKind, Result};
use crate::id::{ContainerName, ObjectKey};
use crate::range::ByteRange;
use crate::repository::{Listed, PutMode, Repository};

/// What the suite works with. The defaults suit a quick local repository.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct ConformanceOptions {
    /// The container that the checks fill and empty; one with a random name where it is `None`.
    pub container: Option<ContainerName>,
    /// Length of an upload's parts in bytes: at least what the store takes as a part (5 MiB for S3).
    pub part: usize,
    /// Objects of the long listing: more than a page of the store's.
    pub many: usize,
    /// Calls at once.
    pub at_once: usize,
    /// Whether a reader never sees a mixture while an object is overwritten.
    pub atomic_overwrite: bool,
    /// Whether containers can be made; where not, `container` must exist and checks of others are left out.
    pub makes_containers: bool,
    /// Whether [`Repository::clear_leftovers`] does something: where it does not, what a killed upload left may stay.
    pub clears_leftovers: bool,
    /// Only checks whose name holds this.
    pub only: Option<String>,
}

impl Default for ConformanceOptions {
    fn default() -> Self {
        Self {
            container: None,
            part: 1 << 20,
            many: 1100,
            at_once: 16,
            atomic_overwrite: true,
            makes_containers: true,
            clears_leftovers: false,
            only: None,
        }
    }
}

impl ConformanceOptions {
    /// With this container, which is emptied.
    pub fn with_container(mut self, container: ContainerName) -> Self {
        self.container = Some(container);
        self
    }

    /// With upload parts of this many bytes.
    pub fn with_part(mut self, bytes: usize) -> Self {
        self.part = bytes.max(1);
        self
    }

    /// With this many objects in the long listing.
    pub fn with_many(mut self, objects: usize) -> Self {
        self.many = objects;
        self
    }

    /// With this many calls at once (at least 1).
    pub fn with_at_once(mut self, calls: usize) -> Self {
        self.at_once = calls.max(1);
        self
    }

    /// Readers may see a mixture while an object is overwritten.
    pub fn without_atomic_overwrite(mut self) -> Self {
        self.atomic_overwrite = false;
        self
    }

    /// Containers cannot be made.
    pub fn without_making_containers(mut self) -> Self {
        self.makes_containers = false;
        self
    }

    /// What killed uploads left is cleared by the beginning of their names, and told until then.
    pub fn with_cleared_leftovers(mut self) -> Self {
        self.clears_leftovers = true;
        self
    }

    /// Only checks whose name holds `part`.
    pub fn only(mut self, part: impl Into<String>) -> Self {
        self.only = Some(part.into());
        self
    }
}

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

/// Runs every check against `repository`, one after another, and answers the names of those that ran. The container is
/// emptied before each and at the end; the container itself stays.
///
/// # Errors
/// The first promise that does not hold, with the name of its check.
pub async fn conformance(
    repository: Arc<dyn Repository>,
    options: ConformanceOptions,
) -> Result<Vec<String>> {
    let container = match &options.container {
        Some(container) => container.clone(),
        None => ContainerName::new(format!("conformance-{}", uuid::Uuid::new_v4().simple()))?,
    };
    let trial = Trial {
        repository,
        container,
        options,
    };
    if trial.options.makes_containers {
        trial.repository.ensure_container(&trial.container).await?;
    }
    let groups = [
        whole::CHECKS,
        read::CHECKS,
        upload::CHECKS,
        list::CHECKS,
        names::CHECKS,
        together::CHECKS,
    ];
    let mut passed = Vec::new();
    for check in groups.into_iter().flatten() {
        let only = trial.options.only.as_deref();
        if only.is_some_and(|part| !check.name.contains(part)) {
            continue;
        }
        trial.empty().await?;
        (check.run)(&trial).await.map_err(|e| {
            Error::new(e.kind(), check.name)
                .on(trial.repository.describe())
                .caused_by(e)
        })?;
        passed.push(check.name.to_owned());
    }
    trial.empty().await?;
    Ok(passed)
}

/// What a check works with.
struct Trial {
    repository: Arc<dyn Repository>,
    container: ContainerName,
    options: ConformanceOptions,
}

impl Trial {
    fn key(&self, name: &str) -> Result<ObjectKey> {
        ObjectKey::new(&self.container, name)
    }

    /// A container that is not there.
    fn missing_container() -> Result<ContainerName> {
        ContainerName::new(format!("missing-{}", uuid::Uuid::new_v4().simple()))
    }

    async fn put(&self, name: &str, data: Bytes) -> Result<()> {
        let key = self.key(name)?;
        self.repository.put(&key, data, PutMode::Overwrite).await
    }

    async fn read(&self, name: &str) -> Result<Bytes> {
        self.read_range(name, None).await
    }

    async fn read_range(&self, name: &str, range: Option<ByteRange>) -> Result<Bytes> {
        read_key(&*self.repository, &self.key(name)?, range).await
    }

    /// Uploads `data` in parts of the option's length.
    async fn upload(&self, name: &str, data: &Bytes) -> Result<()> {
        let size = data.len() as u64;
        let mut upload = self.repository.begin(&self.key(name)?, Some(size)).await?;
        let mut rest = data.clone();
        while !rest.is_empty() {
            let part = rest.split_to(self.options.part.min(rest.len()));
            upload.part(part).await?;
        }
        upload.complete().await
    }

    async fn listed(&self, prefix: &str, delimiter: Option<char>) -> Result<Vec<Listed>> {
        list_of(&*self.repository, &self.container, prefix, delimiter).await
    }

    /// Names that a listing tells, in order.
    async fn names(&self, prefix: &str) -> Result<Vec<String>> {
        let listed = self.listed(prefix, None).await?;
        Ok(listed.into_iter().map(|l| l.name).collect())
    }

    async fn delete(&self, names: &[&str]) -> Result<()> {
        let keys: Vec<_> = names.iter().map(|n| self.key(n)).collect::<Result<_>>()?;
        let results = self.repository.delete(&keys).await;
        hold!(
            results.len() == keys.len(),
            "{} results for {} keys",
            results.len(),
            keys.len()
        );
        results.into_iter().collect()
    }

    /// Deletes all that the container lists.
    async fn empty(&self) -> Result<()> {
        let names = self.names("").await?;
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        self.delete(&names).await
    }
}

async fn read_key(
    repository: &dyn Repository,
    key: &ObjectKey,
    range: Option<ByteRange>,
) -> Result<Bytes> {
    let download = repository.get(key, range).await?;
    let told = download.length;
    let mut bytes = BytesMut::new();
    let mut body = download.body;
    while let Some(piece) = body.try_next().await? {
        bytes.extend_from_slice(&piece);
    }
    hold!(
        bytes.len() as u64 == told,
        "{key}: a body of {} bytes was told to have {told}",
        bytes.len()
    );
    Ok(bytes.freeze())
}

async fn list_of(
    repository: &dyn Repository,
    container: &ContainerName,
    prefix: &str,
    delimiter: Option<char>,
) -> Result<Vec<Listed>> {
    let listed = repository.list(container, prefix, delimiter).await?;
    let mut listed: Vec<Listed> = listed.try_collect().await?;
    listed.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(listed)
}

/// Bytes that differ for each `seed` and do not repeat.
fn sample(seed: u64, length: usize) -> Bytes {
    let mut state = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
    let mut bytes = BytesMut::with_capacity(length + 8);
    while bytes.len() < length {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        bytes.extend_from_slice(&state.to_le_bytes());
    }
    bytes.truncate(length);
    bytes.freeze()
}

/// Whether it failed, and so.
fn failed_with<T>(result: &Result<T>, kind: ErrorKind) -> bool {
    matches!(result, Err(error) if error.is(kind))
}

#[cfg(test)]
mod tests {
    use super::super::{Call, Fault, FaultPlan, FaultRepository, MemoryRepository, When};
    use super::*;

    #[tokio::test]
    async fn the_memory_repository_keeps_every_promise() {
        let memory = MemoryRepository::new();
        let options = ConformanceOptions::default().with_cleared_leftovers();
        let passed = conformance(Arc::new(memory.clone()), options)
            .await
            .unwrap();
        assert!(passed.len() > 30, "{passed:#?}");
        assert!(memory.objects().is_empty(), "the suite cleans up");
        assert_eq!(memory.open_uploads(), 0);
    }

    #[tokio::test]
    async fn the_slashed_memory_repository_keeps_every_promise() {
        let memory = MemoryRepository::new().with_slashed_layout().unwrap();
        let options = ConformanceOptions::default().only("container");
        conformance(Arc::new(memory), options).await.unwrap();
    }

    /// A suite that passes whatever happens proves nothing: each of these lies must be found out.
    #[tokio::test]
    async fn a_lying_repository_is_found_out() {
        let lies = [
            (Call::Put, Fault::Corrupt { at: 0, mask: 1 }),
            (Call::Put, Fault::Truncate { after: 1 }),
            (Call::Part, Fault::Corrupt { at: 9, mask: 1 }),
            (Call::Get, Fault::Corrupt { at: 0, mask: 1 }),
            (Call::Get, Fault::Truncate { after: 1 }),
            (Call::Get, Fault::Fail(ErrorKind::Io)),
            (Call::List, Fault::Truncate { after: 1000 }),
            (Call::Complete, Fault::LoseAnswer(ErrorKind::Timeout)),
            (Call::Copy, Fault::Fail(ErrorKind::Io)),
            (Call::Delete, Fault::Truncate { after: 0 }),
            (Call::Barrier, Fault::Fail(ErrorKind::Io)),
        ];
        for (call, fault) in lies {
            let plan = FaultPlan::new().rule(When::call(call), fault);
            let liar = FaultRepository::new(Arc::new(MemoryRepository::new()), plan);
            let outcome = conformance(Arc::new(liar), ConformanceOptions::default()).await;
            assert!(outcome.is_err(), "{call:?} {fault:?}");
        }
    }
}
