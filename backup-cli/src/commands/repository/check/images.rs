//! The same proof for a store of images: is it what backups in images need?

use std::sync::Arc;
use std::time::Instant;

use backup_core::image::{Image, ImageKey, ImageRepository};
use backup_core::{
    Buf, ByteRange, ContainerName, Error, ErrorKind, Extent, ExtentKind, ObjectKey, Result,
};
use futures::{StreamExt, TryStreamExt, stream};

use super::measure::noise;
use super::step::{Step, Verdict, failed};
use super::{MARK, SLOW};
use crate::messages::{Messages, warn};

/// Length of the image that all is tried on, in bytes.
const LENGTH: u64 = 64 << 20;
const PIECE: u64 = 4 << 20; // bytes
/// Bytes that are changed after the snapshot.
const CHANGED: u64 = 64 << 10;

/// Every step after the first two needs them.
const STEPS: [&str; 8] = [
    "write and read back",
    "write zeroes",
    "make a snapshot",
    "tell what changed",
    "lock",
    "keep a note",
    "keep a record",
    "delete",
];

/// Runs all steps in `container`, and removes what they made.
pub(in crate::commands::repository) async fn run(
    repository: &Arc<dyn ImageRepository>,
    container: &ContainerName,
    messages: Messages,
) -> Vec<Step> {
    let mut steps = Vec::new();
    let mark = format!("{MARK}{}", backup_core::JobId::generate());
    let key = match ImageKey::new(container, mark.clone()) {
        Ok(key) => key,
        Err(e) => return vec![failed("name an image", &e)],
    };
    let step = |steps: &mut Vec<Step>, what: &'static str, done: Result<String>| {
        messages.summary(format_args!("{what}"));
        let good = done.is_ok();
        steps.push(match done {
            Ok(details) => Step {
                what,
                verdict: Verdict::Good,
                details,
                advice: None,
            },
            Err(e) => failed(what, &e),
        });
        good
    };
    let reached = repository.list(container, MARK).await.map(|left| {
        let more = match left.len() {
            0 => String::new(),
            n => format!("; {n} images of checks that were killed: remove {MARK}*"),
        };
        format!("{}{more}", repository.describe())
    });
    let reached = step(&mut steps, "reach the store", reached);
    let image = if reached {
        let image = repository.create(&key, LENGTH).await;
        let told = image
            .as_ref()
            .map(|_| "empty, and its name is taken".to_owned());
        let told = match told {
            Ok(told) => again_is_refused(repository, &key).await.map(|()| told),
            Err(_) => Ok(String::new()),
        };
        match image {
            Ok(image) if step(&mut steps, "make an image", told) => Some(image),
            Ok(_) => None,
            Err(e) => {
                step(&mut steps, "make an image", Err(e));
                None
            }
        }
    } else {
        None
    };
    let Some(image) = image else {
        let made = if reached {
            &[][..]
        } else {
            &["make an image"][..]
        };
        steps.extend(
            made.iter()
                .chain(&STEPS)
                .chain(&["speed"])
                .map(|&what| Step {
                    what,
                    verdict: Verdict::Skipped,
                    details: "needs a step that failed".into(),
                    advice: None,
                }),
        );
        tidy(repository, &key).await;
        return steps;
    };
    step(&mut steps, STEPS[0], write(&image).await);
    step(&mut steps, STEPS[1], zero(&image).await);
    let made = step(
        &mut steps,
        STEPS[2],
        snapshot(repository, &key, &image).await,
    );
    if made {
        let changed = changed(repository, &key, &image).await;
        step(&mut steps, STEPS[3], changed);
    } else {
        // What changed since a snapshot that is not there nobody can tell, and it is not the store's fault.
        steps.push(Step {
            what: STEPS[3],
            verdict: Verdict::Skipped,
            details: "needs a step that failed".into(),
            advice: None,
        });
    }
    step(&mut steps, STEPS[4], lock(&image).await);
    step(&mut steps, STEPS[5], note(&image).await);
    step(
        &mut steps,
        STEPS[6],
        record(repository, container, &mark).await,
    );
    messages.summary(format_args!("speed"));
    let speed = speed(&image).await;
    drop(image);
    let deleted = delete(repository, &key, made).await;
    let deleted = step(&mut steps, STEPS[7], deleted);
    steps.push(match speed {
        Ok((write, read)) => told(write, read),
        Err(e) => failed("speed", &e),
    });
    if !deleted {
        tidy(repository, &key).await;
    }
    steps
}

fn differs(what: &'static str, image: &dyn Image, why: &str) -> Error {
    Error::corrupt(what, image.describe(), why)
}

async fn again_is_refused(repository: &Arc<dyn ImageRepository>, key: &ImageKey) -> Result<()> {
    match repository.create(key, LENGTH).await {
        Err(e) if e.is(ErrorKind::AlreadyExists) => Ok(()),
        Err(e) => Err(e),
        Ok(image) => Err(differs(
            "make an image",
            &*image,
            "the same name could be made twice",
        )),
    }
}

async fn read(image: &dyn Image, at: u64, length: u64) -> Result<Buf> {
    let room = usize::try_from(length).unwrap_or(0);
    let (buf, read) = image.read(at, Buf::zeroed(room)).await;
    read.map(|()| buf)
}

fn sample(seed: u64, length: u64) -> bytes::Bytes {
    noise(usize::try_from(length).unwrap_or(0), seed)
}

/// Not at the borders of objects.
const AT: u64 = PIECE - 4096;

async fn write(image: &Arc<dyn Image>) -> Result<String> {
    let data = sample(1, PIECE);
    image.write(AT, data.clone()).await?;
    image.flush().await?;
    if read(&**image, AT, PIECE).await?[..] != data[..] {
        return Err(differs(
            "read back",
            &**image,
            "other bytes came back than were written",
        ));
    }
    Ok("4 MiB, as they were written".into())
}

async fn zero(image: &Arc<dyn Image>) -> Result<String> {
    let range = ByteRange::at(AT + 512, 1 << 20).unwrap_or(ByteRange::up_to(0));
    image.write_zeroes(range).await?;
    let back = read(&**image, range.start(), range.len()).await?;
    if back.iter().any(|&b| b != 0) {
        return Err(differs(
            "write zeroes",
            &**image,
            "something else came back",
        ));
    }
    Ok("a part of two objects reads as zeroes".into())
}

/// Name of the snapshot; of no backup.
const SNAPSHOT: &str = "check";

async fn snapshot(
    repository: &Arc<dyn ImageRepository>,
    key: &ImageKey,
    image: &Arc<dyn Image>,
) -> Result<String> {
    image.snapshot(SNAPSHOT).await?;
    let before = read(&**image, 0, CHANGED).await?;
    image.write(0, sample(2, CHANGED)).await?;
    let then = repository.open(key, Some(SNAPSHOT)).await?;
    if read(&*then, 0, CHANGED).await?[..] != before[..] {
        return Err(differs(
            "make a snapshot",
            &*then,
            "a later write shows in it",
        ));
    }
    Ok("a later write does not show in it".into())
}

async fn changed(
    repository: &Arc<dyn ImageRepository>,
    key: &ImageKey,
    image: &Arc<dyn Image>,
) -> Result<String> {
    image.snapshot("later").await?;
    let now = repository.open(key, Some("later")).await?;
    let extents = now.diff(Some(SNAPSHOT), ByteRange::up_to(LENGTH)).await?;
    let told: u64 = extents
        .iter()
        .filter(|e| e.kind != ExtentKind::Unchanged)
        .map(|e: &Extent| e.range.len())
        .sum();
    let first = extents.first().filter(|e| e.kind == ExtentKind::Data);
    if first.is_none_or(|e| e.range.start() != 0 || e.range.len() < CHANGED) {
        return Err(differs("tell what changed", &*now, "a change is not told"));
    }
    Ok(format!("{told} bytes of {CHANGED} that changed"))
}

async fn lock(image: &Arc<dyn Image>) -> Result<String> {
    image.lock().await?;
    image.unlock().await?;
    Ok("taken and given back".into())
}

async fn note(image: &Arc<dyn Image>) -> Result<String> {
    image.set_note("ashlar.check", "1").await?;
    let notes = image.notes("ashlar.check").await?;
    if notes != [("ashlar.check".to_owned(), "1".to_owned())] {
        return Err(differs("keep a note", &**image, "it did not come back"));
    }
    image.remove_note("ashlar.check").await?;
    Ok("kept with the image, and removed".into())
}

async fn record(
    repository: &Arc<dyn ImageRepository>,
    container: &ContainerName,
    mark: &str,
) -> Result<String> {
    let key = ObjectKey::new(container, mark)?;
    let data = sample(3, 1000);
    let tried = async {
        repository.put_record(&key, data.clone()).await?;
        let back = repository.get_record(&key).await?;
        Ok((back, repository.put_record(&key, data.clone()).await))
    }
    .await;
    // Whatever came of it: a put that failed may have happened.
    let removed = repository.remove_record(&key).await;
    let (back, again) = tried?;
    removed?;
    if back.as_ref() != Some(&data) {
        return Err(Error::corrupt(
            "keep a record",
            &key,
            "it did not come back",
        ));
    }
    match again {
        Err(e) if e.is(ErrorKind::AlreadyExists) => {}
        Err(e) => return Err(e),
        Ok(()) => return Err(Error::corrupt("keep a record", &key, "it was overwritten")),
    }
    if repository.get_record(&key).await?.is_some() {
        return Err(Error::corrupt(
            "keep a record",
            &key,
            "it is there after it was removed",
        ));
    }
    Ok("kept beside the images, and removed".into())
}

/// MiB/s of writing (durable) and of reading, many pieces at once.
async fn speed(image: &Arc<dyn Image>) -> Result<(f64, f64)> {
    const AT_ONCE: usize = 16;
    let data = sample(4, PIECE);
    let pieces: Vec<_> = ByteRange::up_to(LENGTH).pieces(PIECE).collect();
    #[expect(clippy::cast_precision_loss)]
    let mib = (LENGTH >> 20) as f64;
    let started = Instant::now();
    stream::iter(&pieces)
        .map(Ok::<_, Error>)
        .try_for_each_concurrent(AT_ONCE, async |piece| {
            image.write(piece.start(), data.clone()).await
        })
        .await?;
    image.flush().await?;
    let write = mib / started.elapsed().as_secs_f64();
    let started = Instant::now();
    stream::iter(&pieces)
        .map(Ok::<_, Error>)
        .try_for_each_concurrent(AT_ONCE, async |piece| {
            if read(&**image, piece.start(), piece.len()).await?[..] == data[..] {
                return Ok(());
            }
            Err(differs(
                "read back",
                &**image,
                "other bytes came back than were written",
            ))
        })
        .await?;
    Ok((write, mib / started.elapsed().as_secs_f64()))
}

fn told(write: f64, read: f64) -> Step {
    let slow = write.min(read) < SLOW;
    Step {
        what: "speed",
        verdict: if slow { Verdict::Doubtful } else { Verdict::Good },
        details: format!("{write:.0} MiB/s written and made durable, {read:.0} MiB/s read back"),
        advice: slow.then(|| {
            format!(
                "below {SLOW:.0} MiB/s a backup of 100 GiB takes more than an hour; look at the cluster and the network"
            )
        }),
    }
}

/// `has_snapshots`: it is known that there is one, so that the image must not go before it does.
async fn delete(
    repository: &Arc<dyn ImageRepository>,
    key: &ImageKey,
    has_snapshots: bool,
) -> Result<String> {
    match repository.remove(key).await {
        Err(e) if e.is(ErrorKind::Conflict) => {}
        Err(e) => return Err(e),
        Ok(()) if !has_snapshots => return Ok("removed; it had no snapshot".into()),
        Ok(()) => {
            return Err(Error::corrupt(
                "delete",
                key,
                "an image with snapshots was removed",
            ));
        }
    }
    let image = repository.open_to_write(key).await?;
    for snapshot in image.snapshots().await? {
        image.remove_snapshot(&snapshot.name).await?;
    }
    drop(image);
    remove_once_closed(repository, key).await?;
    match repository.open(key, None).await {
        Err(e) if e.is(ErrorKind::NotFound) => Ok("not before its last snapshot is gone".into()),
        Err(e) => Err(e),
        Ok(_) => Err(Error::corrupt(
            "delete",
            key,
            "it is there after it was removed",
        )),
    }
}

/// Removes an image whose handles are closed on threads of their own: it is in use until they are.
async fn remove_once_closed(repository: &Arc<dyn ImageRepository>, key: &ImageKey) -> Result<()> {
    let mut tries = 0;
    loop {
        match repository.remove(key).await {
            Err(e) if e.is(ErrorKind::Conflict) && tries < 40 => tries += 1,
            removed => return removed,
        }
        tokio::time::sleep(std::time::Duration::from_millis(250)).await;
    }
}

/// Removes whatever a failed step left.
async fn tidy(repository: &Arc<dyn ImageRepository>, key: &ImageKey) {
    // Not there, or not to be reached.
    let Ok(image) = repository.open_to_write(key).await else {
        return;
    };
    for snapshot in image.snapshots().await.unwrap_or_default() {
        let _told_below = image.remove_snapshot(&snapshot.name).await;
    }
    drop(image);
    if let Err(e) = remove_once_closed(repository, key).await {
        warn(format_args!("could not remove the test image: {e}"));
    }
}

#[cfg(test)]
mod tests {
    use backup_core::testing::{Fault, FaultImages, ImageCall, MemoryImages};

    use super::*;

    /// Of a store, one of whose calls fails where `n` is given: the steps, and how many calls were made.
    async fn checked(n: Option<u64>) -> (Vec<Step>, u64) {
        let container = ContainerName::new("pool").unwrap();
        let memory = MemoryImages::new(container.clone());
        let images = FaultImages::new(Arc::new(memory.clone()));
        if let Some(n) = n {
            images.fail(n, Fault::Fail(ErrorKind::PermissionDenied));
        }
        let store: Arc<dyn ImageRepository> = Arc::new(images.clone());
        let steps = run(&store, &container, Messages::new(true, false)).await;
        assert_eq!(steps.len(), 2 + STEPS.len() + 1, "{n:?}");
        let mut left = memory.inventory();
        let hit = images.hit();
        if matches!(hit, Some((ImageCall::RemoveRecord, _))) {
            left.retain(|line| !line.starts_with("record"));
        }
        assert_eq!(left, [""; 0], "{n:?}: {hit:?}");
        // A step is not blamed for the one before it.
        if matches!(hit, Some((ImageCall::Snapshot, _))) && steps[4].verdict == Verdict::Failed {
            assert_eq!(steps[5].verdict, Verdict::Skipped, "{steps:?}");
        }
        (steps, images.calls())
    }

    #[tokio::test]
    async fn a_store_that_does_all_is_good_in_every_step_and_one_that_refuses_a_call_is_not() {
        let (steps, calls) = checked(None).await;
        for step in &steps {
            let fine = matches!(step.verdict, Verdict::Good | Verdict::Doubtful);
            assert!(fine, "{step:?}");
        }
        assert!(calls > 40, "{calls}");
        for n in 0..calls {
            let (steps, _) = checked(Some(n)).await;
            let failed: Vec<_> = steps
                .iter()
                .filter(|s| s.verdict == Verdict::Failed)
                .collect();
            assert!(!failed.is_empty(), "call {n}");
            for step in failed {
                assert!(
                    step.details.contains(step.what) || step.advice.is_some(),
                    "{step:?}"
                );
            }
        }
    }
}
