//! An operator's proof: does a repository do what backups need of it? Every step is told in words.

use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use backup_core::{
    ByteRange, ContainerName, Error, ErrorKind, ObjectKey, PutMode, Repository, Result,
};
use bytes::{Bytes, BytesMut};
use futures::{StreamExt, TryStreamExt, stream};

use crate::config::print_size;
use crate::messages::{Messages, warn};

/// How a step ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verdict {
    Good,
    /// Works, but somebody should look.
    Doubtful,
    Failed,
    /// Not tried, since an earlier one that it needs failed.
    Skipped,
}

impl Verdict {
    pub(super) fn word(self) -> &'static str {
        match self {
            Self::Good => "good",
            Self::Doubtful => "look",
            Self::Failed => "failed",
            Self::Skipped => "skipped",
        }
    }
}

/// A step and how it went.
#[derive(Debug)]
pub(super) struct Step {
    pub(super) what: &'static str,
    pub(super) verdict: Verdict,
    pub(super) details: String,
    /// What to do where it is not good.
    pub(super) advice: Option<String>,
}

/// Everything is done in this container, whose name no backup has, and removed again.
const CONTAINER: &str = "ashlar-check";
const SAMPLE: usize = 1 << 20; // bytes
const SPEED_OBJECT: usize = 8 << 20; // bytes
const SPEED_OBJECTS: usize = 8;
const SLOW: f64 = 20.0; // MiB/s: below it, a volume of 100 GiB takes more than an hour

struct Check {
    repository: Arc<dyn Repository>,
    container: ContainerName,
    /// A part of every name that no earlier, killed check has.
    mark: String,
    steps: Vec<Step>,
    messages: Messages,
}

/// Runs all steps and removes what they made.
pub(super) async fn run(
    repository: &Arc<dyn Repository>,
    folder: Option<&Path>,
    messages: Messages,
) -> Vec<Step> {
    let container = match ContainerName::new(CONTAINER) {
        Ok(name) => name,
        Err(e) => return vec![failed("name a container", &e)],
    };
    let mut check = Check {
        repository: Arc::clone(repository),
        container,
        mark: backup_core::JobId::generate().to_string(),
        steps: Vec::new(),
        messages,
    };
    check.all(folder).await;
    check.steps
}

impl Check {
    async fn all(&mut self, folder: Option<&Path>) {
        let sample = noise(SAMPLE, 1);
        let repository = Arc::clone(&self.repository);
        let container = self.container.clone();
        let made = async {
            repository
                .ensure_container(&container)
                .await
                .map(|()| repository.describe())
        };
        if self.step("create a container", made).await {
            let mark = self.mark.clone();
            let mark = mark.as_str();
            if self
                .step("write", write(&*repository, &container, mark, &sample))
                .await
            {
                self.step(
                    "read back",
                    read_back(&*repository, &container, mark, &sample),
                )
                .await;
                self.step(
                    "read a range",
                    range(&*repository, &container, mark, &sample),
                )
                .await;
                self.step(
                    "keep what is there",
                    create_only(&*repository, &container, mark),
                )
                .await;
                self.step("list", list(&*repository, &container, mark))
                    .await;
                self.step("copy", copy(&*repository, &container, mark, &sample))
                    .await;
            } else {
                self.skip(&[
                    "read back",
                    "read a range",
                    "keep what is there",
                    "list",
                    "copy",
                ]);
            }
            self.step("delete", delete(&*repository, &container, mark))
                .await;
            self.speed(&*repository, &container, mark).await;
            self.tidy(&*repository, &container).await;
        } else {
            self.skip(&[
                "write",
                "read back",
                "read a range",
                "keep what is there",
                "list",
                "copy",
                "delete",
                "speed",
            ]);
        }
        if let Some(folder) = folder {
            self.steps.push(rights(folder));
            // An empty folder stays behind where containers are folders; the driver itself never removes one.
            let _ = std::fs::remove_dir(folder.join(CONTAINER));
        }
    }

    async fn step(
        &mut self,
        what: &'static str,
        act: impl Future<Output = Result<String>>,
    ) -> bool {
        self.messages.summary(format_args!("{what} ..."));
        let step = match act.await {
            Ok(details) => Step {
                what,
                verdict: Verdict::Good,
                details,
                advice: None,
            },
            Err(e) => failed(what, &e),
        };
        let good = step.verdict == Verdict::Good;
        self.steps.push(step);
        good
    }

    fn skip(&mut self, steps: &[&'static str]) {
        self.steps.extend(steps.iter().map(|&what| Step {
            what,
            verdict: Verdict::Skipped,
            details: "needs a step that failed".into(),
            advice: None,
        }));
    }

    async fn speed(&mut self, repository: &dyn Repository, container: &ContainerName, mark: &str) {
        self.messages.summary(format_args!("speed ..."));
        let step = match speed(repository, container, mark).await {
            Ok((write, read)) => {
                let slow = write.min(read) < SLOW;
                Step {
                    what: "speed",
                    verdict: if slow { Verdict::Doubtful } else { Verdict::Good },
                    details: format!(
                        "{write:.0} MiB/s written and made durable, {read:.0} MiB/s read back"
                    ),
                    advice: slow.then(|| {
                        format!(
                            "below {SLOW:.0} MiB/s a backup of 100 GiB takes more than an hour; look at the disk or the network"
                        )
                    }),
                }
            }
            Err(e) => failed("speed", &e),
        };
        self.steps.push(step);
    }

    /// Removes whatever an aborted step left.
    async fn tidy(&mut self, repository: &dyn Repository, container: &ContainerName) {
        let names: Result<Vec<_>> = async {
            repository
                .list(container, "", None)
                .await?
                .try_collect()
                .await
        }
        .await;
        let keys: Vec<_> = names
            .unwrap_or_default()
            .into_iter()
            .filter_map(|listed| ObjectKey::new(container, listed.name).ok())
            .collect();
        for result in repository.delete(&keys).await {
            if let Err(e) = result {
                warn(format_args!("could not remove a test object: {e}"));
            }
        }
    }
}

fn failed(what: &'static str, e: &Error) -> Step {
    let advice = e
        .hint_text()
        .map_or_else(|| advice(e.kind()).to_owned(), str::to_owned);
    Step {
        what,
        verdict: Verdict::Failed,
        details: e.to_string(),
        advice: Some(advice),
    }
}

/// What an operator can do, where the driver has no better word.
fn advice(kind: ErrorKind) -> &'static str {
    match kind {
        ErrorKind::PermissionDenied => {
            "give the user that runs ashlar the right to read, write and delete there"
        }
        ErrorKind::Unauthenticated => "check the credentials in the configuration",
        ErrorKind::NoSpace | ErrorKind::QuotaExceeded => {
            "free some space there, or raise its quota"
        }
        ErrorKind::Timeout | ErrorKind::Unavailable => {
            "check that the storage is up and can be reached from this host"
        }
        ErrorKind::NotFound => "check the path or the address in the configuration",
        ErrorKind::Corrupt => {
            "do not store backups there: it gave back other bytes than were written"
        }
        _ => "do not store backups there before this works",
    }
}

fn key(container: &ContainerName, mark: &str, name: &str) -> Result<ObjectKey> {
    ObjectKey::new(container, format!("{mark}-{name}"))
}

async fn fetch(
    repository: &dyn Repository,
    key: &ObjectKey,
    range: Option<ByteRange>,
) -> Result<Bytes> {
    let download = repository.get(key, range).await?;
    let mut body = download.body;
    let mut bytes = BytesMut::new();
    while let Some(piece) = body.next().await {
        bytes.extend_from_slice(&piece?);
    }
    Ok(bytes.freeze())
}

async fn same(repository: &dyn Repository, key: &ObjectKey, expected: &[u8]) -> Result<()> {
    let got = fetch(repository, key, None).await?;
    if got[..] == *expected {
        return Ok(());
    }
    Err(Error::corrupt(
        "read back",
        key,
        format!(
            "{} bytes came back, not the {} that were written",
            got.len(),
            expected.len()
        ),
    ))
}

async fn write(
    repository: &dyn Repository,
    container: &ContainerName,
    mark: &str,
    sample: &Bytes,
) -> Result<String> {
    let whole = key(container, mark, "whole")?;
    repository
        .put(&whole, sample.clone(), PutMode::Overwrite)
        .await?;
    let parts = key(container, mark, "parts")?;
    let mut upload = repository.begin(&parts, Some(sample.len() as u64)).await?;
    upload.part(sample.slice(..SAMPLE / 2)).await?;
    upload.part(sample.slice(SAMPLE / 2..)).await?;
    upload.complete().await?;
    repository.barrier(container).await?;
    Ok("a whole object, one in parts, made durable".into())
}

async fn read_back(
    repository: &dyn Repository,
    container: &ContainerName,
    mark: &str,
    sample: &[u8],
) -> Result<String> {
    same(repository, &key(container, mark, "whole")?, sample).await?;
    same(repository, &key(container, mark, "parts")?, sample).await?;
    match repository
        .get(&key(container, mark, "missing")?, None)
        .await
    {
        Err(e) if e.is(ErrorKind::NotFound) => {
            Ok("both as written; a missing one is told as missing".into())
        }
        Err(e) => Err(e),
        Ok(_) => Err(Error::new(ErrorKind::Corrupt, "read back")
            .because("an object that was never written can be read")),
    }
}

async fn range(
    repository: &dyn Repository,
    container: &ContainerName,
    mark: &str,
    sample: &[u8],
) -> Result<String> {
    let (from, to) = (1_000, 300_001);
    let whole = key(container, mark, "whole")?;
    let got = fetch(repository, &whole, ByteRange::new(from as u64, to as u64)).await?;
    if got[..] == sample[from..to] {
        Ok(format!("bytes {from} to {to} as written"))
    } else {
        Err(Error::corrupt(
            "read a range",
            whole,
            "other bytes came back",
        ))
    }
}

async fn create_only(
    repository: &dyn Repository,
    container: &ContainerName,
    mark: &str,
) -> Result<String> {
    let whole = key(container, mark, "whole")?;
    match repository
        .put(&whole, Bytes::from_static(b"x"), PutMode::CreateOnly)
        .await
    {
        Err(e) if e.is(ErrorKind::AlreadyExists) => Ok("a second writer is refused".into()),
        Err(e) => Err(e),
        Ok(()) => Err(Error::corrupt(
            "write",
            whole,
            "an object that must be kept was replaced",
        )),
    }
}

async fn names(
    repository: &dyn Repository,
    container: &ContainerName,
    prefix: &str,
) -> Result<Vec<String>> {
    let mut found = repository.list(container, prefix, None).await?;
    let mut names = Vec::new();
    while let Some(listed) = found.next().await {
        names.push(listed?.name);
    }
    names.sort_unstable();
    Ok(names)
}

async fn list(
    repository: &dyn Repository,
    container: &ContainerName,
    mark: &str,
) -> Result<String> {
    let expected = [format!("{mark}-parts"), format!("{mark}-whole")];
    let found = names(repository, container, mark).await?;
    if found != expected {
        return Err(Error::corrupt(
            "list",
            container,
            format!("found {found:?}, not {expected:?}"),
        ));
    }
    // Half a word is a prefix too: Cinder lists so.
    let half = names(repository, container, &format!("{mark}-wh")).await?;
    if half != expected[1..] {
        return Err(Error::corrupt(
            "list",
            container,
            format!("found {half:?} by half a name"),
        ));
    }
    Ok("both objects, and by half a name".into())
}

async fn copy(
    repository: &dyn Repository,
    container: &ContainerName,
    mark: &str,
    sample: &[u8],
) -> Result<String> {
    let (from, to) = (
        key(container, mark, "whole")?,
        key(container, mark, "copy")?,
    );
    repository.copy(&from, &to).await?;
    same(repository, &to, sample).await?;
    Ok("as the original".into())
}

async fn delete(
    repository: &dyn Repository,
    container: &ContainerName,
    mark: &str,
) -> Result<String> {
    let keys = ["whole", "parts", "copy", "missing"]
        .into_iter()
        .map(|name| key(container, mark, name))
        .collect::<Result<Vec<_>>>()?;
    for result in repository.delete(&keys).await {
        result?;
    }
    let left = names(repository, container, mark).await?;
    if left.is_empty() {
        Ok("all gone; deleting a missing one is no error".into())
    } else {
        Err(Error::corrupt(
            "delete",
            container,
            format!("still there: {}", left.join(", ")),
        ))
    }
}

/// MiB/s of writing (until durable) and of reading.
async fn speed(
    repository: &dyn Repository,
    container: &ContainerName,
    mark: &str,
) -> Result<(f64, f64)> {
    let objects = (0..SPEED_OBJECTS)
        .map(|i| {
            Ok((
                key(container, mark, &format!("speed-{i}"))?,
                noise(SPEED_OBJECT, i as u64 + 2),
            ))
        })
        .collect::<Result<Vec<_>>>()?;
    let requests = repository.limits().requests;
    #[expect(clippy::cast_precision_loss)]
    let mib = (SPEED_OBJECT * SPEED_OBJECTS) as f64 / f64::from(1 << 20);

    let started = Instant::now();
    stream::iter(&objects)
        .map(Ok)
        .try_for_each_concurrent(requests, async |(key, data)| {
            repository.put(key, data.clone(), PutMode::Overwrite).await
        })
        .await?;
    repository.barrier(container).await?;
    let write = mib / started.elapsed().as_secs_f64();

    let started = Instant::now();
    stream::iter(&objects)
        .map(Ok)
        .try_for_each_concurrent(requests, async |(key, data)| {
            same(repository, key, data).await
        })
        .await?;
    let read = mib / started.elapsed().as_secs_f64();

    let keys: Vec<_> = objects.into_iter().map(|(key, _)| key).collect();
    for result in repository.delete(&keys).await {
        result?;
    }
    Ok((write, read))
}

/// Who may read and write the folder besides its owner, and how much space is left.
fn rights(folder: &Path) -> Step {
    use std::os::unix::fs::MetadataExt;

    let what = "rights and space";
    let looked =
        std::fs::metadata(folder).and_then(|meta| Ok((meta, rustix::fs::statvfs(folder)?)));
    let (meta, space) = match looked {
        Ok(found) => found,
        Err(e) => return failed(what, &Error::io("look at", folder.display(), e)),
    };
    let free = space.f_bavail.saturating_mul(space.f_frsize);
    let mode = meta.mode() & 0o7777;
    let open = mode & 0o002 != 0;
    Step {
        what,
        verdict: if open {
            Verdict::Doubtful
        } else {
            Verdict::Good
        },
        details: format!(
            "owner {}, group {}, mode {mode:04o}; {} free",
            meta.uid(),
            meta.gid(),
            print_size(free)
        ),
        advice: open.then(|| {
            format!(
                "every user of this host can change backups: chmod o-w {}",
                folder.display()
            )
        }),
    }
}

/// Bytes that no codec and no filesystem can shrink (xorshift64*).
fn noise(length: usize, seed: u64) -> Bytes {
    let mut state = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
    let mut bytes = Vec::with_capacity(length + 8);
    while bytes.len() < length {
        state ^= state >> 12;
        state ^= state << 25;
        state ^= state >> 27;
        bytes.extend_from_slice(&state.wrapping_mul(0x2545_F491_4F6C_DD1D).to_le_bytes());
    }
    bytes.truncate(length);
    bytes.into()
}
